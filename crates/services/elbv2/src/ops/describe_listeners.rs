//! DescribeListeners.

use crate::api;
use crate::records::ListenerRecord;
use crate::refusal::validation;
use crate::{Elbv2, find, paging, shapes};
use neargate_core::{AwsError, RequestContext};
use std::sync::Arc;

/// # Errors
/// `ListenerNotFound`, `LoadBalancerNotFound`, `ValidationError`.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::DescribeListenersInput,
) -> Result<api::DescribeListenersOutput, AwsError> {
    let snapshot = service.store.snapshot();
    let arns = input.listener_arns.unwrap_or_default();
    let mut found: Vec<Arc<ListenerRecord>> = Vec::new();
    match (&input.load_balancer_arn, arns.is_empty()) {
        (Some(_), false) => {
            return Err(validation(
                "A load balancer ARN and listener ARNs cannot be specified at the same time",
            ));
        }
        (None, true) => {
            return Err(validation(
                "You must specify either listener ARNs or a load balancer ARN",
            ));
        }
        (Some(arn), true) => {
            let balancer = find::load_balancer(&snapshot, &cx.region, arn)?;
            let all = snapshot.range::<ListenerRecord>(&balancer.listeners_prefix());
            found.extend(all.map(|(_, listener)| listener.record));
        }
        (None, false) => {
            for arn in &arns {
                found.push(find::listener(&snapshot, &cx.region, arn)?.1.record);
            }
        }
    }
    found.sort_by(|a, b| a.arn.cmp(&b.arn));
    found.dedup_by(|a, b| a.arn == b.arn);
    let marker = input.marker.as_deref();
    let (page, next_marker) = paging::page("listeners", found, |l| l.arn.clone(), input.page_size, marker)?;
    Ok(api::DescribeListenersOutput {
        listeners: Some(page.iter().map(|listener| shapes::listener(listener)).collect()),
        next_marker,
    })
}
