//! Every operation that CloudWatch Logs serves, in one table.

use crate::{Logs, api, ops};
use neargate_core::RequestContext;
use neargate_wire::dispatch::{Running, ServiceDispatch, find};
use neargate_wire::schema::Service;
use serde_json::Value;

neargate_wire::routes! { Logs;
    "CreateLogGroup" => ops::create_log_group::handle,
    "CreateLogStream" => ops::create_log_stream::handle,
    "DeleteLogGroup" => ops::delete_log_group::handle,
    "DeleteLogStream" => ops::delete_log_stream::handle,
    "DeleteRetentionPolicy" => ops::delete_retention_policy::handle,
    "DescribeLogGroups" => ops::describe_log_groups::handle,
    "DescribeLogStreams" => ops::describe_log_streams::handle,
    "FilterLogEvents" => ops::filter_log_events::handle,
    "GetLogEvents" => ops::get_log_events::handle,
    "ListTagsForResource" => ops::list_tags_for_resource::handle,
    "ListTagsLogGroup" => ops::list_tags_log_group::handle,
    "PutLogEvents" => ops::put_log_events::handle,
    "PutRetentionPolicy" => ops::put_retention_policy::handle,
    "TagLogGroup" => ops::tag_log_group::handle,
    "TagResource" => ops::tag_resource::handle,
    "UntagLogGroup" => ops::untag_log_group::handle,
    "UntagResource" => ops::untag_resource::handle,
}

impl ServiceDispatch for Logs {
    fn schema(&self) -> &'static Service {
        &api::schema::SERVICE
    }

    fn call<'a>(&'a self, operation: &str, cx: &'a RequestContext, input: Value) -> Option<Running<'a>> {
        find(routes(), operation).map(|route| (route.call)(self, cx, input))
    }
}
