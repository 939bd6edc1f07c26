//! How much of its ephemeral storage a task uses: its writable layers and volumes.
//!
//! The server asks on blocking threads. Where sizes are enforced the file system knows; elsewhere the task's directory is
//! counted, which a container can make as costly as it likes. Invariants: an answer waits for a count only a moment; at most
//! `COUNTS` run at once, each no longer than `COUNT_WITHIN`; the next count of a task comes so late that counting takes at most
//! a tenth of the time. What containers make meanwhile never leads a count out of the task's directory.

use crate::dirs::Dirs;
use crate::quota;
use neargate_core::MiB;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Statx, StatxFlags, openat, statx};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::CStr;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Counts at once.
const COUNTS: usize = 2;
/// How long one may take; what it has found by then is at least what is there.
const COUNT_WITHIN: Duration = Duration::from_secs(30);
/// How long an answer waits for one.
const WAIT: Duration = Duration::from_millis(300);
/// How long a count holds, or as many times as long as it took.
const HOLDS: Duration = Duration::from_secs(10);
const TIMES_ITS_LENGTH: u32 = 10;
/// Counts of tasks that nobody asks about any more are forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// Directories in one another; each is a descriptor while it is counted.
const DEPTH: usize = 128;

/// The node's tasks.
pub struct Storage {
    dirs: Dirs,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    by_task: Mutex<HashMap<String, Count>>,
    ended: Condvar,
}

/// What is known of one task.
struct Count {
    /// None: none has ended yet.
    bytes: Option<u64>,
    under_way: bool,
    /// Not counted again before.
    holds_until: Instant,
}

impl Storage {
    pub fn new(dirs: Dirs) -> Storage {
        Storage {
            dirs,
            counts: Arc::default(),
        }
    }

    /// What a task uses, rounded up; none while its first count takes long.
    pub fn used(&self, task_id: &str) -> Option<MiB> {
        let dir = self.dirs.task(task_id);
        let bytes = match quota::used(dir.path()) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => self.counted(task_id, dir.path())?,
            // The task is over and its directory gone.
            Err(_) => return None,
        };
        u32::try_from(bytes.div_ceil(1 << 20)).ok().map(MiB)
    }

    /// The latest count, made anew when it is old.
    fn counted(&self, task_id: &str, dir: &Path) -> Option<u64> {
        let counts = &self.counts;
        let now = Instant::now();
        let mut all = counts.lock();
        all.retain(|_, count| count.under_way || now < count.holds_until + FORGET_AFTER);
        let under_way = all.values().filter(|count| count.under_way).count();
        let count = all.entry(task_id.to_owned()).or_insert(Count {
            bytes: None,
            under_way: false,
            holds_until: now,
        });
        if !count.under_way && count.holds_until <= now && under_way < COUNTS {
            let (counts, task, dir) = (counts.clone(), task_id.to_owned(), dir.to_owned());
            let counting = std::thread::Builder::new().spawn(move || counts.count(task, &dir));
            // A machine without a thread to spare is asked again.
            count.under_way = counting.is_ok();
        }
        let is_waited_for = |all: &mut HashMap<String, Count>| all.get(task_id).is_some_and(|count| count.under_way);
        let waited = counts.ended.wait_timeout_while(all, WAIT, is_waited_for);
        let (all, _) = waited.unwrap_or_else(PoisonError::into_inner);
        all.get(task_id)?.bytes
    }
}

impl Counts {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Count>> {
        self.by_task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, task: String, dir: &Path) {
        let began = Instant::now();
        let bytes = size_of(dir, began + COUNT_WITHIN);
        let ended = Instant::now();
        let holds = HOLDS.max((ended - began) * TIMES_ITS_LENGTH);
        let mut all = self.lock();
        let before = all.get(&task).and_then(|count| count.bytes);
        let count = Count {
            // A directory that is gone says nothing new.
            bytes: bytes.ok().or(before),
            under_way: false,
            holds_until: ended + holds,
        };
        all.insert(task, count);
        drop(all);
        self.ended.notify_all();
    }
}

/// Bytes allocated below `dir` on its own file system. What goes away meanwhile does not count, nor does what lies deeper
/// than `DEPTH`.
fn size_of(dir: &Path, deadline: Instant) -> io::Result<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = rustix::fs::open(dir, flags, Mode::empty())?;
    let device = |found: &Statx| (found.stx_dev_major, found.stx_dev_minor);
    let own = device(&look(&top, c"")?);
    let mut total = 0;
    // From the top down to where the count is.
    let mut open = vec![level(top)?];
    while let Some((directory, entries)) = open.last_mut() {
        if Instant::now() >= deadline {
            break;
        }
        let Some(Ok(entry)) = entries.next() else {
            open.pop();
            continue;
        };
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let Ok(found) = look(directory, name) else {
            continue;
        };
        if device(&found) != own {
            continue;
        }
        // A file of several names is found by each of them.
        let is_directory = FileType::from_raw_mode(found.stx_mode.into()) == FileType::Directory;
        let names = if is_directory { 1 } else { found.stx_nlink.max(1) };
        total += found.stx_blocks * 512 / u64::from(names);
        if is_directory
            && open.len() < DEPTH
            && let Some((directory, _)) = open.last()
            && let Ok(below) = openat(directory, name, flags, Mode::empty())
            && let Ok(level) = level(below)
        {
            open.push(level);
        }
    }
    Ok(total)
}

/// What is called `name` in a directory, symbolic links not followed; the directory itself without a name.
fn look(directory: &OwnedFd, name: &CStr) -> Result<Statx, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    statx(directory, name, flags, StatxFlags::BASIC_STATS)
}

/// A directory and what is in it.
fn level(directory: OwnedFd) -> io::Result<(OwnedFd, Dir)> {
    let entries = Dir::read_from(&directory)?;
    Ok((directory, entries))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const MIB: usize = 1 << 20;

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn storage() -> (tempfile::TempDir, Storage) {
        let data = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(data.path());
        dirs.prepare().unwrap();
        (data, Storage::new(dirs))
    }

    #[test]
    fn what_a_task_wrote_is_counted_once_and_held_for_a_while() {
        let (_data, storage) = storage();
        let layer = storage.dirs.task("t").rootfs(0).join("upper/deep/down");
        fs::create_dir_all(&layer).unwrap();
        fs::write(layer.join("a"), vec![1; 3 * MIB]).unwrap();
        fs::hard_link(layer.join("a"), layer.join("b")).unwrap();
        let used = storage.used("t").unwrap();
        assert!((3..=4).contains(&used.0), "{used:?}");
        fs::write(layer.join("c"), vec![1; 3 * MIB]).unwrap();
        assert_eq!(storage.used("t"), Some(used));
        storage.counts.lock().get_mut("t").unwrap().holds_until = Instant::now();
        let later = storage.used("t").unwrap();
        assert!((6..=7).contains(&later.0), "{later:?}");
    }

    #[test]
    fn links_lead_nowhere_and_a_count_ends_in_time() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("big"), vec![1; 4 * MIB]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join("out")).unwrap();
        symlink(outside.path().join("big"), dir.path().join("file")).unwrap();
        assert!(size_of(dir.path(), later()).unwrap() < MIB as u64);
        assert!(size_of(&dir.path().join("out"), later()).is_err());
        assert_eq!(size_of(outside.path(), Instant::now()).unwrap(), 0);
    }

    #[test]
    fn nothing_is_said_of_a_task_that_is_not_there_or_waits_for_others() {
        let (_data, storage) = storage();
        assert_eq!(storage.used("none"), None);
        fs::create_dir_all(storage.dirs.task("t").path()).unwrap();
        for other in ["a", "b"] {
            let busy = Count {
                bytes: None,
                under_way: true,
                holds_until: Instant::now(),
            };
            storage.counts.lock().insert(other.to_owned(), busy);
        }
        assert_eq!(storage.used("t"), None);
        storage.counts.lock().clear();
        assert!(storage.used("t").is_some());
    }
}
