use super::*;
use crate::records::{ServiceLink, TaskState};
use crate::testing::World;
use serde_json::json;

#[tokio::test]
async fn stopped_tasks_and_tokens_end_with_their_time() {
    let world = World::new().await;
    world.define("web", json!({})).await;
    let node = world.node("n1", 4096, 8192).await;
    let reply = world
        .run_fargate("web", json!({ "clientToken": "once" }))
        .await
        .unwrap();
    let arn = reply["tasks"][0]["taskArn"].clone();
    node.work().await;
    world.call("StopTask", json!({ "task": arn })).await.unwrap();
    node.work().await;

    let mut looked = None;
    for (seconds, there) in [(0, 1), (3000, 1), (590, 1), (30, 0)] {
        world.advance(seconds);
        looked = Some(pass(&world.ecs, looked.as_ref()).await.unwrap());
        assert_eq!(world.tasks().len(), there, "after {seconds} seconds more");
    }
    let tokens = || world.ecs.store.snapshot().range::<ClientTokenRecord>("").count();
    assert_eq!(tokens(), 1);
    world.advance(23 * 3600);
    pass(&world.ecs, looked.as_ref()).await.unwrap();
    assert_eq!(tokens(), 0);
}

#[tokio::test]
async fn after_a_start_everything_that_is_over_is_found() {
    let world = World::new().await;
    world.define("web", json!({})).await;
    let node = world.node("n1", 4096, 8192).await;
    let reply = world.run_fargate("web", json!({})).await.unwrap();
    world
        .call("StopTask", json!({ "task": reply["tasks"][0]["taskArn"] }))
        .await
        .unwrap();
    node.work().await;
    world.advance(86_400);
    pass(&world.ecs, None).await.unwrap();
    assert!(world.tasks().is_empty());
}

#[tokio::test]
async fn services_give_up_tasks_of_a_node_that_stays_away_and_it_finds_the_order() {
    let world = World::new().await;
    world.define("web", json!({})).await;
    let node = world.node("n1", 4096, 8192).await;
    world.run_fargate("web", json!({ "count": 2 })).await.unwrap();
    node.work().await;
    // One of them is a service's.
    let mut of_service = world.tasks().remove(0);
    of_service.service = Some(ServiceLink {
        name: "web".to_owned(),
        deployment_id: "ecs-svc/1".to_owned(),
        service_revision_arn: "revision".to_owned(),
        settled: false,
    });
    world.put(&of_service.own_key(), of_service.clone()).await;

    world.ecs.node_lost("n1").await.unwrap();
    let shown = world
        .call("DescribeTasks", json!({ "tasks": [of_service.arn] }))
        .await
        .unwrap();
    assert_eq!(shown["tasks"][0]["connectivity"], "DISCONNECTED");
    assert_eq!(shown["tasks"][0]["lastStatus"], "RUNNING");
    world.advance(59);
    pass(&world.ecs, None).await.unwrap();
    assert!(
        world.tasks().iter().all(|t| t.desired == DesiredStatus::Running),
        "a short loss changes nothing"
    );
    world.advance(2);
    pass(&world.ecs, None).await.unwrap();
    let given_up = world.task(&of_service.arn);
    assert_eq!(
        (given_up.desired, given_up.state),
        (DesiredStatus::Stopped, TaskState::Running)
    );
    assert_eq!(given_up.stop_code.as_deref(), Some("TerminationNotice"));
    assert_eq!(
        world
            .tasks()
            .iter()
            .filter(|t| t.desired == DesiredStatus::Running)
            .count(),
        1
    );

    let node = world.node("n1", 4096, 8192).await;
    node.work().await;
    let states: Vec<TaskState> = world.tasks().iter().map(|t| t.state).collect();
    assert!(
        states.contains(&TaskState::Stopped) && states.contains(&TaskState::Running),
        "{states:?}"
    );
}

#[tokio::test]
async fn joining_again_keeps_the_zone_and_saying_the_same_is_no_change() {
    let world = World::new().await;
    let _nodes = (
        world.node("a", 1, 1).await,
        world.node("b", 1, 1).await,
        world.node("c", 1, 1).await,
    );
    let zones: Vec<u32> = world
        .ecs
        .store
        .snapshot()
        .range::<NodeRecord>("")
        .map(|(_, n)| n.availability_zone_index)
        .collect();
    assert_eq!(zones, [0, 1, 2]);
    let revision = world.ecs.store.snapshot().revision();
    let _again = world.node("b", 1, 1).await;
    assert_eq!(world.ecs.store.snapshot().revision(), revision);
    world.ecs.node_lost("b").await.unwrap();
    let _back = world.node("b", 2, 1).await;
    let record = world.ecs.store.snapshot().get::<NodeRecord>("b").unwrap().record;
    assert!(record.connected && record.hello.cpu.0 == 2);
    assert_eq!(record.availability_zone_index, 1);
}
