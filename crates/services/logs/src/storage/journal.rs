//! The journal: every accepted batch, in the order of acceptance, durable before it is acknowledged.
//!
//! A file per journal: a magic, then frames of length, checksum and payload. What a crash left half-written at its end is
//! cut off when the journal is opened again. It goes once everything in it lies in segments.

use super::StorageError;
use super::codec::{self, Reader};
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"NGLJRN1\n";
/// Longest frame that is believed.
const MAX_FRAME: u32 = 128 << 20;
/// The first event's `seq` stands at the start of a payload, so that it can be set when the order is known.
const SEQ: usize = 8;

/// A batch as it lies in the journal.
#[derive(Debug, PartialEq)]
pub struct Frame {
    pub first_seq: u64,
    pub group: u64,
    pub stream: u64,
    pub key: Arc<str>,
    pub ingested: i64,
    /// Name and the offset after the batch.
    pub source: Option<(String, u64)>,
    pub events: Vec<(i64, Arc<str>)>,
}

impl Frame {
    /// Length, checksum and payload; `seal` completes it.
    pub fn encode(&self) -> Vec<u8> {
        let messages: usize = self.events.iter().map(|(_, m)| m.len() + 8).sum();
        let mut out = Vec::with_capacity(messages + 128);
        out.extend([0; 8 + SEQ]);
        out.extend(self.group.to_le_bytes());
        out.extend(self.stream.to_le_bytes());
        codec::put_bytes(&mut out, self.key.as_bytes());
        codec::put_signed(&mut out, self.ingested);
        match &self.source {
            Some((name, to)) => {
                codec::put(&mut out, 1);
                codec::put_bytes(&mut out, name.as_bytes());
                codec::put(&mut out, *to);
            }
            None => codec::put(&mut out, 0),
        }
        codec::put(&mut out, self.events.len() as u64);
        let mut time = 0;
        for (timestamp, message) in &self.events {
            codec::put_signed(&mut out, timestamp.wrapping_sub(time));
            time = *timestamp;
            codec::put_bytes(&mut out, message.as_bytes());
        }
        out
    }

    /// Sets the sequence number, the length and the checksum of an encoded frame.
    pub fn seal(encoded: &mut [u8], first_seq: u64) {
        encoded[8..8 + SEQ].copy_from_slice(&first_seq.to_le_bytes());
        let length = (encoded.len() - 8) as u32;
        let crc = crc32fast::hash(&encoded[8..]);
        encoded[..4].copy_from_slice(&length.to_le_bytes());
        encoded[4..8].copy_from_slice(&crc.to_le_bytes());
    }

    fn decode(payload: &[u8]) -> Option<Frame> {
        let (head, rest) = payload.split_at_checked(SEQ + 16)?;
        let long = |i: usize| Some(u64::from_le_bytes(head.get(i..i + 8)?.try_into().ok()?));
        let mut reader = Reader(rest);
        let key = reader.text()?.into();
        let ingested = reader.signed()?;
        let source = match reader.u64()? {
            0 => None,
            1 => Some((reader.text()?.to_owned(), reader.u64()?)),
            _ => return None,
        };
        let count = reader.usize()?;
        let mut events = Vec::with_capacity(count.min(reader.0.len()));
        let mut time = 0i64;
        for _ in 0..count {
            time = time.wrapping_add(reader.signed()?);
            events.push((time, reader.text()?.into()));
        }
        reader.is_empty().then_some(Frame {
            first_seq: long(0)?,
            group: long(8)?,
            stream: long(16)?,
            key,
            ingested,
            source,
            events,
        })
    }
}

/// A journal that is open for more.
#[derive(Debug)]
pub struct Journal {
    pub number: u64,
    pub path: PathBuf,
    file: File,
    /// Bytes that are acknowledged; whatever lies behind them does not count.
    good: u64,
    /// Something may lie behind `good`.
    dirty: bool,
}

pub fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:012}.log"))
}

impl Journal {
    /// # Errors
    /// When the file cannot be made durable.
    pub fn create(dir: &Path, number: u64) -> Result<Journal, StorageError> {
        let path = path(dir, number);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(StorageError::io("create", &path))?;
        let made = file.write_all_at(&MAGIC, 0).and_then(|()| file.sync_all());
        let made = made.map_err(StorageError::io("write", &path));
        if let Err(error) = made.and_then(|()| super::sync_dir(dir)) {
            // Half a journal would be in the way of the next try.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        Ok(Journal {
            number,
            path,
            file,
            good: MAGIC.len() as u64,
            dirty: false,
        })
    }

    /// Opens the journal `number` for more, after `each` of its frames, cutting what was left half-written.
    ///
    /// # Errors
    /// When it cannot be read or cut.
    pub fn open(dir: &Path, number: u64, mut each: impl FnMut(Frame)) -> Result<Journal, StorageError> {
        let path = path(dir, number);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(StorageError::io("open", &path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(StorageError::io("read", &path))?;
        if bytes.get(..MAGIC.len()) != Some(&MAGIC) {
            if bytes.len() > MAGIC.len() {
                return Err(StorageError::Damaged {
                    path,
                    what: "it does not start as a journal does",
                });
            }
            // It was being made when the power went; nothing was in it yet.
            return Journal::create(dir, number);
        }
        let mut good = MAGIC.len();
        while let Some((frame, end)) = next(&bytes, good) {
            each(frame);
            good = end;
        }
        if good < bytes.len() {
            tracing::warn!(path = %path.display(), bytes = bytes.len() - good, "cut a half-written end off a journal");
            file.set_len(good as u64)
                .and_then(|()| file.sync_all())
                .map_err(StorageError::io("cut", &path))?;
        }
        Ok(Journal {
            number,
            path,
            file,
            good: good as u64,
            dirty: false,
        })
    }

    /// Appends sealed frames and makes them durable.
    ///
    /// # Errors
    /// When that fails; nothing was appended then, as far as any later reader sees.
    pub fn append(&mut self, frames: &[u8]) -> Result<(), StorageError> {
        self.clean()?;
        self.dirty = true;
        let written = self.file.write_all_at(frames, self.good);
        match written.and_then(|()| self.file.sync_data()) {
            Ok(()) => {
                self.good += frames.len() as u64;
                self.dirty = false;
                Ok(())
            }
            Err(error) => {
                let failure = StorageError::io("write", &self.path)(error);
                if let Err(error) = self.clean() {
                    tracing::error!(%error, "a journal cannot be cut after a failed write; nothing is accepted until it can");
                }
                Err(failure)
            }
        }
    }

    /// Cuts off what a failed append left.
    fn clean(&mut self) -> Result<(), StorageError> {
        if self.dirty {
            self.file
                .set_len(self.good)
                .and_then(|()| self.file.sync_all())
                .map_err(StorageError::io("cut", &self.path))?;
            self.dirty = false;
        }
        Ok(())
    }

    pub fn len(&self) -> u64 {
        self.good
    }
}

fn next(bytes: &[u8], at: usize) -> Option<(Frame, usize)> {
    let head = bytes.get(at..at + 8)?;
    let length = u32::from_le_bytes(head[..4].try_into().ok()?);
    let crc = u32::from_le_bytes(head[4..].try_into().ok()?);
    if length > MAX_FRAME {
        return None;
    }
    let end = at + 8 + length as usize;
    let payload = bytes.get(at + 8..end)?;
    if crc32fast::hash(payload) != crc {
        return None;
    }
    Some((Frame::decode(payload)?, end))
}
