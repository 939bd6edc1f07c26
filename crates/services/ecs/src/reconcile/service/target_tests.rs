//! Services behind target groups: who joins, who counts as healthy, who is replaced, and that nobody is stopped while
//! requests may still be on their way.

use super::reconcile;
use crate::reconcile::placement::place_waiting;
use crate::reconcile::targets;
use crate::records::{ServiceRecord, TaskRecord, TaskState};
use crate::testing::{ACCOUNT, FakeNode, REGION, World, report};
use neargate_core::Tags;
use neargate_elbv2::records::HealthCheck;
use neargate_elbv2::targets::{apply_reports, deregister, targets_of_group};
use neargate_elbv2::{ListenerRecord, RuleRecord, TargetGroupRecord, TargetRecord};
use neargate_link::Phase;
use neargate_link::gateway::{TargetReport, TargetState};
use neargate_store::Txn;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const GROUP: &str = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/web/0123456789abcdef";

struct Stage {
    world: World,
    node: FakeNode,
}

impl Stage {
    /// A world with a target group that a listener uses, and `web:1` that listens on port 80.
    async fn new() -> Stage {
        Stage::with_group("ip", true).await
    }

    async fn with_group(target_type: &str, used: bool) -> Stage {
        let world = World::new().await;
        let node = world.node("n1", 8192, 32768).await;
        let container =
            json!({ "name": "app", "image": "web", "essential": true, "portMappings": [{ "containerPort": 80 }] });
        world
            .define("web", json!({ "containerDefinitions": [container] }))
            .await;
        let group = TargetGroupRecord {
            region: REGION.to_owned(),
            name: "web".to_owned(),
            arn: GROUP.to_owned(),
            target_type: target_type.to_owned(),
            protocol: Some("HTTP".to_owned()),
            protocol_version: Some("HTTP1".to_owned()),
            port: 80,
            vpc_id: neargate_ec2::region::default_vpc_id(ACCOUNT, REGION),
            health_check: HealthCheck {
                enabled: true,
                protocol: "HTTP".to_owned(),
                port: "traffic-port".to_owned(),
                path: Some("/".to_owned()),
                interval: 5,
                timeout: 2,
                healthy_threshold: 2,
                unhealthy_threshold: 2,
                matcher: Some("200".to_owned()),
            },
            attributes: BTreeMap::from([(TargetGroupRecord::DEREGISTRATION_DELAY.to_owned(), "30".to_owned())]),
            created_at: world.cx().now,
            tags: Tags::default(),
        };
        world.put(&TargetGroupRecord::key(REGION, "web"), group).await;
        if used {
            let balancer = GROUP.replace("targetgroup/web", "loadbalancer/app/web");
            let action = json!({ "Type": "forward", "TargetGroupArn": GROUP });
            let rule = RuleRecord {
                arn: "rule".to_owned(),
                priority: None,
                conditions: Vec::new(),
                actions: vec![serde_json::from_value(action).unwrap()],
                transforms: Vec::new(),
                tags: Tags::default(),
            };
            let listener = ListenerRecord {
                region: REGION.to_owned(),
                arn: "listener".to_owned(),
                load_balancer_arn: balancer,
                port: 80,
                protocol: "HTTP".to_owned(),
                ssl_policy: None,
                certificates: Vec::new(),
                alpn_policy: None,
                mutual_authentication: None,
                attributes: BTreeMap::new(),
                rules: vec![rule],
                tags: Tags::default(),
            };
            world.put("us-east-1/web/0123456789abcdef/l", listener).await;
        }
        Stage { world, node }
    }

    async fn create(&self, more: Value) -> Result<Value, neargate_core::AwsError> {
        let mut input = json!({
            "serviceName": "web", "taskDefinition": "web:1", "desiredCount": 2, "launchType": "FARGATE",
            "networkConfiguration": { "awsvpcConfiguration": { "subnets": self.world.subnets } },
            "loadBalancers": [{ "targetGroupArn": GROUP, "containerName": "app", "containerPort": 80 }],
        });
        for (key, value) in more.as_object().unwrap() {
            input[key] = value.clone();
        }
        self.world.call("CreateService", input).await
    }

    /// Lets everything work until nothing changes any more.
    async fn settle(&self) {
        for _ in 0..1000 {
            let store = &self.world.ecs.store;
            let before = store.snapshot().revision();
            let keys: Vec<String> = store
                .snapshot()
                .range::<ServiceRecord>("")
                .map(|(key, _)| key.to_owned())
                .collect();
            for key in keys {
                reconcile(&self.world.ecs, &key).await.unwrap();
            }
            place_waiting(&self.world.ecs).await.unwrap();
            targets::pass(&self.world.ecs).await.unwrap();
            self.node.work().await;
            if store.snapshot().revision() == before {
                return;
            }
        }
        panic!("nothing comes to rest");
    }

    /// The gateway finds every target that `which` picks in `state`.
    async fn find(&self, state: TargetState, which: impl Fn(&TargetRecord) -> bool) {
        let store = &self.world.ecs.store;
        let found = targets_of_group(&store.snapshot(), GROUP);
        let reports: Vec<TargetReport> = found
            .iter()
            .filter(|t| which(t))
            .map(|t| TargetReport {
                target_group: GROUP.to_owned(),
                id: t.id.clone(),
                port: t.port,
                registered_at: t.registered_at,
                state,
                reason: None,
                description: Some("Health checks failed with these codes: [500]".to_owned()),
            })
            .collect();
        let mut txn = Txn::new();
        apply_reports(&store.snapshot(), &mut txn, &reports, self.world.cx().now);
        store.commit(txn).await.unwrap();
        self.settle().await;
    }

    fn targets(&self) -> Vec<TargetRecord> {
        let found = targets_of_group(&self.world.ecs.store.snapshot(), GROUP);
        found.into_iter().map(|t| (*t.record).clone()).collect()
    }

    fn in_state(&self, state: TaskState) -> Vec<TaskRecord> {
        self.world.tasks().into_iter().filter(|t| t.state == state).collect()
    }

    async fn service(&self) -> Value {
        let asked = json!({ "services": ["web"] });
        self.world.call("DescribeServices", asked).await.unwrap()["services"][0].clone()
    }

    async fn told(&self) -> Vec<String> {
        let service = self.service().await;
        let events = service["events"].as_array().unwrap().iter().rev();
        events.map(|e| e["message"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_service_is_steady_once_its_targets_are_healthy_and_no_sooner() {
    let stage = Stage::new().await;
    let made = stage.create(json!({})).await.unwrap();
    assert!(
        made["service"]["roleArn"]
            .as_str()
            .unwrap()
            .contains("AWSServiceRoleForECS")
    );
    stage.settle().await;
    let running = stage.in_state(TaskState::Running);
    assert_eq!(running.len(), 2);
    let targets = stage.targets();
    let mut addresses: Vec<String> = running
        .iter()
        .map(|t| t.interface.as_ref().unwrap().address.to_string())
        .collect();
    addresses.sort();
    assert_eq!(targets.iter().map(|t| t.id.clone()).collect::<Vec<_>>(), addresses);
    assert!(
        targets
            .iter()
            .all(|t| t.port == 80 && t.owner.as_deref() == Some("us-east-1/default/web"))
    );
    stage.world.advance(3600);
    stage.settle().await;
    assert_eq!(stage.service().await["deployments"][0]["rolloutState"], "IN_PROGRESS");
    stage.find(TargetState::Healthy, |_| true).await;
    let service = stage.service().await;
    assert_eq!(service["deployments"][0]["rolloutState"], "COMPLETED");
    assert_eq!(service["loadBalancers"][0]["targetGroupArn"], GROUP);
    let told = stage.told().await;
    assert!(
        told.contains(&format!("(service web) registered 2 targets in (target-group {GROUP})")),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_task_is_stopped_only_after_its_target_has_drained() {
    let stage = Stage::new().await;
    stage.create(json!({})).await.unwrap();
    stage.settle().await;
    stage.find(TargetState::Healthy, |_| true).await;
    let input = json!({ "service": "web", "desiredCount": 1 });
    stage.world.call("UpdateService", input).await.unwrap();
    stage.settle().await;
    let leaving = stage.in_state(TaskState::Deactivating);
    assert_eq!(leaving.len(), 1);
    assert_eq!(stage.targets().iter().filter(|t| t.draining_until.is_some()).count(), 1);
    assert!(
        stage.node.assigned().iter().all(|spec| spec.stop.is_none()),
        "no order while requests run"
    );
    stage.find(TargetState::Drained, |t| t.draining_until.is_some()).await;
    assert_eq!(stage.in_state(TaskState::Stopped).len(), 1);
    assert_eq!(stage.targets().len(), 1);
    let told = stage.told().await;
    let leaving = [
        "(service web) has begun draining connections on 1 tasks.".to_owned(),
        format!("(service web) deregistered 1 targets in (target-group {GROUP})"),
    ];
    assert!(told.windows(2).any(|two| two == leaving), "{told:?}");
}

#[tokio::test]
async fn a_crashed_task_leaves_its_group_in_the_same_commit_and_having_been_healthy_is_no_failure() {
    let stage = Stage::new().await;
    stage.create(json!({})).await.unwrap();
    stage.settle().await;
    stage.find(TargetState::Healthy, |_| true).await;
    let victim = stage.node.assigned().remove(0);
    let dead = report(&victim, Phase::Stopped, Some(137));
    stage.world.ecs.apply_reports("n1", vec![dead]).await.unwrap();
    let live: Vec<TargetRecord> = stage
        .targets()
        .into_iter()
        .filter(|t| t.draining_until.is_none())
        .collect();
    assert_eq!(live.len(), 1);
    stage.settle().await;
    assert_eq!(stage.in_state(TaskState::Running).len(), 2);
    assert_eq!(stage.service().await["deployments"][0]["failedTasks"], 0);
}

#[tokio::test]
async fn an_unhealthy_target_is_replaced_after_the_grace_period() {
    let stage = Stage::new().await;
    stage
        .create(json!({ "healthCheckGracePeriodSeconds": 60 }))
        .await
        .unwrap();
    stage.settle().await;
    let first = stage.targets()[0].id.clone();
    stage.find(TargetState::Healthy, |t| t.id != first).await;
    stage.find(TargetState::Unhealthy, |t| t.id == first).await;
    assert_eq!(stage.world.tasks().len(), 2, "young tasks are given time");
    stage.world.advance(61);
    stage.settle().await;
    assert_eq!(stage.world.tasks().len(), 3, "its replacement comes first");
    stage.find(TargetState::Healthy, |t| t.id != first).await;
    stage.find(TargetState::Drained, |t| t.draining_until.is_some()).await;
    let stopped = stage.in_state(TaskState::Stopped);
    assert_eq!(stopped.len(), 1);
    assert_eq!(
        stopped[0].stopped_reason.as_deref(),
        Some(format!("Task failed ELB health checks in (target-group {GROUP})").as_str())
    );
    let told = stage.told().await;
    let event = format!(
        "(port 80) is unhealthy in (target-group {GROUP}) due to (reason Health checks failed with these codes: [500])."
    );
    assert!(told.iter().any(|m| m.ends_with(&event)), "{told:?}");
}

#[tokio::test]
async fn a_task_whose_target_somebody_deregistered_is_replaced() {
    let stage = Stage::new().await;
    stage.create(json!({})).await.unwrap();
    stage.settle().await;
    stage.find(TargetState::Healthy, |_| true).await;
    let gone = stage.targets().remove(0);
    let store = &stage.world.ecs.store;
    let mut txn = Txn::new();
    let now = stage.world.cx().now;
    deregister(&store.snapshot(), &mut txn, GROUP, &gone.id, gone.port, now);
    store.commit(txn).await.unwrap();
    stage.settle().await;
    assert_eq!(stage.world.tasks().len(), 3, "its replacement comes first");
    stage.find(TargetState::Healthy, |t| t.id != gone.id).await;
    stage.find(TargetState::Drained, |t| t.draining_until.is_some()).await;
    let stopped = stage.in_state(TaskState::Stopped);
    assert_eq!(stopped.len(), 1);
    assert_eq!(stopped[0].interface.as_ref().unwrap().address.to_string(), gone.id);
    assert_eq!(stage.targets().len(), 2);
    let told = stage.told().await;
    let event = format!("is unhealthy in (target-group {GROUP}) due to (reason Target deregistration is in progress).");
    assert!(told.iter().any(|m| m.ends_with(&event)), "{told:?}");
}

#[tokio::test]
async fn a_target_group_that_is_gone_is_told_once() {
    let stage = Stage::new().await;
    stage.create(json!({ "desiredCount": 2 })).await.unwrap();
    let mut txn = Txn::new();
    txn.delete::<TargetGroupRecord>(&TargetGroupRecord::key(REGION, "web"));
    stage.world.ecs.store.commit(txn).await.unwrap();
    stage.settle().await;
    assert_eq!(stage.in_state(TaskState::Running).len(), 2);
    let failed = format!(
        "(service web) failed to register targets in (target-group {GROUP}) with (error One or more target groups not found)"
    );
    let told = stage.told().await;
    assert_eq!(told.iter().filter(|m| **m == failed).count(), 1, "{told:?}");
    assert!(!told.iter().any(|m| m.contains("steady")), "{told:?}");
}

#[tokio::test]
async fn a_rollout_waits_for_new_targets_before_it_takes_old_ones() {
    let stage = Stage::new().await;
    stage.create(json!({})).await.unwrap();
    stage.settle().await;
    stage.find(TargetState::Healthy, |_| true).await;
    let old: Vec<String> = stage.targets().iter().map(|t| t.id.clone()).collect();
    let input = json!({ "service": "web", "forceNewDeployment": true });
    stage.world.call("UpdateService", input).await.unwrap();
    stage.settle().await;
    assert_eq!(stage.in_state(TaskState::Running).len(), 4);
    assert!(stage.in_state(TaskState::Deactivating).is_empty());
    let new = stage.targets().into_iter().find(|t| !old.contains(&t.id)).unwrap().id;
    stage.find(TargetState::Healthy, |t| t.id == new).await;
    assert_eq!(stage.in_state(TaskState::Deactivating).len(), 1, "one for one");
    stage.find(TargetState::Healthy, |t| t.draining_until.is_none()).await;
    assert_eq!(stage.in_state(TaskState::Deactivating).len(), 2);
    stage.find(TargetState::Drained, |t| t.draining_until.is_some()).await;
    assert_eq!(stage.in_state(TaskState::Running).len(), 2);
    assert_eq!(stage.service().await["deployments"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_old_task_stopped_while_the_new_targets_are_unhealthy_comes_back_and_stays() {
    let stage = Stage::new().await;
    stage.create(json!({})).await.unwrap();
    stage.settle().await;
    stage.find(TargetState::Healthy, |_| true).await;
    let deployment = |t: &TaskRecord| t.service.as_ref().unwrap().deployment_id.clone();
    let working = deployment(&stage.in_state(TaskState::Running)[0]);
    let good = || {
        let tasks = stage.in_state(TaskState::Running).into_iter();
        let tasks = tasks.filter(|t| deployment(t) == working);
        tasks
            .map(|t| (t.interface.unwrap().address.to_string(), t.arn))
            .collect::<BTreeMap<_, _>>()
    };
    let input = json!({ "service": "web", "forceNewDeployment": true });
    stage.world.call("UpdateService", input).await.unwrap();
    stage.settle().await;
    let old = good();
    stage.find(TargetState::Unhealthy, |t| !old.contains_key(&t.id)).await;
    let input = json!({ "task": old.values().next() });
    stage.world.call("StopTask", input).await.unwrap();
    stage.settle().await;
    for _ in 0..5 {
        stage.find(TargetState::Drained, |t| t.draining_until.is_some()).await;
        let old = good();
        stage.find(TargetState::Healthy, |t| old.contains_key(&t.id)).await;
        stage.find(TargetState::Unhealthy, |t| !old.contains_key(&t.id)).await;
    }
    let service = stage.service().await;
    let counts = |at: usize| {
        let d = &service["deployments"][at];
        ["desiredCount", "runningCount"].map(|of| d[of].as_u64().unwrap())
    };
    assert_eq!((counts(0)[0], counts(1)), (2, [2, 2]), "{service:#}");
    assert!(service["runningCount"].as_u64().unwrap() <= 4, "{service:#}");
}

#[tokio::test]
async fn a_target_group_of_another_vpc_than_the_subnets_is_refused_and_a_kept_one_left_alone() {
    let stage = Stage::new().await;
    stage.create(json!({})).await.unwrap();
    let store = &stage.world.ecs.store;
    let key = TargetGroupRecord::key(REGION, "web");
    let mut group = (*store.snapshot().get::<TargetGroupRecord>(&key).unwrap().record).clone();
    group.vpc_id = "vpc-other".to_owned();
    stage.world.put(&key, group).await;
    let message = format!(
        "The target group with targetGroupArn {GROUP} is in a different VPC than the subnets in the network configuration."
    );
    let entry = json!([{ "targetGroupArn": GROUP, "containerName": "app", "containerPort": 80 }]);
    let network = json!({ "awsvpcConfiguration": { "subnets": [stage.world.subnets[0]] } });
    let new = stage.create(json!({ "serviceName": "another" })).await;
    let mut errors = vec![new.unwrap_err()];
    for change in [
        json!({ "loadBalancers": entry }),
        json!({ "networkConfiguration": network }),
    ] {
        let mut input = json!({ "service": "web" });
        input
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        errors.push(stage.world.call("UpdateService", input).await.unwrap_err());
    }
    for error in errors {
        assert_eq!((&*error.code, &error.message), ("InvalidParameterException", &message));
    }
    let input = json!({ "service": "web", "desiredCount": 0 });
    stage.world.call("UpdateService", input).await.unwrap();
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_awss_words() {
    let stage = Stage::new().await;
    let entry = |container: &str, port: i32| json!({ "targetGroupArn": GROUP, "containerName": container, "containerPort": port });
    let mut missing = entry("app", 80);
    missing["targetGroupArn"] = json!(GROUP.replace("web", "other"));
    let mut advanced = entry("app", 80);
    advanced["advancedConfiguration"] = json!({ "alternateTargetGroupArn": GROUP });
    for (entry, message) in [
        (
            entry("db", 80),
            "The container db does not exist in the task definition.",
        ),
        (
            entry("app", 81),
            "The container app did not have a container port 81 defined.",
        ),
        (missing, "does not exist."),
        (advanced, "loadBalancers.advancedConfiguration is not supported"),
    ] {
        let error = stage.create(json!({ "loadBalancers": [entry] })).await.unwrap_err();
        assert!(error.message.contains(message), "{} / {message}", error.message);
    }
    for (stage, message) in [
        (
            Stage::with_group("instance", true).await,
            "has target type instance, which is incompatible with the awsvpc network mode",
        ),
        (
            Stage::with_group("ip", false).await,
            "does not have an associated load balancer.",
        ),
    ] {
        let error = stage.create(json!({})).await.unwrap_err();
        assert!(error.message.contains(message), "{} / {message}", error.message);
    }
}
