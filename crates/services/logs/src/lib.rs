//! Amazon CloudWatch Logs: log groups, log streams, their events, filter patterns, retention.
//!
//! Rooms: `api` (generated), `records` (groups and streams, in the store), `storage` (events, in files of their own),
//! `pattern` (the filter language, pure), `ops` (one file per operation), `ingest` (what containers write, exactly once),
//! `retention` (the loop that deletes). This crate knows no socket, no container and no protocol.

pub mod api;
pub mod dispatch;
mod ingest;
pub mod ops;
pub mod pattern;
mod put;
pub mod records;
pub mod resolve;
mod retention;
mod search;
mod storage;
mod tagging;
#[cfg(test)]
mod tests;
mod token;

pub use records::kinds;
pub use storage::StorageError;

use neargate_core::{Clock, Ids};
use neargate_store::Store;
use std::path::Path;
use std::sync::Arc;
use storage::Storage;
use tokio::sync::Notify;

/// The service: handles to what it stands on.
pub struct Logs {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub account: String,
    storage: Arc<Storage>,
    /// Something may have to be deleted.
    dirty: Notify,
}

impl Logs {
    /// The service over the records in `store` and the events under `dir`, which is made when missing.
    ///
    /// # Errors
    /// When the events cannot be opened.
    pub fn open(
        store: Store,
        dir: &Path,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        account: &str,
    ) -> Result<Logs, StorageError> {
        Logs::with_memory(store, dir, clock, ids, account, storage::MEMORY)
    }

    /// As `open`, with so many bytes of memory before events go to segments.
    fn with_memory(
        store: Store,
        dir: &Path,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        account: &str,
        memory: usize,
    ) -> Result<Logs, StorageError> {
        let storage = Storage::open(store.clone(), dir, clock.now().0, memory)?;
        Ok(Logs {
            store,
            clock,
            ids,
            account: account.to_owned(),
            storage: Arc::new(storage),
            dirty: Notify::new(),
        })
    }

    /// Names a group or a stream for good.
    fn fresh_id(&self) -> u64 {
        let bytes = self.ids.bytes();
        u64::from_be_bytes(bytes[8..].try_into().expect("eight of sixteen bytes"))
    }
}
