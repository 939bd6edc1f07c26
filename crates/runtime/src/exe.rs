//! What shims are made of: the neargate binary, out of reach of containers, and a process executed from it once, of which each shim
//! is a fork. Executing the binary anew for each task would cost more than a millisecond of loading and relocating, and a
//! mebibyte of relocated pages that forks share.

use crate::sys;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// The program that shims are made of, as a handle that no container can write through: a read-only mount of its own of
/// the neargate binary (see ADR 3). Dropping it ends no shim.
#[derive(Debug)]
pub struct ShimExe {
    program: OwnedFd,
    nursery: Mutex<Nursery>,
}

/// The process that forks shims. It ends when its socket closes.
#[derive(Debug)]
struct Nursery {
    socket: OwnedFd,
    process: Child,
}

impl ShimExe {
    /// # Errors
    /// When `path` does not exist or cannot be executed, or the kernel is older than 5.12, or without CAP_SYS_ADMIN.
    pub fn open(path: &Path) -> io::Result<ShimExe> {
        let program = sys::open_tree(libc::AT_FDCWD, path, true)?;
        let attributes = sys::MOUNT_ATTR_RDONLY | sys::MOUNT_ATTR_NOSUID;
        sys::mount_setattr(program.as_raw_fd(), false, attributes, 0)?;
        let nursery = Mutex::new(Nursery::start(&program)?);
        Ok(ShimExe { program, nursery })
    }

    /// Has a shim forked that talks over `socket`, born in the cgroup of shims in `cgroup_base`.
    pub(crate) fn bear(&self, cgroup_base: &str, socket: &UnixStream) -> io::Result<()> {
        let mut nursery = self.nursery.lock().unwrap_or_else(PoisonError::into_inner);
        let order = |nursery: &Nursery| {
            sys::send_packet(
                nursery.socket.as_raw_fd(),
                cgroup_base.as_bytes(),
                Some(socket.as_raw_fd()),
            )
        };
        match order(&nursery) {
            // It was killed: another one.
            Err(e)
                if matches!(
                    e.raw_os_error(),
                    Some(libc::EPIPE | libc::ECONNRESET | libc::ECONNREFUSED)
                ) =>
            {
                *nursery = Nursery::start(&self.program)?;
                order(&nursery)
            }
            other => other,
        }
    }
}

impl Nursery {
    fn start(program: &OwnedFd) -> io::Result<Nursery> {
        let (socket, theirs) = sys::packet_pair()?;
        let process = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
            // What `ps` shows.
            .arg0("neargate")
            .arg("shim")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Nursery { socket, process })
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        // SAFETY: plain numbers.
        unsafe { libc::shutdown(self.socket.as_raw_fd(), libc::SHUT_RDWR) };
        let _ = self.process.wait();
    }
}
