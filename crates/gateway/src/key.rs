//! The key that stickiness cookies are sealed under: made once, kept in a file, so that they outlive the process.

use crate::GatewayError;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

pub const LENGTH: usize = 32;

/// The key in `directory`, made when there is none.
///
/// # Errors
/// `File`, and `Key` when the file is not a key.
pub fn load(directory: &Path) -> Result<[u8; LENGTH], GatewayError> {
    let path = directory.join("gateway.key");
    let failed = |source| GatewayError::File {
        path: path.clone(),
        source,
    };
    fs::create_dir_all(directory).map_err(failed)?;
    match read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(GatewayError::Key { path }),
        other => return other.map_err(failed),
    }
    let mut key = [0; LENGTH];
    getrandom::fill(&mut key).map_err(|error| failed(io::Error::other(error.to_string())))?;
    // Written whole under another name first; whoever links first wins, as two gateways may start together.
    let making = directory.join(format!("gateway.key.{}", std::process::id()));
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&making)?;
        file.write_all(&key)?;
        file.sync_all()?;
        match fs::hard_link(&making, &path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        fs::remove_file(&making)
    };
    write().map_err(failed)?;
    read(&path).map_err(failed)
}

fn read(path: &Path) -> io::Result<[u8; LENGTH]> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LENGTH as u64 + 1).read_to_end(&mut bytes)?;
    bytes.try_into().map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_key_stays_and_is_nobody_elses() {
        let directory = tempfile::tempdir().unwrap();
        let first = load(directory.path()).unwrap();
        assert_eq!(load(directory.path()).unwrap(), first);
        let path = directory.path().join("gateway.key");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, b"short").unwrap();
        assert!(matches!(load(directory.path()), Err(GatewayError::Key { .. })));
    }
}
