//! Records by the ARNs that requests name, with the errors AWS gives for those that are not there.

use crate::api::errors;
use crate::arns::{self, Named};
use crate::records::{ListenerRecord, LoadBalancerRecord, RuleRecord, TargetGroupRecord};
use crate::refusal::validation;
use neargate_core::AwsError;
use neargate_store::{Snapshot, Versioned};

/// # Errors
/// `ValidationError`, `LoadBalancerNotFound`.
pub fn load_balancer(snapshot: &Snapshot, region: &str, arn: &str) -> Result<Versioned<LoadBalancerRecord>, AwsError> {
    let Some(Named::LoadBalancer(key)) = arns::parse(region, arn) else {
        return Err(validation(format!("'{arn}' is not a valid load balancer ARN")));
    };
    let found = snapshot
        .get::<LoadBalancerRecord>(&key)
        .filter(|balancer| balancer.arn == arn);
    found.ok_or_else(|| errors::load_balancer_not_found_exception(format!("Load balancer '{arn}' not found")))
}

/// A listener with its key.
///
/// # Errors
/// `ValidationError`, `ListenerNotFound`.
pub fn listener(snapshot: &Snapshot, region: &str, arn: &str) -> Result<(String, Versioned<ListenerRecord>), AwsError> {
    let Some(Named::Listener(key)) = arns::parse(region, arn) else {
        return Err(validation(format!("'{arn}' is not a valid listener ARN")));
    };
    let found = snapshot
        .get::<ListenerRecord>(&key)
        .filter(|listener| listener.arn == arn);
    let found = found.ok_or_else(|| errors::listener_not_found_exception("One or more listeners not found"))?;
    Ok((key, found))
}

/// A rule's listener with its key, and the rule's place in it.
///
/// # Errors
/// `ValidationError`, `RuleNotFound`.
pub fn rule(
    snapshot: &Snapshot,
    region: &str,
    arn: &str,
) -> Result<(String, Versioned<ListenerRecord>, usize), AwsError> {
    let Some(Named::Rule(key)) = arns::parse(region, arn) else {
        return Err(validation(format!("'{arn}' is not a valid listener rule ARN")));
    };
    let not_found = || errors::rule_not_found_exception("One or more rules not found");
    let listener = snapshot.get::<ListenerRecord>(&key).ok_or_else(not_found)?;
    let is_asked = |rule: &RuleRecord| rule.arn == arn;
    let at = listener.rules.iter().position(is_asked).ok_or_else(not_found)?;
    Ok((key, listener, at))
}

/// # Errors
/// `ValidationError`, `TargetGroupNotFound`.
pub fn target_group(snapshot: &Snapshot, region: &str, arn: &str) -> Result<Versioned<TargetGroupRecord>, AwsError> {
    if !matches!(arns::parse(region, arn), Some(Named::TargetGroup(_))) {
        return Err(validation(format!("'{arn}' is not a valid target group ARN")));
    }
    crate::targets::target_group(snapshot, region, arn)
        .ok_or_else(|| errors::target_group_not_found_exception(format!("Target groups '{arn}' not found")))
}

/// The load balancer of a listener.
///
/// # Errors
/// `LoadBalancerNotFound`; never while listeners end with their load balancer.
pub fn load_balancer_of(
    snapshot: &Snapshot,
    listener: &ListenerRecord,
) -> Result<Versioned<LoadBalancerRecord>, AwsError> {
    load_balancer(snapshot, &listener.region, &listener.load_balancer_arn)
}
