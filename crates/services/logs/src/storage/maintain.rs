//! Keeping segments few and free of what nobody may read any more.

use super::read::{Events, Range, View};
use super::segment::{Index, Name, Segment, Writer};
use super::{Key, Shared, Storage, StorageError, group_lives, stream_lives};
use neargate_store::Snapshot;
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

const LEVEL: i32 = 3;
/// So many neighbours of alike size become one.
const ALIKE: usize = 4;
/// Files longer than this are not merged any further.
const LARGE: u64 = 64 << 20;

/// Everything there is.
const ALL: Range = Range {
    after: Key {
        timestamp: i64::MIN,
        seq: 0,
    },
    before: Key {
        timestamp: i64::MAX,
        seq: u64::MAX,
    },
    forward: true,
};

/// What of a group is kept.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Older events have expired.
    pub since: i64,
    /// Streams were deleted, so that every segment may hold dead events.
    pub streams_deleted: bool,
}

/// Which newest segments to merge, if any: at least `ALIKE`, each at most twice as large as all newer ones together.
fn choose(sizes: &[u64]) -> Option<usize> {
    let mut from = sizes.len().checked_sub(1)?;
    let mut newer = sizes[from];
    while from > 0 && sizes[from - 1] <= newer.saturating_mul(2) && sizes[from - 1] + newer <= LARGE {
        from -= 1;
        newer += sizes[from];
    }
    (sizes.len() - from >= ALIKE).then_some(from)
}

/// Merges the newest segments of `group` where that pays.
pub(super) fn merge(shared: &Shared, group: u64) -> Result<(), StorageError> {
    let _alone = shared.replacing.lock().unwrap_or_else(PoisonError::into_inner);
    let segments = shared.state().segments.get(&group).cloned().unwrap_or_default();
    let sizes: Vec<u64> = segments.iter().map(|segment| segment.file_bytes).collect();
    let Some(from) = choose(&sizes) else {
        return Ok(());
    };
    let old = &segments[from..];
    let name = Name {
        first: old[0].name.first,
        last: old[old.len() - 1].name.last,
        generation: 0,
    };
    replace(shared, group, old, name, i64::MIN)
}

/// Writes what lives of `old` and is not older than `since` as one segment in their place.
fn replace(shared: &Shared, group: u64, old: &[Arc<Segment>], name: Name, since: i64) -> Result<(), StorageError> {
    let snapshot = shared.store.snapshot();
    let view = View {
        maps: Vec::new(),
        segments: old.to_vec(),
    };
    let range = Range {
        after: Key::start_of(since),
        ..ALL
    };
    let lives = move |stream| stream_lives(&snapshot, stream);
    let mut events = Events::new(view, range, Box::new(lives));
    let mut writer = Writer::create(&shared.group_dir(group), name, LEVEL)?;
    while let Some(event) = events.next()? {
        writer.push(&event)?;
    }
    let new = writer.finish()?.map(Arc::new);
    let mut state = shared.state();
    let gone = !group_lives(&shared.store.snapshot(), group);
    if gone && let Some(new) = &new {
        new.doom();
    }
    if let Some(segments) = state.segments.get_mut(&group) {
        segments.retain(|segment| !old.iter().any(|o| Arc::ptr_eq(o, segment)));
        segments.extend(new.filter(|_| !gone));
        segments.sort_by_key(|segment| segment.name);
    }
    old.iter().for_each(|segment| segment.doom());
    Ok(())
}

/// Bytes of events in `segment` that are older than `since` or of deleted streams, nearly.
fn dead_bytes(segment: &Arc<Segment>, since: i64, snapshot: &Snapshot) -> Result<u64, StorageError> {
    let file = File::open(&segment.path).map_err(StorageError::io("open", &segment.path))?;
    let index = Index::read(segment, &file)?;
    let mut dead = index.dead(since, &mut |stream| stream_lives(snapshot, stream));
    // In order of time, so that at most one block holds both expired events and others: its events are counted.
    if let Some(block) = index
        .blocks
        .iter()
        .find(|block| block.min < since && since <= block.max)
    {
        let range = Range {
            after: Key::start_of(block.min),
            before: Key::start_of(since),
            forward: true,
        };
        let view = View {
            maps: Vec::new(),
            segments: vec![segment.clone()],
        };
        let mut expired = Events::new(view, range, Box::new(|stream| stream_lives(snapshot, stream)));
        while let Some(event) = expired.next()? {
            dead += event.bytes();
        }
    }
    Ok(dead.min(segment.bytes))
}

impl Storage {
    /// Deletes what `keep` does not keep, and events of streams that no longer exist. Reads and writes files.
    ///
    /// # Errors
    /// When a segment cannot be read or written again; the others are done nevertheless at the next call.
    pub fn maintain(&self, group: u64, keep: Keep) -> Result<(), StorageError> {
        let shared = &*self.shared;
        let snapshot = shared.store.snapshot();
        shared.state().active.prune(group, |event| {
            event.key.timestamp >= keep.since && stream_lives(&snapshot, event.stream)
        });
        let _alone = shared.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let segments = shared.state().segments.get(&group).cloned().unwrap_or_default();
        for segment in segments {
            if segment.min >= keep.since && !keep.streams_deleted {
                continue;
            }
            let dead = if segment.max < keep.since {
                segment.bytes
            } else {
                dead_bytes(&segment, keep.since, &snapshot)?
            };
            segment.dead.store(dead, Ordering::Relaxed);
            let worth = dead >= segment.bytes / 4 || keep.streams_deleted;
            if dead > 0 && worth {
                let name = Name {
                    generation: segment.name.generation + 1,
                    ..segment.name
                };
                replace(shared, group, &[segment], name, keep.since)?;
            }
        }
        Ok(())
    }

    /// Deletes everything of a group whose record is gone.
    ///
    /// # Errors
    /// When its directory cannot be deleted; that is done again at the next `open`.
    pub fn forget_group(&self, group: u64) -> Result<(), StorageError> {
        let shared = &*self.shared;
        {
            let mut state = shared.state();
            state.active.forget_group(group);
            for segment in state.segments.remove(&group).into_iter().flatten() {
                segment.doom();
            }
        }
        let _alone = shared.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        remove_if_empty(&shared.group_dir(group))
    }
}

/// A directory with files still being read goes at the next `open`.
fn remove_if_empty(dir: &Path) -> Result<(), StorageError> {
    match fs::remove_dir(dir) {
        Err(error)
            if !matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Err(StorageError::io("delete", dir)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_takes_the_newest_segments_of_alike_size() {
        assert_eq!(choose(&[]), None);
        assert_eq!(choose(&[5, 5, 5]), None);
        assert_eq!(choose(&[5, 5, 5, 5]), Some(0));
        assert_eq!(choose(&[1000, 5, 5, 5, 5]), Some(1));
        assert_eq!(choose(&[LARGE, 5, 5, 5, 5]), Some(1));
        // Segments stay few however many are written.
        let mut sizes = Vec::new();
        for size in 10_000..20_000 {
            sizes.push(size);
            while let Some(from) = choose(&sizes) {
                let merged = sizes[from..].iter().sum();
                sizes.truncate(from);
                sizes.push(merged);
            }
        }
        assert!(sizes.len() < 20, "{sizes:?}");
    }
}
