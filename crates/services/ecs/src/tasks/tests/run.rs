//! Running, starting, stopping, describing.

use super::world;
use serde_json::{Value, json};

#[tokio::test]
async fn a_fargate_task_is_described_as_on_aws() {
    let world = world().await;
    let node = world.node("n1", 4096, 8192).await;
    let reply = world
        .run_fargate(
            "web",
            json!({ "startedBy": "me", "referenceId": "r", "tags": [{ "key": "a", "value": "b" }],
                "propagateTags": "TASK_DEFINITION", "enableECSManagedTags": true, "platformVersion": "LATEST" }),
        )
        .await
        .unwrap();
    assert_eq!(reply["failures"], json!([]));
    let task = &reply["tasks"][0];
    let id = task["taskArn"].as_str().unwrap().rsplit_once('/').unwrap().1.to_owned();
    assert_eq!(
        task["taskArn"],
        format!("arn:aws:ecs:us-east-1:000000000000:task/default/{id}")
    );
    assert_eq!(id.len(), 32);
    for (member, want) in [
        (
            "clusterArn",
            json!("arn:aws:ecs:us-east-1:000000000000:cluster/default"),
        ),
        (
            "taskDefinitionArn",
            json!("arn:aws:ecs:us-east-1:000000000000:task-definition/web:1"),
        ),
        ("desiredStatus", json!("RUNNING")),
        ("lastStatus", json!("PENDING")),
        ("launchType", json!("FARGATE")),
        ("platformVersion", json!("1.4.0")),
        ("platformFamily", json!("Linux")),
        ("group", json!("family:web")),
        ("startedBy", json!("me")),
        ("cpu", json!("256")),
        ("memory", json!("512")),
        ("healthStatus", json!("UNKNOWN")),
        ("version", json!(1)),
        ("ephemeralStorage", json!({ "sizeInGiB": 20 })),
        (
            "attributes",
            json!([{ "name": "ecs.cpu-architecture", "value": "x86_64" }]),
        ),
        (
            "overrides",
            json!({ "containerOverrides": [{ "name": "app" }], "inferenceAcceleratorOverrides": [] }),
        ),
    ] {
        assert_eq!(task[member], want, "{member}");
    }
    let tags: Vec<&str> = task["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["key"].as_str().unwrap())
        .collect();
    assert_eq!(tags, ["a", "aws:ecs:clusterName", "from"]);
    let details: Vec<&str> = task["attachments"][0]["details"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        details,
        [
            "subnetId",
            "networkInterfaceId",
            "macAddress",
            "privateDnsName",
            "privateIPv4Address"
        ]
    );
    assert_eq!(task["attachments"][0]["type"], "ElasticNetworkInterface");
    assert_eq!(
        task["containers"][0]["networkInterfaces"][0]["attachmentId"],
        task["attachments"][0]["id"]
    );
    assert!(task.get("containerInstanceArn").is_none(), "Fargate shows no machine");

    node.work().await;
    let shown = world.call("DescribeTasks", json!({ "tasks": [id] })).await.unwrap();
    let task = &shown["tasks"][0];
    assert_eq!(
        (&task["lastStatus"], &task["connectivity"]),
        (&json!("RUNNING"), &json!("CONNECTED"))
    );
    assert_eq!(task["tags"], json!([]), "only when asked for");
    assert_eq!(task["containers"][0]["imageDigest"], "sha256:1");
    assert!(task["version"].as_i64().unwrap() > 1);
    assert!(task["startedAt"].is_number());

    let stopped = world.call("StopTask", json!({ "task": id })).await.unwrap();
    assert_eq!(stopped["task"]["desiredStatus"], "STOPPED");
    assert_eq!(stopped["task"]["lastStatus"], "RUNNING");
    let revision = world.ecs.store.snapshot().revision();
    let again = world
        .call("StopTask", json!({ "task": id, "reason": "again" }))
        .await
        .unwrap();
    assert_eq!(again["task"]["stoppedReason"], "Task stopped by user");
    assert_eq!(
        world.ecs.store.snapshot().revision(),
        revision,
        "asking twice changes nothing"
    );
    node.work().await;
    let shown = world
        .call("DescribeTasks", json!({ "tasks": [id], "include": ["TAGS"] }))
        .await
        .unwrap();
    let task = &shown["tasks"][0];
    assert_eq!(
        (&task["lastStatus"], &task["stopCode"]),
        (&json!("STOPPED"), &json!("UserInitiated"))
    );
    assert_eq!(task["attachments"][0]["status"], "DELETED");
    assert_eq!(task["containers"][0]["exitCode"], 143);
    assert!(!task["tags"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn run_task_refuses_what_cannot_be_with_the_error_aws_gives() {
    let world = world().await;
    world.define("bridge", json!({ "networkMode": "bridge" })).await;
    world.define("gone", json!({ "status": "INACTIVE" })).await;
    let _node = world.node("n1", 4096, 8192).await;
    let net = |more: Value| {
        let mut out = json!({ "subnets": world.subnets });
        for (k, v) in more.as_object().unwrap() {
            out[k] = v.clone();
        }
        json!({ "networkConfiguration": { "awsvpcConfiguration": out } })
    };
    for (family, more, code, says) in [
        (
            "web",
            json!({ "count": 0 }),
            "InvalidParameterException",
            "count should be between 1 and 10",
        ),
        ("web", json!({ "count": 11 }), "InvalidParameterException", "count"),
        ("none", json!({}), "ClientException", "TaskDefinition not found."),
        ("gone", json!({}), "ClientException", "TaskDefinition is inactive"),
        (
            "web",
            json!({ "cluster": "none" }),
            "ClusterNotFoundException",
            "Cluster not found.",
        ),
        (
            "bridge",
            json!({}),
            "InvalidParameterException",
            "Task definition does not support launch_type FARGATE.",
        ),
        (
            "web",
            json!({ "networkConfiguration": null }),
            "InvalidParameterException",
            "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
        ),
        (
            "bridge",
            json!({ "launchType": "EC2" }),
            "InvalidParameterException",
            "Network Configuration is not valid for the given networkMode of this task definition.",
        ),
        (
            "web",
            net(json!({ "subnets": [] })),
            "InvalidParameterException",
            "subnets can not be empty.",
        ),
        (
            "web",
            net(json!({ "subnets": ["subnet-1"] })),
            "InvalidParameterException",
            "The subnet ID 'subnet-1' does not exist",
        ),
        (
            "web",
            net(json!({ "securityGroups": ["sg-1"] })),
            "InvalidParameterException",
            "The security group 'sg-1' does not exist",
        ),
        (
            "web",
            net(json!({ "securityGroups": ["1", "2", "3", "4", "5", "6"] })),
            "InvalidParameterException",
            "at most 5",
        ),
        (
            "web",
            json!({ "launchType": "EC2", "networkConfiguration": { "awsvpcConfiguration": { "subnets": world.subnets, "assignPublicIp": "ENABLED" } } }),
            "InvalidParameterException",
            "Assign public IP is not supported for this launch type.",
        ),
        (
            "web",
            json!({ "placementConstraints": [{ "type": "distinctInstance" }] }),
            "InvalidParameterException",
            "Placement constraints are not supported with FARGATE launch type.",
        ),
        (
            "web",
            json!({ "placementStrategy": [{ "type": "random" }] }),
            "InvalidParameterException",
            "Placement strategies are not supported with FARGATE launch type.",
        ),
        (
            "web",
            json!({ "launchType": "EC2", "placementConstraints": [{ "type": "memberOf", "expression": "x ==" }] }),
            "InvalidParameterException",
            "Invalid expression",
        ),
        (
            "web",
            json!({ "launchType": "EC2", "placementStrategy": [{ "type": "binpack", "field": "disk" }] }),
            "InvalidParameterException",
            "binpack",
        ),
        (
            "web",
            json!({ "launchType": "EC2", "platformVersion": "LATEST" }),
            "InvalidParameterException",
            "platform version must be null",
        ),
        (
            "web",
            json!({ "launchType": "EXTERNAL" }),
            "UnsupportedFeatureException",
            "EXTERNAL",
        ),
        (
            "web",
            json!({ "platformVersion": "9.9.9" }),
            "PlatformUnknownException",
            "9.9.9",
        ),
        (
            "web",
            json!({ "enableExecuteCommand": true }),
            "UnsupportedFeatureException",
            "enableExecuteCommand",
        ),
        (
            "web",
            json!({ "volumeConfigurations": [{ "name": "v" }] }),
            "UnsupportedFeatureException",
            "volumeConfigurations",
        ),
        (
            "web",
            json!({ "propagateTags": "SERVICE" }),
            "InvalidParameterException",
            "service",
        ),
        (
            "web",
            json!({ "startedBy": "x".repeat(129) }),
            "InvalidParameterException",
            "startedBy",
        ),
        (
            "web",
            json!({ "group": "service:web" }),
            "InvalidParameterException",
            "Invalid namespace for group.",
        ),
        (
            "web",
            json!({ "tags": [{ "key": "aws:x", "value": "" }] }),
            "InvalidParameterException",
            "aws:",
        ),
        (
            "web",
            json!({ "clientToken": "x y" }),
            "InvalidParameterException",
            "clientToken",
        ),
        (
            "web",
            json!({ "capacityProviderStrategy": [{ "capacityProvider": "mine" }] }),
            "InvalidParameterException",
            "mine",
        ),
        (
            "web",
            json!({ "capacityProviderStrategy": [{ "capacityProvider": "FARGATE" }, { "capacityProvider": "FARGATE_SPOT" }] }),
            "InvalidParameterException",
            "weight greater than zero",
        ),
    ] {
        let error = world.run_fargate(family, more.clone()).await.unwrap_err();
        assert_eq!(error.code, code, "{family} {more}: {error}");
        assert!(error.message.contains(says), "{family} {more}: {error}");
    }
    let both = json!({ "taskDefinition": "web", "launchType": "FARGATE", "capacityProviderStrategy": [{ "capacityProvider": "FARGATE" }] });
    let error = world.call("RunTask", both).await.unwrap_err();
    assert!(
        error
            .message
            .starts_with("Specifying both a launch type and capacity provider strategy")
    );
    assert!(world.tasks().is_empty(), "nothing was made");
}

#[tokio::test]
async fn what_has_no_room_is_a_failure_and_not_a_task() {
    let world = world().await;
    world
        .define(
            "host",
            json!({ "networkMode": "bridge", "containerDefinitions": [
        { "name": "a", "image": "i", "portMappings": [{ "containerPort": 80, "hostPort": 80 }] }] }),
        )
        .await;
    let reply = world.run_fargate("web", json!({})).await.unwrap();
    assert_eq!(reply["tasks"], json!([]));
    assert!(
        reply["failures"][0]["reason"]
            .as_str()
            .unwrap()
            .starts_with("Capacity is unavailable at this time")
    );
    let error = world
        .call("RunTask", json!({ "taskDefinition": "host:1", "launchType": "EC2" }))
        .await
        .unwrap_err();
    assert_eq!(error.message, "No Container Instances were found in your cluster.");

    let _node = world.node("n1", 200, 1100).await;
    let reply = world.run_fargate("web", json!({ "count": 5 })).await.unwrap();
    assert_eq!(reply["tasks"].as_array().unwrap().len(), 2);
    assert_eq!(reply["failures"].as_array().unwrap().len(), 1);
    let reply = world
        .call("RunTask", json!({ "taskDefinition": "host:1" }))
        .await
        .unwrap();
    assert_eq!(
        reply["failures"],
        json!([{
        "arn": "arn:aws:ecs:us-east-1:000000000000:container-instance/default/n1", "reason": "RESOURCE:CPU" }])
    );
    assert_eq!(world.tasks().len(), 2);
    let _second = world.node("n2", 4096, 8192).await;
    let reply = world
        .call("RunTask", json!({ "taskDefinition": "host:1", "count": 2 }))
        .await
        .unwrap();
    assert_eq!(reply["tasks"].as_array().unwrap().len(), 1);
    let task = &reply["tasks"][0];
    assert_eq!(
        task["containerInstanceArn"],
        "arn:aws:ecs:us-east-1:000000000000:container-instance/default/n2"
    );
    let reasons: Vec<&str> = reply["failures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, ["RESOURCE:CPU", "RESOURCE:PORTS"]);
}

#[tokio::test]
async fn a_client_token_makes_a_request_happen_once() {
    let world = world().await;
    let _node = world.node("n1", 4096, 8192).await;
    let first = world
        .run_fargate("web", json!({ "count": 2, "clientToken": "t" }))
        .await
        .unwrap();
    let again = world
        .run_fargate("web", json!({ "count": 2, "clientToken": "t" }))
        .await
        .unwrap();
    let of = |reply: &Value| -> Vec<String> {
        reply["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["taskArn"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(of(&first), of(&again));
    assert_eq!(world.tasks().len(), 2);
    let error = world
        .run_fargate("web", json!({ "count": 1, "clientToken": "t" }))
        .await
        .unwrap_err();
    assert_eq!(error.code, "ConflictException");
    assert_eq!(error.extra[0].1.as_array().unwrap().len(), 2);
    world.advance(24 * 3600);
    world
        .run_fargate("web", json!({ "count": 1, "clientToken": "t" }))
        .await
        .unwrap();
    assert_eq!(world.tasks().len(), 3, "after a day it is a new request");
}

#[tokio::test]
async fn providers_of_a_strategy_are_named_on_their_tasks() {
    let world = world().await;
    let _node = world.node("n1", 40960, 81920).await;
    let strategy = json!({ "count": 4, "capacityProviderStrategy": [
        { "capacityProvider": "FARGATE", "base": 1, "weight": 1 }, { "capacityProvider": "FARGATE_SPOT", "weight": 2 }] });
    let reply = world.run_fargate("web", strategy).await.unwrap();
    let providers: Vec<&str> = reply["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["capacityProviderName"].as_str().unwrap())
        .collect();
    assert_eq!(
        providers.iter().filter(|p| **p == "FARGATE_SPOT").count(),
        2,
        "{providers:?}"
    );
    assert!(
        reply["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .all(|t| t["launchType"] == "FARGATE")
    );
}

#[tokio::test]
async fn start_task_goes_where_it_is_told() {
    let world = world().await;
    world
        .define(
            "bridge",
            json!({ "networkMode": "bridge", "cpu": null, "memory": null, "containerDefinitions": [
        { "name": "a", "image": "i", "cpu": 100, "memory": 300, "memoryReservation": 200 }] }),
        )
        .await;
    let (_a, _b) = (world.node("n1", 250, 8192).await, world.node("n2", 4096, 100).await);
    let arn = "arn:aws:ecs:us-east-1:000000000000:container-instance/default/n1";
    let reply = world
        .call(
            "StartTask",
            json!({ "taskDefinition": "bridge:1", "containerInstances": [arn, "n1", "n1", "n2", "n3"] }),
        )
        .await
        .unwrap();
    assert_eq!(reply["tasks"].as_array().unwrap().len(), 2);
    assert!(
        reply["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .all(|t| t["containerInstanceArn"] == arn)
    );
    assert_eq!(reply["tasks"][0]["cpu"], "100");
    assert_eq!(reply["tasks"][0]["memory"], "200");
    let reasons: Vec<&str> = reply["failures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, ["RESOURCE:CPU", "RESOURCE:MEMORY", "MISSING"]);
    world.ecs.node_lost("n2").await.unwrap();
    let reply = world
        .call(
            "StartTask",
            json!({ "taskDefinition": "bridge:1", "containerInstances": ["n2"] }),
        )
        .await
        .unwrap();
    assert_eq!(reply["failures"][0]["reason"], "AGENT");
    for input in [
        json!({ "taskDefinition": "bridge:1" }),
        json!({ "taskDefinition": "bridge:1", "containerInstances": vec!["n"; 11] }),
    ] {
        assert_eq!(
            world.call("StartTask", input).await.unwrap_err().code,
            "InvalidParameterException"
        );
    }
}

#[tokio::test]
async fn tasks_are_named_by_id_or_arn_and_missing_ones_are_failures() {
    let world = world().await;
    world.cluster("other").await;
    let _node = world.node("n1", 4096, 8192).await;
    let reply = world.run_fargate("web", json!({})).await.unwrap();
    let arn = reply["tasks"][0]["taskArn"].as_str().unwrap().to_owned();
    let unknown = "f".repeat(32);
    let shown = world
        .call("DescribeTasks", json!({ "tasks": [arn, unknown] }))
        .await
        .unwrap();
    assert_eq!(shown["tasks"][0]["taskArn"], arn);
    assert_eq!(
        shown["failures"],
        json!([{ "arn": format!("arn:aws:ecs:us-east-1:000000000000:task/default/{unknown}"), "reason": "MISSING" }])
    );
    let elsewhere = world
        .call("DescribeTasks", json!({ "cluster": "other", "tasks": [arn] }))
        .await
        .unwrap();
    assert_eq!(elsewhere["failures"][0]["reason"], "MISSING");
    for (operation, input, says) in [
        ("DescribeTasks", json!({ "tasks": [] }), "Tasks cannot be empty."),
        ("DescribeTasks", json!({ "tasks": vec!["f"; 101] }), "at most 100"),
        (
            "DescribeTasks",
            json!({ "tasks": ["short"] }),
            "taskId length should be one of [32,36]",
        ),
        (
            "StopTask",
            json!({ "task": unknown }),
            "The referenced task was not found.",
        ),
        (
            "StopTask",
            json!({ "task": "arn:aws:s3:::x" }),
            "Task Identifier is invalid",
        ),
        ("StopTask", json!({ "task": arn, "reason": "x".repeat(1025) }), "1024"),
    ] {
        let error = world.call(operation, input).await.unwrap_err();
        assert_eq!(error.code, "InvalidParameterException");
        assert!(error.message.contains(says), "{error}");
    }
}
