//! SetRulePriorities.

use crate::api::{self, errors};
use crate::records::{ListenerRecord, RuleRecord};
use crate::refusal::validation;
use crate::{Elbv2, find, shapes};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{Snapshot, Txn};
use std::collections::{BTreeMap, BTreeSet};

/// Gives rules of one listener new priorities, all together, so that two can change places.
///
/// # Errors
/// `RuleNotFound`, `PriorityInUse`, `OperationNotPermitted` for the default rule, `ValidationError`.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::SetRulePrioritiesInput,
) -> Result<api::SetRulePrioritiesOutput, AwsError> {
    let pairs = input.rule_priorities.unwrap_or_default();
    let mut asked = BTreeMap::new();
    for pair in pairs {
        let arn = pair.rule_arn.filter(|arn| !arn.is_empty());
        let arn = arn.ok_or_else(|| validation("A rule ARN must be specified"))?;
        let priority = pair.priority.and_then(|p| u32::try_from(p).ok());
        let priority = priority.filter(|p| (1..=50_000).contains(p));
        let priority = priority.ok_or_else(|| validation("A rule priority must be between 1 and 50000"))?;
        if asked.insert(arn, priority).is_some() {
            return Err(validation("A rule cannot be specified more than once"));
        }
    }
    if asked.is_empty() {
        return Err(validation("At least one rule priority must be specified"));
    }
    let changed = service
        .store
        .transact(|snapshot| {
            let (key, next) = reorder(snapshot, &cx.region, &asked)?;
            let changed: Vec<RuleRecord> = next
                .rules
                .iter()
                .filter(|rule| asked.contains_key(&rule.arn))
                .cloned()
                .collect();
            let mut txn = Txn::new();
            txn.unchanged::<ListenerRecord>(snapshot, &key).put(&key, next);
            Ok::<_, AwsError>((txn, changed))
        })
        .await?;
    Ok(api::SetRulePrioritiesOutput {
        rules: Some(changed.iter().map(shapes::rule).collect()),
    })
}

/// The listener with its rules in their new order, and its key.
fn reorder(
    snapshot: &Snapshot,
    region: &str,
    asked: &BTreeMap<String, u32>,
) -> Result<(String, ListenerRecord), AwsError> {
    let mut out: Option<(String, ListenerRecord)> = None;
    for (arn, priority) in asked {
        let (key, listener, at) = find::rule(snapshot, region, arn)?;
        let (held, next) = out.get_or_insert_with(|| (key.clone(), (*listener.record).clone()));
        if *held != key {
            return Err(validation("All rules must belong to the same listener"));
        }
        let rule = &mut next.rules[at];
        if rule.priority.is_none() {
            return Err(errors::operation_not_permitted_exception(format!(
                "The priority of the default rule '{arn}' cannot be changed"
            )));
        }
        rule.priority = Some(*priority);
    }
    let (key, mut next) = out.ok_or_else(|| validation("At least one rule priority must be specified"))?;
    let mut seen = BTreeSet::new();
    if let Some(twice) = next
        .rules
        .iter()
        .filter_map(|rule| rule.priority)
        .find(|p| !seen.insert(*p))
    {
        return Err(errors::priority_in_use_exception(format!(
            "Priority '{twice}' is currently in use"
        )));
    }
    next.sort_rules();
    Ok((key, next))
}
