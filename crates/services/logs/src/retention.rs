//! The loop that deletes: expired events, events of deleted streams, and whatever a deleted group left behind.
//!
//! Deleted and expired data is never answered, from the moment of the change on; this is about the space it takes. The
//! loop wakes when something may have to go and every `EVERY`, and finds out by itself what that is.

use crate::records::{LogGroupRecord, LogStreamRecord};
use crate::storage::Keep;
use crate::{Logs, resolve};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{Snapshot, Txn};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const EVERY: Duration = Duration::from_secs(15 * 60);
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
    service.dirty.notify_one();
    Ok(())
}

impl Logs {
    /// Deletes what has to go until `shutdown` says stop.
    pub async fn run(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        // Groups and streams may have been deleted just before the last stop.
        let mut everything = true;
        loop {
            self.sweep(everything).await;
            everything = false;
            tokio::select! {
                () = self.dirty.notified() => {}
                () = tokio::time::sleep(EVERY) => {}
                // An error means that nobody can say stop any more.
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// One pass over all groups. `everything` looks for events of deleted streams in every group, not only in those known
    /// to have lost one.
    pub(crate) async fn sweep(&self, everything: bool) {
        let snapshot = self.store.snapshot();
        if let Err(error) = self.delete_orphans(&snapshot).await {
            tracing::error!(%error, "records of log streams whose group is gone cannot be deleted");
        }
        let lost: HashSet<u64> = std::mem::take(&mut *self.lost_streams());
        let now = self.clock.now();
        for (_, group) in snapshot.range::<LogGroupRecord>("") {
            let keep = Keep {
                since: group.expired_before(now),
                streams_deleted: everything || lost.contains(&group.uid),
            };
            if keep.since == i64::MIN && !keep.streams_deleted {
                continue;
            }
            let (storage, uid) = (self.storage.clone(), group.uid);
            let done = tokio::task::spawn_blocking(move || storage.maintain(uid, keep)).await;
            match done {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(%error, group = group.name, "log events cannot be deleted; it is tried again");
                    if keep.streams_deleted {
                        self.lost_streams().insert(uid);
                    }
                }
                Err(error) => tracing::error!(%error, group = group.name, "deleting log events panicked"),
            }
        }
    }

    /// Records of streams whose group is gone.
    async fn delete_orphans(&self, snapshot: &Snapshot) -> Result<(), AwsError> {
        let groups: HashSet<u64> = snapshot.range::<LogGroupRecord>("").map(|(_, g)| g.uid).collect();
        let mut orphans = Vec::new();
        for (key, stream) in snapshot.range::<LogStreamRecord>("") {
            if !groups.contains(&stream.group) {
                orphans.push(key.to_owned());
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
        if let Err(error) = self.delete_streams(&keys).await {
            tracing::error!(%error, "records of a deleted log group's streams stay for now");
        }
        let storage = self.storage.clone();
        match tokio::task::spawn_blocking(move || storage.forget_group(uid)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "files of a deleted log group stay for now"),
            Err(error) => tracing::error!(%error, "deleting a log group's files panicked"),
        }
    }

    /// A stream of the group `uid` was deleted.
    pub(crate) fn stream_deleted(&self, uid: u64) {
        self.lost_streams().insert(uid);
        self.dirty.notify_one();
    }
}
