//! DeregisterTargets.

use crate::records::TargetGroupRecord;
use crate::refusal::validation;
use crate::{Elbv2, api, find, targets};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{Snapshot, Txn};
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
    let mut all = BTreeSet::new();
    for target in &asked {
        all.extend(meant(&snapshot, &group, target)?);
    }
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

/// Without a port every registration of the id is meant.
fn meant(
    snapshot: &Snapshot,
    group: &TargetGroupRecord,
    asked: &api::TargetDescription,
) -> Result<Vec<(String, u16)>, AwsError> {
    let id = asked.id.clone().unwrap_or_default();
    if asked.port.is_some() {
        return Ok(vec![(id, super::target_port(group, asked.port)?)]);
    }
    let all = targets::targets_of_group(snapshot, &group.arn);
    let of_id = all.iter().filter(|target| target.id == id);
    Ok(of_id.map(|target| (target.id.clone(), target.port)).collect())
}
