//! From memory to segments: frozen events become one segment a group, and their journal goes.

use super::segment::{Name, Segment, Writer};
use super::{Memory, Shared, StorageError, group_lives, journal, maintain, stream_lives, sync_dir};
use crate::records::LogStreamRecord;
use neargate_core::AwsError;
use neargate_store::Txn;
use std::collections::HashSet;
use std::fs;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};

/// Speed before size: merging packs tighter.
const LEVEL: i32 = 1;
/// Stream records changed in one commit; the store takes 128 changes.
const TOGETHER: usize = 100;

/// The thread that writes frozen memory, while there is one.
#[derive(Default)]
pub(super) struct Flusher(Option<JoinHandle<()>>);

impl Flusher {
    pub fn is_idle(&self) -> bool {
        self.0.as_ref().is_none_or(JoinHandle::is_finished)
    }

    pub fn start(&mut self, shared: &Arc<Shared>) {
        self.join();
        let shared = shared.clone();
        let spawned = thread::Builder::new()
            .name("logs-flush".into())
            .spawn(move || run(&shared));
        match spawned {
            Ok(handle) => self.0 = Some(handle),
            Err(error) => tracing::error!(%error, "no thread to write log segments; it is tried again"),
        }
    }

    pub fn join(&mut self) {
        if let Some(handle) = self.0.take()
            && handle.join().is_err()
        {
            tracing::error!("writing log segments panicked; it is tried again");
        }
    }
}

fn run(shared: &Shared) {
    let Some(frozen) = shared.state().frozen.clone() else {
        return;
    };
    if let Err(error) = flush(shared, &frozen) {
        tracing::error!(%error, "log segments cannot be written; their events stay in memory and journal");
        return;
    }
    for group in frozen.groups.keys() {
        if let Err(error) = maintain::merge(shared, *group) {
            tracing::error!(%error, "small log segments cannot be merged");
        }
    }
}

/// Writes `memory` to segments and forgets it, if it is the frozen one, and its journal.
pub(super) fn flush(shared: &Shared, memory: &Arc<Memory>) -> Result<(), StorageError> {
    let snapshot = shared.store.snapshot();
    let mut made: Vec<(u64, Segment)> = Vec::new();
    // Events of streams deleted meanwhile need not be written at all.
    let dead: HashSet<u64> = (memory.streams.keys().copied())
        .filter(|stream| !stream_lives(&snapshot, *stream))
        .collect();
    for (group, found) in &memory.groups {
        if !group_lives(&snapshot, *group) {
            continue;
        }
        let events = found.events.values().filter(|event| !dead.contains(&event.stream));
        match write(shared, *group, memory.journal, events) {
            Ok(segment) => made.extend(segment.map(|segment| (*group, segment))),
            Err(error) => {
                made.iter().for_each(|(_, segment)| segment.doom());
                return Err(error);
            }
        }
    }
    if let Err(error) = block_on(tell_streams(shared, memory)) {
        made.iter().for_each(|(_, segment)| segment.doom());
        return Err(error);
    }
    {
        let mut state = shared.state();
        let snapshot = shared.store.snapshot();
        for (group, segment) in made {
            if group_lives(&snapshot, group) {
                let segments = state.segments.entry(group).or_default();
                segments.push(Arc::new(segment));
                segments.sort_by_key(|segment| segment.name);
            } else {
                segment.doom();
            }
        }
        if state.frozen.as_ref().is_some_and(|frozen| Arc::ptr_eq(frozen, memory)) {
            state.frozen = None;
        }
    }
    let journals = shared.journals();
    let path = journal::path(&journals, memory.journal);
    fs::remove_file(&path).map_err(StorageError::io("delete", &path))?;
    sync_dir(&journals)
}

fn write<'a>(
    shared: &Shared,
    group: u64,
    journal: u64,
    events: impl Iterator<Item = &'a super::Event>,
) -> Result<Option<Segment>, StorageError> {
    let dir = shared.group_dir(group);
    match fs::create_dir(&dir) {
        Ok(()) => sync_dir(&shared.dir)?,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(StorageError::io("create", &dir)(error)),
    }
    let mut writer = Writer::create(&dir, Name::of_journal(journal), LEVEL)?;
    for event in events {
        writer.push(event)?;
    }
    writer.finish()
}

/// Notes times and source offsets in the streams' records. Doing it twice changes nothing.
async fn tell_streams(shared: &Shared, memory: &Memory) -> Result<(), StorageError> {
    let mut seen: Vec<_> = memory.streams.iter().collect();
    seen.sort_by(|a, b| a.1.key.cmp(&b.1.key));
    for some in seen.chunks(TOGETHER) {
        let told = shared.store.transact(|snapshot| {
            let mut txn = Txn::new();
            for (id, seen) in some {
                let Some(record) = snapshot.get::<LogStreamRecord>(&seen.key).filter(|r| r.id == **id) else {
                    continue;
                };
                let mut changed = (*record.record).clone();
                changed.tell(seen.first, seen.last, seen.ingested, &seen.sources);
                if changed != *record.record {
                    txn.unchanged::<LogStreamRecord>(snapshot, &seen.key)
                        .put(&seen.key, changed);
                }
            }
            Ok::<_, AwsError>((txn, ()))
        });
        told.await.map_err(|error| StorageError::State(error.to_string()))?;
    }
    Ok(())
}

/// Waits for a future on a thread without a runtime.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park();
    }
}
