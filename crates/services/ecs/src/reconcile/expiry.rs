//! What time alone ends: STOPPED tasks after an hour, client tokens after a day, tasks of services on nodes that stay
//! away.
//!
//! A node that is lost keeps its tasks: it may be there, cut off. After a grace its services' tasks are asked to stop, so
//! that the services replace them; their addresses stay taken until the node is back and says that they have ended, so
//! that nothing holds an address twice and a returning node finds the order to stop.

use crate::Ecs;
use crate::launch::{StopAsk, ask_stop};
use crate::records::{ClientTokenRecord, DesiredStatus, NodeRecord, TaskRecord};
use neargate_core::Timestamp;
use neargate_store::{CommitError, Snapshot, Txn};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a STOPPED task is described.
pub const KEEP_STOPPED: Duration = Duration::from_secs(3600);
/// How long a node may be away before its services' tasks are given up.
pub const NODE_GRACE: Duration = Duration::from_secs(60);
/// How often everything is looked at.
const TIMER: Duration = Duration::from_secs(15);
/// Changes in one commit, of the 128 it may have.
const BATCH: usize = 100;

/// Looks again and again until `shutdown`.
pub async fn run(ecs: Arc<Ecs>, mut shutdown: watch::Receiver<bool>) {
    let mut looked: Option<Looked> = None;
    loop {
        match pass(&ecs, looked.as_ref()).await {
            Ok(now) => looked = Some(now),
            Err(error) => tracing::error!(%error, "what has expired could not be removed; it is tried again"),
        }
        tokio::select! {
            () = tokio::time::sleep(TIMER) => {}
            _ = shutdown.wait_for(|stop| *stop) => return,
        }
    }
}

/// Up to where the buckets of STOPPED tasks and of tokens are empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    stopped_minute: i64,
    token_hour: i64,
}

/// Ends everything whose time has come. Without `looked` every record is looked at, once after a start.
///
/// # Errors
/// When the store could not write.
pub async fn pass(ecs: &Ecs, looked: Option<&Looked>) -> Result<Looked, CommitError> {
    let now = ecs.clock.now();
    let snapshot = ecs.store.snapshot();
    let minute = TaskRecord::stopped_minute(now.minus(KEEP_STOPPED));
    let hour = ClientTokenRecord::hour(now.minus(ClientTokenRecord::LIFETIME));

    let tasks: Vec<String> = match looked {
        Some(before) => (before.stopped_minute..=minute)
            .flat_map(|m| {
                snapshot
                    .indexed::<TaskRecord>(TaskRecord::STOPPED, &m.to_string())
                    .collect::<Vec<_>>()
            })
            .filter(|(_, t)| is_over(t, now))
            .map(|(key, _)| key.to_owned())
            .collect(),
        None => snapshot
            .range::<TaskRecord>("")
            .filter(|(_, t)| is_over(t, now))
            .map(|(key, _)| key.to_owned())
            .collect(),
    };
    delete::<TaskRecord>(ecs, &snapshot, &tasks).await?;

    let forgotten = |t: &ClientTokenRecord| now.since(t.created_at) >= ClientTokenRecord::LIFETIME;
    let tokens: Vec<String> = match looked {
        Some(before) => (before.token_hour..=hour)
            .flat_map(|h| {
                snapshot
                    .indexed::<ClientTokenRecord>(ClientTokenRecord::BY_HOUR, &h.to_string())
                    .collect::<Vec<_>>()
            })
            .filter(|(_, t)| forgotten(t))
            .map(|(key, _)| key.to_owned())
            .collect(),
        None => snapshot
            .range::<ClientTokenRecord>("")
            .filter(|(_, t)| forgotten(t))
            .map(|(key, _)| key.to_owned())
            .collect(),
    };
    delete::<ClientTokenRecord>(ecs, &snapshot, &tokens).await?;

    give_up_lost(ecs, now).await?;
    Ok(Looked {
        stopped_minute: minute,
        token_hour: hour,
    })
}

fn is_over(task: &TaskRecord, now: Timestamp) -> bool {
    task.stopped_at.is_some_and(|at| now.since(at) >= KEEP_STOPPED) && task.state == crate::records::TaskState::Stopped
}

async fn delete<R: neargate_store::Record>(ecs: &Ecs, snapshot: &Snapshot, keys: &[String]) -> Result<(), CommitError> {
    for batch in keys.chunks(BATCH) {
        let mut txn = Txn::new();
        for key in batch {
            txn.unchanged::<R>(snapshot, key).delete::<R>(key);
        }
        match ecs.store.commit(txn).await {
            // Someone tagged one of them meanwhile: the next pass takes the batch.
            Ok(_) | Err(CommitError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Asks the tasks of services on nodes that stay away to stop.
async fn give_up_lost(ecs: &Ecs, now: Timestamp) -> Result<(), CommitError> {
    let snapshot = ecs.store.snapshot();
    let lost = |n: &NodeRecord| !n.connected && now.since(n.connectivity_at) >= ecs.node_grace;
    let nodes: Vec<String> = snapshot
        .range::<NodeRecord>("")
        .filter(|(_, n)| lost(n))
        .map(|(key, _)| key.to_owned())
        .collect();
    for node in nodes {
        let tasks: Vec<String> = snapshot
            .indexed::<TaskRecord>(TaskRecord::BY_NODE, &node)
            .filter(|(_, t)| t.service.is_some() && t.desired == DesiredStatus::Running)
            .map(|(key, _)| key.to_owned())
            .collect();
        for batch in tasks.chunks(BATCH) {
            ecs.store
                .transact(|snapshot| {
                    let mut txn = Txn::new();
                    if snapshot.get::<NodeRecord>(&node).is_none_or(|n| !lost(&n)) {
                        return Ok::<_, CommitError>((txn, ()));
                    }
                    txn.unchanged::<NodeRecord>(snapshot, &node);
                    for key in batch {
                        let Some(task) = snapshot.get::<TaskRecord>(key) else {
                            continue;
                        };
                        let instance = format!("container-instance/{}/{node}", task.cluster);
                        let ask = StopAsk::new(
                            "TerminationNotice",
                            format!(
                                "Host ({}) has not been connected for too long.",
                                task.sibling_arn(&instance)
                            ),
                        );
                        if let Some(next) = ask_stop(&task, &ask, now) {
                            txn.unchanged::<TaskRecord>(snapshot, key).put(key, next);
                        }
                    }
                    Ok((txn, ()))
                })
                .await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
