//! The end of draining: targets whose time is over go, and those whose group is gone.
//!
//! Woken by changes of targets and groups, and by the nearest end. It never reads what changed, so that starting anew
//! is the ordinary path.

use crate::Elbv2;
use crate::records::{TargetGroupRecord, TargetRecord};
use neargate_core::Timestamp;
use neargate_store::{Change, CommitError, Record, Snapshot, Txn, concerned};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Looks again after this, whatever was or was not noticed.
const TIMER: Duration = Duration::from_secs(30);
/// After a failure to write.
const RETRY: Duration = Duration::from_millis(500);
/// Targets of one commit, which may hold 128 changes.
const BATCH: usize = 100;

impl Elbv2 {
    /// Ends draining when its time is over, until `shutdown`.
    pub async fn run(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let mut changes = self.store.changes();
        loop {
            let timer = match self.end_draining().await {
                Ok(None) => TIMER,
                Ok(Some(next)) => next.since(self.clock.now()).min(TIMER),
                Err(error) => {
                    tracing::error!(%error, "targets cannot be removed; it is tried again");
                    RETRY
                }
            };
            tokio::select! {
                open = concerned(&mut changes, matters) => if !open {
                    return;
                },
                () = tokio::time::sleep(timer) => {}
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Removes what has drained and what lost its group; answers when the next one ends.
    ///
    /// # Errors
    /// When the store could not write.
    pub async fn end_draining(&self) -> Result<Option<Timestamp>, CommitError> {
        loop {
            let (left, next) = self
                .store
                .transact(|snapshot| {
                    let (over, next) = over(snapshot, self.clock.now());
                    let mut txn = Txn::new();
                    for key in over.iter().take(BATCH) {
                        txn.unchanged::<TargetRecord>(snapshot, key).delete::<TargetRecord>(key);
                    }
                    Ok::<_, CommitError>((txn, (over.len() > BATCH, next)))
                })
                .await?;
            if !left {
                return Ok(next);
            }
        }
    }
}

fn matters(change: &Change) -> bool {
    let deleted_group = change.record.is_none() && change.key.starts_with(TargetGroupRecord::PREFIX);
    let draining = || {
        change
            .get::<TargetRecord>()
            .is_some_and(|target| target.draining_until.is_some())
    };
    deleted_group || draining()
}

/// Keys of the targets that are to go, and when the next one is.
fn over(snapshot: &Snapshot, now: Timestamp) -> (Vec<String>, Option<Timestamp>) {
    let mut next: Option<Timestamp> = None;
    let mut over = Vec::new();
    for (key, target) in snapshot.indexed::<TargetRecord>(TargetRecord::DRAINING, "") {
        match target.draining_until {
            Some(until) if until > now => next = Some(next.map_or(until, |n| n.min(until))),
            _ => over.push(key.to_owned()),
        }
    }
    over.extend(orphans(snapshot));
    over.sort();
    over.dedup();
    (over, next)
}

/// Keys of targets whose group is gone.
fn orphans(snapshot: &Snapshot) -> Vec<String> {
    let mut out = Vec::new();
    let mut group: Option<(String, bool)> = None;
    for (key, target) in snapshot.range::<TargetRecord>("") {
        let there = match &group {
            Some((arn, there)) if *arn == target.group_arn => *there,
            _ => {
                let there = super::target_group(snapshot, &target.region, &target.group_arn).is_some();
                group = Some((target.group_arn.clone(), there));
                there
            }
        };
        if !there {
            out.push(key.to_owned());
        }
    }
    out
}
