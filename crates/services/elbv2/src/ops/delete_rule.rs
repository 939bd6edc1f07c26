//! DeleteRule.

use crate::api::{self, errors};
use crate::records::ListenerRecord;
use crate::{Elbv2, find};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;

/// # Errors
/// `RuleNotFound`, `OperationNotPermitted` for the default rule, `ValidationError`.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::DeleteRuleInput,
) -> Result<api::DeleteRuleOutput, AwsError> {
    let arn = input.rule_arn.unwrap_or_default();
    service
        .store
        .transact(|snapshot| {
            let (key, before, at) = find::rule(snapshot, &cx.region, &arn)?;
            let mut next = (*before.record).clone();
            if next.rules.remove(at).priority.is_none() {
                return Err(errors::operation_not_permitted_exception(format!(
                    "Default rule '{arn}' cannot be deleted"
                )));
            }
            let mut txn = Txn::new();
            txn.unchanged::<ListenerRecord>(snapshot, &key).put(&key, next);
            Ok::<_, AwsError>((txn, ()))
        })
        .await?;
    Ok(api::DeleteRuleOutput {})
}
