//! What to do after a shim that died without its work done.

use super::record::boot_id;
use crate::cgroup::Cgroups;
use crate::client::SOCKET;
use crate::state::{ProcessId, TaskState, read_state};
use crate::sys;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Kills and removes everything that a dead (or hung) shim left: processes, cgroups, socket. Log files and `state.json`
/// stay. Mounts need no care: they live in namespaces that end with the processes. Does nothing when there is nothing.
///
/// # Errors
/// When the state cannot be read, or something cannot be removed.
pub fn cleanup(task_dir: &Path) -> io::Result<()> {
    let Some(state) = read_state(task_dir)? else {
        return Ok(());
    };
    if state.boot_id == boot_id()? {
        end_process(state.shim)?;
        let cgroups = Cgroups::of(&state)?;
        cgroups.kill_task()?;
        cgroups.remove_task_when_empty()?;
    }
    for made_for_runtime in ["oci", "bundles"] {
        match fs::remove_dir_all(task_dir.join(made_for_runtime)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    match fs::remove_file(task_dir.join(SOCKET)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Removes the cgroup that holds every task, when no task and no shim is left in it.
///
/// # Errors
/// When cgroups are not mounted, or the kernel refuses for another reason than that one is in use.
pub fn remove_cgroup_base(base: &str) -> io::Result<()> {
    Cgroups::in_base(base)?.remove_base()
}

/// Kills a process and waits for its end, if it is still the one that was meant.
fn end_process(process: ProcessId) -> io::Result<()> {
    let Ok(pidfd) = sys::pidfd_open(process.pid) else {
        return Ok(());
    };
    // With the handle taken, the number cannot pass to another process unseen.
    if ProcessId::of(process.pid).is_ok_and(|now| now == process) {
        match sys::pidfd_signal(pidfd.as_raw_fd(), libc::SIGKILL) {
            // On its way out by itself.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
            other => other?,
        }
        if !sys::wait_readable(pidfd.as_raw_fd(), 10_000)? {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the shim does not die"));
        }
    }
    Ok(())
}

impl Cgroups {
    fn of(state: &TaskState) -> io::Result<Cgroups> {
        Cgroups::locate(&state.cgroup_base, &state.task_id, &state.runtime)
    }
}
