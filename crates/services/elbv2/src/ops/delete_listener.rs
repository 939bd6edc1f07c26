//! DeleteListener.

use crate::records::{ListenerRecord, LoadBalancerRecord};
use crate::{Elbv2, api, find};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;

/// Deletes a listener with its rules.
///
/// # Errors
/// `ListenerNotFound`, `ValidationError`.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::DeleteListenerInput,
) -> Result<api::DeleteListenerOutput, AwsError> {
    let arn = input.listener_arn.unwrap_or_default();
    service
        .store
        .transact(|snapshot| {
            let (key, listener) = find::listener(snapshot, &cx.region, &arn)?;
            let balancer = find::load_balancer_of(snapshot, &listener)?;
            let mut next = (*balancer.record).clone();
            next.listeners.remove(&listener.port);
            let balancer_key = LoadBalancerRecord::key(&next.region, &next.name);
            let mut txn = Txn::new();
            txn.unchanged::<LoadBalancerRecord>(snapshot, &balancer_key)
                .put(&balancer_key, next)
                .unchanged::<ListenerRecord>(snapshot, &key)
                .delete::<ListenerRecord>(&key);
            Ok::<_, AwsError>((txn, ()))
        })
        .await?;
    Ok(api::DeleteListenerOutput {})
}
