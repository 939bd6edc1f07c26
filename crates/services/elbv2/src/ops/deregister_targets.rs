//! DeregisterTargets.

use crate::refusal::validation;
use crate::{Elbv2, api, find, targets};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;
use std::collections::BTreeSet;

/// Targets of one commit, which may hold 128 changes.
const BATCH: usize = 100;

/// Deregisters targets: at once or after draining. What is not registered is a success, as on AWS.
///
/// # Errors
/// `TargetGroupNotFound`, `ValidationError`.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::DeregisterTargetsInput,
) -> Result<api::DeregisterTargetsOutput, AwsError> {
    let arn = input.target_group_arn.unwrap_or_default();
    let asked = input.targets.unwrap_or_default();
    if asked.is_empty() {
        return Err(validation("At least one target must be specified"));
    }
    let snapshot = service.store.snapshot();
    let group = find::target_group(&snapshot, &cx.region, &arn)?;
    // Without a port the group's own is meant: those of other ports have to be named.
    let all = asked
        .into_iter()
        .map(|target| Ok((target.id.unwrap_or_default(), super::target_port(&group, target.port)?)));
    let all: BTreeSet<(String, u16)> = all.collect::<Result<_, AwsError>>()?;
    let all: Vec<(String, u16)> = all.into_iter().collect();
    for batch in all.chunks(BATCH) {
        service
            .store
            .transact(|snapshot| {
                let mut txn = Txn::new();
                for (id, port) in batch {
                    targets::deregister(snapshot, &mut txn, &arn, id, *port, cx.now);
                }
                Ok::<_, AwsError>((txn, ()))
            })
            .await?;
    }
    Ok(api::DeregisterTargetsOutput {})
}
