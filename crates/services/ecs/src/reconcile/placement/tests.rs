use super::*;
use crate::launch::Capacity;
use crate::launch::{LaunchRequest, StopAsk, ask_stop, new_task};
use crate::records::{ClusterRecord, ServiceLink, TaskDefinitionRecord};
use crate::testing::{FakeNode, World};
use neargate_ec2::{SecurityGroupRecord, SubnetRecord};
use serde_json::json;
use std::collections::BTreeSet;

/// A task as the service reconciler makes it: PROVISIONING, without a node.
async fn waiting(world: &World, service: &str) -> String {
    waiting_with(world, service, None).await
}

/// The same with a choice of `assignPublicIp`.
async fn waiting_with(world: &World, service: &str, assign_public_ip: Option<&str>) -> String {
    let snapshot = world.ecs.store.snapshot();
    let cluster = snapshot.get::<ClusterRecord>("us-east-1/default").unwrap();
    let definition = snapshot
        .get::<TaskDefinitionRecord>(&TaskDefinitionRecord::key("us-east-1", "web", 1))
        .unwrap();
    let task = new_task(LaunchRequest {
        load_balancers: &[],
        cluster: &cluster,
        definition: &definition,
        overrides: Default::default(),
        capacity: Capacity {
            launch_type: "FARGATE".to_owned(),
            provider: None,
        },
        network: Some(crate::api::AwsVpcConfiguration {
            subnets: Some(world.subnets.clone()),
            assign_public_ip: assign_public_ip.map(str::to_owned),
            ..Default::default()
        }),
        group: None,
        started_by: Some("ecs-svc/1".to_owned()),
        service: Some(ServiceLink {
            name: service.to_owned(),
            deployment_id: "ecs-svc/1".to_owned(),
            service_revision_arn: "revision".to_owned(),
            settled: false,
        }),
        placement_constraints: Vec::new(),
        placement_strategy: Vec::new(),
        tags: Default::default(),
        enable_ecs_managed_tags: true,
        reference_id: None,
        pinned_digests: Default::default(),
        now: world.cx().now,
        ids: &*world.ecs.ids,
    })
    .unwrap();
    assert_eq!(task.group, format!("service:{service}"));
    let arn = task.arn.clone();
    world.put(&task.own_key(), task).await;
    arn
}

fn assert_sound(world: &World) {
    let (mut addresses, mut cpu) = (BTreeSet::new(), BTreeMap::<String, u32>::new());
    for task in world.tasks().iter().filter(|t| t.holds_resources()) {
        let address = task.interface.as_ref().unwrap().address;
        assert!(addresses.insert(address), "{address} is held twice");
        *cpu.entry(task.node.clone().unwrap()).or_default() += task.reserved_cpu;
    }
    let snapshot = world.ecs.store.snapshot();
    for (node, used) in cpu {
        assert!(
            used <= snapshot.get::<NodeRecord>(&node).unwrap().hello.cpu.0,
            "{node} is over-committed"
        );
    }
}

#[tokio::test]
async fn what_waits_is_told_why_once_and_placed_when_a_node_joins() {
    let world = World::new().await;
    world.define("web", json!({})).await;
    let (first, second) = (waiting(&world, "web").await, waiting(&world, "web").await);
    assert_eq!(place_waiting(&world.ecs).await.unwrap(), 0);
    let why = world.task(&first).waiting.unwrap();
    assert_eq!(
        why.reason,
        "Capacity is unavailable at this time. Please try again later or in a different availability zone"
    );
    assert_eq!(world.task(&second).waiting, None, "one of many equal ones says it");
    let revision = world.ecs.store.snapshot().revision();
    assert_eq!(place_waiting(&world.ecs).await.unwrap(), 0);
    assert_eq!(
        world.ecs.store.snapshot().revision(),
        revision,
        "planning twice changes nothing"
    );

    let _node = world.node("n1", 4096, 600).await;
    assert_eq!(place_waiting(&world.ecs).await.unwrap(), 1, "one of them has room");
    let task = world.task(&first);
    assert_eq!(
        (task.state, task.node.as_deref(), task.waiting),
        (TaskState::Pending, Some("n1"), None)
    );
    assert_eq!(place_waiting(&world.ecs).await.unwrap(), 0);
    assert!(world.task(&second).waiting.is_some());
    assert_sound(&world);
}

#[tokio::test]
async fn a_service_of_thousands_does_not_keep_another_waiting() {
    let world = World::new().await;
    world.define("web", json!({})).await;
    for _ in 0..200 {
        waiting(&world, "big").await;
    }
    world.advance(1);
    let small = waiting(&world, "small").await;
    let _node = world.node("n1", 1 << 20, 512 * 100).await;
    assert_eq!(place_waiting(&world.ecs).await.unwrap(), 100);
    assert!(world.task(&small).node.is_some());
}

#[tokio::test]
async fn a_full_batch_of_tasks_with_public_addresses_fits_one_commit() {
    let world = World::new().await;
    world.define("web", json!({})).await;
    for _ in 0..BATCH {
        waiting_with(&world, "web", Some("ENABLED")).await;
    }
    let _node = world.node("n1", 1 << 20, 512 * 100).await;
    assert_eq!(place_waiting(&world.ecs).await.unwrap(), BATCH);
    assert_sound(&world);
}

#[tokio::test]
async fn tasks_of_more_groups_than_one_commit_can_lean_on_are_placed_in_several() {
    let world = World::new().await;
    world.define("web", json!({})).await;
    let snapshot = world.ecs.store.snapshot();
    let vpc = neargate_ec2::subnet(&snapshot, "us-east-1", &world.subnets[0]).unwrap();
    let default = neargate_ec2::default_security_group(&snapshot, "us-east-1", &vpc.vpc_id).unwrap();
    for n in 0..BATCH {
        let arn = waiting_with(&world, "web", Some("ENABLED")).await;
        let ids: Vec<String> = (0..5).map(|m| format!("sg-{n}-{m}")).collect();
        for id in &ids {
            let mut group = SecurityGroupRecord::clone(&default);
            (group.id, group.name) = (id.clone(), id.clone());
            world.put(&SecurityGroupRecord::key("us-east-1", id), group).await;
        }
        let mut task = world.task(&arn);
        task.network.as_mut().unwrap().security_groups = Some(ids);
        world.put(&task.own_key(), task).await;
    }
    let _node = world.node("n1", 1 << 20, 512 * 100).await;
    assert_eq!(place_waiting(&world.ecs).await.unwrap(), BATCH);
    assert_sound(&world);
}

#[tokio::test]
async fn a_network_that_is_gone_is_told_by_its_name() {
    let world = World::new().await;
    world.define("web", json!({})).await;
    let _node = world.node("n1", 4096, 8192).await;
    let arn = waiting(&world, "web").await;
    let mut task = world.task(&arn);
    task.network.as_mut().unwrap().security_groups = Some(vec!["sg-gone".to_owned()]);
    world.put(&task.own_key(), task).await;
    assert_eq!(place_waiting(&world.ecs).await.unwrap(), 0);
    let why = world.task(&arn).waiting.unwrap();
    assert_eq!(why.event, ". Reason: The security group 'sg-gone' does not exist.");
}

#[tokio::test]
async fn a_subnet_without_free_addresses_is_told_in_one_sentence() {
    let mut world = World::new().await;
    world.define("web", json!({})).await;
    let _node = world.node("n1", 4096, 8192).await;
    world.subnets.truncate(1);
    let subnet = world.subnets[0].clone();
    let key = SubnetRecord::key("us-east-1", &subnet);
    let mut full = (*world.ecs.store.snapshot().get::<SubnetRecord>(&key).unwrap().record).clone();
    full.cidr.1 = 30;
    world.put(&key, full).await;
    let told = format!(
        "There are not enough free addresses in subnet '{subnet}' to satisfy the requested number of instances."
    );

    let arn = waiting(&world, "web").await;
    assert_eq!(place_waiting(&world.ecs).await.unwrap(), 0);
    assert_eq!(world.task(&arn).waiting.unwrap().event, format!(". Reason: {told}"));

    let network = json!({ "awsvpcConfiguration": { "subnets": [subnet] } });
    let input = json!({ "taskDefinition": "web", "launchType": "FARGATE", "networkConfiguration": network });
    let answer = world.call("RunTask", input).await.unwrap();
    assert_eq!(answer["failures"][0]["detail"], told);
}

#[tokio::test]
async fn room_that_a_task_leaves_is_given_to_the_next_one() {
    let world = World::new().await;
    world.define("web", json!({})).await;
    let node = world.node("n1", 4096, 512).await;
    let (first, second) = (waiting(&world, "web").await, waiting(&world, "web").await);
    assert_eq!(place_waiting(&world.ecs).await.unwrap(), 1);
    node.work().await;
    world.call("StopTask", json!({ "task": first })).await.unwrap();
    assert_eq!(place_waiting(&world.ecs).await.unwrap(), 0, "it is still running");
    node.work().await;
    assert_eq!(place_waiting(&world.ecs).await.unwrap(), 1);
    assert_eq!(world.task(&second).node.as_deref(), Some("n1"));
}

#[tokio::test]
async fn a_waiting_task_that_is_stopped_is_over_at_once() {
    let world = World::new().await;
    world.define("web", json!({})).await;
    let arn = waiting(&world, "web").await;
    let ask = StopAsk::new("ServiceSchedulerInitiated", "one too many");
    let stopped = ask_stop(&world.task(&arn), &ask, world.cx().now).unwrap();
    assert_eq!(stopped.state, TaskState::Stopped);
    world.put(&stopped.own_key(), stopped).await;
    let _node = world.node("n1", 4096, 8192).await;
    assert_eq!(place_waiting(&world.ecs).await.unwrap(), 0);
    assert_eq!(world.task(&arn).node, None);
}

#[tokio::test]
async fn a_subnet_without_addresses_is_gone_round_and_then_told() {
    let world = World::new().await;
    world.define("web", json!({})).await;
    let _node = world.node("n1", 1_000_000, 4_000_000).await;
    let small = neargate_ec2::SubnetRecord::key("us-east-1", "subnet-small");
    let like = neargate_ec2::subnet(&world.ecs.store.snapshot(), "us-east-1", &world.subnets[0]).unwrap();
    let record = neargate_ec2::SubnetRecord {
        id: "subnet-small".to_owned(),
        cidr: ("172.31.255.240".parse().unwrap(), 29),
        ..neargate_ec2::SubnetRecord::clone(&like)
    };
    world.put(&small, record).await;
    let only = |count: i32| json!({ "count": count, "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["subnet-small"] } } });
    let reply = world.run_fargate("web", only(10)).await.unwrap();
    assert_eq!(
        reply["tasks"].as_array().unwrap().len(),
        3,
        "a /29 has three addresses that are not AWS's own"
    );
    assert_eq!(reply["failures"][0]["reason"], "RESOURCE:ENI");
    let both =
        json!({ "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["subnet-small", world.subnets[1]] } } });
    let reply = world.run_fargate("web", both).await.unwrap();
    assert_eq!(reply["tasks"].as_array().unwrap().len(), 1);
    assert_sound(&world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_at_once_never_promise_a_node_or_an_address_twice() {
    let world = Arc::new(World::new().await);
    world.define("web", json!({})).await;
    let nodes: Vec<FakeNode> = [
        world.node("n1", 1 << 20, 512 * 40).await,
        world.node("n2", 1 << 20, 512 * 25).await,
    ]
    .into();
    for _ in 0..30 {
        waiting(&world, "web").await;
    }
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move {
                let mut made = 0;
                for _ in 0..5 {
                    let reply = world.run_fargate("web", json!({ "count": 3 })).await.unwrap();
                    made += reply["tasks"].as_array().unwrap().len();
                    place_waiting(&world.ecs).await.unwrap();
                }
                made
            })
        })
        .collect();
    let mut made = 0;
    for caller in callers {
        made += caller.await.unwrap();
    }
    place_waiting(&world.ecs).await.unwrap();
    assert_sound(&world);
    let placed = world.tasks().iter().filter(|t| t.node.is_some()).count();
    assert_eq!(placed, 65, "every unit of the nodes is used");
    assert!(made <= 65);
    for node in &nodes {
        node.work().await;
    }
    assert_eq!(
        world.tasks().iter().filter(|t| t.state == TaskState::Running).count(),
        65
    );
}

#[tokio::test]
async fn the_loop_places_by_itself_and_ends_when_told() {
    let world = World::new().await;
    world.define("web", json!({})).await;
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(run(world.ecs.clone(), stopped));
    let mut revisions = world.ecs.store.revisions();
    let arn = waiting(&world, "web").await;
    let _node = world.node("n1", 4096, 8192).await;
    while world.task(&arn).node.is_none() {
        revisions.changed().await.unwrap();
    }
    stop.send(true).unwrap();
    running.await.unwrap();
}

#[tokio::test]
async fn a_placer_that_missed_changes_reads_the_store_again() {
    let world = World::new().await;
    world.define("web", json!({})).await;
    let _node = world.node("n1", 2560, 1 << 20).await;
    let arn = waiting(&world, "web").await;
    // More commits than the channel of changes holds.
    for n in 0..5000 {
        let mut record = crate::records::ClusterRecord::clone(
            &world
                .ecs
                .store
                .snapshot()
                .get::<ClusterRecord>("us-east-1/default")
                .unwrap(),
        );
        record.name = format!("other{}", n % 3);
        world.put(&format!("us-east-1/{}", record.name), record).await;
    }
    assert_eq!(place_waiting(&world.ecs).await.unwrap(), 1);
    assert_eq!(world.task(&arn).node.as_deref(), Some("n1"));
}
