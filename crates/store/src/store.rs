//! The handle that control holds: snapshots, commits, watches.

use crate::record::{AnyRecord, Kind};
use crate::snapshot::Snapshot;
use crate::txn::Txn;
use crate::Revision;
use std::sync::{Arc, Mutex, RwLock};
use tokio::sync::{broadcast, watch};

/// Why a transaction did not commit; in every case nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A condition did not hold: observe again.
    #[error("another commit changed {key} first")]
    Conflict { key: String },
    #[error("a transaction may hold at most {limit} changes, this one has {ops}")]
    TooManyOps { ops: usize, limit: usize },
    #[error("a transaction may hold at most {limit} bytes, this one has {bytes}")]
    TooLarge { bytes: usize, limit: usize },
    /// The backend could not make it durable (disk full, I/O error).
    #[error("the store could not write: {0}")]
    Storage(String),
}

/// One changed key of one commit; `record` is none when it was deleted.
#[derive(Clone, Debug)]
pub struct Change {
    pub revision: Revision,
    pub key: Arc<str>,
    pub record: Option<Arc<dyn AnyRecord>>,
}

/// Handle to the state; clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    current: RwLock<Snapshot>,
    commit: Mutex<()>,
    revision: watch::Sender<Revision>,
    changes: broadcast::Sender<Arc<Vec<Change>>>,
}

/// etcd's default limits, kept by every backend.
pub const MAX_OPS: usize = 128;
/// etcd's default request limit.
pub const MAX_BYTES: usize = 1_572_864;

impl Store {
    /// A store that forgets everything when dropped: tests and simulation.
    pub fn in_memory(_kinds: &[Kind]) -> Store {
        let (revision, _) = watch::channel(0);
        let (changes, _) = broadcast::channel(4096);
        Store { inner: Arc::new(Inner { current: RwLock::default(), commit: Mutex::new(()), revision, changes }) }
    }

    /// The state now. Includes every commit already acknowledged to anyone.
    pub fn snapshot(&self) -> Snapshot {
        self.inner.current.read().expect("no reader panics").clone()
    }

    /// Commits `txn` if all its conditions hold; answers its revision once it is durable.
    ///
    /// # Errors
    /// `CommitError`; nothing was changed then.
    pub async fn commit(&self, txn: Txn) -> Result<Revision, CommitError> {
        if txn.ops.len() > MAX_OPS {
            return Err(CommitError::TooManyOps { ops: txn.ops.len(), limit: MAX_OPS });
        }
        let _one = self.inner.commit.lock().expect("no committer panics");
        let mut next = self.snapshot();
        if let Some(failed) = txn.compares.iter().find(|c| !next.holds(c)) {
            return Err(CommitError::Conflict { key: failed.key.to_string() });
        }
        if txn.ops.is_empty() {
            return Ok(next.revision);
        }
        let revision = next.revision + 1;
        let mut changes = Vec::with_capacity(txn.ops.len());
        for op in &txn.ops {
            next.apply(revision, op);
            let record = match op {
                crate::txn::Op::Put { record, .. } => Some(record.clone()),
                crate::txn::Op::Delete { .. } => None,
            };
            changes.push(Change { revision, key: op.key().clone(), record });
        }
        *self.inner.current.write().expect("no writer panics") = next;
        let _ = self.inner.changes.send(Arc::new(changes));
        self.inner.revision.send_replace(revision);
        Ok(revision)
    }

    /// Decides on a snapshot and commits, again from the start whenever another commit came first.
    ///
    /// # Errors
    /// What `decide` refuses, or a storage failure through `E: From<CommitError>`.
    pub async fn transact<T, E: From<CommitError>>(
        &self,
        mut decide: impl FnMut(&Snapshot) -> Result<(Txn, T), E>,
    ) -> Result<T, E> {
        loop {
            let (txn, out) = decide(&self.snapshot())?;
            match self.commit(txn).await {
                Ok(_) => return Ok(out),
                Err(CommitError::Conflict { .. }) => tokio::task::yield_now().await,
                Err(other) => return Err(other.into()),
            }
        }
    }

    /// Wakes on every commit; the value is the newest revision.
    pub fn revisions(&self) -> watch::Receiver<Revision> {
        self.inner.revision.subscribe()
    }

    /// Every change from now on, one message per commit. A receiver that lags must take a snapshot again.
    pub fn changes(&self) -> broadcast::Receiver<Arc<Vec<Change>>> {
        self.inner.changes.subscribe()
    }
}
