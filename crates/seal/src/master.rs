//! The file of the master key: 32 random bytes, for the owner's eyes only.
//!
//! `Seal::open_or_create` is the caller. Invariant: a file at the path holds a whole key, or there is no file there:
//! it is written beside, made durable and then given its name, which never replaces a key that is there already.

use crate::envelope::random;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Bytes.
pub(crate) const LENGTH: usize = 32;

type Key = Zeroizing<[u8; LENGTH]>;

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    #[error("cannot {action} the master key {path}: {source}")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} is not a master key: it has {length} bytes instead of {LENGTH}; put back the file that was there")]
    Length { path: PathBuf, length: u64 },
    #[error("others can read the master key {path} (mode {mode:03o}): run `chmod 600` on it")]
    Exposed { path: PathBuf, mode: u32 },
}

pub(crate) fn read_or_create(path: &Path) -> Result<Key, MasterKeyError> {
    if let Some(key) = read(path)? {
        return Ok(key);
    }
    create(path)?;
    // Read back whatever is there now: another process may have been first.
    read(path)?.ok_or_else(|| failed("read", path)(ErrorKind::NotFound.into()))
}

fn read(path: &Path) -> Result<Option<Key>, MasterKeyError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", path)(error)),
    };
    let metadata = file.metadata().map_err(failed("read", path))?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(MasterKeyError::Exposed { path, mode });
    }
    if metadata.len() != LENGTH as u64 {
        let (path, length) = (path.to_owned(), metadata.len());
        return Err(MasterKeyError::Length { path, length });
    }
    let mut key = Zeroizing::new([0; LENGTH]);
    file.read_exact(&mut *key).map_err(failed("read", path))?;
    Ok(Some(key))
}

fn create(path: &Path) -> Result<(), MasterKeyError> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let failed = |error| failed("make", path)(error);
    let mut key = Zeroizing::new([0; LENGTH]);
    random(&mut *key);
    let mut file = tempfile::Builder::new()
        .prefix(".master-key-")
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(dir)
        .map_err(failed)?;
    file.write_all(&*key).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => {}
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(failed(error.error)),
    }
    // The name is durable only with its directory.
    let dir = File::open(dir).map_err(failed)?;
    dir.sync_all().map_err(failed)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> MasterKeyError {
    let path = path.to_owned();
    move |source| MasterKeyError::Io { action, path, source }
}
