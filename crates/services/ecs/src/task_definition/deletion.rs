//! The end of deleted revisions: DELETE_IN_PROGRESS until no task and no service uses them, then gone.
//!
//! `run` is one of the service's loops and wakes on every commit; while nothing is being deleted a wake costs one look.

use crate::Ecs;
use crate::records::{FamilyRecord, ServiceRecord, TaskDefinitionRecord, counters};
use neargate_core::Timestamp;
use neargate_store::{CommitError, Snapshot, Txn};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a revision is shown as DELETE_IN_PROGRESS at least.
const SHOWN: Duration = Duration::from_secs(60);
/// The least wait for a time that is near.
const SOON: Duration = Duration::from_millis(10);
/// Revisions removed by one commit.
const AT_ONCE: usize = 20;

/// What to do about deleted revisions now.
#[derive(Debug, Default)]
pub struct Plan {
    pub txn: Txn,
    /// When to look again; none until the next commit.
    pub wake_at: Option<Timestamp>,
}

/// Removes the revisions that nothing uses any more. A family stays, so that its numbers are not given again.
pub fn plan(snapshot: &Snapshot, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let mut families: Vec<FamilyRecord> = Vec::new();
    let mut removed = 0;
    for (key, revision) in snapshot.indexed::<TaskDefinitionRecord>(TaskDefinitionRecord::DELETING, "") {
        let asked = revision.definition.delete_requested_at.unwrap_or_default();
        let due = asked.plus(SHOWN);
        if due > now {
            plan.wake_at = Some(plan.wake_at.map_or(due, |at| at.min(due)));
            continue;
        }
        if is_used(snapshot, &revision) {
            continue;
        }
        if removed == AT_ONCE {
            plan.wake_at = Some(now);
            break;
        }
        removed += 1;
        plan.txn
            .unchanged::<TaskDefinitionRecord>(snapshot, key)
            .delete::<TaskDefinitionRecord>(key);
        let family_key = FamilyRecord::key(&revision.region, &revision.family);
        let at = families
            .iter()
            .position(|f| f.region == revision.region && f.family == revision.family);
        let at = at.or_else(|| {
            let family = snapshot.get::<FamilyRecord>(&family_key)?;
            plan.txn.unchanged::<FamilyRecord>(snapshot, &family_key);
            families.push((*family.record).clone());
            Some(families.len() - 1)
        });
        if let Some(at) = at {
            families[at].stored = families[at].stored.saturating_sub(1);
        }
    }
    for family in families {
        plan.txn.put(&FamilyRecord::key(&family.region, &family.family), family);
    }
    plan
}

/// True while a task that is not STOPPED, or a deployment of a service, is of the revision.
pub fn is_used(snapshot: &Snapshot, revision: &TaskDefinitionRecord) -> bool {
    let TaskDefinitionRecord {
        region,
        family,
        revision,
        ..
    } = revision;
    snapshot.count(&counters::revision_tasks(region, family, *revision)) > 0
        || snapshot
            .indexed::<ServiceRecord>(
                ServiceRecord::BY_TASK_DEFINITION,
                &format!("{region}/{family}/{revision}"),
            )
            .next()
            .is_some()
}

/// Removes deleted revisions as they fall out of use, until `shutdown` turns true.
pub async fn run(ecs: Arc<Ecs>, mut shutdown: watch::Receiver<bool>) {
    let mut revisions = ecs.store.revisions();
    while !*shutdown.borrow() {
        revisions.mark_unchanged();
        let now = ecs.clock.now();
        let Plan { txn, wake_at } = plan(&ecs.store.snapshot(), now);
        let mut due = wake_at.map(|at| at.since(now).max(SOON));
        if !txn.is_empty() {
            match ecs.store.commit(txn).await {
                // Look again: there may be more, or somebody else came first.
                Ok(_) | Err(CommitError::Conflict { .. }) => continue,
                Err(error) => {
                    tracing::error!(%error, "deleted task definitions could not be removed");
                    due = Some(SHOWN);
                }
            }
        }
        tokio::select! {
            changed = revisions.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => {}
            _ = shutdown.changed() => {}
        }
    }
}
