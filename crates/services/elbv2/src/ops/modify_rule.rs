//! ModifyRule.

use crate::api::{self, errors};
use crate::records::ListenerRecord;
use crate::refusal::validation;
use crate::rules::{self, action};
use crate::{Elbv2, find, shapes};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;

/// # Errors
/// `RuleNotFound`, `OperationNotPermitted` for the default rule, `ValidationError`, and those of
/// `rules::action::admit`.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::ModifyRuleInput,
) -> Result<api::ModifyRuleOutput, AwsError> {
    let arn = input.rule_arn.clone().unwrap_or_default();
    let reset = input.reset_transforms == Some(true);
    let transforms = input.transforms.filter(|t| !t.is_empty());
    if reset && transforms.is_some() {
        return Err(validation("You cannot specify both Transforms and ResetTransforms"));
    }
    let rule = service
        .store
        .transact(|snapshot| {
            let (key, before, at) = find::rule(snapshot, &cx.region, &arn)?;
            let balancer = find::load_balancer_of(snapshot, &before)?;
            let mut next = (*before.record).clone();
            let rule = &mut next.rules[at];
            if rule.priority.is_none() {
                return Err(errors::operation_not_permitted_exception(format!(
                    "Default rule '{arn}' cannot be modified"
                )));
            }
            let place = action::Place {
                snapshot,
                balancer: &balancer,
                protocol: &before.protocol,
            };
            if let Some(conditions) = input.conditions.clone().filter(|c| !c.is_empty()) {
                rule.conditions = rules::conditions(conditions)?;
            }
            if let Some(actions) = input.actions.clone().filter(|a| !a.is_empty()) {
                rule.actions = action::admit(&place, actions)?;
            }
            if let Some(transforms) = transforms.clone() {
                rule.transforms = rules::transforms(transforms)?;
            } else if reset {
                rule.transforms.clear();
            }
            rules::fit(rule)?;
            let rule = rule.clone();
            let mut txn = Txn::new();
            action::bind(snapshot, &mut txn, &balancer, Some(&before), &next)?;
            txn.unchanged::<ListenerRecord>(snapshot, &key).put(&key, next);
            Ok::<_, AwsError>((txn, rule))
        })
        .await?;
    Ok(api::ModifyRuleOutput {
        rules: Some(vec![shapes::rule(&rule)]),
    })
}
