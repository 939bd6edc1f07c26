//! The handle that control holds: snapshots, commits, watches.

use crate::backend::{Backend, Prepared};
use crate::lease::Leases;
use crate::memory::Memory;
use crate::published::{Change, Published};
use crate::record::{Kind, Kinds};
use crate::snapshot::Snapshot;
use crate::sqlite::{OpenError, Sqlite};
use crate::txn::{Op, Txn};
use crate::watch::{Compacted, Watch};
use crate::{LeaseId, Revision};
use neargate_core::Clock;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{broadcast, watch};

/// Why a transaction did not commit; in every case nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A condition did not hold: observe again.
    #[error("another commit changed {key} first")]
    Conflict { key: String },
    #[error("a transaction may hold at most {limit} conditions and at most {limit} changes, this one has {ops}")]
    TooManyOps { ops: usize, limit: usize },
    #[error("a transaction may hold at most {limit} bytes, this one has {bytes}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("a transaction may change {key} only once")]
    DuplicateKey { key: String },
    #[error("{key} belongs to no record kind that the store was opened with")]
    UnknownKind { key: String },
    #[error("the lease {lease} has ended")]
    LeaseNotFound { lease: LeaseId },
    #[error("the record {key} has no stored form: {source}")]
    Encode { key: String, source: serde_json::Error },
    /// The backend could not make it durable (disk full, I/O error).
    #[error("the store could not write: {0}")]
    Storage(String),
}

/// Handle to the state; clones share it. Dropping the last one closes the store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    kinds: Kinds,
    backend: Box<dyn Backend>,
    published: Arc<Published>,
}

/// etcd's default limits, kept by every backend.
pub const MAX_OPS: usize = 128;
/// etcd's default request limit, for keys and encoded records together.
pub const MAX_BYTES: usize = 1_572_864;

impl Store {
    /// A store that forgets everything when dropped: tests and simulation. Without kinds it takes records of any.
    ///
    /// # Panics
    /// When two kinds share keys.
    pub fn in_memory(kinds: &[Kind]) -> Store {
        let kinds = Kinds::new(kinds).unwrap_or_else(|error| panic!("{error}"));
        let published = Arc::new(Published::default());
        Store {
            inner: Arc::new(Inner {
                kinds,
                backend: Box::new(Memory::new(published.clone())),
                published,
            }),
        }
    }

    /// Opens the embedded store in the directory `path`, which it makes when missing and holds alone until the last
    /// clone is dropped. Reads everything, so it may take seconds for very many records.
    ///
    /// # Errors
    /// `OpenError`, each saying what to do.
    pub fn open(path: impl AsRef<Path>, kinds: &[Kind]) -> Result<Store, OpenError> {
        let kinds = Kinds::new(kinds)?;
        let (backend, published) = Sqlite::open(path.as_ref(), &kinds)?;
        Ok(Store {
            inner: Arc::new(Inner {
                kinds,
                backend: Box::new(backend),
                published,
            }),
        })
    }

    /// The state now. Includes every commit already acknowledged to anyone.
    pub fn snapshot(&self) -> Snapshot {
        self.inner.published.snapshot()
    }

    /// Commits `txn` if all its conditions hold; answers its revision once it is durable. A dropped future leaves open
    /// whether it committed.
    ///
    /// # Errors
    /// `CommitError`; nothing was changed then.
    pub async fn commit(&self, txn: Txn) -> Result<Revision, CommitError> {
        let prepared = self.prepare(txn)?;
        self.inner.backend.commit(prepared).await
    }

    /// Checks the limits and encodes the records, on the caller's thread and outside every lock.
    fn prepare(&self, txn: Txn) -> Result<Prepared, CommitError> {
        let ops = txn.ops.len().max(txn.compares.len());
        if ops > MAX_OPS {
            return Err(CommitError::TooManyOps { ops, limit: MAX_OPS });
        }
        let mut keys: Vec<&str> = txn.ops.iter().map(|op| &**op.key()).collect();
        keys.sort_unstable();
        if let Some(twice) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(CommitError::DuplicateKey {
                key: twice[0].to_owned(),
            });
        }
        let mut bytes = 0;
        let mut values = Vec::with_capacity(txn.ops.len());
        for op in &txn.ops {
            let key = op.key();
            if !self.inner.kinds.is_empty() && self.inner.kinds.of(key).is_none() {
                return Err(CommitError::UnknownKind { key: key.to_string() });
            }
            let value = match op {
                Op::Put { record, .. } => record.encode().map_err(|source| CommitError::Encode {
                    key: key.to_string(),
                    source,
                })?,
                Op::Delete { .. } => Vec::new(),
            };
            bytes += key.len() + value.len();
            values.push(value);
        }
        if bytes > MAX_BYTES {
            return Err(CommitError::TooLarge {
                bytes,
                limit: MAX_BYTES,
            });
        }
        Ok(Prepared { txn, values })
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

    /// True when next to nothing is left of the disk. Commits go on for a while in room kept for them: it is for what frees the
    /// disk again, and for what happens by itself.
    pub fn is_full(&self) -> bool {
        self.inner.backend.is_full()
    }

    /// Wakes on every commit; the value is the newest revision.
    pub fn revisions(&self) -> watch::Receiver<Revision> {
        self.inner.published.revisions()
    }

    /// Every change from now on, one message per commit. A receiver that lags must take a snapshot again.
    pub fn changes(&self) -> broadcast::Receiver<Arc<Vec<Change>>> {
        self.inner.published.changes()
    }

    /// Every change of the commits from `from` on, that one included: after `snapshot` that is its revision + 1.
    ///
    /// # Errors
    /// `Compacted` when history no longer reaches back so far: take a snapshot and watch from there.
    pub fn watch(&self, from: Revision) -> Result<Watch, Compacted> {
        Watch::start(&self.inner.published, from)
    }

    /// Leases by the time of `clock`.
    pub fn leases(&self, clock: Arc<dyn Clock>) -> Leases {
        Leases::new(self.clone(), clock)
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.inner.backend
    }

    pub(crate) fn published(&self) -> &Published {
        &self.inner.published
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("revision", &*self.revisions().borrow())
            .finish_non_exhaustive()
    }
}
