//! Listing tasks, container instances and protection.

use super::world;
use crate::testing::hello;
use neargate_link::{ProtectionAnswer, ProtectionChange, ProtectionRequest};
use serde_json::{Value, json};

fn arns(reply: &Value, list: &str) -> Vec<String> {
    reply[list]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap().to_owned())
        .collect()
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
        (4096, 4096 - 25)
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
async fn a_task_asks_for_its_own_protection_by_way_of_its_node() {
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
    let ask = async |node: &str, task_id: &str, change: Option<(bool, Option<i32>)>| {
        let request = ProtectionRequest {
            number: 1,
            task_id: task_id.to_owned(),
            change: change.map(|(enabled, expires_in_minutes)| ProtectionChange {
                enabled,
                expires_in_minutes,
            }),
        };
        world.ecs.task_protection(node, request).await
    };
    let until = |seconds| ProtectionAnswer::Protection {
        until: Some(world.cx().now.plus(std::time::Duration::from_secs(seconds))),
    };
    let unprotected = ProtectionAnswer::Protection { until: None };
    let id = of_service.id.as_str();
    assert_eq!(ask("n1", id, None).await, unprotected);
    assert_eq!(ask("n1", id, Some((true, None))).await, until(7200));
    assert_eq!(ask("n1", id, Some((true, Some(1)))).await, until(60));
    let shown = world
        .call(
            "GetTaskProtection",
            json!({ "cluster": "default", "tasks": [of_service.arn] }),
        )
        .await
        .unwrap();
    assert_eq!(shown["protectedTasks"][0]["protectionEnabled"], true);
    let refused = ask("n1", id, Some((true, Some(2881)))).await;
    assert!(
        matches!(&refused, ProtectionAnswer::Error { status: 400, code, .. } if code == "InvalidParameterException"),
        "{refused:?}"
    );
    for (node, task, expected) in [
        ("n1", alone.id.as_str(), "TASK_NOT_VALID"),
        ("n2", id, "MISSING"),
        ("n1", "none", "MISSING"),
    ] {
        let refused = ask(node, task, Some((false, None))).await;
        assert!(
            matches!(&refused, ProtectionAnswer::Failure { reason, .. } if reason == expected),
            "{refused:?}"
        );
    }
    assert_eq!(ask("n1", id, None).await, until(60), "nobody else took it away");
    assert_eq!(ask("n1", id, Some((false, None))).await, unprotected);
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
