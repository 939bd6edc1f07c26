use super::*;
use crate::testing::{World, report};
use proptest::prelude::*;
use serde_json::json;

async fn running() -> (World, crate::testing::FakeNode, String) {
    let world = World::new().await;
    world.define("web", json!({})).await;
    let node = world.node("n1", 4096, 8192).await;
    let reply = world.run_fargate("web", json!({})).await.unwrap();
    let arn = reply["tasks"][0]["taskArn"].as_str().unwrap().to_owned();
    (world, node, arn)
}

#[tokio::test]
async fn reports_fill_in_the_task_and_its_containers() {
    let (world, node, arn) = running().await;
    let spec = node.assigned().remove(0);
    let mut pulling = report(&spec, Phase::Pending, None);
    pulling.pull_started_at = Some(Timestamp(10));
    node_reports(&world, pulling).await;
    let task = world.task(&arn);
    assert_eq!(
        (task.state, task.pull_started_at),
        (TaskState::Pending, Some(Timestamp(10)))
    );
    assert!(task.connectivity_at.is_some());

    let mut up = report(&spec, Phase::Running, None);
    (up.pull_stopped_at, up.started_at) = (Some(Timestamp(20)), Some(Timestamp(30)));
    up.containers[0].health = Health::Healthy;
    node_reports(&world, up).await;
    let task = world.task(&arn);
    assert_eq!((task.state, task.started_at), (TaskState::Running, Some(Timestamp(30))));
    assert_eq!(task.containers[0].last_status, "RUNNING");
    assert_eq!(task.containers[0].image_digest.as_deref(), Some("sha256:1"));

    let mut down = report(&spec, Phase::Stopped, Some(137));
    down.stop_code = Some("EssentialContainerExited".to_owned());
    down.stopped_reason = Some("Essential container in task exited".to_owned());
    down.containers[0].reason = Some("OutOfMemoryError: Container killed due to memory usage".to_owned());
    down.stopped_at = Some(Timestamp(50));
    node_reports(&world, down).await;
    let task = world.task(&arn);
    assert_eq!((task.state, task.desired), (TaskState::Stopped, DesiredStatus::Stopped));
    assert_eq!(task.stop_code.as_deref(), Some("EssentialContainerExited"));
    assert_eq!(
        (task.containers[0].exit_code, task.stopped_at),
        (Some(137), Some(Timestamp(50)))
    );
    assert!(task.stopping_at.is_some() && task.execution_stopped_at.is_some());
}

async fn node_reports(world: &World, report: TaskReport) {
    world.ecs.apply_reports("n1", vec![report]).await.unwrap();
}

#[tokio::test]
async fn the_address_is_given_back_with_the_last_process() {
    let (world, node, arn) = running().await;
    let held = world.task(&arn).interface.unwrap();
    let there =
        || neargate_ec2::lookup::interface(&world.ecs.store.snapshot(), "us-east-1", &held.interface_id).is_some();
    assert!(there());
    let spec = node.assigned().remove(0);
    node_reports(&world, report(&spec, Phase::Stopping, None)).await;
    assert!(there(), "a process may still use it");
    node_reports(&world, report(&spec, Phase::Stopped, Some(0))).await;
    assert!(!there());
    assert!(world.task(&arn).interface.unwrap().released);
    assert!(node.assigned().is_empty(), "a task that is over leaves the desired set");
}

#[tokio::test]
async fn whoever_asked_first_gives_the_reason() {
    let (world, node, arn) = running().await;
    node.work().await;
    world
        .call("StopTask", json!({ "task": arn, "reason": "enough" }))
        .await
        .unwrap();
    let spec = node.assigned().remove(0);
    let order = spec.stop.clone().unwrap();
    assert_eq!(
        (order.code.as_str(), order.reason.as_str()),
        ("UserInitiated", "enough")
    );
    let mut down = report(&spec, Phase::Stopped, Some(143));
    down.stop_code = Some("EssentialContainerExited".to_owned());
    down.stopped_reason = Some("Essential container in task exited".to_owned());
    node_reports(&world, down).await;
    let task = world.task(&arn);
    assert_eq!(task.stop_code.as_deref(), Some("UserInitiated"));
    assert_eq!(task.stopped_reason.as_deref(), Some("enough"));
}

#[tokio::test]
async fn a_task_that_ends_without_a_word_gets_the_code_of_its_life() {
    for (phases, code) in [
        (vec![Phase::Stopped], "TaskFailedToStart"),
        (vec![Phase::Running, Phase::Stopped], "EssentialContainerExited"),
    ] {
        let (world, node, arn) = running().await;
        let spec = node.assigned().remove(0);
        for phase in phases {
            node_reports(&world, report(&spec, phase, None)).await;
        }
        assert_eq!(world.task(&arn).stop_code.as_deref(), Some(code));
    }
}

#[tokio::test]
async fn what_is_stored_of_a_task_is_read_back_the_same() {
    use neargate_store::Record;
    let (world, node, arn) = running().await;
    node.work().await;
    fn again<R: Record + PartialEq>(record: &R) {
        let bytes = serde_json::to_vec(record).unwrap();
        assert_eq!(serde_json::from_slice::<R>(&bytes).unwrap(), *record);
    }
    let mut task = world.task(&arn);
    task.host_ports = vec![crate::records::HostPort {
        first: 1,
        last: 2,
        transport: neargate_link::Transport::Udp,
    }];
    task.waiting = Some(crate::records::Waiting {
        event: "e".into(),
        reason: "r".into(),
        since: Timestamp(5),
    });
    task.protected_until = Some(Timestamp(1_800_000_000_123));
    again(&task);
    let snapshot = world.ecs.store.snapshot();
    again(&*snapshot.get::<crate::records::NodeRecord>("n1").unwrap().record);
}

#[tokio::test]
async fn reports_of_others_tasks_and_of_unknown_ones_change_nothing() {
    let (world, node, arn) = running().await;
    let before = world.ecs.store.snapshot().revision();
    let mut foreign = node.reports();
    world.ecs.apply_reports("n2", foreign.clone()).await.unwrap();
    foreign[0].task_id = "0".repeat(32);
    world.ecs.apply_reports("n1", foreign).await.unwrap();
    assert_eq!(world.ecs.store.snapshot().revision(), before);
    assert_eq!(world.task(&arn).state, TaskState::Pending);
}

#[tokio::test]
async fn many_reports_are_many_commits_and_all_of_them_arrive() {
    let world = World::new().await;
    world.define("web", json!({})).await;
    let node = world.node("n1", 1_000_000, 1_000_000).await;
    for _ in 0..15 {
        world.run_fargate("web", json!({ "count": 10 })).await.unwrap();
    }
    node.work().await;
    assert!(world.tasks().iter().all(|t| t.state == TaskState::Running));
    let version: Vec<i64> = world.tasks().iter().map(|t| t.version).collect();
    let revision = world.ecs.store.snapshot().revision();
    node.work().await;
    assert_eq!(
        world.ecs.store.snapshot().revision(),
        revision,
        "the same again is no change"
    );
    assert_eq!(world.tasks().iter().map(|t| t.version).collect::<Vec<_>>(), version);
}

fn any_report() -> impl Strategy<Value = (Phase, Option<i32>, Option<i64>, bool)> {
    let phase = prop_oneof![
        Just(Phase::Pending),
        Just(Phase::Running),
        Just(Phase::Stopping),
        Just(Phase::Stopped)
    ];
    (
        phase,
        prop::option::of(0..3i32),
        prop::option::of(0..99i64),
        any::<bool>(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// In whatever order reports come, a task never goes back, what is known stays known, and a repetition is no change.
    #[test]
    fn reports_never_move_a_task_backwards(list in prop::collection::vec(any_report(), 1..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (_world, node, arn) = runtime.block_on(running());
        let spec = node.assigned().remove(0);
        let mut task = runtime.block_on(async { _world.task(&arn) });
        for (phase, exit, at, healthy) in list {
            let mut r = report(&spec, phase, exit);
            (r.started_at, r.stopped_at) = (at.map(Timestamp), at.map(Timestamp));
            r.containers[0].health = if healthy { Health::Healthy } else { Health::Unhealthy };
            r.stop_code = (phase >= Phase::Stopping).then(|| format!("code{exit:?}"));
            let Some(next) = apply(&task, &r, Timestamp(1000)) else { continue };
            prop_assert!(next.state >= task.state);
            prop_assert!(next.version == task.version + 1);
            prop_assert!(task.started_at.is_none() || next.started_at == task.started_at);
            prop_assert!(task.stop_code.is_none() || next.stop_code == task.stop_code);
            prop_assert!(task.desired == DesiredStatus::Running || next.desired == DesiredStatus::Stopped);
            prop_assert_eq!(apply(&next, &r, Timestamp(2000)), None);
            task = next;
        }
    }
}
