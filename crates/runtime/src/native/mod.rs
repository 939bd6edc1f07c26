//! The built-in launcher: makes a container out of a [`Plan`] with system calls alone. The shim forks; the child places itself in
//! cgroups and namespaces, builds the mounts, gives up its privileges and executes. It tells how it went over a
//! packet socket that closes on exec.
//!
//! Two orders of doing it. In a pid namespace of its own nobody sees the child before it has given up its
//! privileges, so it is born in it. A pid namespace that other containers of the task already live in is entered last, by a
//! brother of the child when everything is given up: a container with CAP_SYS_PTRACE could otherwise take over the child while it
//! still has the machine's privileges. The same goes for exec into a running container.

mod executable;
mod mounts;
mod nodes;
mod pause;
mod populate;
mod process;
mod root;

pub use pause::Pause;
pub use process::available as available_capabilities;

/// What launching by an OCI runtime needs of the same work.
pub mod files {
    pub use super::mounts::mount_root;
    pub use super::nodes::of_host;
    pub use super::populate::from_image;
    pub use super::root::read;
}

use crate::cgroup::Place;
use crate::launch::{Network, Sharing};
use crate::plan::Plan;
use crate::protocol::{Failure, FailureCode};
use crate::sys;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// A child on its way to become a container's or an exec's process.
#[derive(Debug)]
pub struct Spawned {
    pub pid: libc::pid_t,
    pub pidfd: OwnedFd,
    /// Reports of the child; its end without a failure means that the program runs.
    pub reports: OwnedFd,
}

/// What a child is given for stdin, stdout and stderr; none of stdin is `/dev/null`, none of the outputs a terminal.
#[derive(Debug)]
pub struct Stdio {
    pub stdin: Option<OwnedFd>,
    pub outputs: Option<(OwnedFd, OwnedFd)>,
}

/// What a child depends on beside its plan.
pub struct Given<'a> {
    pub place: &'a Place,
    pub pause: Option<&'a Pause>,
    /// v1 hierarchies to show; empty shows v2.
    pub shown_cgroups: &'a [String],
}

/// A report of a child.
#[derive(Debug)]
pub enum Report {
    Failed(Failure),
    /// The container's process is this one, not the child.
    Pid(libc::pid_t),
    /// The terminal's other side.
    Terminal(OwnedFd),
    /// No more reports.
    End,
}

/// Why a child gave up, in the words of the OCI runtimes.
#[derive(Debug)]
pub struct Problem(pub String);

impl Problem {
    /// With what was being done.
    fn doing(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> Problem {
        move |e| Problem(format!("{what}: {}", crate::sys::describe(&e)))
    }
}

/// Starts a container's process.
///
/// # Errors
/// When there cannot even be a child.
pub fn start(plan: &Plan, given: &Given<'_>, stdio: Stdio) -> io::Result<Spawned> {
    let mut flags = libc::CLONE_NEWUTS;
    if given.pause.is_none() {
        flags |= libc::CLONE_NEWNS;
    }
    if plan.pid == Sharing::Private {
        flags |= libc::CLONE_NEWPID;
    }
    if plan.ipc == Sharing::Private {
        flags |= libc::CLONE_NEWIPC;
    }
    if plan.network == Network::Private {
        flags |= libc::CLONE_NEWNET;
    }
    let born_in = given.place.born_in();
    spawn(flags, born_in, stdio, |reports, stdio| {
        container(plan, given, reports, stdio)
    })
}

/// Starts a further process in a running container, the first process of which is `pidfd`.
///
/// # Errors
/// When there cannot even be a child.
pub fn exec(plan: &Plan, pidfd: &OwnedFd, place: &Place, stdio: Stdio) -> io::Result<Spawned> {
    let born_in = place.born_in();
    spawn(0, born_in, stdio, |reports, stdio| {
        // A session of its own, so that the time-out can kill what it started along with it.
        // SAFETY: no memory involved.
        unsafe { libc::setsid() };
        place.attach_self().map_err(Problem::doing("cgroup"))?;
        let kinds = libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC | libc::CLONE_NEWNET;
        let kinds = kinds | libc::CLONE_NEWPID | libc::CLONE_NEWCGROUP;
        sys::setns(pidfd.as_raw_fd(), kinds).map_err(Problem::doing("join the container's namespaces"))?;
        let root = sys::open_dir(Path::new("/")).map_err(Problem::doing("open /"))?;
        process::take_stdio(stdio)?;
        sys::close_all_but([reports.as_raw_fd(), root.as_raw_fd()]);
        let ready = process::give_up_privileges(plan, root.as_raw_fd(), false)?;
        as_brother(reports)?;
        Err(ready.execute())
    })
}

/// Reads the next report. `WouldBlock` when there is none yet.
pub fn report(reports: &OwnedFd) -> io::Result<Report> {
    let mut packet = [0; 4096];
    let (length, passed) = sys::recv_packet(reports.as_raw_fd(), &mut packet)?;
    match (packet[..length].split_first(), passed) {
        (Some((b'T', _)), Some(fd)) => Ok(Report::Terminal(fd)),
        (Some((b'P', pid)), _) => {
            let pid = pid.try_into().map(i32::from_le_bytes);
            pid.map(Report::Pid)
                .map_err(|_| io::Error::other("bad report of a container's process"))
        }
        (Some((b'E', text)), _) => {
            let message = String::from_utf8_lossy(text).into_owned();
            Ok(Report::Failed(Failure {
                code: FailureCode::CannotStartContainerError,
                message,
            }))
        }
        _ => Ok(Report::End),
    }
}

/// Forks, and in the child does `work`, which comes back only with the reason why nothing was executed.
fn spawn<F>(flags: libc::c_int, born_in: Option<i32>, stdio: Stdio, work: F) -> io::Result<Spawned>
where
    F: FnOnce(&OwnedFd, Stdio) -> Result<std::convert::Infallible, Problem>,
{
    let (ours, theirs) = sys::packet_pair()?;
    // SAFETY: the shim has one thread.
    match unsafe { sys::fork_into(flags, born_in)? } {
        Some((pid, pidfd)) => Ok(Spawned {
            pid,
            pidfd,
            reports: ours,
        }),
        None => {
            drop(ours);
            let Err(Problem(why)) = work(&theirs, stdio);
            let mut packet = vec![b'E'];
            packet.extend_from_slice(&why.as_bytes()[..why.len().min(4000)]);
            let _ = sys::send_packet(theirs.as_raw_fd(), &packet, None);
            // SAFETY: ends the process without running what the shim registered.
            unsafe { libc::_exit(127) }
        }
    }
}

/// The child of [`start`].
fn container(
    plan: &Plan,
    given: &Given<'_>,
    reports: &OwnedFd,
    stdio: Stdio,
) -> Result<std::convert::Infallible, Problem> {
    // SAFETY: no memory involved. It fails only for a group leader, which a new process is not.
    unsafe { libc::setsid() };
    let shared = match given.pause {
        Some(pause) => pause.join(plan)?,
        None => pause::Shared::default(),
    };
    // Before it joins the cgroup, where it is not born in it: what the machine's file system keeps cached of a new overlay would
    // be counted there, and a cgroup of which anything is cached outlives its removal.
    mounts::prepare(plan)?;
    given.place.attach_self().map_err(Problem::doing("cgroup"))?;
    sys::unshare(libc::CLONE_NEWCGROUP).map_err(Problem::doing("cgroup namespace"))?;
    if let Network::Path(path) = &plan.network {
        let namespace = std::fs::File::open(path).map_err(Problem::doing(format_args!("open {}", path.display())))?;
        sys::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET).map_err(Problem::doing("join the network namespace"))?;
    }
    if plan.network == Network::Private {
        sys::raise_loopback().map_err(Problem::doing("raise loopback"))?;
    }
    // SAFETY: valid C string.
    sys::check(unsafe { libc::sethostname(plan.hostname.as_ptr().cast(), plan.hostname.len()) })
        .map_err(Problem::doing("sethostname"))?;
    let made = mounts::enter(plan, shared, given.shown_cgroups)?;
    if plan.terminal {
        let terminal = process::open_terminal(&made)?;
        sys::send_packet(reports.as_raw_fd(), b"T", Some(terminal.as_raw_fd()))
            .map_err(Problem::doing("hand over the terminal"))?;
    } else {
        process::take_stdio(stdio)?;
    }
    let root = mounts::seal(plan, made)?;
    sys::close_all_but([reports.as_raw_fd(), root.as_raw_fd()]);
    let ready = process::give_up_privileges(plan, root.as_raw_fd(), true)?;
    if plan.pid == Sharing::Task {
        as_brother(reports)?;
    }
    Err(ready.execute())
}

/// Goes on as a brother, in the pid namespace chosen for children; the child itself ends here. The brother waits until the
/// shim has been told of it: else it could end before, as somebody the shim knows nothing of.
fn as_brother(reports: &OwnedFd) -> Result<(), Problem> {
    let (told, tell) = sys::pipe().map_err(Problem::doing("pipe"))?;
    // SAFETY: the child has one thread, as the shim had.
    match unsafe { sys::fork_brother() }.map_err(Problem::doing("fork"))? {
        None => {
            drop(tell);
            match sys::read(told.as_raw_fd(), &mut [0]) {
                Ok(1) => Ok(()),
                // SAFETY: ends the process without running what the shim registered.
                _ => unsafe { libc::_exit(127) },
            }
        }
        Some(pid) => {
            let mut packet = vec![b'P'];
            packet.extend_from_slice(&pid.to_le_bytes());
            let sent = sys::send_packet(reports.as_raw_fd(), &packet, None);
            // SAFETY: the descriptor is not used any more; then the process ends, without running what the shim registered.
            unsafe {
                // Only the brother holds the reports now, so that they end when it executes.
                libc::close(reports.as_raw_fd());
                let sent = sent.and_then(|()| sys::write(tell.as_raw_fd(), &[1]));
                libc::_exit(i32::from(sent.is_err()))
            }
        }
    }
}
