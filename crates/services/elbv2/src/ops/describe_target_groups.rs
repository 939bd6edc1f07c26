//! DescribeTargetGroups.

use crate::api::{self, errors};
use crate::records::TargetGroupRecord;
use crate::refusal::validation;
use crate::{Elbv2, find, paging, shapes};
use neargate_core::{AwsError, RequestContext};
use std::sync::Arc;

/// # Errors
/// `TargetGroupNotFound`, `LoadBalancerNotFound`, `ValidationError`.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::DescribeTargetGroupsInput,
) -> Result<api::DescribeTargetGroupsOutput, AwsError> {
    let snapshot = service.store.snapshot();
    let arns = input.target_group_arns.unwrap_or_default();
    let names = input.names.unwrap_or_default();
    let given = [!arns.is_empty(), !names.is_empty(), input.load_balancer_arn.is_some()];
    if given.iter().filter(|given| **given).count() > 1 {
        return Err(validation(
            "Target group names, target group ARNs and a load balancer ARN cannot be specified at the same time",
        ));
    }
    let not_found = || errors::target_group_not_found_exception("One or more target groups not found");
    let mut found: Vec<Arc<TargetGroupRecord>> = Vec::new();
    for arn in &arns {
        let group = find::target_group(&snapshot, &cx.region, arn);
        found.push(
            group
                .map_err(|e| {
                    if e.code == "TargetGroupNotFound" {
                        not_found()
                    } else {
                        e
                    }
                })?
                .record,
        );
    }
    for name in &names {
        let group = snapshot.get::<TargetGroupRecord>(&TargetGroupRecord::key(&cx.region, name));
        found.push(group.ok_or_else(not_found)?.record);
    }
    if arns.is_empty() && names.is_empty() {
        let balancer = input.load_balancer_arn.as_deref();
        let balancer = balancer
            .map(|arn| find::load_balancer(&snapshot, &cx.region, arn))
            .transpose()?;
        let all = snapshot.range::<TargetGroupRecord>(&format!("{}/", cx.region));
        let all = all.map(|(_, group)| group.record);
        found.extend(all.filter(|group| {
            match &balancer {
                None => true,
                Some(balancer) => crate::targets::load_balancer_of(&snapshot, &group.arn)
                    .is_some_and(|of_group| of_group.arn == balancer.arn),
            }
        }));
    }
    found.sort_by(|a, b| a.arn.cmp(&b.arn));
    found.dedup_by(|a, b| a.arn == b.arn);
    let marker = input.marker.as_deref();
    let (page, next_marker) = paging::page("target-groups", found, |g| g.arn.clone(), input.page_size, marker)?;
    Ok(api::DescribeTargetGroupsOutput {
        target_groups: Some(
            page.iter()
                .map(|group| shapes::target_group(&snapshot, group))
                .collect(),
        ),
        next_marker,
    })
}
