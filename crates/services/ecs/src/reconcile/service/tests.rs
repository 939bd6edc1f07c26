use super::{Next, reconcile, run};
use crate::reconcile::placement::place_waiting;
use crate::records::{ServiceRecord, ServiceRevisionRecord, ServiceStatus, TaskRecord, TaskState};
use crate::testing::{FakeNode, World, report};
use neargate_link::Phase;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const KEY: &str = "us-east-1/default/web";

/// A world with a node, the definition `web:1` and a service of it that has come to rest.
async fn world_with(more: Value) -> (World, FakeNode) {
    let world = World::new().await;
    let node = world.node("n1", 8192, 32768).await;
    world.define("web", json!({})).await;
    create(&world, more).await;
    settle(&world, &[&node]).await;
    (world, node)
}

async fn create(world: &World, more: Value) -> Value {
    let mut input = json!({
        "serviceName": "web", "taskDefinition": "web:1", "desiredCount": 3, "launchType": "FARGATE",
        "networkConfiguration": { "awsvpcConfiguration": { "subnets": world.subnets } },
    });
    for (key, value) in more.as_object().unwrap() {
        input[key] = value.clone();
    }
    input.as_object_mut().unwrap().retain(|_, v| !v.is_null());
    world.call("CreateService", input).await.unwrap()
}

/// Lets reconciler, placement and nodes work until nothing changes any more.
async fn settle(world: &World, nodes: &[&FakeNode]) {
    for _ in 0..1000 {
        let before = world.ecs.store.snapshot().revision();
        let keys: Vec<String> = world
            .ecs
            .store
            .snapshot()
            .range::<ServiceRecord>("")
            .map(|(key, _)| key.to_owned())
            .collect();
        for key in keys {
            reconcile(&world.ecs, &key).await.unwrap();
        }
        place_waiting(&world.ecs).await.unwrap();
        for node in nodes {
            node.work().await;
        }
        if world.ecs.store.snapshot().revision() == before {
            return;
        }
    }
    panic!("nothing comes to rest");
}

fn live(world: &World) -> Vec<TaskRecord> {
    world
        .tasks()
        .into_iter()
        .filter(|t| t.state < TaskState::Stopping)
        .collect()
}

async fn describe(world: &World) -> Value {
    world
        .call("DescribeServices", json!({ "services": ["web"] }))
        .await
        .unwrap()["services"][0]
        .clone()
}

fn messages(service: &Value) -> Vec<String> {
    let events = service["events"].as_array().unwrap();
    events
        .iter()
        .rev()
        .map(|e| e["message"].as_str().unwrap().to_owned())
        .collect()
}

async fn crash(world: &World, node: &FakeNode, task: &TaskRecord) {
    let spec = node.assigned().into_iter().find(|s| s.id == task.id).unwrap();
    world
        .ecs
        .apply_reports(&node.id, vec![report(&spec, Phase::Stopped, Some(137))])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_service_comes_up_completes_and_holds_its_count() {
    let (world, node) = world_with(
        json!({ "tags": [{ "key": "team", "value": "a" }], "propagateTags": "SERVICE",
        "enableECSManagedTags": true }),
    )
    .await;
    let tasks = live(&world);
    assert_eq!(tasks.len(), 3);
    let service = describe(&world).await;
    let deployment = service["deployments"][0]["id"].as_str().unwrap().to_owned();
    for task in &tasks {
        assert_eq!(task.state, TaskState::Running);
        assert_eq!(task.group, "service:web");
        assert_eq!(task.started_by.as_deref(), Some(deployment.as_str()));
        assert_eq!(task.tags.0["team"], "a");
        assert_eq!(task.tags.0["aws:ecs:serviceName"], "web");
    }
    assert_eq!(service["runningCount"], 3);
    assert_eq!(service["deployments"][0]["rolloutState"], "IN_PROGRESS");

    world.advance(40);
    settle(&world, &[&node]).await;
    let service = describe(&world).await;
    assert_eq!(service["deployments"][0]["rolloutState"], "COMPLETED");
    assert_eq!(
        service["deployments"][0]["rolloutStateReason"],
        format!("ECS deployment {deployment} completed.")
    );
    let told = messages(&service);
    assert!(
        told[0].starts_with("(service web) has started 3 tasks: (task "),
        "{told:?}"
    );
    assert_eq!(
        told[1],
        format!("(service web) (deployment {deployment}) deployment completed.")
    );
    assert_eq!(told[2], "(service web) has reached a steady state.");

    crash(&world, &node, &tasks[0]).await;
    settle(&world, &[&node]).await;
    assert_eq!(live(&world).len(), 3);
    let lost = world.task(&tasks[0].arn);
    assert!(lost.service.unwrap().settled, "its end was counted");
    assert_eq!(describe(&world).await["runningCount"], 3);
    assert_eq!(describe(&world).await["deployments"][0]["failedTasks"], 0);
}

#[tokio::test]
async fn nothing_is_launched_twice_when_the_reconciler_starts_again() {
    let (world, node) = world_with(json!({})).await;
    let before: Vec<String> = live(&world).into_iter().map(|t| t.arn).collect();
    // A control plane that died anywhere has nothing but the store.
    let again = World {
        ecs: Arc::new(crate::Ecs {
            placer: world.ecs.placer.clone(),
            ..(*world.ecs).clone()
        }),
        ..world
    };
    settle(&again, &[&node]).await;
    let after: Vec<String> = live(&again).into_iter().map(|t| t.arn).collect();
    assert_eq!(before, after);
}

#[tokio::test]
async fn image_digests_are_pinned_at_the_first_pull_and_anew_by_a_forced_deployment() {
    let (world, node) = world_with(json!({})).await;
    let service = describe(&world).await;
    let revision = service["currentServiceRevisions"][0]["arn"]
        .as_str()
        .unwrap()
        .to_owned();
    let described = world
        .call("DescribeServiceRevisions", json!({ "serviceRevisionArns": [revision] }))
        .await
        .unwrap();
    assert_eq!(
        described["serviceRevisions"][0]["containerImages"][0]["imageDigest"],
        "sha256:1"
    );
    let first = live(&world)[0].clone();
    crash(&world, &node, &first).await;
    settle(&world, &[&node]).await;
    let newest = live(&world).into_iter().max_by_key(|t| t.id.clone()).unwrap();
    assert_eq!(newest.pinned_digests["app"], "sha256:1");

    world
        .call("UpdateService", json!({ "service": "web", "forceNewDeployment": true }))
        .await
        .unwrap();
    reconcile(&world.ecs, KEY).await.unwrap();
    let newest = live(&world).into_iter().max_by_key(|t| t.id.clone()).unwrap();
    assert!(
        newest.pinned_digests.is_empty(),
        "a new revision resolves its tags anew"
    );
}

#[tokio::test]
async fn a_failing_update_is_rolled_back_and_its_history_says_so() {
    let breaker =
        json!({ "deploymentConfiguration": { "deploymentCircuitBreaker": { "enable": true, "rollback": true } } });
    let (world, node) = world_with(breaker).await;
    world.advance(40);
    settle(&world, &[&node]).await;
    let good = describe(&world).await["currentServiceRevisions"][0]["arn"].clone();
    let first = describe(&world).await["deployments"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let healthy: Vec<String> = live(&world).into_iter().map(|t| t.arn).collect();

    world.define("bad", json!({})).await;
    world
        .call("UpdateService", json!({ "service": "web", "taskDefinition": "bad:1" }))
        .await
        .unwrap();
    let failing = describe(&world).await["currentServiceDeployment"]
        .as_str()
        .unwrap()
        .to_owned();
    for _ in 0..20 {
        reconcile(&world.ecs, KEY).await.unwrap();
        place_waiting(&world.ecs).await.unwrap();
        for task in live(&world).iter().filter(|t| t.family == "bad") {
            crash(&world, &node, task).await;
        }
        world.advance(5);
    }
    settle(&world, &[&node]).await;
    let service = describe(&world).await;
    assert_eq!(service["deployments"].as_array().unwrap().len(), 1);
    assert_eq!(
        service["deployments"][0]["id"], first,
        "the same deployment is PRIMARY again"
    );
    assert!(service["taskDefinition"].as_str().unwrap().ends_with("web:1"));
    assert_eq!(
        live(&world).into_iter().map(|t| t.arn).collect::<Vec<_>>(),
        healthy,
        "the old tasks ran all the time"
    );
    let history = world
        .call(
            "DescribeServiceDeployments",
            json!({ "serviceDeploymentArns": [failing] }),
        )
        .await
        .unwrap();
    let entry = &history["serviceDeployments"][0];
    assert_eq!(entry["status"], "ROLLBACK_SUCCESSFUL");
    assert_eq!(entry["rollback"]["serviceRevisionArn"], good);
    assert_eq!(entry["deploymentCircuitBreaker"]["status"], "TRIGGERED");
    assert_eq!(entry["deploymentCircuitBreaker"]["threshold"], 3);
    assert!(entry["finishedAt"].is_number() && entry["startedAt"].is_number());
    let told = messages(&service);
    assert!(
        told.contains(&format!("(service web) rolling back to deployment {first}.")),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_deleted_service_drains_and_is_forgotten_later() {
    let (world, node) = world_with(json!({})).await;
    world
        .call("DeleteService", json!({ "service": "web", "force": true }))
        .await
        .unwrap();
    assert_eq!(describe(&world).await["status"], "DRAINING");
    settle(&world, &[&node]).await;
    let service = describe(&world).await;
    assert_eq!(service["status"], "INACTIVE");
    assert_eq!(service["deployments"], json!([]));
    assert!(live(&world).is_empty());
    assert_eq!(world.ecs.store.snapshot().range::<ServiceRevisionRecord>("").count(), 0);
    world.advance(3600);
    assert_eq!(reconcile(&world.ecs, KEY).await.unwrap(), Next::OnChange);
    assert!(!world.ecs.store.snapshot().contains::<ServiceRecord>(KEY));
}

#[tokio::test]
async fn a_service_made_anew_tells_only_its_own_events() {
    let (world, node) = world_with(json!({})).await;
    world
        .call("DeleteService", json!({ "service": "web", "force": true }))
        .await
        .unwrap();
    settle(&world, &[&node]).await;
    create(&world, json!({ "desiredCount": 1 })).await;
    settle(&world, &[&node]).await;
    let told = messages(&describe(&world).await);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("has started 1 tasks"));
}

#[tokio::test]
async fn the_last_hundred_events_are_kept() {
    let (world, node) = world_with(json!({ "desiredCount": 1 })).await;
    for n in 0..60 {
        let count = if n % 2 == 0 { 2 } else { 1 };
        world
            .call("UpdateService", json!({ "service": "web", "desiredCount": count }))
            .await
            .unwrap();
        settle(&world, &[&node]).await;
        world.advance(45);
        settle(&world, &[&node]).await;
    }
    let service = describe(&world).await;
    let events = service["events"].as_array().unwrap();
    assert_eq!(events.len(), 100);
    let times: Vec<f64> = events.iter().map(|e| e["createdAt"].as_f64().unwrap()).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "newest first");
}

#[tokio::test]
async fn a_daemon_is_on_every_node_and_follows_them() {
    let world = World::new().await;
    let a = world.node("a", 4096, 8192).await;
    world.define("agent", json!({ "networkMode": "host" })).await;
    create(
        &world,
        json!({ "taskDefinition": "agent:1", "schedulingStrategy": "DAEMON", "launchType": "EC2", "desiredCount": null,
            "networkConfiguration": null }),
    )
    .await;
    settle(&world, &[&a]).await;
    assert_eq!(describe(&world).await["desiredCount"], 1);
    let b = world.node("b", 4096, 8192).await;
    settle(&world, &[&a, &b]).await;
    let mut on: Vec<String> = live(&world).into_iter().filter_map(|t| t.node).collect();
    on.sort();
    assert_eq!(on, ["a", "b"]);
    assert_eq!(describe(&world).await["desiredCount"], 2);
    world
        .call("UpdateService", json!({ "service": "web", "forceNewDeployment": true }))
        .await
        .unwrap();
    settle(&world, &[&a, &b]).await;
    assert_eq!(live(&world).len(), 2);
    world.call("DeleteService", json!({ "service": "web" })).await.unwrap();
    settle(&world, &[&a, &b]).await;
    assert_eq!(describe(&world).await["status"], "INACTIVE");
}

#[tokio::test]
async fn a_daemon_keeps_its_place_while_its_task_is_replaced() {
    let world = World::new().await;
    let node = world.node("a", 4096, 1024).await;
    world.define("agent", json!({ "networkMode": "host" })).await;
    world.define("web", json!({})).await;
    create(
        &world,
        json!({ "serviceName": "agent", "taskDefinition": "agent:1", "schedulingStrategy": "DAEMON", "launchType": "EC2",
            "desiredCount": null, "networkConfiguration": null }),
    )
    .await;
    settle(&world, &[&node]).await;
    create(&world, json!({})).await;
    settle(&world, &[&node]).await;
    let agent = "us-east-1/default/agent";
    let of = |name: &str| live(&world).into_iter().find(|t| t.group == name && t.node.is_some());
    let first = of("service:agent").expect("the daemon runs");
    assert_eq!(describe(&world).await["runningCount"], 1, "one of three has room");

    world
        .call(
            "UpdateService",
            json!({ "service": "agent", "forceNewDeployment": true }),
        )
        .await
        .unwrap();
    reconcile(&world.ecs, agent).await.unwrap();
    node.work().await;
    assert_eq!(world.task(&first.arn).state, TaskState::Stopped);
    // Room is free, and the daemon's next task is not made yet.
    assert_eq!(place_waiting(&world.ecs).await.unwrap(), 0);
    reconcile(&world.ecs, agent).await.unwrap();
    assert_eq!(place_waiting(&world.ecs).await.unwrap(), 1);
    settle(&world, &[&node]).await;
    let second = of("service:agent").expect("the daemon runs again");
    assert_ne!(first.id, second.id);

    // One that is deleted keeps nothing.
    world
        .call("DeleteService", json!({ "service": "agent", "force": true }))
        .await
        .unwrap();
    settle(&world, &[&node]).await;
    assert_eq!(describe(&world).await["runningCount"], 2);
}

#[tokio::test]
async fn what_finds_no_room_is_not_there_for_users_until_it_does() {
    let world = World::new().await;
    let small = world.node("a", 4096, 1024).await;
    world.define("web", json!({})).await;
    create(&world, json!({})).await;
    settle(&world, &[&small]).await;
    let shown = async || {
        let service = describe(&world).await;
        let tasks = world.call("ListTasks", json!({})).await.unwrap();
        let told = messages(&service);
        (
            service["pendingCount"].as_u64().unwrap(),
            tasks["taskArns"].as_array().unwrap().len(),
            told.iter().filter(|m| m.contains("has started 2 tasks")).count(),
            told.iter().filter(|m| m.contains("was unable to place a task")).count(),
            told.iter().filter(|m| m.contains("has started 1 tasks")).count(),
        )
    };
    assert_eq!(shown().await, (0, 2, 1, 1, 0));
    let hidden = live(&world).into_iter().find(|t| t.node.is_none()).expect("one waits");
    let described = world
        .call("DescribeTasks", json!({ "tasks": [hidden.arn] }))
        .await
        .unwrap();
    assert_eq!(described["failures"][0]["reason"], "MISSING");

    let large = world.node("b", 4096, 1024).await;
    settle(&world, &[&small, &large]).await;
    assert_eq!(shown().await, (0, 3, 1, 1, 1));

    // What never ran is never said to have stopped.
    let update = |count: u32| world.call("UpdateService", json!({ "service": "web", "desiredCount": count }));
    update(6).await.unwrap();
    settle(&world, &[&small, &large]).await;
    update(4).await.unwrap();
    settle(&world, &[&small, &large]).await;
    assert!(
        !messages(&describe(&world).await)
            .iter()
            .any(|m| m.contains("has stopped"))
    );
    let stopped = world
        .call("ListTasks", json!({ "desiredStatus": "STOPPED" }))
        .await
        .unwrap();
    assert_eq!(stopped["taskArns"], json!([]));
}

#[tokio::test]
async fn a_large_service_goes_in_commits_that_the_store_takes() {
    let world = World::new().await;
    let node = world.node("n1", 1_000_000, 2_000_000).await;
    world.define("web", json!({})).await;
    create(&world, json!({ "desiredCount": 500 })).await;
    settle(&world, &[&node]).await;
    assert_eq!(describe(&world).await["runningCount"], 500);
    world
        .call("UpdateService", json!({ "service": "web", "desiredCount": 7 }))
        .await
        .unwrap();
    settle(&world, &[&node]).await;
    assert_eq!(live(&world).len(), 7);
}

#[tokio::test]
async fn the_loop_answers_changes_without_being_told_what_they_are() {
    let (world, node) = world_with(json!({})).await;
    let (stop, shutdown) = watch::channel(false);
    let loops = [
        tokio::spawn(run(world.ecs.clone(), shutdown.clone())),
        tokio::spawn(crate::reconcile::placement::run(world.ecs.clone(), shutdown)),
    ];
    let mut changes = world.ecs.store.changes();
    let victim = live(&world)[0].clone();
    crash(&world, &node, &victim).await;
    let replaced = async {
        loop {
            changes.recv().await.unwrap();
            let placed = live(&world).into_iter().filter(|t| t.node.is_some()).count();
            if placed == 3 {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), replaced)
        .await
        .expect("the lost task is replaced");
    stop.send(true).unwrap();
    for one in loops {
        one.await.unwrap();
    }
    assert_eq!(
        world.ecs.store.snapshot().get::<ServiceRecord>(KEY).unwrap().status,
        ServiceStatus::Active
    );
}
