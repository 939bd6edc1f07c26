//! Locks that end with their process: one `up` and one of each role per data directory.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// A held lock; released when dropped or when the process ends.
pub struct Lock(#[allow(dead_code)] File);

/// Takes the lock at `path` and writes this process's pid into it; none when another process holds it.
///
/// # Errors
/// When the file cannot be opened or written.
pub fn take(path: &Path) -> Result<Option<Lock>, String> {
    let file = open(path)?;
    // SAFETY: flock on an open descriptor.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
        return match std::io::Error::last_os_error() {
            e if e.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            e => Err(failed(path, &e)),
        };
    }
    sign(file, path).map(Some)
}

/// Takes the lock at `path` once its holder, whom this process follows, has ended, and keeps it while this process lives.
///
/// # Errors
/// When the file cannot be opened, or there is no thread to wait in.
pub fn inherit(path: &Path) -> Result<(), String> {
    let (file, path) = (open(path)?, path.to_owned());
    let wait = move || {
        // SAFETY: flock on an open descriptor.
        while unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } != 0 {
            let error = std::io::Error::last_os_error();
            if error.kind() != std::io::ErrorKind::Interrupted {
                return tracing::warn!(%error, "cannot wait for the lock");
            }
        }
        match sign(file, &path) {
            Ok(lock) => std::mem::forget(lock),
            Err(error) => tracing::warn!(error, "cannot take the lock"),
        }
    };
    std::thread::Builder::new()
        .name("lock".into())
        .stack_size(64 * 1024)
        .spawn(wait)
        .map(drop)
        .map_err(|e| e.to_string())
}

fn open(path: &Path) -> Result<File, String> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| failed(path, &e))
}

fn sign(mut file: File, path: &Path) -> Result<Lock, String> {
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| write!(file, "{}", std::process::id()))
        .map_err(|e| failed(path, &e))?;
    Ok(Lock(file))
}

fn failed(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// The pid of who holds the lock at `path`; none when nobody does.
pub fn holder(path: &Path) -> Option<i32> {
    let mut file = File::open(path).ok()?;
    // SAFETY: flock on an open descriptor.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_SH | libc::LOCK_NB) } == 0 {
        return None;
    }
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
