//! Opening the storage: what a crash left half-done is undone or done again, then the writer starts.

use super::flush::{self, Flusher};
use super::journal::{self, Journal};
use super::memory::{Batch, Memory};
use super::segment::{Name, Segment};
use super::writer::Writer;
use super::{Shared, State, Storage, StorageError, WAITING_KIB, group_lives, sync_dir};
use neargate_store::Store;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use tokio::sync::{Semaphore, mpsc};

impl Storage {
    /// Opens the log data under `dir`, made when missing. `now` in milliseconds starts the sequence numbers, so that they
    /// never come again even when everything was deleted; `memory` is how many bytes of events wait for a segment.
    ///
    /// # Errors
    /// When the directory cannot be read or brought in order.
    pub fn open(store: Store, dir: &Path, now: i64, memory: usize) -> Result<Storage, StorageError> {
        let shared = Shared {
            dir: dir.to_owned(),
            store,
            state: Mutex::new(State::default()),
            replacing: Mutex::new(()),
            memory,
        };
        let journals = shared.journals();
        if !journals.is_dir() {
            fs::create_dir_all(&journals).map_err(StorageError::io("create", &journals))?;
            sync_dir(dir)?;
            dir.parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .map_or(Ok(()), sync_dir)?;
        }
        let mut numbers = journal_numbers(&journals)?;
        let mut next_seq = u64::try_from(now).unwrap_or(0) << 20 | 1;
        let mut highest = 0;
        let groups = group_dirs(&shared)?;
        let merged = |n: &u64| groups.iter().any(|group| group.rewrote(*n));
        let (done, again): (Vec<u64>, Vec<u64>) = numbers.into_iter().partition(merged);
        numbers = again;
        for group in groups {
            let segments = open_group(&group, &numbers)?;
            for segment in &segments {
                next_seq = next_seq.max(segment.max_seq + 1);
                highest = highest.max(segment.name.last);
            }
            shared.state().segments.insert(group.uid, segments);
        }
        for number in done {
            delete(&journal::path(&journals, number))?;
            highest = highest.max(number);
        }
        let last = numbers.pop();
        for number in numbers {
            let (journal, memory) = replay(&journals, number, &mut next_seq)?;
            flush::flush(&shared, &Arc::new(memory))?;
            drop(journal);
        }
        let journal = match last {
            Some(number) => {
                let (journal, memory) = replay(&journals, number, &mut next_seq)?;
                shared.state().active = memory;
                journal
            }
            None => {
                let journal = Journal::create(&journals, highest + 1)?;
                shared.state().active = Memory::new(journal.number);
                journal
            }
        };
        let shared = Arc::new(shared);
        let (sender, inbox) = mpsc::unbounded_channel();
        let writer = Writer {
            shared: shared.clone(),
            journal,
            next_seq,
            flusher: Flusher::default(),
        };
        let handle = thread::Builder::new()
            .name("logs-writer".into())
            .spawn(move || writer.run(inbox))
            .map_err(StorageError::io("start the writer of", dir))?;
        Ok(Storage {
            shared,
            inbox: Some(sender),
            waiting: Arc::new(Semaphore::new(WAITING_KIB as usize)),
            writer: Some(handle),
        })
    }
}

/// Numbers of the journals in `dir`, ascending.
fn journal_numbers(dir: &Path) -> Result<Vec<u64>, StorageError> {
    let mut numbers: Vec<u64> = names(dir)?
        .into_iter()
        .filter_map(|name| name.strip_suffix(".log")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn names(dir: &Path) -> Result<Vec<String>, StorageError> {
    let entries = fs::read_dir(dir).map_err(StorageError::io("list", dir))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(StorageError::io("list", dir))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// A group's directory and what lies in it.
struct GroupDir {
    uid: u64,
    path: PathBuf,
    segments: Vec<Name>,
    unfinished: Vec<String>,
}

impl GroupDir {
    /// True when a segment shows that what came through the journal `n` was in segments that were since replaced: the
    /// journal should have been deleted before.
    fn rewrote(&self, n: u64) -> bool {
        let holds = |name: &&Name| name.first <= n && n <= name.last;
        (self.segments.iter())
            .filter(holds)
            .any(|name| name.first < name.last || name.generation > 0)
    }
}

/// The directories of groups that exist; the others are deleted.
fn group_dirs(shared: &Shared) -> Result<Vec<GroupDir>, StorageError> {
    let snapshot = shared.store.snapshot();
    let mut out = Vec::new();
    for name in names(&shared.dir)? {
        let Some(uid) = (name.len() == 16)
            .then(|| u64::from_str_radix(&name, 16).ok())
            .flatten()
        else {
            continue;
        };
        let path = shared.dir.join(&name);
        if !group_lives(&snapshot, uid) {
            fs::remove_dir_all(&path).map_err(StorageError::io("delete", &path))?;
            continue;
        }
        let mut group = GroupDir {
            uid,
            segments: Vec::new(),
            unfinished: Vec::new(),
            path,
        };
        for name in names(&group.path)? {
            match Name::parse(&name) {
                Some(parsed) => group.segments.push(parsed),
                None if name.ends_with(".tmp") => group.unfinished.push(name),
                None => {}
            }
        }
        group.segments.sort();
        out.push(group);
    }
    Ok(out)
}

/// The segments of a group. Unfinished files, segments that others replace, and those whose journal is among `journals`
/// and will be written again, are deleted.
fn open_group(group: &GroupDir, journals: &[u64]) -> Result<Vec<Arc<Segment>>, StorageError> {
    for name in &group.unfinished {
        delete(&group.path.join(name))?;
    }
    let mut segments = Vec::new();
    for name in &group.segments {
        let path = group.path.join(name.file());
        let again = name.first == name.last && journals.contains(&name.first);
        if again || group.segments.iter().any(|other| other.replaces(*name)) {
            delete(&path)?;
            continue;
        }
        match Segment::open(&path, *name) {
            Ok(segment) => segments.push(Arc::new(segment)),
            Err(error @ StorageError::Damaged { .. }) => {
                // Whatever else is there can still be read. Under its own name a merge would seem to replace it.
                tracing::error!(%error, "a log segment is set aside");
                let aside = path.with_extension("damaged");
                fs::rename(&path, &aside).map_err(StorageError::io("set aside", &path))?;
            }
            Err(error) => return Err(error),
        }
    }
    sync_dir(&group.path)?;
    Ok(segments)
}

fn delete(path: &Path) -> Result<(), StorageError> {
    fs::remove_file(path).map_err(StorageError::io("delete", path))
}

/// Reads a journal into memory. A batch that was refused after it had reached the disk may have come again and is then
/// there twice: the second is skipped.
fn replay(dir: &Path, number: u64, next_seq: &mut u64) -> Result<(Journal, Memory), StorageError> {
    let mut memory = Memory::new(number);
    let mut offsets: HashMap<(u64, String), u64> = HashMap::new();
    let journal = Journal::open(dir, number, |frame| {
        *next_seq = (*next_seq).max(frame.first_seq + frame.events.len() as u64);
        if let Some((source, to)) = &frame.source {
            let stored = offsets.entry((frame.stream, source.clone())).or_insert(0);
            if *to <= *stored {
                return;
            }
            *stored = *to;
        }
        memory.apply(&Batch {
            group: frame.group,
            stream: frame.stream,
            key: &frame.key,
            ingested: frame.ingested,
            first_seq: frame.first_seq,
            source: frame.source.as_ref().map(|(name, to)| (name.as_str(), *to)),
            events: &frame.events,
        });
    })?;
    Ok((journal, memory))
}
