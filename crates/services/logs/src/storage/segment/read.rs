//! Reading a segment in order of time or against it, one block at a time.

use super::index::Block;
use super::{Index, Segment};
use crate::storage::codec::Reader;
use crate::storage::read::{Range, Select};
use crate::storage::{Event, Key, StorageError};
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// Longest block that is believed: a block is closed at 128 KiB, and the longest event is a request's.
const MAX_RAW: u32 = 256 << 20;

/// Goes through the events of a segment that are in a range and selected.
pub struct Cursor {
    segment: Arc<Segment>,
    file: File,
    index: Index,
    wanted: Vec<bool>,
    /// The next block to read: counts up, or down from the end.
    next: usize,
    ready: VecDeque<Event>,
}

impl Cursor {
    /// # Errors
    /// When the segment's index cannot be read.
    pub fn open(segment: Arc<Segment>, range: &Range, select: &mut Select<'_>) -> Result<Cursor, StorageError> {
        let file = File::open(&segment.path).map_err(StorageError::io("open", &segment.path))?;
        let index = Index::read(&segment, &file)?;
        let wanted = index.streams.iter().map(|(id, _)| select(*id)).collect();
        let next = if range.forward {
            index.blocks.partition_point(|b| b.max < range.after.timestamp)
        } else {
            index.blocks.partition_point(|b| b.min <= range.before.timestamp)
        };
        Ok(Cursor {
            segment,
            file,
            index,
            wanted,
            next,
            ready: VecDeque::new(),
        })
    }

    /// The next event; adds the bytes unpacked for it to `scanned`.
    ///
    /// # Errors
    /// When a block cannot be read.
    pub fn next(&mut self, range: &Range, scanned: &mut u64) -> Result<Option<Event>, StorageError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let place = if range.forward {
                let place = self.next;
                self.next += 1;
                match self.index.blocks.get(place) {
                    Some(block) if block.min <= range.before.timestamp => place,
                    _ => return Ok(None),
                }
            } else {
                if self.next == 0 {
                    return Ok(None);
                }
                self.next -= 1;
                if self.index.blocks[self.next].max < range.after.timestamp {
                    return Ok(None);
                }
                self.next
            };
            let block = &self.index.blocks[place];
            if !block.streams.iter().any(|place| self.wanted[*place as usize]) {
                continue;
            }
            *scanned += u64::from(block.raw);
            let plain = self.unpack(block)?;
            let events = self
                .decode(&plain, range)
                .ok_or_else(|| self.segment.damaged("a block makes no sense"))?;
            self.ready = events;
        }
    }

    fn unpack(&self, block: &Block) -> Result<Vec<u8>, StorageError> {
        let mut packed = vec![0; block.len as usize];
        self.file
            .read_exact_at(&mut packed, block.at)
            .map_err(StorageError::io("read", &self.segment.path))?;
        if crc32fast::hash(&packed) != block.crc || block.raw > MAX_RAW {
            return Err(self.segment.damaged("the checksum of a block does not fit"));
        }
        zstd::bulk::decompress(&packed, block.raw as usize).map_err(StorageError::io("unpack", &self.segment.path))
    }

    fn decode(&self, plain: &[u8], range: &Range) -> Option<VecDeque<Event>> {
        let mut reader = Reader(plain);
        let mut out = VecDeque::new();
        let (mut timestamp, mut seq, mut ingested) = (0i64, 0u64, 0i64);
        while !reader.is_empty() {
            let place = reader.usize()?;
            timestamp = timestamp.wrapping_add(reader.signed()?);
            seq = seq.wrapping_add(reader.signed()? as u64);
            ingested = ingested.wrapping_add(reader.signed()?);
            let message = reader.bytes()?;
            let key = Key { timestamp, seq };
            if !*self.wanted.get(place)? || !range.holds(key) {
                continue;
            }
            let event = Event {
                key,
                stream: self.index.streams[place].0,
                ingested,
                message: std::str::from_utf8(message).ok()?.into(),
            };
            if range.forward {
                out.push_back(event);
            } else {
                out.push_front(event);
            }
        }
        Some(out)
    }
}
