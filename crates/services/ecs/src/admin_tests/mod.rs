//! Clusters, task definitions, account settings and tags through the table of operations, as the front door calls them.

mod account_settings;
mod clusters;
mod tags;
mod task_definitions;

use crate::Ecs;
use crate::records::TaskRecord;
use crate::testing::World;
use neargate_core::clock::ManualClock;
use neargate_core::ids::CountingIds;
use neargate_core::{AwsError, RequestContext, Timestamp};
use neargate_store::{Record, Store, Txn};
use neargate_wire::ServiceDispatch;
use serde_json::{Value, json};
use std::sync::Arc;

/// ECS over an empty store, asked by root in us-east-1.
struct Fixture {
    ecs: Ecs,
    clock: Arc<ManualClock>,
    cx: RequestContext,
}

impl Fixture {
    fn new() -> Fixture {
        let now = Timestamp::from_secs(1_700_000_000);
        let clock = Arc::new(ManualClock::at(now));
        let store = Store::in_memory(&crate::records::kinds());
        let ecs = Ecs::new(store, clock.clone(), Arc::new(CountingIds::default()), "000000000000");
        let cx = RequestContext {
            request_id: "r".to_owned(),
            region: "us-east-1".to_owned(),
            account: "000000000000".to_owned(),
            caller_arn: "arn:aws:iam::000000000000:root".to_owned(),
            caller_id: "000000000000".to_owned(),
            access_key: "k".to_owned(),
            now,
        };
        Fixture { ecs, clock, cx }
    }

    async fn call(&self, operation: &str, input: Value) -> Result<Value, AwsError> {
        let running = self
            .ecs
            .call(operation, &self.cx, input)
            .unwrap_or_else(|| panic!("{operation} is not served"));
        running.await.map(|reply| reply.tree().unwrap())
    }

    #[track_caller]
    fn done(result: Result<Value, AwsError>) -> Value {
        result.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn ok(&self, operation: &str, input: Value) -> Value {
        Self::done(self.call(operation, input).await)
    }

    async fn err(&self, operation: &str, input: Value) -> String {
        match self.call(operation, input).await {
            Ok(reply) => panic!("{operation} answered {reply:#}"),
            Err(error) => error.to_string(),
        }
    }

    async fn put<R: Record>(&self, key: &str, record: R) {
        let mut txn = Txn::new();
        txn.put(key, record);
        self.ecs.store.commit(txn).await.unwrap();
    }

    /// A definition of one container.
    async fn register(&self, family: &str) -> Value {
        let input = json!({"family": family,
            "containerDefinitions": [{"name": "app", "image": "nginx", "memory": 64}]});
        self.ok("RegisterTaskDefinition", input).await["taskDefinition"].clone()
    }
}

/// A task of cluster `web` to put into a fixture's store.
async fn some_task(id: &str) -> TaskRecord {
    let world = World::new().await;
    world.node("00000000000000000000000000000001", 4096, 8192).await;
    world.define("app", json!({})).await;
    world.run_fargate("app", json!({})).await.unwrap();
    let snapshot = world.ecs.store.snapshot();
    let (_, task) = snapshot.range::<TaskRecord>("").next().unwrap();
    TaskRecord {
        cluster: "web".to_owned(),
        id: id.to_owned(),
        ..(*task.record).clone()
    }
}

#[test]
fn the_table_ascends_and_names_operations_of_the_model() {
    let names: Vec<_> = crate::dispatch::routes().iter().map(|route| route.operation).collect();
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
    for name in names {
        assert!(crate::api::schema::SERVICE.operation(name).is_some(), "{name}");
    }
}
