//! What gateways say of targets, taken over.

use crate::Elbv2;
use crate::records::{TargetHealth, TargetRecord};
use neargate_core::Timestamp;
use neargate_link::gateway::{TargetReport, TargetState};
use neargate_store::{CommitError, Snapshot, Txn};
use std::collections::BTreeMap;

/// Reports of one commit, which may hold 128 changes.
const BATCH: usize = 100;

/// Adds to `txn` what the reports change: health, and the end of draining targets that have nothing in flight. Reports
/// of older registrations change nothing; of several on one target the last counts.
pub fn apply_reports(snapshot: &Snapshot, txn: &mut Txn, reports: &[TargetReport], _now: Timestamp) {
    let mut by_target = BTreeMap::new();
    for report in reports {
        if let Some(key) = TargetRecord::key(&report.target_group, &report.id, report.port) {
            let known = snapshot.get::<TargetRecord>(&key);
            if let Some(known) = known.filter(|t| t.registered_at == report.registered_at) {
                by_target.insert(key, (known, report));
            }
        }
    }
    for (key, (known, report)) in by_target {
        match (report.state, known.draining_until) {
            (TargetState::Drained, Some(_)) => {
                txn.unchanged::<TargetRecord>(snapshot, &key)
                    .delete::<TargetRecord>(&key);
            }
            // Deregistration came or was taken back meanwhile: the health before it stands.
            (TargetState::Drained, None) | (_, Some(_)) => {}
            (state, None) => {
                let health = TargetHealth {
                    state,
                    reason: report.reason.clone(),
                    description: report.description.clone(),
                };
                if health != known.health {
                    let mut next = (*known.record).clone();
                    next.health = health;
                    txn.unchanged::<TargetRecord>(snapshot, &key).put(&key, next);
                }
            }
        }
    }
}

impl Elbv2 {
    /// Takes over what a gateway says; answers once it is stored.
    ///
    /// # Errors
    /// When the store could not write; some of it may be stored then, and saying it again does no harm.
    pub async fn apply_reports(&self, reports: Vec<TargetReport>) -> Result<(), CommitError> {
        for batch in reports.chunks(BATCH) {
            self.store
                .transact(|snapshot| {
                    let mut txn = Txn::new();
                    apply_reports(snapshot, &mut txn, batch, self.clock.now());
                    Ok::<_, CommitError>((txn, ()))
                })
                .await?;
        }
        Ok(())
    }
}
