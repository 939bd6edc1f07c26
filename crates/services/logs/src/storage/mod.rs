//! Log data on disk: a journal that makes batches durable, memory that holds what it holds, segments per log group.
//!
//! Appends go to one writer thread, which joins whatever waits into one write and one sync. When memory is full it is
//! frozen, a new journal begins, and a second thread writes the frozen events as one segment per group, notes what they
//! change in the streams' records, and deletes the old journal. Neighbouring small segments are merged into larger ones.
//!
//! Invariants: an acknowledged batch is in a synced journal or a synced segment, never in both after `open`; a segment is
//! named after the journals it came through, so a crash between any two steps is undone at `open` by names alone.

mod codec;
mod error;
mod event;
mod flush;
mod journal;
mod maintain;
mod memory;
mod open;
mod read;
mod segment;
mod writer;

pub use error::StorageError;
pub use event::{Event, Key, OVERHEAD};
pub use maintain::Keep;
pub use read::{Events, Range, View};
pub use writer::{Appended, Batch, Source, StreamRef};

use crate::records::{LogGroupRecord, LogStreamRecord};
use memory::Memory;
use neargate_store::{Snapshot, Store};
use segment::Segment;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Memory for events before they are written to segments. As much again may come in while that happens.
pub const MEMORY: usize = 4 << 20;
/// Request bytes that may wait for the writer, in KiB.
const WAITING_KIB: u32 = 16 << 10;

/// Log data under one directory. Dropping it waits for the writer.
pub struct Storage {
    shared: Arc<Shared>,
    inbox: Option<mpsc::UnboundedSender<writer::Append>>,
    waiting: Arc<Semaphore>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    dir: PathBuf,
    store: Store,
    state: Mutex<State>,
    /// Held while segments are replaced by others.
    replacing: Mutex<()>,
    memory: usize,
}

#[derive(Default)]
struct State {
    active: Memory,
    frozen: Option<Arc<Memory>>,
    /// Ascending by name.
    segments: HashMap<u64, Vec<Arc<Segment>>>,
}

/// What memory knows of a stream beyond its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recent {
    pub first: i64,
    pub last: i64,
    pub ingested: i64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is made whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn journals(&self) -> PathBuf {
        self.dir.join("journal")
    }

    fn group_dir(&self, group: u64) -> PathBuf {
        self.dir.join(format!("{group:016x}"))
    }
}

/// True while the group has a record.
fn group_lives(snapshot: &Snapshot, group: u64) -> bool {
    snapshot.count_indexed::<LogGroupRecord>(LogGroupRecord::BY_UID, &LogGroupRecord::uid_text(group)) > 0
}

/// True while the stream has a record and so has its group.
fn stream_lives(snapshot: &Snapshot, stream: u64) -> bool {
    let id = LogStreamRecord::id_text(stream);
    snapshot.count_indexed::<LogStreamRecord>(LogStreamRecord::BY_ID, &id) > 0
}

/// Makes names created in or gone from `dir` durable.
fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(StorageError::io("sync", dir))
}

impl Storage {
    /// Makes `batch` durable.
    ///
    /// # Errors
    /// When it could not be; then it is as if it had never come.
    pub async fn append(&self, batch: Batch) -> Result<Appended, StorageError> {
        let frame = batch.encode();
        let kib = (frame.len() / 1024 + 1).min(WAITING_KIB as usize) as u32;
        let permit = (self.waiting.clone().acquire_many_owned(kib).await).map_err(|_| StorageError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let inbox = self.inbox.as_ref().ok_or(StorageError::Closed)?;
        inbox
            .send(writer::Append {
                batch,
                frame,
                reply,
                _permit: permit,
            })
            .map_err(|_| StorageError::Closed)?;
        answer.await.map_err(|_| StorageError::Closed)?
    }

    /// Everything stored in `group` now.
    pub fn view(&self, group: u64) -> View {
        let state = self.shared.state();
        let frozen = state.frozen.iter().filter_map(|memory| memory.groups.get(&group));
        let maps = frozen
            .chain(state.active.groups.get(&group))
            .map(|found| found.events.clone())
            .collect();
        View {
            maps,
            segments: state.segments.get(&group).cloned().unwrap_or_default(),
        }
    }

    /// What came in for `stream` that its record does not tell yet.
    pub fn recent(&self, stream: u64) -> Option<Recent> {
        let state = self.shared.state();
        let frozen = state.frozen.iter().filter_map(|memory| memory.streams.get(&stream));
        let known = frozen.chain(state.active.streams.get(&stream)).map(|seen| Recent {
            first: seen.first,
            last: seen.last,
            ingested: seen.ingested,
        });
        known.reduce(|a, b| Recent {
            first: a.first.min(b.first),
            last: a.last.max(b.last),
            ingested: a.ingested.max(b.ingested),
        })
    }

    /// Bytes of the events in `group`, as CloudWatch Logs counts; about, where events have just expired.
    pub fn stored_bytes(&self, group: u64) -> u64 {
        let state = self.shared.state();
        let frozen = state.frozen.iter().filter_map(|memory| memory.groups.get(&group));
        let memory: u64 = frozen
            .chain(state.active.groups.get(&group))
            .map(|found| found.bytes)
            .sum();
        let segments = state.segments.get(&group).into_iter().flatten();
        memory + segments.map(|segment| segment.live_bytes()).sum::<u64>()
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.inbox = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the log writer panicked");
        }
    }
}
