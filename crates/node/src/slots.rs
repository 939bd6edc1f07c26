//! Writable layers, used again: directories that cost inodes to make are emptied and kept for the next container.
//!
//! Called by the executor. A slot holds `upper` and `work` of an overlay and the files of /etc; it moves between the
//! pool and a task's directory by renaming. A slot in the pool is empty and has the mode of a new root directory.

use rustix::fs::{AtFlags, CWD, Mode};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Slots kept for later.
const KEPT: usize = 32;

/// The pool of writable layers.
#[derive(Debug)]
pub struct Slots {
    dir: PathBuf,
    free: Mutex<Vec<PathBuf>>,
    next: AtomicU64,
}

impl Slots {
    /// Takes over the pool in `dir`. What a crash left half emptied there is removed.
    pub fn open(dir: &Path) -> io::Result<Slots> {
        let mut free = Vec::new();
        let mut next = 0;
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let number = path.file_name().and_then(|n| n.to_str()?.parse::<u64>().ok());
            match number {
                Some(number) if free.len() < KEPT && is_clean(&path) => {
                    next = next.max(number + 1);
                    free.push(path);
                }
                _ => fs::remove_dir_all(&path)?,
            }
        }
        Ok(Slots {
            dir: dir.to_owned(),
            free: Mutex::new(free),
            next: AtomicU64::new(next),
        })
    }

    /// Puts a slot at `path`, which is missing or the remains of an interrupted try.
    pub fn take(&self, path: &Path) -> io::Result<()> {
        let kept = self.lock().pop();
        match kept {
            Some(kept) => {
                remove_if_there(path)?;
                fs::rename(kept, path)
            }
            None => make(path),
        }
    }

    /// Empties the slot at `path` and keeps it, or removes it when there are enough.
    pub fn give_back(&self, path: &Path) -> io::Result<()> {
        if !path.exists() {
            return Ok(());
        }
        if self.lock().len() >= KEPT {
            return fs::remove_dir_all(path);
        }
        empty(&path.join("work"))?;
        let upper = path.join("upper");
        empty(&upper)?;
        renew(&upper)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let kept = self.dir.join(number.to_string());
        fs::rename(path, &kept)?;
        self.lock().push(kept);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<PathBuf>> {
        // The list is whole at every moment.
        self.free.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Makes a new slot at `path`, which is missing or the remains of an interrupted try.
pub fn make(path: &Path) -> io::Result<()> {
    remove_if_there(path)?;
    let make = |dir: &Path, mode| fs::DirBuilder::new().mode(mode).create(dir);
    make(path, 0o700)?;
    make(&path.join("upper"), 0o755)?;
    make(&path.join("work"), 0o700)?;
    // Whatever the umask of whoever started the node.
    fs::set_permissions(path.join("upper"), fs::Permissions::from_mode(0o755))
}

/// Removes a directory with all there is in it; a missing one is no error.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn is_clean(slot: &Path) -> bool {
    let empty = |name: &str| fs::read_dir(slot.join(name)).is_ok_and(|mut d| d.next().is_none());
    let as_new = |path: &Path| fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o7777 == 0o755);
    empty("upper") && empty("work") && as_new(&slot.join("upper"))
}

fn empty(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Gives the upper directory back owner, mode and attributes of a new one: they are those of a container's `/`.
fn renew(upper: &Path) -> io::Result<()> {
    rustix::fs::chownat(
        CWD,
        upper,
        Some(rustix::fs::Uid::ROOT),
        Some(rustix::fs::Gid::ROOT),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    rustix::fs::chmodat(CWD, upper, Mode::from_raw_mode(0o755), AtFlags::empty())?;
    let mut names = [0u8; 4096];
    let length = match rustix::fs::llistxattr(upper, &mut names[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(e) => return Err(e.into()),
    };
    for name in names[..length].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        match rustix::fs::lremovexattr(upper, name) {
            Ok(()) | Err(rustix::io::Errno::NODATA) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_comes_back_empty_and_is_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let (pool, task) = (dir.path().join("slots"), dir.path().join("fs-0"));
        fs::create_dir(&pool).unwrap();
        let slots = Slots::open(&pool).unwrap();
        slots.take(&task).unwrap();
        fs::create_dir_all(task.join("upper/a/b")).unwrap();
        fs::write(task.join("upper/a/b/c"), "x").unwrap();
        fs::create_dir_all(task.join("work/work")).unwrap();
        fs::set_permissions(task.join("upper"), fs::Permissions::from_mode(0o1777)).unwrap();
        slots.give_back(&task).unwrap();
        assert!(!task.exists());
        assert!(is_clean(&pool.join("0")));

        let reopened = Slots::open(&pool).unwrap();
        reopened.take(&task).unwrap();
        assert!(is_clean(&task) && !pool.join("0").exists());
        reopened.give_back(&dir.path().join("never-made")).unwrap();
    }

    #[test]
    fn what_a_crash_left_half_emptied_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("3/upper/left")).unwrap();
        fs::create_dir_all(dir.path().join("3/work")).unwrap();
        Slots::open(dir.path()).unwrap();
        assert!(!dir.path().join("3").exists());
    }
}
