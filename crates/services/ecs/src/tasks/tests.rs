//! The task operations, called as the front door calls them.

use crate::testing::{World, hello};
use serde_json::{Value, json};

async fn world() -> World {
    let world = World::new().await;
    world.define("web", json!({})).await;
    world
}

fn arns(reply: &Value, list: &str) -> Vec<String> {
    reply[list]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap().to_owned())
        .collect()
}

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

    let _node = world.node("n1", 600, 8192).await;
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

#[tokio::test]
async fn lists_filter_and_page() {
    let world = world().await;
    world.define("batch", json!({ "networkMode": "bridge" })).await;
    let node = world.node("n1", 409600, 819200).await;
    let fargate = world
        .run_fargate("web", json!({ "count": 10, "startedBy": "me" }))
        .await
        .unwrap();
    world
        .call("RunTask", json!({ "taskDefinition": "batch:1", "count": 3 }))
        .await
        .unwrap();
    node.work().await;
    let stopped = fargate["tasks"][0]["taskArn"].clone();
    world.call("StopTask", json!({ "task": stopped })).await.unwrap();

    for (input, count) in [
        (json!({}), 12),
        (json!({ "desiredStatus": "STOPPED" }), 1),
        (json!({ "desiredStatus": "PENDING" }), 0),
        (json!({ "family": "web" }), 9),
        (json!({ "family": "batch", "launchType": "EC2" }), 3),
        (json!({ "launchType": "FARGATE" }), 9),
        (json!({ "startedBy": "me" }), 9),
        (json!({ "startedBy": "me", "desiredStatus": "STOPPED" }), 1),
        (json!({ "startedBy": "you" }), 0),
        (json!({ "containerInstance": "n1", "family": "batch" }), 3),
    ] {
        let reply = world.call("ListTasks", input.clone()).await.unwrap();
        assert_eq!(arns(&reply, "taskArns").len(), count, "{input}");
    }
    let (mut seen, mut next) = (Vec::new(), Value::Null);
    loop {
        let reply = world
            .call("ListTasks", json!({ "maxResults": 5, "nextToken": next }))
            .await
            .unwrap();
        seen.extend(arns(&reply, "taskArns"));
        match reply.get("nextToken") {
            Some(token) => next = token.clone(),
            None => break,
        }
        let foreign = json!({ "family": "web", "nextToken": next });
        assert_eq!(
            world.call("ListTasks", foreign).await.unwrap_err().code,
            "InvalidParameterException"
        );
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 12);

    for (input, code) in [
        (
            json!({ "startedBy": "me", "family": "web" }),
            "InvalidParameterException",
        ),
        (
            json!({ "serviceName": "s", "family": "web" }),
            "InvalidParameterException",
        ),
        (json!({ "serviceName": "s" }), "ServiceNotFoundException"),
        (json!({ "containerInstance": "none" }), "InvalidParameterException"),
        (json!({ "maxResults": 101 }), "InvalidParameterException"),
        (json!({ "maxResults": 0 }), "InvalidParameterException"),
        (json!({ "nextToken": "x" }), "InvalidParameterException"),
        (json!({ "desiredStatus": "DONE" }), "InvalidParameterException"),
        (json!({ "daemonName": "d" }), "ClientException"),
        (json!({ "cluster": "none" }), "ClusterNotFoundException"),
    ] {
        assert_eq!(
            world.call("ListTasks", input.clone()).await.unwrap_err().code,
            code,
            "{input}"
        );
    }
}

#[tokio::test]
async fn container_instances_show_what_is_left_of_a_machine() {
    let world = world().await;
    let mut big = hello("b1", 4096, 8192);
    big.attributes.insert("stack".to_owned(), "prod".to_owned());
    let node = world.node_with(big).await;
    let _small = world.node("s1", 512, 1024).await;
    world.run_fargate("web", json!({})).await.unwrap();
    node.work().await;
    for (filter, want) in [
        ("", vec!["b1", "s1"]),
        ("attribute:stack == prod", vec!["b1"]),
        ("task:group == family:web", vec!["b1"]),
        ("runningTasksCount == 0", vec!["s1"]),
        ("attribute:ecs.availability-zone in [us-east-1b]", vec!["s1"]),
        ("attribute:ecs.os-type == windows", vec![]),
    ] {
        let reply = world
            .call("ListContainerInstances", json!({ "filter": filter }))
            .await
            .unwrap();
        let got: Vec<String> = arns(&reply, "containerInstanceArns")
            .iter()
            .map(|a| a.rsplit_once('/').unwrap().1.to_owned())
            .collect();
        assert_eq!(got, want, "{filter}");
    }
    let none = world
        .call("ListContainerInstances", json!({ "status": "DRAINING" }))
        .await
        .unwrap();
    assert_eq!(none["containerInstanceArns"], json!([]));
    let error = world
        .call("ListContainerInstances", json!({ "filter": "x" }))
        .await
        .unwrap_err();
    assert!(error.message.starts_with("Invalid filter: "), "{error}");

    let shown = world
        .call(
            "DescribeContainerInstances",
            json!({ "containerInstances": ["b1", "none"], "include": ["CONTAINER_INSTANCE_HEALTH"] }),
        )
        .await
        .unwrap();
    let instance = &shown["containerInstances"][0];
    assert_eq!(
        (&instance["status"], &instance["agentConnected"]),
        (&json!("ACTIVE"), &json!(true))
    );
    assert_eq!(
        (&instance["runningTasksCount"], &instance["pendingTasksCount"]),
        (&json!(1), &json!(0))
    );
    let resource = |list: &str, name: &str| {
        let found = instance[list]
            .as_array()
            .unwrap()
            .iter()
            .find(|r| r["name"] == name)
            .unwrap();
        found["integerValue"].as_i64().unwrap()
    };
    assert_eq!(
        (
            resource("registeredResources", "CPU"),
            resource("remainingResources", "CPU")
        ),
        (4096, 3840)
    );
    assert_eq!(
        (
            resource("registeredResources", "MEMORY"),
            resource("remainingResources", "MEMORY")
        ),
        (8192, 7680)
    );
    assert_eq!(instance["healthStatus"]["overallStatus"], "OK");
    assert_eq!(shown["failures"][0]["reason"], "MISSING");
}

#[tokio::test]
async fn only_tasks_of_services_are_protected_and_for_a_time() {
    let world = world().await;
    let node = world.node("n1", 4096, 8192).await;
    world.run_fargate("web", json!({ "count": 2 })).await.unwrap();
    node.work().await;
    let (mut of_service, alone) = {
        let mut t = world.tasks();
        (t.remove(0), t.remove(0))
    };
    of_service.service = Some(crate::records::ServiceLink {
        name: "web".to_owned(),
        deployment_id: "ecs-svc/1".to_owned(),
        service_revision_arn: "r".to_owned(),
        settled: false,
    });
    world.put(&of_service.own_key(), of_service.clone()).await;
    let reply = world
        .call(
            "UpdateTaskProtection",
            json!({ "cluster": "default", "protectionEnabled": true,
            "tasks": [of_service.arn, alone.arn, "f".repeat(32)] }),
        )
        .await
        .unwrap();
    assert_eq!(reply["protectedTasks"][0]["protectionEnabled"], true);
    let until = reply["protectedTasks"][0]["expirationDate"].as_f64().unwrap();
    assert_eq!(
        until,
        world.cx().now.plus(std::time::Duration::from_secs(7200)).millis() as f64 / 1000.0
    );
    let reasons: Vec<&str> = reply["failures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, ["TASK_NOT_VALID", "MISSING"]);
    let get = json!({ "cluster": "default", "tasks": [of_service.arn] });
    let shown = world.call("GetTaskProtection", get.clone()).await.unwrap();
    assert_eq!(shown["protectedTasks"][0]["protectionEnabled"], true);
    world.advance(7200);
    let shown = world.call("GetTaskProtection", get.clone()).await.unwrap();
    assert_eq!(
        shown["protectedTasks"],
        json!([{ "taskArn": of_service.arn, "protectionEnabled": false }])
    );
    let reply = world
        .call("UpdateTaskProtection", json!({ "cluster": "default", "protectionEnabled": true, "expiresInMinutes": 1, "tasks": [of_service.arn] }))
        .await
        .unwrap();
    assert_eq!(reply["protectedTasks"][0]["protectionEnabled"], true);
    world
        .call(
            "UpdateTaskProtection",
            json!({ "cluster": "default", "protectionEnabled": false, "tasks": [of_service.arn] }),
        )
        .await
        .unwrap();
    let shown = world.call("GetTaskProtection", get).await.unwrap();
    assert_eq!(shown["protectedTasks"][0]["protectionEnabled"], false);
    for input in [
        json!({ "cluster": "default", "tasks": [of_service.arn] }),
        json!({ "cluster": "default", "tasks": [], "protectionEnabled": true }),
        json!({ "cluster": "default", "tasks": vec!["f"; 11], "protectionEnabled": true }),
        json!({ "cluster": "default", "tasks": [of_service.arn], "protectionEnabled": true, "expiresInMinutes": 2881 }),
    ] {
        assert_eq!(
            world.call("UpdateTaskProtection", input).await.unwrap_err().code,
            "InvalidParameterException"
        );
    }
}
