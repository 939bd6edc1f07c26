//! The shim process.

use std::ffi::OsString;
use std::path::Path;

/// The whole life of a shim. Called by the binary as `neargate shim …` before anything else, with one thread.
pub fn shim_main(args: &[OsString]) -> ! {
    let _ = args;
    std::process::exit(1)
}

/// Kills and removes everything that a dead (or hung) shim left: processes, cgroups, socket. Log files and `state.json`
/// stay. Does nothing when there is nothing.
///
/// # Errors
/// When the state cannot be read, or something cannot be removed.
pub fn cleanup(task_dir: &Path) -> std::io::Result<()> {
    let _ = task_dir;
    Ok(())
}
