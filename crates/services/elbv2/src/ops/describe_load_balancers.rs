//! DescribeLoadBalancers.

use crate::api::{self, errors};
use crate::records::LoadBalancerRecord;
use crate::refusal::validation;
use crate::{Elbv2, find, limits, paging, shapes};
use neargate_core::{AwsError, RequestContext};
use std::sync::Arc;

/// # Errors
/// `LoadBalancerNotFound`, `ValidationError`.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::DescribeLoadBalancersInput,
) -> Result<api::DescribeLoadBalancersOutput, AwsError> {
    let snapshot = service.store.snapshot();
    let arns = input.load_balancer_arns.unwrap_or_default();
    let names = input.names.unwrap_or_default();
    if !arns.is_empty() && !names.is_empty() {
        return Err(validation(
            "Load balancer names and load balancer ARNs cannot be specified at the same time",
        ));
    }
    if arns.len().max(names.len()) > limits::DESCRIBED {
        return Err(validation(format!(
            "Up to '{}' load balancers can be described in a single call",
            limits::DESCRIBED
        )));
    }
    let mut found: Vec<Arc<LoadBalancerRecord>> = Vec::new();
    for arn in &arns {
        found.push(find::load_balancer(&snapshot, &cx.region, arn)?.record);
    }
    let mut missing = Vec::new();
    for name in &names {
        match snapshot.get::<LoadBalancerRecord>(&LoadBalancerRecord::key(&cx.region, name)) {
            Some(balancer) => found.push(balancer.record),
            None => missing.push(name.as_str()),
        }
    }
    if !missing.is_empty() {
        let text = format!("Load balancers '[{}]' not found", missing.join(", "));
        return Err(errors::load_balancer_not_found_exception(text));
    }
    if arns.is_empty() && names.is_empty() {
        let all = snapshot.range::<LoadBalancerRecord>(&format!("{}/", cx.region));
        found.extend(all.map(|(_, balancer)| balancer.record));
    }
    found.sort_by(|a, b| a.arn.cmp(&b.arn));
    found.dedup_by(|a, b| a.arn == b.arn);
    let marker = input.marker.as_deref();
    let (page, next_marker) = paging::page("load-balancers", found, |b| b.arn.clone(), input.page_size, marker)?;
    Ok(api::DescribeLoadBalancersOutput {
        load_balancers: Some(page.iter().map(|balancer| shapes::load_balancer(balancer)).collect()),
        next_marker,
    })
}
