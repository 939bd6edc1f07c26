//! DescribeAccountLimits.

use crate::{Elbv2, api, limits, paging};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `ValidationError`.
pub async fn handle(
    service: &Elbv2,
    _cx: &RequestContext,
    input: api::DescribeAccountLimitsInput,
) -> Result<api::DescribeAccountLimitsOutput, AwsError> {
    let marker = input.marker.as_deref();
    let name = |limit: &(&'static str, u64)| limit.0.to_owned();
    let all = limits::all(service.rules_per_balancer);
    let (page, next_marker) = paging::page("account-limits", all, name, input.page_size, marker)?;
    let shape = |(name, max): (&str, u64)| api::Limit {
        name: Some(name.to_owned()),
        max: Some(max.to_string()),
    };
    Ok(api::DescribeAccountLimitsOutput {
        limits: Some(page.into_iter().map(shape).collect()),
        next_marker,
    })
}
