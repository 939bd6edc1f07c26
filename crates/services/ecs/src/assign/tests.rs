use super::*;
use crate::testing::World;
use neargate_link::{Condition, LogSpec, NetworkSpec};
use serde_json::json;

#[tokio::test]
async fn a_task_is_assigned_with_its_overrides_applied() {
    let world = World::new().await;
    world
        .define(
            "web",
            json!({ "pidMode": "task", "volumes": [{ "name": "v" }, { "name": "h", "host": { "sourcePath": "/srv" } }],
                "containerDefinitions": [
                { "name": "app", "image": "web:1", "command": ["serve"], "entryPoint": ["/bin/web"], "cpu": 64,
                  "environment": [{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }],
                  "environmentFiles": [{ "type": "s3", "value": "arn:aws:s3:::b/a.env" }],
                  "portMappings": [{ "containerPort": 80 }, { "containerPortRange": "90-92", "protocol": "udp" }],
                  "healthCheck": { "command": ["CMD-SHELL", "true"], "retries": 5 },
                  "restartPolicy": { "enabled": true },
                  "logConfiguration": { "logDriver": "awslogs", "options": {
                    "awslogs-group": "g", "awslogs-stream-prefix": "p", "awslogs-create-group": "true",
                    "awslogs-datetime-format": "%Y", "mode": "non-blocking", "max-buffer-size": "1m" } } },
                { "name": "side", "image": "side", "essential": false,
                  "dependsOn": [{ "containerName": "app", "condition": "HEALTHY" }],
                  "logConfiguration": { "logDriver": "awslogs", "options": { "awslogs-group": "g",
                    "awslogs-region": "eu-west-1", "mode": "blocking" } } } ] }),
        )
        .await;
    let node = world.node("n1", 4096, 8192).await;
    world
        .run_fargate(
            "web",
            json!({ "overrides": { "cpu": "512", "memory": "1024", "ephemeralStorage": { "sizeInGiB": 50 },
                "containerOverrides": [{ "name": "app", "command": ["other"], "cpu": 128, "memory": 256,
                  "environment": [{ "name": "B", "value": "3" }, { "name": "C", "value": "4" }],
                  "environmentFiles": [{ "type": "s3", "value": "arn:aws:s3:::b/b.env" }] }] } }),
        )
        .await
        .unwrap();
    let spec = node.assigned().remove(0);
    assert_eq!(
        (spec.cpu, spec.memory, spec.ephemeral_storage_gib),
        (Some(CpuUnits(512)), Some(MiB(1024)), Some(50))
    );
    assert_eq!(spec.pid_mode, link::NamespaceMode::Task);
    assert_eq!(spec.volumes[1].host_path.as_deref(), Some("/srv"));
    let task = world.tasks().remove(0);
    match &spec.network {
        NetworkSpec::Awsvpc(i) => assert_eq!(Some(i.address), task.interface.as_ref().map(|t| t.address)),
        other => panic!("{other:?}"),
    }
    let app = &spec.containers[0];
    assert_eq!(app.command.as_deref(), Some(&["other".to_owned()][..]));
    assert_eq!(app.entry_point.as_deref(), Some(&["/bin/web".to_owned()][..]));
    let pairs: Vec<String> = app.environment.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(pairs, ["A=1", "B=3", "C=4"]);
    assert_eq!(app.environment_files, ["arn:aws:s3:::b/b.env"]);
    assert_eq!((app.cpu, app.memory), (Some(CpuUnits(128)), Some(MiB(256))));
    assert_eq!(
        (
            app.port_mappings[1].container_port,
            app.port_mappings[1].container_port_end
        ),
        (90, 92)
    );
    let check = app.health_check.as_ref().unwrap();
    assert_eq!((check.interval, check.timeout, check.retries), (30, 5, 5));
    assert_eq!(app.restart_policy.as_ref().unwrap().attempt_period, 300);
    let LogSpec::Awslogs(log) = &app.log else {
        panic!("awslogs")
    };
    assert_eq!(log.stream, format!("p/app/{}", task.id));
    assert_eq!(
        (log.region.as_str(), log.create_group, log.max_buffer_bytes),
        ("us-east-1", true, Some(1 << 20))
    );
    assert_eq!(log.multiline_pattern.as_deref(), Some(r"\d{4}"));
    let side = &spec.containers[1];
    assert_eq!(side.depends_on[0].condition, Condition::Healthy);
    let LogSpec::Awslogs(log) = &side.log else {
        panic!("awslogs")
    };
    assert_eq!((log.region.as_str(), log.max_buffer_bytes), ("eu-west-1", None));
    assert_eq!(log.stream, task.containers[1].id.replace('-', ""));

    assert_eq!(
        node.assigned().remove(0),
        spec,
        "nothing changed, so the spec is the same"
    );
}

#[tokio::test]
async fn only_placed_tasks_are_assigned_and_a_wish_to_stop_is_an_order() {
    let world = World::new().await;
    world.define("web", json!({})).await;
    let node = world.node("n1", 4096, 8192).await;
    let reply = world.run_fargate("web", json!({})).await.unwrap();
    let snapshot = world.ecs.store.snapshot();
    let mut task = world.tasks().remove(0);
    task.node = None;
    assert_eq!(assignment(&snapshot, &task), None);
    world
        .call("StopTask", json!({ "task": reply["tasks"][0]["taskArn"] }))
        .await
        .unwrap();
    let order = node.assigned().remove(0).stop.clone().unwrap();
    assert_eq!(
        (order.code.as_str(), order.reason.as_str()),
        ("UserInitiated", "Task stopped by user")
    );
}
