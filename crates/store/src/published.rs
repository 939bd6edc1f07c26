//! What every reader sees: the newest durable snapshot, the changes that led to it, and the leases.
//!
//! Backends write it, handles read it. Invariants: the snapshot holds only durable commits; whoever subscribed before
//! taking a snapshot misses no change after it; history reaches back a bounded number of changes.

use crate::Revision;
use crate::lease::LeaseTable;
use crate::record::{AnyRecord, Record};
use crate::snapshot::Snapshot;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use tokio::sync::{Notify, broadcast, watch};

/// One changed key of one commit.
#[derive(Clone, Debug)]
pub struct Change {
    pub revision: Revision,
    /// With the record's prefix.
    pub key: Arc<str>,
    /// None when it was deleted.
    pub record: Option<Arc<dyn AnyRecord>>,
    /// What the commit replaced or deleted; none when it created the key.
    pub previous: Option<Arc<dyn AnyRecord>>,
}

impl Change {
    /// The new record, if it is an `R`.
    pub fn get<R: Record>(&self) -> Option<Arc<R>> {
        self.record.clone()?.into_any().downcast().ok()
    }

    /// The replaced or deleted record, if it is an `R`.
    pub fn previous<R: Record>(&self) -> Option<Arc<R>> {
        self.previous.clone()?.into_any().downcast().ok()
    }
}

/// Waits for a commit with a change that `matters`, or until some may have been missed: whoever waits so reads a snapshot
/// afterwards. False once there is no store any more.
pub async fn concerned(changes: &mut broadcast::Receiver<Arc<Vec<Change>>>, matters: impl Fn(&Change) -> bool) -> bool {
    loop {
        match changes.recv().await {
            Ok(commit) if commit.iter().any(&matters) => return true,
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => return true,
            Err(broadcast::error::RecvError::Closed) => return false,
        }
    }
}

/// Changes kept for `watch`.
pub(crate) const HISTORY: usize = 8192;
/// Commits a receiver of `changes` may fall behind.
const BEHIND: usize = 4096;

pub(crate) struct Published {
    current: RwLock<Snapshot>,
    history: Mutex<History>,
    changes: broadcast::Sender<Arc<Vec<Change>>>,
    revision: watch::Sender<Revision>,
    leases: Mutex<LeaseTable>,
    /// Woken when a lease is granted, so that the next deadline is computed anew.
    pub lease_granted: Notify,
}

/// The newest commits, oldest first.
#[derive(Default)]
pub(crate) struct History {
    pub commits: VecDeque<Arc<Vec<Change>>>,
    changes: usize,
    /// Changes up to this revision are no longer here.
    pub compacted: Revision,
}

impl Default for Published {
    fn default() -> Self {
        Published::new(Snapshot::default(), LeaseTable::default())
    }
}

impl Published {
    pub fn new(current: Snapshot, leases: LeaseTable) -> Published {
        let compacted = current.revision();
        Published {
            history: Mutex::new(History {
                compacted,
                ..History::default()
            }),
            changes: broadcast::channel(BEHIND).0,
            revision: watch::channel(compacted).0,
            leases: Mutex::new(leases),
            lease_granted: Notify::new(),
            current: RwLock::new(current),
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        self.current.read().expect("no reader panics").clone()
    }

    pub fn revisions(&self) -> watch::Receiver<Revision> {
        self.revision.subscribe()
    }

    pub fn changes(&self) -> broadcast::Receiver<Arc<Vec<Change>>> {
        self.changes.subscribe()
    }

    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().expect("no holder panics")
    }

    pub fn leases(&self) -> MutexGuard<'_, LeaseTable> {
        self.leases.lock().expect("no holder panics")
    }

    /// Shows readers `next`, which `commits` led to; called by one thread at a time, once all of them are durable.
    pub fn publish(&self, next: Snapshot, commits: Vec<Arc<Vec<Change>>>) {
        let revision = next.revision();
        let old = std::mem::replace(&mut *self.current.write().expect("no writer panics"), next);
        // Freeing what only the old state held takes time that no reader should wait for.
        drop(old);
        self.history().extend(&commits);
        for commit in commits {
            // Fails only when nobody listens.
            let _ = self.changes.send(commit);
        }
        self.revision.send_replace(revision);
    }
}

impl History {
    fn extend(&mut self, commits: &[Arc<Vec<Change>>]) {
        for commit in commits {
            self.changes += commit.len();
            self.commits.push_back(commit.clone());
        }
        while self.changes > HISTORY
            && let Some(oldest) = self.commits.pop_front()
        {
            self.changes -= oldest.len();
            self.compacted = oldest.last().map_or(self.compacted, |change| change.revision);
        }
    }
}
