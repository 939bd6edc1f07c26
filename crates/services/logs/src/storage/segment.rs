//! A segment: events of one log group in order of time, in compressed blocks, with an index of the blocks at its end.
//!
//! Written once by `write`, read by `read`, never changed. The file: blocks, the compressed index, a trailer of fixed
//! length. Opening reads only the trailer; a reader takes the index and then the blocks that can hold what it looks for.

mod index;
mod read;
mod write;

pub use index::Index;
pub use read::Cursor;
pub use write::Writer;

use super::StorageError;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const MAGIC: [u8; 8] = *b"NGLSEG1\n";
const TRAILER: usize = 64;
/// Uncompressed bytes after which a block is closed.
const BLOCK: usize = 128 << 10;

/// Which journals a segment's events came through, and how often it was rewritten since: its file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub first: u64,
    pub last: u64,
    pub generation: u64,
}

impl Name {
    pub fn of_journal(number: u64) -> Name {
        Name {
            first: number,
            last: number,
            generation: 0,
        }
    }

    pub fn file(self) -> String {
        format!("{:012}-{:012}.{:06}.seg", self.first, self.last, self.generation)
    }

    pub fn parse(file: &str) -> Option<Name> {
        let (range, generation) = file.strip_suffix(".seg")?.split_once('.')?;
        let (first, last) = range.split_once('-')?;
        Some(Name {
            first: first.parse().ok()?,
            last: last.parse().ok()?,
            generation: generation.parse().ok()?,
        })
    }

    /// True when a segment so named holds everything that one named `other` does.
    pub fn replaces(self, other: Name) -> bool {
        self.first <= other.first
            && other.last <= self.last
            && ((self.first, self.last) != (other.first, other.last) || self.generation > other.generation)
    }
}

/// A segment on disk. The file goes with the last handle once it is doomed, so that readers are never cut off.
#[derive(Debug)]
pub struct Segment {
    pub name: Name,
    pub path: PathBuf,
    pub min: i64,
    pub max: i64,
    pub max_seq: u64,
    /// Of its events, as CloudWatch Logs counts.
    pub bytes: u64,
    /// How many of `bytes` belong to expired events or deleted streams, as maintenance last saw.
    pub dead: AtomicU64,
    pub file_bytes: u64,
    index_at: u64,
    index_len: u32,
    index_raw: u32,
    index_crc: u32,
    doomed: AtomicBool,
}

impl Segment {
    /// # Errors
    /// When the file cannot be read or is no whole segment.
    pub fn open(path: &Path, name: Name) -> Result<Segment, StorageError> {
        let damaged = |what| StorageError::Damaged {
            path: path.to_owned(),
            what,
        };
        let file = File::open(path).map_err(StorageError::io("open", path))?;
        let file_bytes = file.metadata().map_err(StorageError::io("read", path))?.len();
        let at = file_bytes
            .checked_sub(TRAILER as u64)
            .ok_or_else(|| damaged("it is too short"))?;
        let mut trailer = [0; TRAILER];
        file.read_exact_at(&mut trailer, at)
            .map_err(StorageError::io("read", path))?;
        let long = |i: usize| u64::from_le_bytes(trailer[i..i + 8].try_into().expect("eight bytes"));
        let short = |i: usize| u32::from_le_bytes(trailer[i..i + 4].try_into().expect("four bytes"));
        if trailer[56..] != MAGIC || crc32fast::hash(&trailer[..52]) != short(52) {
            return Err(damaged("its end is not a segment's"));
        }
        let segment = Segment {
            name,
            path: path.to_owned(),
            index_at: long(0),
            min: long(8) as i64,
            max: long(16) as i64,
            max_seq: long(24),
            bytes: long(32),
            index_len: short(40),
            index_raw: short(44),
            index_crc: short(48),
            dead: AtomicU64::new(0),
            file_bytes,
            doomed: AtomicBool::new(false),
        };
        if segment.index_at.checked_add(u64::from(segment.index_len)) != Some(at) {
            return Err(damaged("its index is not where it should be"));
        }
        Ok(segment)
    }

    /// Bytes of events that still count.
    pub fn live_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.dead.load(Ordering::Relaxed))
    }

    /// Its file is deleted as soon as nobody reads it any more.
    pub fn doom(&self) {
        self.doomed.store(true, Ordering::Relaxed);
    }

    fn damaged(&self, what: &'static str) -> StorageError {
        StorageError::Damaged {
            path: self.path.clone(),
            what,
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if self.doomed.load(Ordering::Relaxed)
            && let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot delete a log segment");
        }
    }
}
