//! Clusters.

use super::*;
use crate::records::{TaskRecord, TaskState};

#[tokio::test]
async fn a_cluster_is_created_described_listed_and_deleted() {
    let f = Fixture::new();
    let tags = json!([{"key": "team", "value": "a"}]);
    let made = f.ok("CreateCluster", json!({"clusterName": "web", "tags": tags})).await;
    assert_eq!(
        made["cluster"]["clusterArn"],
        "arn:aws:ecs:us-east-1:000000000000:cluster/web"
    );
    assert_eq!(made["cluster"]["status"], "ACTIVE");
    assert_eq!(
        made["cluster"]["settings"],
        json!([{"name": "containerInsights", "value": "disabled"}])
    );
    assert_eq!(made["cluster"]["tags"], tags);

    let plain = f.ok("DescribeClusters", json!({"clusters": ["web"]})).await;
    for empty in [
        "settings",
        "statistics",
        "tags",
        "capacityProviders",
        "defaultCapacityProviderStrategy",
    ] {
        assert_eq!(plain["clusters"][0][empty], json!([]), "{empty}");
    }
    let arn = made["cluster"]["clusterArn"].clone();
    let include = ["SETTINGS", "STATISTICS", "TAGS", "CONFIGURATIONS", "ATTACHMENTS"];
    let whole = f
        .ok(
            "DescribeClusters",
            json!({"clusters": [arn, "gone"], "include": include}),
        )
        .await;
    assert_eq!(whole["clusters"][0]["tags"], tags);
    let statistics = whole["clusters"][0]["statistics"].as_array().unwrap();
    assert_eq!(statistics.len(), 8);
    assert!(statistics.contains(&json!({"name": "runningFargateTasksCount", "value": "0"})));
    let missing = json!([{"arn": "arn:aws:ecs:us-east-1:000000000000:cluster/gone", "reason": "MISSING"}]);
    assert_eq!(whole["failures"], missing);

    assert_eq!(f.ok("ListClusters", json!({})).await["clusterArns"], json!([arn]));
    let deleted = f.ok("DeleteCluster", json!({"cluster": "web"})).await;
    assert_eq!(deleted["cluster"]["status"], "INACTIVE");
    assert_eq!(f.ok("ListClusters", json!({})).await["clusterArns"], json!([]));
    let still = f.ok("DescribeClusters", json!({"clusters": ["web"]})).await;
    assert_eq!(still["clusters"][0]["status"], "INACTIVE");
    let inactive = "ClusterNotFoundException: The referenced cluster was inactive.";
    assert_eq!(f.err("DeleteCluster", json!({"cluster": "web"})).await, inactive);
    assert_eq!(
        f.err("DeleteCluster", json!({"cluster": "x"})).await,
        "ClusterNotFoundException: Cluster not found."
    );

    let again = f.ok("CreateCluster", json!({"clusterName": "web"})).await;
    assert_eq!(again["cluster"]["status"], "ACTIVE");
    assert_eq!(again["cluster"]["tags"], json!([]));
}

#[tokio::test]
async fn creating_again_answers_the_same_and_a_contradiction_is_refused() {
    let f = Fixture::new();
    let enhanced = json!([{"name": "containerInsights", "value": "enhanced"}]);
    let first = f
        .ok(
            "CreateCluster",
            json!({"settings": enhanced, "capacityProviders": ["FARGATE"]}),
        )
        .await;
    assert_eq!(first["cluster"]["clusterName"], "default");
    let revision = f.ecs.store.snapshot().revision();
    assert_eq!(f.ok("CreateCluster", json!({})).await, first);
    assert_eq!(
        f.ok("CreateCluster", json!({"clusterName": "default", "settings": enhanced}))
            .await,
        first
    );
    assert_eq!(f.ecs.store.snapshot().revision(), revision);
    let disabled = json!([{"name": "containerInsights", "value": "disabled"}]);
    let error = f.err("CreateCluster", json!({"settings": disabled})).await;
    assert!(
        error.starts_with("InvalidParameterException: Arguments on this idempotent request"),
        "{error}"
    );
}

#[tokio::test]
async fn what_a_cluster_cannot_have_is_named() {
    let f = Fixture::new();
    let cannot = "is not supported by Neargate yet.";
    for (input, expected) in [
        (json!({"clusterName": "a b"}), "InvalidParameterException: Invalid cluster name.".to_owned()),
        (json!({"clusterName": "a".repeat(256)}), "InvalidParameterException: Invalid cluster name.".to_owned()),
        (
            json!({"configuration": {"executeCommandConfiguration": {"logging": "DEFAULT"}}}),
            format!("ClientException: configuration.executeCommandConfiguration {cannot}"),
        ),
        (
            json!({"configuration": {"managedStorageConfiguration": {"kmsKeyId": "k"}}}),
            format!("ClientException: configuration.managedStorageConfiguration {cannot}"),
        ),
        (
            json!({"serviceConnectDefaults": {"namespace": "n"}}),
            format!("ClientException: serviceConnectDefaults {cannot}"),
        ),
        (
            json!({"settings": [{"name": "containerInsights", "value": "on"}]}),
            "InvalidParameterException: Invalid value for the cluster setting containerInsights: on".to_owned(),
        ),
        (
            json!({"capacityProviders": ["mine"]}),
            "InvalidParameterException: The specified capacity provider 'mine' was not found.".to_owned(),
        ),
        (
            json!({"defaultCapacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1}]}),
            "InvalidParameterException: The specified capacity provider strategy cannot contain a capacity provider that is not associated with the cluster.".to_owned(),
        ),
        (
            json!({"tags": [{"key": "aws:x", "value": "y"}]}),
            "InvalidParameterException: Invalid tag key 'aws:x'".to_owned(),
        ),
    ] {
        let error = f.err("CreateCluster", input.clone()).await;
        assert!(error.starts_with(&expected), "{error}\n{input:#}");
    }
    assert_eq!(f.ok("ListClusters", json!({})).await["clusterArns"], json!([]));
}

#[tokio::test]
async fn settings_and_capacity_providers_change() {
    let f = Fixture::new();
    f.ok("CreateCluster", json!({"clusterName": "web"})).await;
    let enabled = json!([{"name": "containerInsights", "value": "enabled"}]);
    let out = f
        .ok("UpdateClusterSettings", json!({"cluster": "web", "settings": enabled}))
        .await;
    assert_eq!(out["cluster"]["settings"], enabled);
    let disabled = json!([{"name": "containerInsights", "value": "disabled"}]);
    let out = f
        .ok("UpdateCluster", json!({"cluster": "web", "settings": disabled}))
        .await;
    assert_eq!(out["cluster"]["settings"], disabled);

    let put = |providers: Value, strategy: Value| json!({"cluster": "web", "capacityProviders": providers, "defaultCapacityProviderStrategy": strategy});
    let both = json!(["FARGATE", "FARGATE_SPOT"]);
    let item = |name: &str, base: i32, weight: i32| json!({"capacityProvider": name, "base": base, "weight": weight});
    let strategy =
        json!([{"capacityProvider": "FARGATE", "base": 1}, {"capacityProvider": "FARGATE_SPOT", "weight": 4}]);
    let out = f.ok("PutClusterCapacityProviders", put(both.clone(), strategy)).await;
    let whole = json!([item("FARGATE", 1, 0), item("FARGATE_SPOT", 0, 4)]);
    assert_eq!(out["cluster"]["defaultCapacityProviderStrategy"], whole);
    for bad in [
        json!([item("FARGATE", 1, 1), item("FARGATE_SPOT", 1, 1)]),
        json!([item("FARGATE", 0, 0), item("FARGATE_SPOT", 0, 0)]),
        json!([item("FARGATE", 0, 1001)]),
        json!([item("FARGATE", 100_001, 1)]),
        json!([item("FARGATE", 0, 1), item("FARGATE", 0, 1)]),
    ] {
        let error = f.err("PutClusterCapacityProviders", put(both.clone(), bad)).await;
        assert!(error.starts_with("InvalidParameterException"), "{error}");
    }
    let missing = json!({"cluster": "x", "settings": enabled});
    assert_eq!(
        f.err("UpdateClusterSettings", missing).await,
        "ClusterNotFoundException: Cluster not found."
    );
}

async fn task(id: &str, state: TaskState, launch_type: &str, provider: Option<&str>) -> TaskRecord {
    TaskRecord {
        launch_type: launch_type.to_owned(),
        capacity_provider: provider.map(str::to_owned),
        state,
        ..some_task(id).await
    }
}

#[tokio::test]
async fn tasks_are_counted_and_keep_their_cluster_and_capacity_provider() {
    let f = Fixture::new();
    f.ok(
        "CreateCluster",
        json!({"clusterName": "web", "capacityProviders": ["FARGATE", "FARGATE_SPOT"]}),
    )
    .await;
    f.ok("CreateCluster", json!({"clusterName": "web2"})).await;
    for (id, state, launch_type) in [
        ("1", TaskState::Running, "EC2"),
        ("2", TaskState::Running, "FARGATE"),
        ("3", TaskState::Provisioning, "FARGATE"),
        ("4", TaskState::Pending, "FARGATE"),
        ("5", TaskState::Stopped, "FARGATE"),
    ] {
        let task = task(
            id,
            state,
            launch_type,
            (launch_type == "FARGATE").then_some("FARGATE_SPOT"),
        )
        .await;
        f.put(&task.own_key(), task).await;
    }
    let seen = f
        .ok(
            "DescribeClusters",
            json!({"clusters": ["web", "web2"], "include": ["STATISTICS"]}),
        )
        .await;
    let web = &seen["clusters"][0];
    assert_eq!(
        (&web["runningTasksCount"], &web["pendingTasksCount"]),
        (&json!(2), &json!(2))
    );
    let statistics = web["statistics"].as_array().unwrap();
    for (name, value) in [
        ("runningEC2TasksCount", "1"),
        ("runningFargateTasksCount", "1"),
        ("pendingFargateTasksCount", "2"),
    ] {
        assert!(
            statistics.contains(&json!({"name": name, "value": value})),
            "{name} in {statistics:?}"
        );
    }
    assert_eq!(seen["clusters"][1]["runningTasksCount"], 0);

    let error = f.err("DeleteCluster", json!({"cluster": "web"})).await;
    assert_eq!(
        error,
        "ClusterContainsTasksException: The Cluster cannot be deleted while Tasks are active."
    );
    let without = json!({"cluster": "web", "capacityProviders": ["FARGATE"], "defaultCapacityProviderStrategy": []});
    let error = f.err("PutClusterCapacityProviders", without.clone()).await;
    assert!(error.starts_with("ResourceInUseException"), "{error}");

    for (id, launch_type) in [("1", "EC2"), ("2", "FARGATE"), ("3", "FARGATE"), ("4", "FARGATE")] {
        let task = task(id, TaskState::Stopped, launch_type, None).await;
        f.put(&task.own_key(), task).await;
    }
    f.ok("PutClusterCapacityProviders", without).await;
    f.ok("DeleteCluster", json!({"cluster": "web"})).await;
}

#[tokio::test]
async fn pages_cover_every_cluster_once() {
    let f = Fixture::new();
    let mut all = Vec::new();
    for n in 0..7 {
        let made = f.ok("CreateCluster", json!({"clusterName": format!("c{n}")})).await;
        all.push(made["cluster"]["clusterArn"].clone());
    }
    let (mut seen, mut token) = (Vec::new(), Value::Null);
    loop {
        let page = f.ok("ListClusters", json!({"maxResults": 3, "nextToken": token})).await;
        seen.extend(page["clusterArns"].as_array().unwrap().clone());
        token = page["nextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(seen, all);
    let error = f.err("ListClusters", json!({"nextToken": "forged"})).await;
    assert_eq!(error, "InvalidParameterException: Invalid token");
    for size in [0, 101, -1] {
        let error = f.err("ListClusters", json!({"maxResults": size})).await;
        assert!(error.starts_with("InvalidParameterException: maxResults"), "{error}");
    }
}

#[tokio::test]
async fn deleted_clusters_are_forgotten_after_a_day() {
    let mut f = Fixture::new();
    for name in ["old", "other"] {
        f.ok("CreateCluster", json!({"clusterName": name})).await;
    }
    f.ok("DeleteCluster", json!({"cluster": "old"})).await;
    f.cx.now = f.cx.now.plus(std::time::Duration::from_secs(25 * 3600));
    f.ok("DeleteCluster", json!({"cluster": "other"})).await;
    let seen = f.ok("DescribeClusters", json!({"clusters": ["old", "other"]})).await;
    assert_eq!(seen["failures"][0]["reason"], "MISSING");
    assert_eq!(seen["clusters"][0]["clusterName"], "other");
}
