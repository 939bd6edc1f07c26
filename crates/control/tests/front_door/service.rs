//! A service made for these tests, with operations that misbehave.

use neargate_core::{AwsError, RequestContext};
use neargate_wire::ServiceDispatch;
use neargate_wire::dispatch::{Outcome, Reply, Running};
use neargate_wire::schema::{self, Kind, Operation, Protocol, Service, Shape, m};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Notify;

static NAME: Shape = Shape {
    name: "Name",
    kind: Kind::String {
        min: Some(1),
        max: Some(8),
        pattern: Some("[a-z]+"),
        values: &[],
    },
};
static INPUT: Shape = Shape {
    name: "EchoRequest",
    kind: Kind::Structure {
        members: &[
            m("count", &schema::INTEGER),
            m("name", &NAME),
            m("text", &schema::STRING),
            m("when", &schema::TIMESTAMP),
        ],
        union: false,
    },
};

const fn operation(name: &'static str) -> Operation {
    Operation {
        name,
        method: "POST",
        uri: "/",
        input: Some(&INPUT),
        output: Some(&INPUT),
        result_wrapper: None,
        errors: &["ServerException", "ClientException"],
    }
}

static SERVICE: Service = Service {
    name: "trial",
    signing_name: "trial",
    target_prefix: "Trial_2020",
    api_version: "2020-01-01",
    xml_namespace: "",
    protocols: &[Protocol::AwsJson11],
    operations: &[
        operation("Echo"),
        operation("Fail"),
        operation("Panic"),
        operation("Unlisted"),
        operation("Unrouted"),
        operation("Wait"),
        operation("WhoAmI"),
    ],
    modelled: &[
        "Echo", "Fail", "Later", "Panic", "Unlisted", "Unrouted", "Wait", "WhoAmI",
    ],
};

/// `Wait` says on `entered` that it runs and ends when `release` is told; then it says `finished`.
#[derive(Default)]
pub struct Trial {
    pub entered: Notify,
    pub release: Notify,
    pub finished: Notify,
}

impl ServiceDispatch for Trial {
    fn schema(&self) -> &'static Service {
        &SERVICE
    }

    fn call<'a>(&'a self, operation: &str, cx: &'a RequestContext, input: Value) -> Option<Running<'a>> {
        let operation = SERVICE.operation(operation)?.name;
        (operation != "Unrouted").then(|| Box::pin(self.run(operation, cx, input)) as Running<'a>)
    }
}

impl Trial {
    async fn run(&self, operation: &str, cx: &RequestContext, input: Value) -> Outcome {
        match operation {
            "Fail" => Err(AwsError::new("ServerException", 500, "the disk of 10.0.0.7 is full")),
            "Panic" => panic!("a handler panics, on purpose"),
            "Unlisted" => Err(AwsError::new("SecretException", 400, "nobody may read this")),
            "Wait" => {
                self.entered.notify_one();
                self.release.notified().await;
                self.finished.notify_one();
                Ok(reply(json!({})))
            }
            "WhoAmI" => Ok(reply(
                json!({"text": format!("{} {} {}", cx.caller_arn, cx.region, cx.access_key)}),
            )),
            _ => Ok(reply(input)),
        }
    }
}

fn reply(value: Value) -> Box<dyn Reply> {
    Box::new(value)
}

pub fn trial() -> Arc<Trial> {
    Arc::new(Trial::default())
}
