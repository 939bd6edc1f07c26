//! Tasks that are to stop and still take traffic: their targets are deregistered, and once these have drained their
//! nodes are told to stop them.
//!
//! Woken by changes of such tasks and of targets, and by a timer; a look at the index of leaving tasks is all it needs.

use crate::Ecs;
use crate::records::TaskRecord;
use crate::targets;
use neargate_elbv2::TargetRecord;
use neargate_store::{Change, CommitError, Record, Txn, concerned};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Looks again after this, whatever was or was not noticed.
const TIMER: Duration = Duration::from_secs(5);
/// After a failure to write.
const RETRY: Duration = Duration::from_millis(500);

/// Lets tasks leave until `shutdown`.
pub async fn run(ecs: Arc<Ecs>, mut shutdown: watch::Receiver<bool>) {
    let mut changes = ecs.store.changes();
    loop {
        let timer = match pass(&ecs).await {
            Ok(()) => TIMER,
            Err(error) => {
                tracing::error!(%error, "tasks cannot leave their target groups; it is tried again");
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

fn matters(change: &Change) -> bool {
    if change.key.starts_with(TargetRecord::PREFIX) {
        return true;
    }
    change.key.starts_with(TaskRecord::PREFIX)
        && change.get::<TaskRecord>().is_some_and(|task| {
            let index = (TaskRecord::LEAVING, String::new());
            task.takes_traffic() && task.indexes().contains(&index)
        })
}

/// One look at every leaving task.
///
/// # Errors
/// When the store could not write.
pub async fn pass(ecs: &Ecs) -> Result<(), CommitError> {
    let keys: Vec<String> = ecs
        .store
        .snapshot()
        .indexed::<TaskRecord>(TaskRecord::LEAVING, "")
        .map(|(key, _)| key.to_owned())
        .collect();
    for key in keys {
        ecs.store
            .transact(|snapshot| {
                let mut txn = Txn::new();
                let Some(task) = snapshot.get::<TaskRecord>(&key).filter(|t| t.takes_traffic()) else {
                    return Ok::<_, CommitError>((txn, ()));
                };
                let mut next = (*task.record).clone();
                targets::leave(snapshot, &mut txn, &mut next, ecs.clock.now());
                if next != *task.record {
                    next.version += 1;
                    txn.unchanged::<TaskRecord>(snapshot, &key).put(&key, next);
                }
                Ok((txn, ()))
            })
            .await?;
    }
    Ok(())
}
