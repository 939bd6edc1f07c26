//! The service reconciler: observe, plan, commit, for every service that may need it.
//!
//! Changes in the store say only which services to look at, never what to do; timers come from the plans. Services are
//! independent of each other and run side by side, each one at a time. The invariant: a commit holds only if the service
//! and every task it touches are still as observed, so that nothing is launched twice, whatever dies in between.

mod observe;
mod perform;
mod queue;

pub use observe::Observed;

use crate::Ecs;
use crate::plan::service::plan;
use crate::records::{
    ServiceDeploymentRecord, ServiceEventRecord, ServiceRecord, ServiceRevisionRecord, ServiceStatus,
};
use neargate_core::Timestamp;
use neargate_store::{CommitError, Record, Txn};
use queue::Queue;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a task without health check must run to count as healthy. Source: `minimumHealthyPercent` of the ECS model.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(40);
/// How long an INACTIVE service is still described.
const INACTIVE_FOR: Duration = Duration::from_secs(3600);
/// Tasks changed in one commit; the rest of its 128 changes are the service, its events and its history.
const BUDGET: usize = 96;
/// Records deleted in one commit.
const DELETE_BATCH: usize = 120;
/// Steps of one service before others get their turn.
const STEPS: usize = 64;

/// Reconciles every service until `shutdown` turns true.
pub async fn run(ecs: Arc<Ecs>, shutdown: watch::Receiver<bool>) {
    Queue::new(ecs).run(shutdown).await;
}

/// When to look at a service again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Something changes by itself then.
    At(Timestamp),
    /// It has more to do than one turn.
    Now,
    /// Only when something changes.
    OnChange,
}

/// Brings the service at `key` as far as it can go now.
///
/// # Errors
/// When the store could not write.
pub async fn reconcile(ecs: &Ecs, key: &str) -> Result<Next, CommitError> {
    let mut budget = BUDGET;
    for _ in 0..STEPS {
        let Some(observed) = Observed::of(ecs, key) else {
            return Ok(Next::OnChange);
        };
        let now = ecs.clock.now();
        if observed.service.status == ServiceStatus::Inactive {
            return forget(ecs, &observed, now).await;
        }
        let plan = observed.with_view(budget, now, |view| plan(view, now));
        if plan.is_empty() {
            return Ok(match (plan.more, plan.wake_at) {
                (true, _) => Next::Now,
                (false, Some(at)) => Next::At(at),
                (false, None) => Next::OnChange,
            });
        }
        for reason in &plan.reasons {
            tracing::info!(service = key, reason);
        }
        match ecs.store.commit(perform::transaction(ecs, &observed, plan, now)).await {
            Ok(_) => {}
            Err(CommitError::Conflict { .. }) => tokio::task::yield_now().await,
            Err(CommitError::TooLarge { .. } | CommitError::TooManyOps { .. }) if budget > 1 => budget /= 2,
            Err(error) => return Err(error),
        }
    }
    Ok(Next::Now)
}

/// An INACTIVE service: its history goes at once, itself and its events after a while.
async fn forget(ecs: &Ecs, observed: &Observed, now: Timestamp) -> Result<Next, CommitError> {
    let key = observed.service.own_key();
    delete_under::<ServiceDeploymentRecord>(ecs, observed).await?;
    delete_under::<ServiceRevisionRecord>(ecs, observed).await?;
    let until = observed.service.inactive_at.unwrap_or(now).plus(INACTIVE_FOR);
    if now < until {
        return Ok(Next::At(until));
    }
    delete_under::<ServiceEventRecord>(ecs, observed).await?;
    let mut txn = Txn::new();
    txn.unchanged::<ServiceRecord>(&observed.snapshot, &key)
        .delete::<ServiceRecord>(&key);
    committed(ecs.store.commit(txn).await)?;
    Ok(Next::OnChange)
}

/// Deletes the records of a kind that belong to the service, as long as it stays as observed.
async fn delete_under<R: Record>(ecs: &Ecs, observed: &Observed) -> Result<(), CommitError> {
    let key = observed.service.own_key();
    let under: Vec<String> = observed
        .snapshot
        .range::<R>(&format!("{key}/"))
        .map(|(key, _)| key.to_owned())
        .collect();
    for batch in under.chunks(DELETE_BATCH) {
        let mut txn = Txn::new();
        txn.unchanged::<ServiceRecord>(&observed.snapshot, &key);
        for key in batch {
            txn.delete::<R>(key);
        }
        committed(ecs.store.commit(txn).await)?;
    }
    Ok(())
}

/// A service made anew meanwhile keeps what is under its name; the change brings us back.
fn committed(outcome: Result<u64, CommitError>) -> Result<(), CommitError> {
    match outcome {
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod chaos;
#[cfg(test)]
mod target_tests;
#[cfg(test)]
mod tests;
