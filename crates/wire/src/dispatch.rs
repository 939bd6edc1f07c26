//! From an operation's name to the function that serves it, through one visible table per service.

use crate::schema::Service;
use neargate_core::{AwsError, RequestContext};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::future::Future;
use std::pin::Pin;

/// An operation's output before a protocol encodes it.
pub trait Reply: Send {
    /// As awsJson writes it.
    fn json(&self) -> Result<Vec<u8>, serde_json::Error>;
    /// As a tree keyed by model member names, for the other protocols.
    fn tree(&self) -> Result<Value, serde_json::Error>;
}

impl<T: Serialize + Send> Reply for T {
    fn json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    fn tree(&self) -> Result<Value, serde_json::Error> {
        serde_json::to_value(self)
    }
}

/// What an operation answers.
pub type Outcome = Result<Box<dyn Reply>, AwsError>;
/// A running operation.
pub type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// One row of a service's table.
pub struct Route<S: 'static> {
    pub operation: &'static str,
    pub call: for<'a> fn(&'a S, &'a RequestContext, Value) -> Running<'a>,
}

/// A service as the front door sees it.
pub trait ServiceDispatch: Send + Sync + 'static {
    fn schema(&self) -> &'static Service;

    /// Runs `operation` on a decoded and validated input; `None` when the table has no such row.
    fn call<'a>(&'a self, operation: &str, cx: &'a RequestContext, input: Value) -> Option<Running<'a>>;
}

/// Reads the validated tree into the operation's input struct.
///
/// # Errors
/// `SerializationException` when a member's type does not fit.
pub fn read<T: DeserializeOwned>(input: Value) -> Result<T, AwsError> {
    serde_json::from_value(input).map_err(|e| AwsError::new("SerializationException", 400, e.to_string()))
}

/// The table of a service: `routes! { Ecs; "CreateCluster" => ops::create_cluster::handle, … }` makes
/// `fn routes() -> &'static [Route<Ecs>]`, ascending by name; each handler is
/// `async fn handle(service: &S, cx: &RequestContext, input: In) -> Result<Out, AwsError>`.
#[macro_export]
macro_rules! routes {
    ($service:ty; $( $operation:literal => $handler:path ),* $(,)?) => {
        /// Every operation this service serves, ascending by name.
        pub fn routes() -> &'static [$crate::dispatch::Route<$service>] {
            &[ $( $crate::dispatch::Route {
                operation: $operation,
                call: |service, cx, input| Box::pin(async move {
                    let input = $crate::dispatch::read(input)?;
                    let output = $handler(service, cx, input).await?;
                    Ok(Box::new(output) as Box<dyn $crate::dispatch::Reply>)
                }),
            } ),* ]
        }
    };
}

/// Finds `operation` in a table ascending by name.
pub fn find<S>(table: &'static [Route<S>], operation: &str) -> Option<&'static Route<S>> {
    let at = table.binary_search_by(|r| r.operation.cmp(operation)).ok()?;
    Some(&table[at])
}
