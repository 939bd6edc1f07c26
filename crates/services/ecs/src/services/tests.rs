//! The service operations through the table, as the front door calls them.

use crate::testing::World;
use neargate_core::AwsError;
use serde_json::{Value, json};

async fn world() -> World {
    let world = World::new().await;
    world.define("web", json!({})).await;
    world
}

fn input(world: &World, more: Value) -> Value {
    let mut input = json!({
        "serviceName": "web", "taskDefinition": "web", "desiredCount": 2, "launchType": "FARGATE",
        "networkConfiguration": { "awsvpcConfiguration": { "subnets": world.subnets } },
    });
    for (key, value) in more.as_object().unwrap() {
        input[key] = value.clone();
    }
    input.as_object_mut().unwrap().retain(|_, v| !v.is_null());
    input
}

async fn create(world: &World, more: Value) -> Result<Value, AwsError> {
    let reply = world.call("CreateService", input(world, more)).await?;
    Ok(reply["service"].clone())
}

async fn refused(world: &World, more: Value) -> (String, String) {
    let error = create(world, more.clone()).await.expect_err(&more.to_string());
    (error.code.into_owned(), error.message)
}

#[tokio::test]
async fn a_new_service_is_described_as_on_aws() {
    let world = world().await;
    let service = create(&world, json!({ "tags": [{ "key": "a", "value": "b" }] }))
        .await
        .unwrap();
    assert_eq!(
        service["serviceArn"],
        "arn:aws:ecs:us-east-1:000000000000:service/default/web"
    );
    assert_eq!(service["status"], "ACTIVE");
    assert_eq!(
        (
            &service["desiredCount"],
            &service["runningCount"],
            &service["pendingCount"]
        ),
        (&json!(2), &json!(0), &json!(0))
    );
    assert_eq!(service["schedulingStrategy"], "REPLICA");
    assert_eq!(service["deploymentController"], json!({ "type": "ECS" }));
    assert_eq!(service["platformVersion"], "LATEST");
    assert_eq!(service["availabilityZoneRebalancing"], "ENABLED");
    assert_eq!(service["propagateTags"], "NONE");
    assert_eq!(service["tags"], json!([{ "key": "a", "value": "b" }]));
    let configuration = &service["deploymentConfiguration"];
    assert_eq!(
        (
            &configuration["minimumHealthyPercent"],
            &configuration["maximumPercent"]
        ),
        (&json!(100), &json!(200))
    );
    assert_eq!(
        configuration["deploymentCircuitBreaker"],
        json!({ "enable": false, "rollback": false })
    );
    let deployment = &service["deployments"][0];
    let id = deployment["id"].as_str().unwrap();
    assert!(id.strip_prefix("ecs-svc/").is_some_and(|n| n.len() == 19), "{id}");
    assert_eq!(deployment["status"], "PRIMARY");
    assert_eq!(deployment["rolloutState"], "IN_PROGRESS");
    assert_eq!(
        deployment["rolloutStateReason"],
        format!("ECS deployment {id} in progress.")
    );
    assert!(
        service["currentServiceDeployment"]
            .as_str()
            .unwrap()
            .contains(":service-deployment/default/web/")
    );

    let described = world
        .call("DescribeServices", json!({ "services": ["web", "nope"] }))
        .await
        .unwrap();
    assert_eq!(
        described["services"][0]["tags"],
        Value::Null,
        "tags only when asked for"
    );
    assert_eq!(
        described["failures"],
        json!([{ "arn": "arn:aws:ecs:us-east-1:000000000000:service/default/nope", "reason": "MISSING" }])
    );
    let by_arn = json!({ "services": [service["serviceArn"]], "include": ["TAGS"] });
    let described = world.call("DescribeServices", by_arn).await.unwrap();
    assert_eq!(described["services"][0]["tags"][0]["key"], "a");
}

#[tokio::test]
async fn creating_again_is_idempotent_or_refused() {
    let world = world().await;
    let first = create(&world, json!({ "clientToken": "t1" })).await.unwrap();
    let same = create(&world, json!({ "clientToken": "t1" })).await.unwrap();
    assert_eq!(first["deployments"][0]["id"], same["deployments"][0]["id"]);
    let untold = create(&world, json!({})).await.unwrap();
    assert_eq!(
        first["deployments"][0]["id"], untold["deployments"][0]["id"],
        "equal arguments are the same request"
    );

    let (code, message) = refused(&world, json!({ "desiredCount": 3 })).await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("InvalidParameterException", "Creation of service was not idempotent.")
    );
    let (_, message) = refused(&world, json!({ "serviceName": "other", "clientToken": "t1" })).await;
    assert!(message.contains("idempotent request are inconsistent"), "{message}");
    let (_, message) = refused(&world, json!({ "serviceName": "x", "clientToken": "a b" })).await;
    assert!(message.contains("clientToken"), "{message}");

    world
        .call("DeleteService", json!({ "service": "web", "force": true }))
        .await
        .unwrap();
    let (_, message) = refused(&world, json!({ "desiredCount": 3 })).await;
    assert_eq!(message, "Unable to Start a service that is still Draining.");
}

#[tokio::test]
async fn what_the_request_leaves_out_reads_back_as_terraform_expects() {
    let world = world().await;
    let service = create(&world, json!({})).await.unwrap();
    let network = &service["networkConfiguration"]["awsvpcConfiguration"];
    assert_eq!(network["securityGroups"], json!([]));
    assert_eq!(network["assignPublicIp"], "DISABLED");

    let providers =
        json!({ "cluster": "default", "capacityProviders": ["FARGATE"], "defaultCapacityProviderStrategy": [] });
    world.call("PutClusterCapacityProviders", providers).await.unwrap();
    let strategy = json!([{ "capacityProvider": "FARGATE", "weight": 1 }]);
    let more = json!({ "serviceName": "spot", "launchType": null, "capacityProviderStrategy": strategy });
    let service = create(&world, more).await.unwrap();
    let whole = json!([{ "capacityProvider": "FARGATE", "weight": 1, "base": 0 }]);
    assert_eq!(service["capacityProviderStrategy"], whole);
}

#[tokio::test]
async fn what_is_not_there_yet_is_refused_by_name() {
    let world = world().await;
    let cases = [
        ("serviceRegistries", json!([{ "registryArn": "x" }])),
        ("serviceConnectConfiguration", json!({ "enabled": true })),
        ("volumeConfigurations", json!([{ "name": "v" }])),
        ("vpcLatticeConfigurations", json!([{ "roleArn": "x" }])),
        ("gatewayConnectors", json!([{}])),
        ("enableExecuteCommand", json!(true)),
        ("deploymentController", json!({ "type": "CODE_DEPLOY" })),
        ("deploymentConfiguration", json!({ "strategy": "BLUE_GREEN" })),
        ("deploymentConfiguration", json!({ "bakeTimeInMinutes": 1 })),
        (
            "deploymentConfiguration",
            json!({ "alarms": { "alarmNames": ["a"], "enable": true, "rollback": true } }),
        ),
        (
            "deploymentConfiguration",
            json!({ "earlySuccessCriteria": { "enable": true } }),
        ),
        ("monitoring", json!({ "metricConfigurations": [{}] })),
    ];
    for (member, value) in cases {
        let (code, message) = refused(&world, json!({ member: value })).await;
        assert_eq!(code, "UnsupportedFeatureException", "{member}");
        assert!(message.contains(member), "{message}");
    }
    let disabled = json!({
        "loadBalancers": [], "serviceRegistries": [], "serviceConnectConfiguration": { "enabled": false },
        "volumeConfigurations": [], "vpcLatticeConfigurations": [], "gatewayConnectors": [], "enableExecuteCommand": false,
        "deploymentController": { "type": "ECS" }, "monitoring": { "metricConfigurations": [] }, "role": "",
    });
    create(&world, disabled).await.unwrap();
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    let world = world().await;
    let subnets = json!({ "awsvpcConfiguration": { "subnets": world.subnets } });
    let cases = [
        (json!({ "serviceName": "" }), "InvalidParameterException"),
        (json!({ "serviceName": "a b" }), "InvalidParameterException"),
        (json!({ "serviceName": "a".repeat(256) }), "InvalidParameterException"),
        (json!({ "cluster": "nope" }), "ClusterNotFoundException"),
        (json!({ "taskDefinition": null }), "InvalidParameterException"),
        (json!({ "taskDefinition": "nope" }), "ClientException"),
        (json!({ "desiredCount": null }), "InvalidParameterException"),
        (json!({ "desiredCount": -1 }), "InvalidParameterException"),
        (json!({ "networkConfiguration": null }), "InvalidParameterException"),
        (
            json!({ "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["subnet-0"] } } }),
            "InvalidParameterException",
        ),
        (json!({ "platformVersion": "9.9.9" }), "PlatformUnknownException"),
        (
            json!({ "capacityProviderStrategy": [{ "capacityProvider": "FARGATE" }] }),
            "InvalidParameterException",
        ),
        (
            json!({ "schedulingStrategy": "DAEMON", "desiredCount": null }),
            "InvalidParameterException",
        ),
        (
            json!({ "schedulingStrategy": "DAEMON", "launchType": "EC2" }),
            "InvalidParameterException",
        ),
        (
            json!({ "placementStrategy": [{ "type": "random" }] }),
            "InvalidParameterException",
        ),
        (
            json!({ "healthCheckGracePeriodSeconds": -5 }),
            "InvalidParameterException",
        ),
        (json!({ "role": "r" }), "InvalidParameterException"),
        (
            json!({ "deploymentConfiguration": { "maximumPercent": 100 } }),
            "InvalidParameterException",
        ),
        (
            json!({ "launchType": "EC2", "schedulingStrategy": "DAEMON", "desiredCount": null,
            "availabilityZoneRebalancing": "ENABLED", "networkConfiguration": subnets }),
            "InvalidParameterException",
        ),
    ];
    for (more, expected) in cases {
        let (code, message) = refused(&world, more.clone()).await;
        assert_eq!(code, expected, "{more}: {message}");
    }
}

#[tokio::test]
async fn only_what_the_revision_pins_begins_a_rollout() {
    let world = world().await;
    let first = create(&world, json!({})).await.unwrap()["deployments"][0]["id"].clone();
    world.define("web2", json!({})).await;
    let quiet = [
        json!({ "desiredCount": 5 }),
        json!({ "deploymentConfiguration": { "minimumHealthyPercent": 50 } }),
        json!({ "propagateTags": "SERVICE", "enableECSManagedTags": true }),
        json!({ "taskDefinition": "web:1" }),
        json!({ "availabilityZoneRebalancing": "DISABLED" }),
        json!({ "networkConfiguration": { "awsvpcConfiguration": { "subnets": world.subnets } } }),
    ];
    for mut update in quiet {
        update["service"] = json!("web");
        let service = world.call("UpdateService", update.clone()).await.unwrap()["service"].clone();
        assert_eq!(service["deployments"][0]["id"], first, "{update}");
    }
    let mut last = first;
    let loud = [
        json!({ "taskDefinition": "web2" }),
        json!({ "forceNewDeployment": true }),
        json!({ "platformVersion": "1.4.0" }),
        json!({ "networkConfiguration": { "awsvpcConfiguration": { "subnets": [world.subnets[0]] } } }),
    ];
    for mut update in loud {
        update["service"] = json!("web");
        let service = world.call("UpdateService", update.clone()).await.unwrap()["service"].clone();
        assert_ne!(service["deployments"][0]["id"], last, "{update}");
        last = service["deployments"][0]["id"].clone();
        assert_eq!(service["deployments"][1]["status"], "ACTIVE");
    }
    let described = world
        .call("DescribeServices", json!({ "services": ["web"] }))
        .await
        .unwrap()["services"][0]
        .clone();
    assert_eq!(described["desiredCount"], 5);
    assert_eq!(described["deploymentConfiguration"]["minimumHealthyPercent"], 50);
    assert_eq!(described["deploymentConfiguration"]["maximumPercent"], 200);
    assert!(described["taskDefinition"].as_str().unwrap().ends_with("web2:1"));
}

#[tokio::test]
async fn services_that_are_not_active_are_not_updated() {
    let world = world().await;
    let error = world
        .call("UpdateService", json!({ "service": "web" }))
        .await
        .unwrap_err();
    assert_eq!(error.code, "ServiceNotFoundException");
    create(&world, json!({})).await.unwrap();
    let error = world
        .call("DeleteService", json!({ "service": "web" }))
        .await
        .unwrap_err();
    assert_eq!(error.code, "InvalidParameterException");
    assert_eq!(
        error.message,
        "The service cannot be stopped while it is scaled above 0."
    );
    world
        .call("UpdateService", json!({ "service": "web", "desiredCount": 0 }))
        .await
        .unwrap();
    let deleted = world.call("DeleteService", json!({ "service": "web" })).await.unwrap();
    assert_eq!(deleted["service"]["status"], "DRAINING");
    let error = world
        .call("UpdateService", json!({ "service": "web" }))
        .await
        .unwrap_err();
    assert_eq!(error.code, "ServiceNotActiveException");
}

#[tokio::test]
async fn listings_are_filtered_and_cut_into_pages() {
    let world = world().await;
    for name in ["c", "a", "b"] {
        create(&world, json!({ "serviceName": name, "desiredCount": 0 }))
            .await
            .unwrap();
    }
    let page = world.call("ListServices", json!({ "maxResults": 2 })).await.unwrap();
    assert_eq!(page["serviceArns"].as_array().unwrap().len(), 2);
    let rest = world
        .call("ListServices", json!({ "nextToken": page["nextToken"] }))
        .await
        .unwrap();
    assert_eq!(
        rest["serviceArns"],
        json!(["arn:aws:ecs:us-east-1:000000000000:service/default/c"])
    );
    assert_eq!(rest["nextToken"], Value::Null);
    for (filter, expected) in [
        (json!({ "launchType": "FARGATE" }), 3),
        (json!({ "launchType": "EC2" }), 0),
        (json!({ "schedulingStrategy": "DAEMON" }), 0),
        (json!({ "resourceManagementType": "ECS" }), 0),
    ] {
        let listed = world.call("ListServices", filter.clone()).await.unwrap();
        assert_eq!(listed["serviceArns"].as_array().unwrap().len(), expected, "{filter}");
    }
    assert_eq!(
        world
            .call("ListServices", json!({ "maxResults": 101 }))
            .await
            .unwrap_err()
            .code,
        "InvalidParameterException"
    );
    world.call("DeleteService", json!({ "service": "a" })).await.unwrap();
    let listed = world.call("ListServices", json!({})).await.unwrap();
    assert_eq!(
        listed["serviceArns"].as_array().unwrap().len(),
        2,
        "a DRAINING service is not listed"
    );
}

#[tokio::test]
async fn service_deployments_are_listed_newest_first_and_described() {
    let world = world().await;
    create(&world, json!({})).await.unwrap();
    for _ in 0..3 {
        world.advance(1);
        world
            .call("UpdateService", json!({ "service": "web", "forceNewDeployment": true }))
            .await
            .unwrap();
    }
    let listed = world
        .call("ListServiceDeployments", json!({ "service": "web", "maxResults": 3 }))
        .await
        .unwrap();
    let briefs = listed["serviceDeployments"].as_array().unwrap();
    let statuses: Vec<&str> = briefs.iter().map(|b| b["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["PENDING", "STOPPED", "STOPPED"]);
    let times: Vec<f64> = briefs.iter().map(|b| b["createdAt"].as_f64().unwrap()).collect();
    assert!(times.is_sorted_by(|a, b| a > b));
    let rest = world
        .call(
            "ListServiceDeployments",
            json!({ "service": "web", "maxResults": 3, "nextToken": listed["nextToken"] }),
        )
        .await
        .unwrap();
    assert_eq!(rest["serviceDeployments"].as_array().unwrap().len(), 1);
    let pending = world
        .call(
            "ListServiceDeployments",
            json!({ "service": "web", "status": ["PENDING"] }),
        )
        .await
        .unwrap();
    assert_eq!(pending["serviceDeployments"].as_array().unwrap().len(), 1);
    let early = json!({ "service": "web", "createdAt": { "before": times[2] } });
    let early = world.call("ListServiceDeployments", early).await.unwrap();
    assert_eq!(early["serviceDeployments"].as_array().unwrap().len(), 1);

    let arn = briefs[0]["serviceDeploymentArn"].clone();
    let missing = "arn:aws:ecs:us-east-1:000000000000:service-deployment/default/web/nope";
    let described = world
        .call(
            "DescribeServiceDeployments",
            json!({ "serviceDeploymentArns": [arn, missing] }),
        )
        .await
        .unwrap();
    let entry = &described["serviceDeployments"][0];
    assert_eq!(entry["sourceServiceRevisions"].as_array().unwrap().len(), 3);
    assert_eq!(
        entry["targetServiceRevision"]["arn"],
        briefs[0]["targetServiceRevisionArn"]
    );
    assert_eq!(entry["deploymentCircuitBreaker"]["status"], "DISABLED");
    assert_eq!(described["failures"], json!([{ "arn": missing, "reason": "MISSING" }]));
}

#[tokio::test]
async fn only_an_ongoing_service_deployment_can_be_stopped() {
    let world = world().await;
    let stop = |arn: Value, kind: &'static str| json!({ "serviceDeploymentArn": arn, "stopType": kind });
    let first = create(&world, json!({})).await.unwrap()["currentServiceDeployment"].clone();
    let error = world
        .call("StopServiceDeployment", stop(first.clone(), "ROLLBACK"))
        .await
        .unwrap_err();
    assert_eq!(error.code, "ConflictException", "there is nothing to go back to");
    let second = world
        .call("UpdateService", json!({ "service": "web", "forceNewDeployment": true }))
        .await
        .unwrap();
    let second = second["service"]["currentServiceDeployment"].clone();
    let error = world
        .call("StopServiceDeployment", stop(first, "ABORT"))
        .await
        .unwrap_err();
    assert_eq!(error.code, "ConflictException", "it is over");
    let unknown = json!("arn:aws:ecs:us-east-1:000000000000:service-deployment/default/web/nope");
    let error = world
        .call("StopServiceDeployment", stop(unknown, "ABORT"))
        .await
        .unwrap_err();
    assert_eq!(error.code, "ServiceDeploymentNotFoundException");
    world
        .call("StopServiceDeployment", stop(second.clone(), "ABORT"))
        .await
        .unwrap();
    let described = world
        .call(
            "DescribeServiceDeployments",
            json!({ "serviceDeploymentArns": [second] }),
        )
        .await
        .unwrap();
    assert_eq!(described["serviceDeployments"][0]["status"], "STOP_REQUESTED");
    crate::reconcile::service::reconcile(&world.ecs, "us-east-1/default/web")
        .await
        .unwrap();
    let described = world
        .call(
            "DescribeServiceDeployments",
            json!({ "serviceDeploymentArns": [second] }),
        )
        .await
        .unwrap();
    assert_eq!(described["serviceDeployments"][0]["status"], "STOPPED");
}
