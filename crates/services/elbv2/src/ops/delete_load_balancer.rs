//! DeleteLoadBalancer.

use crate::Elbv2;
use crate::api::{self, errors};
use crate::arns::{self, Named};
use crate::attributes::load_balancer::DELETION_PROTECTION;
use crate::records::{ListenerRecord, LoadBalancerRecord};
use crate::refusal::validation;
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;

/// Deletes a load balancer with its listeners and interfaces; one that is gone already is a success.
///
/// # Errors
/// `ValidationError`, `OperationNotPermitted` under deletion protection.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::DeleteLoadBalancerInput,
) -> Result<api::DeleteLoadBalancerOutput, AwsError> {
    let arn = input.load_balancer_arn.unwrap_or_default();
    let Some(Named::LoadBalancer(key)) = arns::parse(&cx.region, &arn) else {
        return Err(validation(format!("'{arn}' is not a valid load balancer ARN")));
    };
    service
        .store
        .transact(|snapshot| {
            let mut txn = Txn::new();
            let Some(balancer) = snapshot.get::<LoadBalancerRecord>(&key).filter(|b| b.arn == arn) else {
                return Ok::<_, AwsError>((txn, ()));
            };
            if balancer
                .attributes
                .get(DELETION_PROTECTION)
                .is_some_and(|v| v == "true")
            {
                return Err(errors::operation_not_permitted_exception(format!(
                    "Load balancer '{arn}' cannot be deleted because deletion protection is enabled"
                )));
            }
            for seat in &balancer.seats {
                neargate_ec2::interface::release(snapshot, &mut txn, &balancer.region, &seat.interface_id);
            }
            for (listener, _) in snapshot.range::<ListenerRecord>(&balancer.listeners_prefix()) {
                txn.unchanged::<ListenerRecord>(snapshot, listener)
                    .delete::<ListenerRecord>(listener);
            }
            txn.unchanged::<LoadBalancerRecord>(snapshot, &key)
                .delete::<LoadBalancerRecord>(&key);
            Ok((txn, ()))
        })
        .await?;
    Ok(api::DeleteLoadBalancerOutput {})
}
