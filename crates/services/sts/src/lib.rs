//! AWS STS: who is calling. Sessions and roles come with IAM.
//!
//! Rooms: `api` (generated), `ops` (one file per operation). It stores nothing: callers are known from the request.

pub mod api;
pub mod ops;

use neargate_core::RequestContext;
use neargate_wire::dispatch::{Running, find};
use neargate_wire::{Service, ServiceDispatch};
use serde_json::Value;

/// The service.
#[derive(Clone, Debug)]
pub struct Sts {
    /// The account that Neargate plays, 12 digits.
    pub account: String,
}

neargate_wire::routes! {
    Sts;
    "GetCallerIdentity" => ops::get_caller_identity::handle,
}

impl ServiceDispatch for Sts {
    fn schema(&self) -> &'static Service {
        &api::schema::SERVICE
    }

    fn call<'a>(&'a self, operation: &str, cx: &'a RequestContext, input: Value) -> Option<Running<'a>> {
        find(routes(), operation).map(|route| (route.call)(self, cx, input))
    }
}
