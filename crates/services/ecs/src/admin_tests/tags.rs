//! Tags.

use super::*;
use crate::records::TaskState;

fn arn(resource: &str) -> String {
    format!("arn:aws:ecs:us-east-1:000000000000:{resource}")
}

fn tag(key: &str, value: &str) -> Value {
    json!({"key": key, "value": value})
}

#[tokio::test]
async fn every_kind_of_resource_is_tagged_and_untagged() {
    let f = Fixture::new();
    f.ok("CreateCluster", json!({"clusterName": "web", "tags": [tag("a", "1")]}))
        .await;
    f.register("app").await;
    let mut task = some_task("t1").await;
    task.state = TaskState::Running;
    task.tags = Default::default();
    f.put("us-east-1/web/t1", task.clone()).await;
    for resource in ["cluster/web", "task-definition/app:1", "task/web/t1"] {
        let resource = arn(resource);
        let input = json!({"resourceArn": resource, "tags": [tag("a", "2"), tag("b", "")]});
        assert_eq!(f.ok("TagResource", input).await, json!({}));
        let seen = f.ok("ListTagsForResource", json!({"resourceArn": resource})).await;
        assert_eq!(seen["tags"], json!([tag("a", "2"), tag("b", "")]));
        f.ok(
            "UntagResource",
            json!({"resourceArn": resource, "tagKeys": ["a", "nothing"]}),
        )
        .await;
        let seen = f.ok("ListTagsForResource", json!({"resourceArn": resource})).await;
        assert_eq!(seen["tags"], json!([tag("b", "")]));
    }
    task.state = TaskState::Stopped;
    f.put("us-east-1/web/t1", task).await;
    let error = f
        .err(
            "TagResource",
            json!({"resourceArn": arn("task/web/t1"), "tags": [tag("x", "y")]}),
        )
        .await;
    assert_eq!(
        error,
        "InvalidParameterException: The specified task is stopped. Specify a running task and try again."
    );
    f.ok("DeleteCluster", json!({"cluster": "web"})).await;
    // Terraform looks for this very sentence.
    let error = f
        .err("ListTagsForResource", json!({"resourceArn": arn("cluster/web")}))
        .await;
    assert!(
        error.contains("The specified cluster is inactive. Specify an active cluster and try again."),
        "{error}"
    );
}

#[tokio::test]
async fn limits_and_strangers() {
    let f = Fixture::new();
    f.ok("CreateCluster", json!({"clusterName": "web"})).await;
    let cluster = arn("cluster/web");
    let many = |from: usize, to: usize| (from..to).map(|n| tag(&format!("k{n}"), "v")).collect::<Vec<_>>();
    f.ok("TagResource", json!({"resourceArn": cluster, "tags": many(0, 50)}))
        .await;
    let error = f
        .err("TagResource", json!({"resourceArn": cluster, "tags": many(50, 51)}))
        .await;
    assert!(error.starts_with("LimitExceededException: Too many tags"), "{error}");
    f.ok("TagResource", json!({"resourceArn": cluster, "tags": many(0, 1)}))
        .await;

    for (resource, expected) in [
        (arn("cluster/other"), "ClusterNotFoundException: Cluster not found."),
        (
            arn("task/web/none"),
            "ResourceNotFoundException: The specified task does not exist.",
        ),
        (
            arn("service/web/none"),
            "ResourceNotFoundException: The specified service does not exist.",
        ),
        (
            arn("service/none"),
            "InvalidParameterException: Long ARN format must be used",
        ),
        (
            arn("task-definition/none:1"),
            "ResourceNotFoundException: The specified task definition does not exist.",
        ),
        (
            arn("task-definition/none"),
            "InvalidParameterException: Invalid resource ARN",
        ),
        (
            arn("container-instance/web/none"),
            "ResourceNotFoundException: The specified container instance does not",
        ),
        (
            arn("capacity-provider/FARGATE"),
            "ClientException: Tagging of capacity providers is not supported",
        ),
        (arn("spaceship/x"), "InvalidParameterException: Invalid resource ARN"),
        ("web".to_owned(), "InvalidParameterException: Invalid resource ARN"),
        (
            "arn:aws:ecs:eu-west-1:000000000000:cluster/web".to_owned(),
            "InvalidParameterException: Invalid resource ARN",
        ),
    ] {
        let error = f
            .err("TagResource", json!({"resourceArn": resource, "tags": [tag("a", "b")]}))
            .await;
        assert!(error.starts_with(expected), "{error}\n{resource}");
    }
    let error = f
        .err("ListTagsForResource", json!({"resourceArn": arn("task/web/none")}))
        .await;
    assert!(
        error.starts_with("InvalidParameterException: The specified task does not exist."),
        "{error}"
    );
    let error = f
        .err("UntagResource", json!({"resourceArn": cluster, "tagKeys": ["aws:x"]}))
        .await;
    assert!(error.starts_with("InvalidParameterException"), "{error}");
}

#[tokio::test]
async fn a_container_instance_carries_tags_of_its_own_in_each_cluster() {
    let world = World::new().await;
    world.cluster("other").await;
    world.node("0000000000000000000000000000000a", 1024, 1024).await;
    let of = |cluster: &str| {
        arn(&format!(
            "container-instance/{cluster}/0000000000000000000000000000000a"
        ))
    };
    let input = json!({"resourceArn": of("default"), "tags": [tag("rack", "1")]});
    world.call("TagResource", input).await.unwrap();
    for (cluster, expected) in [("default", json!([tag("rack", "1")])), ("other", json!([]))] {
        let input = json!({"cluster": cluster, "containerInstances": [of(cluster)], "include": ["TAGS"]});
        let seen = world.call("DescribeContainerInstances", input).await.unwrap();
        assert_eq!(seen["containerInstances"][0]["tags"], expected);
        let seen = world
            .call("ListTagsForResource", json!({"resourceArn": of(cluster)}))
            .await
            .unwrap();
        assert_eq!(seen["tags"], expected);
    }
}
