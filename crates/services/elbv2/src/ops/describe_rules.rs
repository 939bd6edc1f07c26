//! DescribeRules.

use crate::api;
use crate::records::RuleRecord;
use crate::refusal::validation;
use crate::{Elbv2, find, paging, shapes};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `ListenerNotFound`, `RuleNotFound`, `ValidationError`.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::DescribeRulesInput,
) -> Result<api::DescribeRulesOutput, AwsError> {
    let snapshot = service.store.snapshot();
    let arns = input.rule_arns.unwrap_or_default();
    let mut found: Vec<RuleRecord> = Vec::new();
    match (&input.listener_arn, arns.is_empty()) {
        (Some(_), false) => {
            return Err(validation(
                "A listener ARN and rule ARNs cannot be specified at the same time",
            ));
        }
        (None, true) => {
            return Err(validation(
                "You must specify either listener rule ARNs or a listener ARN",
            ));
        }
        (Some(arn), true) => found.extend(find::listener(&snapshot, &cx.region, arn)?.1.rules.iter().cloned()),
        (None, false) => {
            for arn in &arns {
                let (_, listener, at) = find::rule(&snapshot, &cx.region, arn)?;
                found.push(listener.rules[at].clone());
            }
        }
    }
    found.sort_by_key(order);
    found.dedup_by(|a, b| a.arn == b.arn);
    let marker = input.marker.as_deref();
    let (page, next_marker) = paging::page("rules", found, order, input.page_size, marker)?;
    Ok(api::DescribeRulesOutput {
        rules: Some(page.iter().map(shapes::rule).collect()),
        next_marker,
    })
}

/// By priority, the default rule last.
fn order(rule: &RuleRecord) -> String {
    format!("{:05}/{}", rule.priority.unwrap_or(99_999), rule.arn)
}
