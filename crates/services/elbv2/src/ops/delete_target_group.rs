//! DeleteTargetGroup.

use crate::Elbv2;
use crate::api::{self, errors};
use crate::arns::{self, Named};
use crate::records::{TargetGroupRecord, TargetRecord};
use crate::refusal::validation;
use crate::targets;
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;

/// Targets that go in the group's own commit, which may hold 128 changes; `Elbv2::end_draining` removes the rest.
const AT_ONCE: usize = 100;

/// Deletes a target group with its targets; one that is gone already is a success.
///
/// # Errors
/// `ResourceInUse`, `ValidationError`.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::DeleteTargetGroupInput,
) -> Result<api::DeleteTargetGroupOutput, AwsError> {
    let arn = input.target_group_arn.unwrap_or_default();
    let Some(Named::TargetGroup(key)) = arns::parse(&cx.region, &arn) else {
        return Err(validation(format!("'{arn}' is not a valid target group ARN")));
    };
    service
        .store
        .transact(|snapshot| {
            let mut txn = Txn::new();
            if targets::target_group(snapshot, &cx.region, &arn).is_none() {
                return Ok::<_, AwsError>((txn, ()));
            }
            if targets::in_use(snapshot, &arn) {
                return Err(errors::resource_in_use_exception(format!(
                    "Target group '{arn}' is currently in use by a listener or a rule"
                )));
            }
            txn.unchanged::<TargetGroupRecord>(snapshot, &key)
                .delete::<TargetGroupRecord>(&key);
            for target in targets::targets_of_group(snapshot, &arn).iter().take(AT_ONCE) {
                if let Some(key) = TargetRecord::key(&arn, &target.id, target.port) {
                    txn.unchanged::<TargetRecord>(snapshot, &key)
                        .delete::<TargetRecord>(&key);
                }
            }
            Ok((txn, ()))
        })
        .await?;
    service.end_draining().await?;
    Ok(api::DeleteTargetGroupOutput {})
}
