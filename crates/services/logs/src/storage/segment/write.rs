//! Writing a segment: events come in order of their keys, the file appears whole and durable or not at all.

use super::index::{Block, Index};
use super::{BLOCK, MAGIC, Name, Segment, TRAILER};
use crate::storage::codec;
use crate::storage::{Event, Key, StorageError, sync_dir};
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

pub struct Writer {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    name: Name,
    compressor: zstd::bulk::Compressor<'static>,
    at: u64,
    places: HashMap<u64, u32>,
    index: Index,
    raw: Vec<u8>,
    here: BTreeSet<u32>,
    min: i64,
    bytes: u64,
    last: Option<Key>,
    last_ingested: i64,
    max_seq: u64,
}

impl Writer {
    /// # Errors
    /// When the file cannot be made.
    pub fn create(dir: &Path, name: Name, level: i32) -> Result<Writer, StorageError> {
        let path = dir.join(name.file());
        let temporary = path.with_extension("tmp");
        let file = File::create(&temporary).map_err(StorageError::io("create", &temporary))?;
        let compressor = zstd::bulk::Compressor::new(level).map_err(StorageError::io("compress", &path))?;
        Ok(Writer {
            file,
            temporary,
            path,
            name,
            compressor,
            at: 0,
            places: HashMap::new(),
            index: Index::default(),
            raw: Vec::with_capacity(BLOCK + 4096),
            here: BTreeSet::new(),
            min: 0,
            bytes: 0,
            last: None,
            last_ingested: 0,
            max_seq: 0,
        })
    }

    /// Adds an event whose key is above all before it.
    ///
    /// # Errors
    /// When a full block cannot be written.
    pub fn push(&mut self, event: &Event) -> Result<(), StorageError> {
        debug_assert!(self.last.is_none_or(|last| last < event.key));
        let streams = &mut self.index.streams;
        let place = *self.places.entry(event.stream).or_insert_with(|| {
            streams.push((event.stream, 0));
            (streams.len() - 1) as u32
        });
        streams[place as usize].1 += event.bytes();
        if self.raw.is_empty() {
            self.min = event.key.timestamp;
            self.last_ingested = 0;
        }
        let before = match self.last {
            Some(last) if !self.raw.is_empty() => last,
            _ => Key { timestamp: 0, seq: 0 },
        };
        let raw = &mut self.raw;
        codec::put(raw, u64::from(place));
        codec::put_signed(raw, event.key.timestamp.wrapping_sub(before.timestamp));
        codec::put_signed(raw, event.key.seq.wrapping_sub(before.seq) as i64);
        codec::put_signed(raw, event.ingested.wrapping_sub(self.last_ingested));
        codec::put_bytes(raw, event.message.as_bytes());
        self.last_ingested = event.ingested;
        self.here.insert(place);
        self.bytes += event.bytes();
        self.last = Some(event.key);
        self.max_seq = self.max_seq.max(event.key.seq);
        if self.raw.len() >= BLOCK {
            self.close_block()?;
        }
        Ok(())
    }

    fn close_block(&mut self) -> Result<(), StorageError> {
        let packed = self
            .compressor
            .compress(&self.raw)
            .map_err(StorageError::io("compress", &self.path))?;
        self.file
            .write_all(&packed)
            .map_err(StorageError::io("write", &self.temporary))?;
        self.index.blocks.push(Block {
            at: self.at,
            len: packed.len() as u32,
            raw: self.raw.len() as u32,
            crc: crc32fast::hash(&packed),
            min: self.min,
            max: self.last.map_or(self.min, |key| key.timestamp),
            bytes: self.bytes,
            streams: std::mem::take(&mut self.here).into_iter().collect(),
        });
        self.at += packed.len() as u64;
        self.raw.clear();
        self.bytes = 0;
        Ok(())
    }

    /// The finished segment; none when there was no event.
    ///
    /// # Errors
    /// When it cannot be made durable; nothing is left then.
    pub fn finish(mut self) -> Result<Option<Segment>, StorageError> {
        if !self.raw.is_empty() {
            self.close_block()?;
        }
        if self.index.blocks.is_empty() {
            return Ok(None);
        }
        let plain = self.index.encode();
        let packed = self
            .compressor
            .compress(&plain)
            .map_err(StorageError::io("compress", &self.path))?;
        let (first, last) = (&self.index.blocks[0], &self.index.blocks[self.index.blocks.len() - 1]);
        let mut trailer = Vec::with_capacity(TRAILER);
        trailer.extend(self.at.to_le_bytes());
        trailer.extend(first.min.to_le_bytes());
        trailer.extend(last.max.to_le_bytes());
        trailer.extend(self.max_seq.to_le_bytes());
        trailer.extend(self.index.blocks.iter().map(|b| b.bytes).sum::<u64>().to_le_bytes());
        trailer.extend((packed.len() as u32).to_le_bytes());
        trailer.extend((plain.len() as u32).to_le_bytes());
        trailer.extend(crc32fast::hash(&packed).to_le_bytes());
        trailer.extend(crc32fast::hash(&trailer).to_le_bytes());
        trailer.extend(MAGIC);
        let written = self
            .file
            .write_all(&packed)
            .and_then(|()| self.file.write_all(&trailer))
            .and_then(|()| self.file.sync_all());
        written.map_err(StorageError::io("write", &self.temporary))?;
        std::fs::rename(&self.temporary, &self.path).map_err(StorageError::io("name", &self.path))?;
        if let Some(dir) = self.path.parent() {
            sync_dir(dir)?;
        }
        Segment::open(&self.path, self.name).map(Some)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // After `finish` the file has its name and this one is gone.
        if let Err(error) = std::fs::remove_file(&self.temporary)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.temporary.display(), %error, "cannot delete an unfinished log segment");
        }
    }
}
