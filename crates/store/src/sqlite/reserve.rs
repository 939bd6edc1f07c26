//! Room kept on the disk for the store's own files, so that what is decided and what ends can still be written when others
//! have filled the disk: blocks beyond the ends of the log and of the database, which nobody else can take.

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Of the log, counted from its beginning: it is written from there again after each checkpoint.
const LOG: u64 = 8 << 20;
/// Of the database, beyond its end. A checkpoint that carries the whole log over gives it back.
const DATABASE: u64 = 4 << 20;
/// With less free the disk counts as full.
const LITTLE: u64 = 4 << 20;

/// Takes the room, or as much of it as the file system can give.
pub fn take(database: &Path) {
    let log = PathBuf::from(format!("{}-wal", database.display()));
    for (path, taken) in [
        (&*log, extend(&log, |_| LOG)),
        (database, extend(database, |end| end + DATABASE)),
    ] {
        if let Err(error) = taken {
            tracing::debug!(%error, path = %path.display(), "no room is kept for the store");
        }
    }
}

/// As `take`, of the database only.
pub fn take_again(database: &Path) {
    if let Err(error) = extend(database, |end| end + DATABASE) {
        tracing::debug!(%error, "no room is kept for the store's database");
    }
}

fn extend(path: &Path, until: impl Fn(u64) -> u64) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    let until = until(file.metadata()?.len());
    Ok(fallocate(&file, FallocateFlags::KEEP_SIZE, 0, until)?)
}

/// True when the disk that holds `directory` has next to nothing left. What cannot be asked counts as roomy: writing tells.
pub fn is_full(directory: &Path) -> bool {
    // Root may also write to the blocks that file systems reserve.
    let root = rustix::process::geteuid().is_root();
    statvfs(directory).is_ok_and(|stat| {
        let blocks = if root { stat.f_bfree } else { stat.f_bavail };
        blocks.saturating_mul(stat.f_frsize) < LITTLE
    })
}
