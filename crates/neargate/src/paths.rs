//! Where things lie under the data directory.

use std::path::{Path, PathBuf};

/// The data directory: as asked, or the default for this user.
///
/// # Errors
/// When no home is known.
pub fn data_dir(asked: Option<PathBuf>) -> Result<PathBuf, String> {
    let dir = match asked {
        Some(dir) => dir,
        None if is_root() => PathBuf::from("/var/lib/neargate"),
        None => match (std::env::var_os("XDG_DATA_HOME"), std::env::var_os("HOME")) {
            (Some(xdg), _) if !xdg.is_empty() => PathBuf::from(xdg).join("neargate"),
            (_, Some(home)) => PathBuf::from(home).join(".local/share/neargate"),
            _ => return Err("no HOME is set: say where to keep data with --data-dir DIR".into()),
        },
    };
    std::path::absolute(&dir).map_err(|e| format!("{}: {e}", dir.display()))
}

pub fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Settings kept from start to start.
pub fn instance(data: &Path) -> PathBuf {
    data.join("instance.json")
}

/// The root access key.
pub fn credentials(data: &Path) -> PathBuf {
    data.join("credentials.json")
}

/// Held by the running `up`, with its pid inside.
pub fn up_lock(data: &Path) -> PathBuf {
    data.join("up.lock")
}

/// Held by a running role.
pub fn role_lock(data: &Path, role: &str) -> PathBuf {
    data.join(format!("{role}.lock"))
}

/// The socket on which control and nodes meet.
pub fn link_socket(data: &Path) -> PathBuf {
    data.join("link.sock")
}

/// The socket on which control and gateways meet.
pub fn gateway_socket(data: &Path) -> PathBuf {
    data.join("gateway.sock")
}

/// The key that seals secrets in the state.
pub fn seal_key(data: &Path) -> PathBuf {
    data.join("seal.key")
}

/// Stands in S3's place: `BUCKET/KEY` under it.
pub fn s3(data: &Path) -> PathBuf {
    data.join("s3")
}

/// Certificate of the local authority.
pub fn authority(data: &Path) -> PathBuf {
    data.join("ca.pem")
}

/// State of control.
pub fn store(data: &Path) -> PathBuf {
    data.join("control")
}

/// CloudWatch Logs' segments.
pub fn logs(data: &Path) -> PathBuf {
    data.join("cloudwatch-logs")
}

/// Images and layers.
pub fn images(data: &Path) -> PathBuf {
    data.join("images")
}

/// Where `docker login` keeps this user's registry accounts.
pub fn docker_config() -> Option<PathBuf> {
    let dir = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    dir.or_else(home).map(|dir| dir.join("config.json"))
}

/// Makes the data directory, readable by its owner only. A directory of somebody else's files, such as /tmp, must not be
/// closed to others.
///
/// # Errors
/// When it cannot be made, or holds files that are not Neargate's.
pub fn make_private(dir: &Path) -> Result<(), String> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let failed = |e: std::io::Error| format!("cannot use {}: {e}", dir.display());
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed)?;
    if is_foreign(dir).map_err(failed)? {
        return Err(format!(
            "{} holds files that are not Neargate's: name a directory of its own, such as --data-dir {}",
            dir.display(),
            dir.join("neargate").display()
        ));
    }
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).map_err(failed)
}

/// Holds something, and nothing that an earlier command of ours left.
fn is_foreign(dir: &Path) -> std::io::Result<bool> {
    const OURS: [&str; 4] = ["instance.json", "credentials.json", "up.lock", "images"];
    let mut any = false;
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        if OURS.iter().any(|ours| name == *ours) {
            return Ok(false);
        }
        any |= name != "lost+found";
    }
    Ok(any)
}

/// Writes `bytes` to `path` for the owner's eyes only, whole or not at all.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), String> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |e: std::io::Error| format!("cannot write {}: {e}", path.display());
    let new = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_directory_of_other_files_is_left_as_it_is() {
        let dir = std::env::temp_dir().join(format!("neargate-paths-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("lost+found")).unwrap();
        let open = || std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mode = || std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777;
        open();
        let fresh = (make_private(&dir), mode());
        open();
        std::fs::write(dir.join("letter"), "").unwrap();
        let foreign = (make_private(&dir), mode());
        std::fs::write(dir.join("up.lock"), "").unwrap();
        let ours = (make_private(&dir), mode());
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(fresh, (Ok(()), 0o700));
        assert!(foreign.0.unwrap_err().contains("--data-dir"));
        assert_eq!(foreign.1, 0o755);
        assert_eq!(ours, (Ok(()), 0o700));
    }
}
