//! State with etcd's semantics: one global revision, compare-and-commit transactions, watches, leases, typed snapshots.
//!
//! Control is the only user. Reads come from an in-memory `Snapshot` (cheap to clone, never changes); writes go through
//! `Store::commit`, which answers only once the backend has made them durable. Backends: memory and SQLite.
//! This crate deliberately knows no AWS service: records bring their own key prefix, form and indexes.

mod backend;
mod lease;
mod memory;
mod published;
mod record;
mod refusal;
mod snapshot;
mod sqlite;
mod store;
mod txn;
mod watch;

pub use lease::{LeaseId, Leases};
pub use published::{Change, concerned};
pub use record::{AnyRecord, Decode, Kind, KindsOverlap, Record};
pub use refusal::full;
pub use snapshot::{Snapshot, Versioned};
pub use sqlite::OpenError;
pub use store::{CommitError, MAX_BYTES, MAX_OPS, Store};
pub use txn::{Compare, Condition, Op, Txn, full_key};
pub use watch::{Compacted, Watch};

/// The store's global revision: grows by one with every commit that changes something.
pub type Revision = u64;
