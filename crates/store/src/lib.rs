//! State with etcd's semantics: one global revision, compare-and-commit transactions, watches, typed snapshots.
//!
//! Control is the only user. Reads come from an in-memory `Snapshot` (cheap to clone, never changes); writes go through
//! `Store::commit`, which answers only once the backend has made them durable. Backends: memory and SQLite.
//! This crate deliberately knows no AWS service: records bring their own key prefix, form and indexes.

mod record;
mod refusal;
mod snapshot;
mod store;
mod txn;

pub use record::{AnyRecord, Kind, Record};
pub use snapshot::{Snapshot, Versioned};
pub use store::{Change, CommitError, Store};
pub use txn::{Compare, Condition, Txn, full_key};

/// The store's global revision: grows by one with every commit.
pub type Revision = u64;
