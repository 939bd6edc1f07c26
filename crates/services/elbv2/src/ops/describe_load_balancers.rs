//! DescribeLoadBalancers.

use crate::api::{self, errors};
use crate::records::LoadBalancerRecord;
use crate::refusal::validation;
use crate::{Elbv2, find, paging, shapes};
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
    let mut found: Vec<Arc<LoadBalancerRecord>> = Vec::new();
    for arn in &arns {
        found.push(find::load_balancer(&snapshot, &cx.region, arn)?.record);
    }
    for name in &names {
        let balancer = snapshot.get::<LoadBalancerRecord>(&LoadBalancerRecord::key(&cx.region, name));
        let missing = || errors::load_balancer_not_found_exception(format!("Load balancers '[{name}]' not found"));
        found.push(balancer.ok_or_else(missing)?.record);
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
