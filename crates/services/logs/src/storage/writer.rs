//! The writer: one thread that puts waiting batches into the journal together, then into memory, then answers.

use super::flush::Flusher;
use super::journal::{Frame, Journal};
use super::{Memory, Shared, StorageError};
use crate::records::LogStreamRecord;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// Frames of at most so many bytes are written together.
const TOGETHER: usize = 8 << 20;

/// Where a batch goes.
#[derive(Clone, Debug)]
pub struct StreamRef {
    pub group: u64,
    pub id: u64,
    /// Key of the stream's record.
    pub key: Arc<str>,
}

/// The part of a source's log that a batch holds.
#[derive(Clone, Debug)]
pub struct Source {
    pub name: String,
    pub from: u64,
    pub to: u64,
}

#[derive(Clone, Debug)]
pub struct Batch {
    pub stream: StreamRef,
    pub ingested: i64,
    pub source: Option<Source>,
    /// Time in milliseconds and message, in any order of time.
    pub events: Vec<(i64, Arc<str>)>,
}

impl Batch {
    pub(super) fn encode(&self) -> Vec<u8> {
        let frame = Frame {
            first_seq: 0,
            group: self.stream.group,
            stream: self.stream.id,
            key: self.stream.key.clone(),
            ingested: self.ingested,
            source: self.source.as_ref().map(|source| (source.name.clone(), source.to)),
            events: self.events.clone(),
        };
        frame.encode()
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is durable; `last_seq` is its last event's.
    Stored { last_seq: u64 },
    /// All of it was stored before.
    Known,
    /// Its source is stored up to `stored`, which lies inside it; nothing was done.
    Overlap { stored: u64 },
}

pub(super) struct Append {
    pub batch: Batch,
    pub frame: Vec<u8>,
    pub reply: oneshot::Sender<Result<Appended, StorageError>>,
    pub _permit: OwnedSemaphorePermit,
}

pub(super) struct Writer {
    pub shared: Arc<Shared>,
    pub journal: Journal,
    pub next_seq: u64,
    pub flusher: Flusher,
}

/// A batch that goes into this write.
struct Accepted {
    append: Append,
    first_seq: u64,
}

impl Writer {
    /// Serves until every sender is gone.
    pub fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Append>) {
        while let Some(first) = inbox.blocking_recv() {
            let mut bytes = first.frame.len();
            let mut appends = vec![first];
            while bytes < TOGETHER
                && let Ok(next) = inbox.try_recv()
            {
                bytes += next.frame.len();
                appends.push(next);
            }
            self.write(appends);
        }
        self.flusher.join();
    }

    fn write(&mut self, appends: Vec<Append>) {
        if let Err(error) = self.make_room() {
            for append in appends {
                let _ = append.reply.send(Err(error.clone()));
            }
            return;
        }
        let mut pending: HashMap<(u64, String), u64> = HashMap::new();
        let mut frames = Vec::new();
        let mut accepted = Vec::new();
        let mut known = Vec::new();
        let mut next_seq = self.next_seq;
        for mut append in appends {
            if let Some(source) = &append.batch.source {
                let place = (append.batch.stream.id, source.name.clone());
                let stored = pending.get(&place).copied().or_else(|| self.offset(&append.batch));
                match stored {
                    // What is already there may itself be in this write, so the answer waits for it.
                    Some(stored) if source.to <= stored => {
                        known.push(append);
                        continue;
                    }
                    Some(stored) if source.from < stored => {
                        let _ = append.reply.send(Ok(Appended::Overlap { stored }));
                        continue;
                    }
                    _ => pending.insert(place, source.to),
                };
            }
            let first_seq = next_seq;
            next_seq += append.batch.events.len() as u64;
            let mut frame = std::mem::take(&mut append.frame);
            Frame::seal(&mut frame, first_seq);
            frames.append(&mut frame);
            accepted.push(Accepted { append, first_seq });
        }
        // Also when the write fails: what was half written must never share a number with what comes next.
        self.next_seq = next_seq;
        if !accepted.is_empty()
            && let Err(error) = self.journal.append(&frames)
        {
            let failed = accepted.into_iter().map(|a| a.append).chain(known);
            for append in failed {
                let _ = append.reply.send(Err(error.clone()));
            }
            return;
        }
        let mut state = self.shared.state();
        for Accepted { append, first_seq } in &accepted {
            let batch = &append.batch;
            state.active.apply(&super::memory::Batch {
                group: batch.stream.group,
                stream: batch.stream.id,
                key: &batch.stream.key,
                ingested: batch.ingested,
                first_seq: *first_seq,
                source: batch.source.as_ref().map(|source| (source.name.as_str(), source.to)),
                events: &batch.events,
            });
        }
        drop(state);
        for Accepted { append, first_seq } in accepted {
            let last_seq = first_seq + append.batch.events.len().saturating_sub(1) as u64;
            let _ = append.reply.send(Ok(Appended::Stored { last_seq }));
        }
        for append in known {
            let _ = append.reply.send(Ok(Appended::Known));
        }
    }

    /// Up to where the batch's source is stored in its stream.
    fn offset(&self, batch: &Batch) -> Option<u64> {
        let source = batch.source.as_ref()?;
        {
            let state = self.shared.state();
            let active = state.active.offset(batch.stream.id, &source.name);
            let frozen = || state.frozen.as_ref()?.offset(batch.stream.id, &source.name);
            if let Some(offset) = active.or_else(frozen) {
                return Some(offset);
            }
        }
        // Taken after the look into memory, which forgets only what the records already tell.
        let snapshot = self.shared.store.snapshot();
        let record = snapshot.get::<LogStreamRecord>(&batch.stream.key)?;
        (record.id == batch.stream.id).then(|| record.sources.get(&source.name).copied())?
    }

    /// Freezes full memory and has it written to segments; fails when that has not worked for too long.
    fn make_room(&mut self) -> Result<(), StorageError> {
        let full = |writer: &Writer, times: usize| {
            let journal = writer.journal.len() as usize / 4;
            let memory = writer.shared.memory;
            writer.shared.state().active.charged.max(journal) >= memory * times
        };
        if !full(self, 1) {
            return Ok(());
        }
        if full(self, 2) {
            self.flusher.join();
        }
        if !self.flusher.is_idle() {
            return Ok(());
        }
        if self.shared.state().frozen.is_none() {
            match Journal::create(&self.shared.journals(), self.journal.number + 1) {
                Ok(journal) => {
                    let mut state = self.shared.state();
                    let frozen = std::mem::replace(&mut state.active, Memory::new(journal.number));
                    state.frozen = Some(Arc::new(frozen));
                    self.journal = journal;
                }
                Err(error) if full(self, 4) => return Err(error),
                Err(error) => {
                    tracing::error!(%error, "a new journal cannot be begun; the old one goes on");
                    return Ok(());
                }
            }
        } else if full(self, 4) {
            // The last try failed: wait for the outcome of another, so that memory stays bounded.
            self.flusher.start(&self.shared);
            self.flusher.join();
            if self.shared.state().frozen.is_some() {
                return Err(StorageError::Behind);
            }
            return self.make_room();
        }
        self.flusher.start(&self.shared);
        Ok(())
    }
}
