//! Where things lie under the store's directory, and writing them so that a crash leaves the old or the new.
//!
//! ```text
//! blobs/sha256/<hex>    manifests and configs, and layers that are not unpacked yet
//! layers/<chain>/fs     unpacked layers
//! images/<hash>.json    reference -> digest
//! partial/<hex>         downloads that can be resumed
//! work/<process>/       what one process is making; `lock` is held while it lives, `busy` while it pulls or loads
//! gc.lock               held alone while garbage is collected
//! ```

use crate::{Digest, ImageError};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The store's directories, and this process's own under `work/`.
#[derive(Debug)]
pub(crate) struct Dirs {
    root: PathBuf,
    work: PathBuf,
    /// Held until the process ends: whoever can lock it may delete `work`.
    _alive: File,
    busy: File,
    next: AtomicU64,
}

impl Dirs {
    pub(crate) fn open(root: &Path) -> Result<Dirs, ImageError> {
        // Absolute, so that paths handed out stay true when a process changes directory.
        let root = std::path::absolute(root).map_err(|e| ImageError::io("finding", root, e))?;
        for dir in ["blobs/sha256", "layers", "images", "partial", "work"] {
            let path = root.join(dir);
            fs::create_dir_all(&path).map_err(|e| ImageError::io("creating", &path, e))?;
        }
        // Alone, so that nobody takes a directory for a leftover before its lock is held.
        let _alone = gate(&root, true)?;
        let mut id = [0; 8];
        getrandom::fill(&mut id).expect("the operating system gives random bytes");
        let work = root.join("work").join(hex::encode(id));
        fs::create_dir(&work).map_err(|e| ImageError::io("creating", &work, e))?;
        let alive = lock_file(&work.join("lock"))?;
        flock(&alive, FlockOperation::LockExclusive).map_err(|e| ImageError::io("locking", &work, e.into()))?;
        let busy = lock_file(&work.join("busy"))?;
        let dirs = Dirs {
            root,
            work,
            _alive: alive,
            busy,
            next: AtomicU64::new(0),
        };
        dirs.remove_leftovers()?;
        Ok(dirs)
    }

    /// Removes the work directories of processes that ended.
    fn remove_leftovers(&self) -> Result<(), ImageError> {
        for other in self.other_works()? {
            // A directory without a lock file is being made this moment, or its maker died: it holds nothing yet.
            let Ok(lock) = File::open(other.join("lock")) else {
                continue;
            };
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                remove_tree(&other).map_err(|e| ImageError::io("removing", &other, e))?;
            }
        }
        Ok(())
    }

    fn other_works(&self) -> Result<Vec<PathBuf>, ImageError> {
        let dir = self.root.join("work");
        Ok(list(&dir)?.into_iter().filter(|p| *p != self.work).collect())
    }

    /// Takes `gc.lock`, which every pull and load passes through before it starts.
    pub(crate) fn gate(&self, alone: bool) -> Result<File, ImageError> {
        let path = self.root.join("gc.lock");
        let file = lock_file(&path)?;
        let how = if alone {
            FlockOperation::LockExclusive
        } else {
            FlockOperation::LockShared
        };
        retry_interrupted(|| flock(&file, how)).map_err(|e| ImageError::io("locking", &path, e))?;
        Ok(file)
    }

    /// Tells other processes that this one is pulling or loading, or no longer.
    pub(crate) fn set_busy(&self, busy: bool) -> Result<(), ImageError> {
        let how = if busy {
            FlockOperation::LockExclusive
        } else {
            FlockOperation::Unlock
        };
        retry_interrupted(|| flock(&self.busy, how)).map_err(|e| ImageError::io("locking", &self.work, e))
    }

    /// True while another process pulls or loads.
    pub(crate) fn others_busy(&self) -> Result<bool, ImageError> {
        for other in self.other_works()? {
            if let Ok(file) = File::open(other.join("busy"))
                && flock(&file, FlockOperation::NonBlockingLockShared).is_err()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// The unpacked layer of chain id `chain`.
    pub(crate) fn layer(&self, chain: &Digest) -> PathBuf {
        self.layers().join(chain.hex())
    }

    /// What an image without layers runs on.
    pub(crate) fn empty_layer(&self) -> PathBuf {
        self.layers().join("empty")
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    pub(crate) fn partial(&self, digest: &Digest) -> PathBuf {
        self.partials().join(digest.hex())
    }

    /// A fresh name in this process's work directory.
    pub(crate) fn fresh(&self, what: &str) -> PathBuf {
        self.work
            .join(format!("{what}-{}", self.next.fetch_add(1, Ordering::Relaxed)))
    }

    /// Stores a blob durably. `bytes` must have `digest`.
    pub(crate) fn put_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<(), ImageError> {
        let path = self.blob(digest);
        if path.exists() {
            return Ok(());
        }
        self.write_atomic(&path, bytes)
    }

    /// The blob, verified; none when it is not here. A blob that was cut by a power loss is removed and not here.
    pub(crate) fn read_blob(&self, digest: &Digest, max: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let path = self.blob(digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(ImageError::io("opening", &path, e)),
        };
        let mut bytes = Vec::new();
        file.take(max + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| ImageError::io("reading", &path, e))?;
        if bytes.len() as u64 > max {
            return Err(ImageError::corrupt(
                digest.as_str(),
                format!("it is larger than {max} bytes"),
            ));
        }
        if Digest::of(&bytes) != *digest {
            tracing::warn!(%digest, "removing a blob that does not have its digest");
            let _ = fs::remove_file(&path);
            return Ok(None);
        }
        Ok(Some(bytes))
    }

    /// Writes `path` whole or not at all, and durably.
    pub(crate) fn write_atomic(&self, path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
        let temp = self.fresh("file");
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).open(&temp)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temp, path)?;
            sync_parent(path)
        };
        write().map_err(|e| {
            let _ = fs::remove_file(&temp);
            ImageError::io("writing", path, e)
        })
    }
}

impl Drop for Dirs {
    fn drop(&mut self) {
        let _ = remove_tree(&self.work);
    }
}

fn gate(root: &Path, alone: bool) -> Result<File, ImageError> {
    let path = root.join("gc.lock");
    let file = lock_file(&path)?;
    let how = if alone {
        FlockOperation::LockExclusive
    } else {
        FlockOperation::LockShared
    };
    retry_interrupted(|| flock(&file, how)).map_err(|e| ImageError::io("locking", &path, e))?;
    Ok(file)
}

fn lock_file(path: &Path) -> Result<File, ImageError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|e| ImageError::io("opening", path, e))
}

fn retry_interrupted(mut call: impl FnMut() -> rustix::io::Result<()>) -> io::Result<()> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

/// Makes a rename in `path`'s directory durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// The paths in `dir`; those that vanish meanwhile are left out.
pub(crate) fn list(dir: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let entries = fs::read_dir(dir).map_err(|e| ImageError::io("listing", dir, e))?;
    Ok(entries.filter_map(|entry| entry.ok().map(|e| e.path())).collect())
}

/// Removes a tree; nothing there is fine. Symbolic links are removed, not followed.
///
/// Neither recursion nor a descriptor for each level, since a layer chooses how deep its directories go: what lies in a
/// subdirectory is moved up before the subdirectory is removed. Nobody else may be using the tree.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
        Ok(meta) if !meta.is_dir() => return gone(fs::remove_file(path)),
        Ok(_) => {}
    }
    let mut next = 0u64;
    let mut todo: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            todo.push(entry.path());
        } else {
            gone(fs::remove_file(entry.path()))?;
        }
    }
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                let up = loop {
                    let up = path.join(format!(".removing-{next}"));
                    next += 1;
                    if fs::symlink_metadata(&up).is_err() {
                        break up;
                    }
                };
                fs::rename(entry.path(), &up)?;
                todo.push(up);
            } else {
                gone(fs::remove_file(entry.path()))?;
            }
        }
        gone(fs::remove_dir(&dir))?;
    }
    gone(fs::remove_dir(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode, OFlags};

    #[test]
    fn trees_deeper_than_any_path_are_removed_and_links_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "stays").unwrap();
        let tree = temp.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let mut at = rustix::fs::openat(CWD, &tree, flags, Mode::empty()).unwrap();
        for _ in 0..5000 {
            rustix::fs::mkdirat(&at, "d", Mode::from_raw_mode(0o700)).unwrap();
            rustix::fs::symlinkat(outside.as_path(), &at, "out").unwrap();
            at = rustix::fs::openat(&at, "d", flags, Mode::empty()).unwrap();
        }
        fs::create_dir(tree.join(".removing-0")).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && outside.join("file").exists());
        remove_tree(&tree).unwrap();
    }
}
