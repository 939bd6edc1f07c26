//! The loop that deletes: expired events, events of deleted streams, and whatever a deleted group left behind.
//!
//! Deleted and expired data is never answered, from the moment of the change on; this is about the space it takes. The
//! loop wakes when something may have to go and every `EVERY`, and finds out by itself what that is.

use crate::records::{LogGroupRecord, LogStreamRecord, SweepRecord};
use crate::storage::Keep;
use crate::{Logs, resolve};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{CommitError, Snapshot, Txn};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

const EVERY: Duration = Duration::from_secs(15 * 60);
const TOGETHER_FOR: Duration = Duration::from_secs(5);
/// Records deleted in one commit; the store takes 128 changes.
const TOGETHER: usize = 100;

/// Sets or ends the retention of a group.
///
/// # Errors
/// `ResourceNotFoundException`.
pub async fn set(service: &Logs, cx: &RequestContext, name: &str, days: Option<i32>) -> Result<(), AwsError> {
    service
        .store
        .transact(|snapshot| {
            let group = resolve::group(snapshot, cx, name)?;
            let mut record = (*group.record).clone();
            record.retention_days = days;
            let mut txn = Txn::new();
            if record != *group.record {
                let key = record.own_key();
                txn.unchanged::<LogGroupRecord>(snapshot, &key).put(&key, record);
            }
            Ok::<_, AwsError>((txn, ()))
        })
        .await?;
    service.wake_sweeper();
    Ok(())
}

impl Logs {
    /// Deletes what has to go until `shutdown` says stop.
    pub async fn run(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        // A group may have been deleted just before the last stop.
        if let Err(error) = self.delete_orphans().await {
            tracing::error!(%error, "records of log streams whose group is gone stay until the next start");
        }
        loop {
            self.sweep().await;
            let again = async {
                tokio::select! {
                    () = self.dirty.notified() => {}
                    () = sleep(EVERY) => return,
                }
                // Whoever deletes one stream often deletes more.
                sleep(TOGETHER_FOR).await;
            };
            tokio::select! {
                () = again => {}
                // An error means that nobody can say stop any more.
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// One pass over all groups.
    pub(crate) async fn sweep(&self) {
        let snapshot = self.store.snapshot();
        let now = self.clock.now();
        for (_, group) in snapshot.range::<LogGroupRecord>("") {
            let mark = LogGroupRecord::uid_text(group.uid);
            let keep = Keep {
                since: group.expired_before(now),
                streams_deleted: snapshot.contains::<SweepRecord>(&mark),
            };
            if keep.since == i64::MIN && !keep.streams_deleted {
                continue;
            }
            let (storage, uid) = (self.storage.clone(), group.uid);
            match tokio::task::spawn_blocking(move || storage.maintain(uid, keep)).await {
                Ok(Ok(())) if keep.streams_deleted => self.unmark(&snapshot, &mark).await,
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(%error, group = group.name, "log events cannot be deleted; it is tried again");
                }
                Err(error) => tracing::error!(%error, group = group.name, "deleting log events panicked"),
            }
        }
    }

    /// Nothing of streams deleted before `snapshot` is left in the group.
    async fn unmark(&self, snapshot: &Snapshot, mark: &str) {
        let mut txn = Txn::new();
        txn.unchanged::<SweepRecord>(snapshot, mark).delete::<SweepRecord>(mark);
        match self.store.commit(txn).await {
            // Another stream was deleted meanwhile: the mark stays for it.
            Ok(_) | Err(CommitError::Conflict { .. }) => {}
            Err(error) => tracing::error!(%error, "a log group will be looked through again"),
        }
    }

    /// Records of streams whose group is gone, and what asked to look through it.
    async fn delete_orphans(&self) -> Result<(), AwsError> {
        let snapshot = self.store.snapshot();
        let groups: HashSet<u64> = snapshot.range::<LogGroupRecord>("").map(|(_, g)| g.uid).collect();
        let mut orphans = Vec::new();
        for (key, stream) in snapshot.range::<LogStreamRecord>("") {
            if !groups.contains(&stream.group) {
                orphans.push(key.to_owned());
            }
        }
        let known: HashSet<String> = groups.into_iter().map(LogGroupRecord::uid_text).collect();
        for (mark, _) in snapshot.range::<SweepRecord>("") {
            if !known.contains(mark) {
                self.unmark(&snapshot, mark).await;
            }
        }
        self.delete_streams(&orphans).await
    }

    async fn delete_streams(&self, keys: &[String]) -> Result<(), AwsError> {
        for some in keys.chunks(TOGETHER) {
            let mut txn = Txn::new();
            for key in some {
                txn.delete::<LogStreamRecord>(key);
            }
            self.store.commit(txn).await?;
        }
        Ok(())
    }

    /// Clears away what the deleted group `uid` leaves behind; what fails is done by the loop or at the next start.
    pub(crate) async fn forget_group(&self, uid: u64) {
        let snapshot = self.store.snapshot();
        let prefix = LogStreamRecord::prefix(uid);
        let keys: Vec<String> = snapshot
            .range::<LogStreamRecord>(&prefix)
            .map(|(key, _)| key.to_owned())
            .collect();
        let mark = LogGroupRecord::uid_text(uid);
        if snapshot.contains::<SweepRecord>(&mark) {
            self.unmark(&snapshot, &mark).await;
        }
        if let Err(error) = self.delete_streams(&keys).await {
            tracing::error!(%error, "records of a deleted log group's streams stay until the next start");
        }
        let storage = self.storage.clone();
        match tokio::task::spawn_blocking(move || storage.forget_group(uid)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "files of a deleted log group stay for now"),
            Err(error) => tracing::error!(%error, "deleting a log group's files panicked"),
        }
    }

    pub(crate) fn wake_sweeper(&self) {
        self.dirty.notify_one();
    }
}
