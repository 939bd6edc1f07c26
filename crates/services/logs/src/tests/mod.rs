//! Through the service's table, on a store in memory and files in a directory of the test.

mod crash;
mod events;
mod groups;
mod ingest;
mod paging;
mod retention;

use crate::Logs;
use neargate_core::clock::ManualClock;
use neargate_core::ids::RandomIds;
use neargate_core::{AwsError, RequestContext, Timestamp};
use neargate_store::Store;
use neargate_wire::dispatch::ServiceDispatch as _;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// 2026-11-21T08:40:00Z.
const NOW: i64 = 1_795_250_400_000;

/// A service of its own, with everything it stands on.
struct Bed {
    logs: Option<Arc<Logs>>,
    clock: Arc<ManualClock>,
    store: Store,
    dir: TempDir,
    region: &'static str,
    memory: usize,
}

impl Bed {
    fn new() -> Bed {
        Bed::with_memory(crate::storage::MEMORY)
    }

    /// With so little memory that events soon go to segments.
    fn with_memory(memory: usize) -> Bed {
        let mut bed = Bed {
            logs: None,
            clock: Arc::new(ManualClock::at(Timestamp(NOW))),
            store: Store::in_memory(&crate::kinds()),
            dir: tempfile::tempdir().unwrap(),
            region: "us-east-1",
            memory,
        };
        bed.restart();
        bed
    }

    /// Closes the service and opens it again on the same records and files.
    fn restart(&mut self) {
        self.logs = None;
        let clock: Arc<ManualClock> = self.clock.clone();
        let ids = Arc::new(RandomIds);
        let (store, dir) = (self.store.clone(), self.dir.path());
        let logs = Logs::with_memory(store, dir, clock, ids, "000000000000", self.memory).unwrap();
        self.logs = Some(Arc::new(logs));
    }

    fn logs(&self) -> &Arc<Logs> {
        self.logs.as_ref().unwrap()
    }

    fn now(&self) -> i64 {
        neargate_core::Clock::now(&*self.clock).0
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn call(&self, operation: &str, input: Value) -> Result<Value, AwsError> {
        let cx = RequestContext {
            request_id: "r".into(),
            region: self.region.into(),
            account: "000000000000".into(),
            caller_arn: "arn:aws:iam::000000000000:root".into(),
            caller_id: "000000000000".into(),
            access_key: "AKIA".into(),
            now: Timestamp(self.now()),
        };
        let running = self.logs().call(operation, &cx, input).expect("served");
        Ok(running.await?.tree().unwrap())
    }

    async fn ok(&self, operation: &str, input: Value) -> Value {
        self.call(operation, input)
            .await
            .unwrap_or_else(|e| panic!("{operation}: {e}"))
    }

    /// The code and the message of a refusal.
    async fn refused(&self, operation: &str, input: Value) -> (String, String) {
        match self.call(operation, input).await {
            Ok(answer) => panic!("{operation} answered {answer}"),
            Err(error) => (error.code.into_owned(), error.message),
        }
    }

    async fn stream(&self, group: &str, stream: &str) {
        if self
            .call("CreateLogGroup", json!({"logGroupName": group}))
            .await
            .is_err()
        {
            // Another test stream made it.
        }
        self.ok(
            "CreateLogStream",
            json!({"logGroupName": group, "logStreamName": stream}),
        )
        .await;
    }

    async fn put(&self, group: &str, stream: &str, events: &[(i64, &str)]) -> Value {
        let events: Vec<Value> = (events.iter())
            .map(|(timestamp, message)| json!({"timestamp": timestamp, "message": message}))
            .collect();
        let input = json!({"logGroupName": group, "logStreamName": stream, "logEvents": events});
        self.ok("PutLogEvents", input).await
    }

    /// Messages of the whole group, from all pages of FilterLogEvents.
    async fn filter(&self, mut input: Value) -> Vec<String> {
        let mut out = Vec::new();
        loop {
            let page = self.ok("FilterLogEvents", input.clone()).await;
            out.extend(messages(&page));
            match page.get("nextToken").and_then(Value::as_str) {
                Some(token) => input["nextToken"] = token.into(),
                None => return out,
            }
        }
    }
}

/// The only group whose name starts with `name`.
async fn described(bed: &Bed, name: &str) -> Value {
    let answer = bed.ok("DescribeLogGroups", json!({"logGroupNamePrefix": name})).await;
    assert_eq!(answer["logGroups"].as_array().unwrap().len(), 1);
    answer["logGroups"][0].clone()
}

fn messages(page: &Value) -> Vec<String> {
    let events = page["events"].as_array().unwrap();
    events
        .iter()
        .map(|e| e["message"].as_str().unwrap().to_owned())
        .collect()
}
