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
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    // SAFETY: flock on an open descriptor.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
        return match std::io::Error::last_os_error() {
            e if e.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            e => Err(failed(e)),
        };
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| write!(file, "{}", std::process::id()))
        .map_err(failed)?;
    Ok(Some(Lock(file)))
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
