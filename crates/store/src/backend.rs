//! The port between the store's handle and what makes commits durable.
//!
//! A backend decides the order of commits, answers each only once it is durable, and publishes it before answering.
//! `memory` and `sqlite` decide here in the process and share `stage`; a backend whose server decides (etcd) sends the
//! conditions along and publishes what its watch brings.

use crate::published::Change;
use crate::snapshot::{Entry, Snapshot};
use crate::txn::{Op, Txn};
use crate::{CommitError, LeaseId, Revision};
use std::pin::Pin;
use std::time::Duration;

/// What a backend answers later.
pub(crate) type Answer<T> = Pin<Box<dyn Future<Output = Result<T, CommitError>> + Send>>;

/// A transaction within the limits, with the encoded record of each change (empty for a deletion).
pub(crate) struct Prepared {
    pub txn: Txn,
    pub values: Vec<Vec<u8>>,
}

pub(crate) trait Backend: Send + Sync + 'static {
    /// Commits if the conditions hold.
    fn commit(&self, prepared: Prepared) -> Answer<Revision>;

    /// Makes a lease, kept across restarts.
    fn grant(&self, ttl: Duration) -> Answer<LeaseId>;

    /// Drops a lease that has ended, unless keys are still attached to it: answers whether it is gone.
    fn forget(&self, lease: LeaseId) -> Answer<bool>;

    /// See `Store::is_full`.
    fn is_full(&self) -> bool {
        false
    }
}

/// A change as made: the life of the key it belongs to, besides what watchers see.
pub(crate) struct Staged {
    pub change: Change,
    /// `created` and `ordinal` of the entry written or deleted.
    pub life: (Revision, u8),
    pub lease: Option<LeaseId>,
    /// Its place in the transaction.
    pub op: usize,
}

/// Makes `txn` on `root` if its conditions hold and its leases are `alive`; without any effect otherwise. A transaction
/// that changes nothing takes no revision.
pub(crate) fn stage(
    root: &mut Snapshot,
    txn: &Txn,
    alive: impl Fn(LeaseId) -> bool,
) -> Result<Vec<Staged>, CommitError> {
    if let Some(failed) = txn.compares.iter().find(|compare| !root.holds(compare)) {
        return Err(CommitError::Conflict {
            key: failed.key.to_string(),
        });
    }
    for op in &txn.ops {
        if let Op::Put { lease: Some(lease), .. } = op
            && !alive(*lease)
        {
            return Err(CommitError::LeaseNotFound { lease: *lease });
        }
    }
    let revision = root.revision() + 1;
    let mut staged = Vec::with_capacity(txn.ops.len());
    for (at, op) in txn.ops.iter().enumerate() {
        if matches!(op, Op::Delete { key } if !root.entries.contains_key(key)) {
            continue;
        }
        // MAX_OPS is 128.
        let old = root.apply(revision, at as u8, op);
        let (record, lease) = match op {
            Op::Put { record, lease, .. } => (Some(record.clone()), *lease),
            Op::Delete { .. } => (None, None),
        };
        let life = |entry: &Entry| (entry.created, entry.ordinal);
        staged.push(Staged {
            life: old.as_ref().map_or((revision, at as u8), life),
            lease,
            op: at,
            change: Change {
                revision,
                key: op.key().clone(),
                record,
                previous: old.map(|entry| entry.record),
            },
        });
    }
    Ok(staged)
}
