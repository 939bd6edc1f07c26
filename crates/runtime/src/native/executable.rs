//! Finds the program to execute, with the OCI runtimes' words for why it cannot be.

use crate::sys;
use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The path of `name`, looked up in `search` (a `PATH`) unless it contains a slash.
pub fn find(name: &str, search: &str) -> Result<CString, String> {
    let fails = |why: &str| format!("exec: \"{name}\": {why}");
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(path) => Ok(path),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(fails(&format!("stat {name}: no such file or directory")))
            }
            Err(e) => Err(fails(&sys::describe(&e))),
        };
    }
    let mut denied = false;
    for directory in search.split(':') {
        // An empty element is the current directory.
        let directory = if directory.is_empty() { "." } else { directory };
        match executable(&Path::new(directory).join(name)) {
            Ok(path) => return Ok(path),
            Err(e) => denied |= e.kind() == io::ErrorKind::PermissionDenied,
        }
    }
    Err(fails(if denied {
        "permission denied"
    } else {
        "executable file not found in $PATH"
    }))
}

fn executable(path: &Path) -> io::Result<CString> {
    if fs::metadata(path)?.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    }
    let path = CString::new(OsStr::as_bytes(path.as_os_str()))?;
    // SAFETY: valid C string.
    sys::check(unsafe { libc::access(path.as_ptr(), libc::X_OK) })?;
    Ok(path)
}
