//! Every operation that ECS serves, in one table.

use crate::{Ecs, api};
use neargate_core::RequestContext;
use neargate_wire::dispatch::{Running, ServiceDispatch, find};
use neargate_wire::schema::Service;
use serde_json::Value;

neargate_wire::routes! { Ecs;
}

impl ServiceDispatch for Ecs {
    fn schema(&self) -> &'static Service {
        &api::schema::SERVICE
    }

    fn call<'a>(&'a self, operation: &str, cx: &'a RequestContext, input: Value) -> Option<Running<'a>> {
        find(routes(), operation).map(|route| (route.call)(self, cx, input))
    }
}
