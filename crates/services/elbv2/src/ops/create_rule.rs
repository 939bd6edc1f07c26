//! CreateRule.

use crate::api::{self, errors};
use crate::records::{ListenerRecord, RuleRecord};
use crate::refusal::{unsupported, validation};
use crate::rules::{self, action};
use crate::{Elbv2, find, limits, shapes, tagging};
use neargate_core::{AwsError, RequestContext};
use neargate_link::gateway::BalancerKind;
use neargate_store::Txn;

/// # Errors
/// `ListenerNotFound`, `PriorityInUse`, `TooManyRules`, `ValidationError`, and those of `rules::action::admit`.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::CreateRuleInput,
) -> Result<api::CreateRuleOutput, AwsError> {
    let arn = input.listener_arn.clone().unwrap_or_default();
    let id = super::random_id(service);
    let rule = service
        .store
        .transact(|snapshot| {
            let (key, before) = find::listener(snapshot, &cx.region, &arn)?;
            let balancer = find::load_balancer_of(snapshot, &before)?;
            if balancer.kind == BalancerKind::Network {
                return Err(unsupported("Rules of Network Load Balancers"));
            }
            let place = action::Place {
                snapshot,
                balancer: &balancer,
                protocol: &before.protocol,
            };
            let rule = RuleRecord {
                arn: shapes::child_arn(&before.arn, &cx.region, &service.account, "listener-rule", &id),
                priority: Some(priority(&before, input.priority)?),
                conditions: rules::conditions(input.conditions.clone().unwrap_or_default())?,
                actions: action::admit(&place, input.actions.clone().unwrap_or_default())?,
                transforms: rules::transforms(input.transforms.clone().unwrap_or_default())?,
                tags: tagging::admit(input.tags.clone())?,
            };
            if before.rules.len() > limits::RULES_PER_LISTENER {
                return Err(errors::too_many_rules_exception(format!(
                    "The maximum number of rules per listener '{}' has been reached",
                    limits::RULES_PER_LISTENER
                )));
            }
            rules::fit(&rule)?;
            let mut next = (*before.record).clone();
            next.rules.push(rule.clone());
            next.sort_rules();
            let mut txn = Txn::new();
            action::bind(snapshot, &mut txn, &balancer, Some(&before), &next)?;
            txn.unchanged::<ListenerRecord>(snapshot, &key).put(&key, next);
            Ok::<_, AwsError>((txn, rule))
        })
        .await?;
    Ok(api::CreateRuleOutput {
        rules: Some(vec![shapes::rule(&rule)]),
    })
}

/// A priority that no other rule of the listener has.
fn priority(listener: &ListenerRecord, asked: Option<i32>) -> Result<u32, AwsError> {
    let priority = asked
        .and_then(|p| u32::try_from(p).ok())
        .filter(|p| (1..=50_000).contains(p));
    let priority = priority.ok_or_else(|| validation("A rule priority must be between 1 and 50000"))?;
    if listener.rules.iter().any(|rule| rule.priority == Some(priority)) {
        return Err(errors::priority_in_use_exception(format!(
            "Priority '{priority}' is currently in use"
        )));
    }
    Ok(priority)
}
