//! Task definitions.

use super::*;
use crate::records::{TaskRecord, TaskState};
use crate::task_definition::deletion;
use std::time::Duration;

fn arn(name: &str) -> Value {
    json!(format!("arn:aws:ecs:us-east-1:000000000000:task-definition/{name}"))
}

#[tokio::test]
async fn revisions_ascend_and_the_bare_name_means_the_newest_active_one() {
    let f = Fixture::new();
    for revision in 1..=3 {
        let made = f.register("web").await;
        assert_eq!(made["revision"], revision);
        assert_eq!(made["status"], "ACTIVE");
        assert_eq!(made["registeredAt"], 1_700_000_000.0);
        assert_eq!(made["registeredBy"], "arn:aws:iam::000000000000:root");
    }
    let newest = |name: &str| json!({"taskDefinition": name});
    let seen = f.ok("DescribeTaskDefinition", newest("web")).await;
    assert_eq!(seen["taskDefinition"]["taskDefinitionArn"], arn("web:3"));

    let gone = f.ok("DeregisterTaskDefinition", newest("web:3")).await;
    assert_eq!(gone["taskDefinition"]["status"], "INACTIVE");
    assert!(gone["taskDefinition"]["deregisteredAt"].is_number());
    let seen = f.ok("DescribeTaskDefinition", newest("web")).await;
    assert_eq!(seen["taskDefinition"]["revision"], 2);
    let seen = f
        .ok("DescribeTaskDefinition", json!({"taskDefinition": arn("web:3")}))
        .await;
    assert_eq!(seen["taskDefinition"]["status"], "INACTIVE");
    assert_eq!(f.register("web").await["revision"], 4);

    let unknown = "ClientException: Unable to describe task definition.";
    for name in [
        "other",
        "web:9",
        "arn:aws:ecs:eu-west-1:000000000000:task-definition/web:1",
    ] {
        assert_eq!(f.err("DescribeTaskDefinition", newest(name)).await, unknown);
    }
    let error = f.err("DescribeTaskDefinition", newest("web:x")).await;
    assert_eq!(error, "ClientException: Invalid revision number. Number: x");
    let error = f.err("DeregisterTaskDefinition", newest("web")).await;
    assert_eq!(error, "ClientException: Missing revision number. Identifier: web");
    let error = f.err("DeregisterTaskDefinition", newest("web:3")).await;
    assert!(
        error.starts_with("ClientException: The specified task definition is inactive."),
        "{error}"
    );
    let error = f
        .err(
            "RegisterTaskDefinition",
            json!({"family": "w", "containerDefinitions": []}),
        )
        .await;
    assert_eq!(error, "ClientException: Container list cannot be empty.");
}

#[tokio::test]
async fn tags_are_answered_when_asked_for() {
    let f = Fixture::new();
    let tags = json!([{"key": "a", "value": "b"}]);
    let made = f
        .ok(
            "RegisterTaskDefinition",
            json!({"family": "web", "tags": tags,
        "containerDefinitions": [{"name": "app", "image": "nginx", "memory": 64}]}),
        )
        .await;
    assert_eq!(made["tags"], tags);
    let seen = f
        .ok(
            "DescribeTaskDefinition",
            json!({"taskDefinition": "web", "include": ["TAGS"]}),
        )
        .await;
    assert_eq!(seen["tags"], tags);
    assert_eq!(
        f.ok("DescribeTaskDefinition", json!({"taskDefinition": "web"})).await["tags"],
        json!([])
    );
}

#[tokio::test]
async fn listings_filter_sort_and_page() {
    let f = Fixture::new();
    for family in ["web", "web-api", "db"] {
        for _ in 0..3 {
            f.register(family).await;
        }
    }
    f.ok("DeregisterTaskDefinition", json!({"taskDefinition": "web:2"}))
        .await;
    let list = |input: Value| async {
        let out = f.ok("ListTaskDefinitions", input).await;
        let arns = out["taskDefinitionArns"].as_array().unwrap().clone();
        (
            arns.iter()
                .map(|a| a.as_str().unwrap().rsplit('/').next().unwrap().to_owned())
                .collect::<Vec<_>>(),
            out,
        )
    };
    let all = [
        "db:1",
        "db:2",
        "db:3",
        "web:1",
        "web:3",
        "web-api:1",
        "web-api:2",
        "web-api:3",
    ];
    assert_eq!(list(json!({})).await.0, all);
    assert_eq!(list(json!({"familyPrefix": "web"})).await.0, ["web:1", "web:3"]);
    assert_eq!(list(json!({"status": "INACTIVE"})).await.0, ["web:2"]);
    for sort in ["ASC", "DESC"] {
        let (mut seen, mut token) = (Vec::new(), Value::Null);
        loop {
            let (page, out) = list(json!({"sort": sort, "maxResults": 3, "nextToken": token})).await;
            assert!(page.len() <= 3);
            seen.extend(page);
            token = out["nextToken"].clone();
            if token.is_null() {
                break;
            }
        }
        let mut expected: Vec<String> = all.iter().map(|s| (*s).to_owned()).collect();
        if sort == "DESC" {
            expected.reverse();
        }
        assert_eq!(seen, expected);
    }
    let ascending = list(json!({"maxResults": 1})).await.1["nextToken"].clone();
    let error = f
        .err("ListTaskDefinitions", json!({"sort": "DESC", "nextToken": ascending}))
        .await;
    assert_eq!(error, "InvalidParameterException: Invalid token");

    for revision in [1, 2, 3] {
        f.ok(
            "DeregisterTaskDefinition",
            json!({"taskDefinition": format!("db:{revision}")}),
        )
        .await;
    }
    let families = |input: Value| async { f.ok("ListTaskDefinitionFamilies", input).await["families"].clone() };
    assert_eq!(families(json!({})).await, json!(["db", "web", "web-api"]));
    assert_eq!(families(json!({"status": "ACTIVE"})).await, json!(["web", "web-api"]));
    assert_eq!(families(json!({"status": "INACTIVE"})).await, json!(["db"]));
    assert_eq!(families(json!({"familyPrefix": "web-"})).await, json!(["web-api"]));
}

#[tokio::test]
async fn a_deleted_revision_goes_once_nothing_uses_it_and_its_number_is_never_given_again() {
    let mut f = Fixture::new();
    f.register("web").await;
    f.register("web").await;
    let delete = json!({"taskDefinitions": ["web:2", "web:7", "web"]});
    let out = f.ok("DeleteTaskDefinitions", delete.clone()).await;
    assert_eq!(out["taskDefinitions"], json!([]));
    let reasons: Vec<_> = out["failures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["reason"].as_str().unwrap())
        .collect();
    assert!(reasons[0].contains("still in ACTIVE status"), "{reasons:?}");
    assert!(reasons[1].contains("does not exist"), "{reasons:?}");
    assert!(reasons[2].contains("identifier is invalid"), "{reasons:?}");

    f.ok("DeregisterTaskDefinition", json!({"taskDefinition": "web:2"}))
        .await;
    let out = f.ok("DeleteTaskDefinitions", delete).await;
    assert_eq!(out["taskDefinitions"][0]["status"], "DELETE_IN_PROGRESS");
    assert!(out["taskDefinitions"][0]["deleteRequestedAt"].is_number());

    let task = some_task("1").await;
    let task = TaskRecord {
        family: "web".to_owned(),
        revision: 2,
        state: TaskState::Running,
        ..task
    };
    f.put("us-east-1/web/1", task.clone()).await;
    let early = deletion::plan(&f.ecs.store.snapshot(), f.cx.now);
    assert!(early.txn.is_empty() && early.wake_at.is_some_and(|at| at > f.cx.now));
    f.cx.now = f.cx.now.plus(Duration::from_secs(120));
    let used = deletion::plan(&f.ecs.store.snapshot(), f.cx.now);
    assert!(used.txn.is_empty() && used.wake_at.is_none());

    f.put(
        "us-east-1/web/1",
        TaskRecord {
            state: TaskState::Stopped,
            ..task
        },
    )
    .await;
    let unused = deletion::plan(&f.ecs.store.snapshot(), f.cx.now);
    f.ecs.store.commit(unused.txn).await.unwrap();
    let error = f
        .err("DescribeTaskDefinition", json!({"taskDefinition": "web:2"}))
        .await;
    assert_eq!(error, "ClientException: Unable to describe task definition.");
    assert_eq!(f.register("web").await["revision"], 3);
}

#[tokio::test]
async fn a_family_without_revisions_is_not_listed_but_counts_on() {
    let f = Fixture::new();
    f.register("web").await;
    f.ok("DeregisterTaskDefinition", json!({"taskDefinition": "web:1"}))
        .await;
    f.ok("DeleteTaskDefinitions", json!({"taskDefinitions": ["web:1"]}))
        .await;
    assert_eq!(
        f.ok("ListTaskDefinitions", json!({"status": "DELETE_IN_PROGRESS"}))
            .await["taskDefinitionArns"],
        json!([arn("web:1")])
    );
    f.clock.advance(Duration::from_secs(120));
    let mut revisions = f.ecs.store.revisions();
    let (stop, shutdown) = tokio::sync::watch::channel(false);
    let sweeper = tokio::spawn(deletion::run(Arc::new(f.ecs.clone()), shutdown));
    while f.ok("ListTaskDefinitionFamilies", json!({})).await["families"] != json!([]) {
        revisions.changed().await.unwrap();
    }
    stop.send(true).unwrap();
    sweeper.await.unwrap();
    assert_eq!(f.register("web").await["revision"], 2);
}

#[tokio::test]
async fn concurrent_registrations_never_share_a_revision() {
    let f = Arc::new(Fixture::new());
    let all: Vec<_> = (0..16)
        .map(|_| {
            let f = f.clone();
            tokio::spawn(async move { f.register("web").await["revision"].as_i64().unwrap() })
        })
        .collect();
    let mut seen = Vec::new();
    for one in all {
        seen.push(one.await.unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=16).collect::<Vec<_>>());
}
