//! CreateRule.

use crate::api::{self, errors};
use crate::records::{ListenerRecord, LoadBalancerRecord, RuleRecord};
use crate::refusal::{unsupported, validation};
use crate::rules::{self, action};
use crate::{Elbv2, find, shapes, tagging};
use neargate_core::{AwsError, RequestContext};
use neargate_link::gateway::BalancerKind;
use neargate_store::{Snapshot, Txn};

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
                priority: Some(priority(input.priority)?),
                conditions: rules::conditions(input.conditions.clone().unwrap_or_default())?,
                actions: action::admit(&place, input.actions.clone().unwrap_or_default())?,
                transforms: rules::transforms(input.transforms.clone().unwrap_or_default())?,
                tags: tagging::admit(input.tags.clone())?,
            };
            rules::fit(&rule)?;
            if before.rules.iter().any(|other| other.priority == rule.priority) {
                return Err(errors::priority_in_use_exception(format!(
                    "Priority '{}' is currently in use",
                    rule.priority.unwrap_or_default()
                )));
            }
            let mut next = (*before.record).clone();
            next.rules.push(rule.clone());
            next.sort_rules();
            let mut txn = Txn::new();
            admit_one_more(service.rules_per_balancer, snapshot, &mut txn, &balancer, &key)?;
            action::bind(snapshot, &mut txn, &balancer, Some(&before), &next)?;
            txn.unchanged::<ListenerRecord>(snapshot, &key).put(&key, next);
            Ok::<_, AwsError>((txn, rule))
        })
        .await?;
    Ok(api::CreateRuleOutput {
        rules: Some(vec![shapes::rule(&rule)]),
    })
}

/// That the balancer may have another rule of `most`, on whichever of its listeners; they must not change meanwhile. `own`:
/// key of the one that gets it.
fn admit_one_more(
    most: usize,
    snapshot: &Snapshot,
    txn: &mut Txn,
    balancer: &LoadBalancerRecord,
    own: &str,
) -> Result<(), AwsError> {
    let mut rules = 0;
    for (key, listener) in snapshot.range::<ListenerRecord>(&balancer.listeners_prefix()) {
        rules += listener.rules.iter().filter(|rule| rule.priority.is_some()).count();
        if key != own {
            txn.unchanged::<ListenerRecord>(snapshot, key);
        }
    }
    if rules >= most {
        return Err(errors::too_many_rules_exception(format!(
            "The maximum number of rules per load balancer '{most}' has been reached"
        )));
    }
    Ok(())
}

fn priority(asked: Option<i32>) -> Result<u32, AwsError> {
    asked
        .and_then(|p| u32::try_from(p).ok())
        .filter(|p| (1..=50_000).contains(p))
        .ok_or_else(|| validation("A rule priority must be between 1 and 50000"))
}
