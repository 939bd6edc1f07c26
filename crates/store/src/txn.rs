//! A transaction: conditions that must hold, and the changes then made together.

use crate::record::{AnyRecord, Record};
use crate::{LeaseId, Revision, Snapshot};
use std::sync::Arc;

/// What must be true of a key for the transaction to commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Absent,
    Exists,
    /// The record was last changed at this revision.
    ModifiedAt(Revision),
    /// No key that starts with this one was made or changed after the revision. What was deleted does not count. In etcd a
    /// comparison of a range's modification revisions.
    NoneNewer(Revision),
}

/// A condition on one key, or on all that start with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    pub key: Arc<str>,
    pub condition: Condition,
}

/// One change.
#[derive(Clone, Debug)]
pub enum Op {
    /// Without a lease the key is attached to none, whatever it was before.
    Put {
        key: Arc<str>,
        record: Arc<dyn AnyRecord>,
        lease: Option<LeaseId>,
    },
    Delete {
        key: Arc<str>,
    },
}

impl Op {
    pub fn key(&self) -> &Arc<str> {
        match self {
            Op::Put { key, .. } | Op::Delete { key } => key,
        }
    }
}

/// Conditions and changes. Keys are given without the record's prefix.
#[derive(Clone, Debug, Default)]
pub struct Txn {
    pub compares: Vec<Compare>,
    pub ops: Vec<Op>,
}

/// The full key of `R` at `key`.
pub fn full_key<R: Record>(key: &str) -> Arc<str> {
    format!("{}{key}", R::PREFIX).into()
}

impl Txn {
    pub fn new() -> Txn {
        Txn::default()
    }

    /// Commits only if `R` at `key` satisfies `condition`.
    pub fn expect<R: Record>(&mut self, key: &str, condition: Condition) -> &mut Self {
        self.compares.push(Compare {
            key: full_key::<R>(key),
            condition,
        });
        self
    }

    /// Commits only if `R` at `key` is as `snapshot` shows it: unchanged, or still absent.
    pub fn unchanged<R: Record>(&mut self, snapshot: &Snapshot, key: &str) -> &mut Self {
        let condition = match snapshot.get::<R>(key) {
            Some(v) => Condition::ModifiedAt(v.modified),
            None => Condition::Absent,
        };
        self.expect::<R>(key, condition)
    }

    /// Commits only if there is an `R` at `key`. Asked for again it stays one condition: many changes of one transaction
    /// may lean on the same record.
    pub fn exists<R: Record>(&mut self, key: &str) -> &mut Self {
        let compare = Compare {
            key: full_key::<R>(key),
            condition: Condition::Exists,
        };
        if !self.compares.contains(&compare) {
            self.compares.push(compare);
        }
        self
    }

    /// Commits only if no `R` whose key starts with `prefix` was made or changed after `snapshot`: what was found missing
    /// among them there is missing still.
    pub fn none_newer<R: Record>(&mut self, snapshot: &Snapshot, prefix: &str) -> &mut Self {
        self.expect::<R>(prefix, Condition::NoneNewer(snapshot.revision()))
    }

    pub fn put<R: Record>(&mut self, key: &str, record: R) -> &mut Self {
        self.put_shared(key, Arc::new(record))
    }

    pub fn put_shared<R: Record>(&mut self, key: &str, record: Arc<R>) -> &mut Self {
        self.ops.push(Op::Put {
            key: full_key::<R>(key),
            record,
            lease: None,
        });
        self
    }

    /// Puts a record that is deleted when `lease` ends.
    pub fn put_leased<R: Record>(&mut self, key: &str, record: R, lease: LeaseId) -> &mut Self {
        self.ops.push(Op::Put {
            key: full_key::<R>(key),
            record: Arc::new(record),
            lease: Some(lease),
        });
        self
    }

    pub fn delete<R: Record>(&mut self, key: &str) -> &mut Self {
        self.ops.push(Op::Delete {
            key: full_key::<R>(key),
        });
        self
    }

    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}
