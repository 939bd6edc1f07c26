//! The process that holds what a task's containers share: the pid namespace (as its init, reaping), the ipc
//! namespace, and `/dev/shm`. It has no privilege, an empty root, and dies with the shim.

use super::{Problem, process, root};
use crate::caps::CapSet;
use crate::launch::Sharing;
use crate::plan::{MountKind, Plan};
use crate::sys::{self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID};
use crate::user::User;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// A running pause process.
#[derive(Debug)]
pub struct Pause {
    pub pid: libc::pid_t,
    pidfd: OwnedFd,
    /// The shim's mount namespace, for its children to come back to.
    own_mounts: File,
}

/// Mounts of the pause process, cloned for one container.
#[derive(Debug, Default)]
pub struct Shared {
    pub proc: Option<OwnedFd>,
    pub shm: Option<OwnedFd>,
}

const QUIET: u64 = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
/// Nobody's user id, and no privilege at all.
const NOBODY: u32 = 65534;

impl Pause {
    /// Starts it; `directory` serves as a mount point in its own mount namespace.
    pub fn start(directory: &Path, pid: Sharing, ipc: Sharing) -> io::Result<Pause> {
        let mut flags = libc::CLONE_NEWNS;
        if pid == Sharing::Task {
            flags |= libc::CLONE_NEWPID;
        }
        if ipc == Sharing::Task {
            flags |= libc::CLONE_NEWIPC;
        }
        let (ours, theirs) = sys::packet_pair()?;
        // SAFETY: the shim has one thread.
        let Some((pid, pidfd)) = (unsafe { sys::fork_into(flags, None)? }) else {
            let told = match settle(directory, pid) {
                Ok(()) => sys::send_packet(theirs.as_raw_fd(), b"+", None),
                Err(Problem(why)) => sys::send_packet(theirs.as_raw_fd(), why.as_bytes(), None),
            };
            match told {
                Ok(()) => hold(),
                // SAFETY: ends the process without running what the shim registered.
                Err(_) => unsafe { libc::_exit(1) },
            }
        };
        drop(theirs);
        let mut packet = [0; 512];
        sys::wait_readable(ours.as_raw_fd(), 10_000)?;
        let (length, _) = sys::recv_packet(ours.as_raw_fd(), &mut packet)?;
        if packet[..length] != *b"+" {
            let _ = sys::pidfd_signal(pidfd.as_raw_fd(), libc::SIGKILL);
            let why = String::from_utf8_lossy(&packet[..length]).into_owned();
            return Err(io::Error::other(format!("pause process: {why}")));
        }
        Ok(Pause {
            pid,
            pidfd,
            own_mounts: File::open("/proc/self/ns/mnt")?,
        })
    }

    /// Joins the shared namespaces, in a container's child that still has the shim's mounts and leaves with some of its own; the
    /// pid namespace is only for its children to come.
    pub fn join(&self, plan: &Plan) -> Result<Shared, Problem> {
        let doing = "join the task's namespaces";
        let pidfd = self.pidfd.as_raw_fd();
        if plan.pid == Sharing::Task {
            sys::setns(pidfd, libc::CLONE_NEWPID).map_err(Problem::doing(doing))?;
        }
        if plan.ipc == Sharing::Task {
            sys::setns(pidfd, libc::CLONE_NEWIPC).map_err(Problem::doing(doing))?;
        }
        sys::setns(pidfd, libc::CLONE_NEWNS).map_err(Problem::doing(doing))?;
        let clone = |path: &str| sys::open_tree(libc::AT_FDCWD, Path::new(path), false);
        let mut shared = Shared::default();
        if plan.pid == Sharing::Task {
            shared.proc = Some(clone("/proc").map_err(Problem::doing(doing))?);
        }
        let size = plan.mounts.iter().find_map(|m| match m.kind {
            MountKind::TaskShm(size) => Some(size),
            _ => None,
        });
        if let Some(size) = size {
            let shm = clone("/shm").map_err(Problem::doing(doing))?;
            sys::grow_tmpfs(shm.as_raw_fd(), size).map_err(Problem::doing("size of /dev/shm"))?;
            shared.shm = Some(shm);
        }
        sys::setns(self.own_mounts.as_raw_fd(), libc::CLONE_NEWNS).map_err(Problem::doing(doing))?;
        sys::unshare(libc::CLONE_NEWNS).map_err(Problem::doing(doing))?;
        Ok(shared)
    }

    /// Ends it, and with it everything in its pid namespace.
    pub fn stop(&self) {
        let _ = sys::pidfd_signal(self.pidfd.as_raw_fd(), libc::SIGKILL);
    }

    /// A shared namespace as an OCI runtime is given it.
    pub fn namespace_path(&self, kind: &str) -> String {
        format!("/proc/{}/ns/{kind}", self.pid)
    }
}

/// An empty root with `/proc` and `/shm`, and no privilege.
fn settle(directory: &Path, pid: Sharing) -> Result<(), Problem> {
    let doing = "pause process";
    let made = |path: &str, fs: io::Result<OwnedFd>, at: &OwnedFd| {
        let fs = fs.map_err(Problem::doing(doing))?;
        root::attach(at.as_raw_fd(), path, &fs)
    };
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong).map_err(Problem::doing(doing))?;
    sys::mount(c"", c"/", c"", libc::MS_REC | libc::MS_PRIVATE, c"").map_err(Problem::doing(doing))?;
    let place = sys::open_dir(directory).map_err(Problem::doing(doing))?;
    let fs = sys::new_mount(c"tmpfs", &[("mode", "755"), ("size", "64k")], QUIET).map_err(Problem::doing(doing))?;
    sys::move_mount(fs.as_raw_fd(), place.as_raw_fd()).map_err(Problem::doing(doing))?;
    let root = sys::open_dir(directory).map_err(Problem::doing(doing))?;
    if pid == Sharing::Task {
        made("/proc", sys::new_mount(c"proc", &[], QUIET), &root)?;
    }
    made(
        "/shm",
        sys::new_mount(c"tmpfs", &[("mode", "1777"), ("size", "64m")], QUIET),
        &root,
    )?;
    // SAFETY: plain number.
    sys::check(unsafe { libc::fchdir(root.as_raw_fd()) }).map_err(Problem::doing(doing))?;
    sys::pivot_to_current_directory().map_err(Problem::doing(doing))?;
    process::become_user(
        &User {
            uid: NOBODY,
            gid: NOBODY,
            ..User::default()
        },
        CapSet::NONE,
    )?;
    // Changing the user cleared it.
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)
        .map_err(Problem::doing(doing))
        .map(drop)
}

/// Reaps for ever.
fn hold() -> ! {
    sys::close_from(0);
    // SAFETY: sets made by the calls themselves.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
        loop {
            if libc::sigwaitinfo(&raw const all, std::ptr::null_mut()) == libc::SIGCHLD {
                while sys::reap().is_some() {}
            }
        }
    }
}
