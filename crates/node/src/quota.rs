//! Ephemeral storage held to its size, where the file system of the data directory has project quotas (ext4 or xfs mounted
//! with `prjquota`). Elsewhere nothing is enforced, and the node says so in its attributes.
//!
//! Called when a task is put on disk, when it asks for its use, and when it is taken off. A limited task's directory is a project of its own, which
//! everything made in it belongs to.

use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// Attribute of the container instance that says whether sizes are enforced.
pub const ATTRIBUTE: &str = "neargate.ephemeral-storage-limit";

/// Projects of tasks are numbered from here: far from those that administrators use.
const FIRST_PROJECT: u32 = 0x4e00_0000;
const PROJECTS: u32 = 0x0100_0000;

const FS_IOC_FSGETXATTR: libc::c_ulong = 0x801c_581f;
const FS_IOC_FSSETXATTR: libc::c_ulong = 0x401c_5820;
const FS_XFLAG_PROJINHERIT: u32 = 0x200;
const SYS_QUOTACTL_FD: libc::c_long = 443;
const Q_GETQUOTA: libc::c_uint = 0x80_0007;
const Q_SETQUOTA: libc::c_uint = 0x80_0008;
const PRJQUOTA: libc::c_uint = 2;
const QIF_BLIMITS: u32 = 1;

/// The kernel's `struct fsxattr`.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    pad: [u8; 8],
}

/// The kernel's `struct if_dqblk`. Limits count KiB.
#[repr(C)]
#[derive(Default)]
struct Limits {
    block_hard: u64,
    block_soft: u64,
    space: u64,
    inode_hard: u64,
    inode_soft: u64,
    inodes: u64,
    block_time: u64,
    inode_time: u64,
    valid: u32,
}

/// True when sizes can be enforced below `dir`.
pub fn is_enforced(dir: &Path) -> bool {
    open(dir).and_then(|fd| limits(&fd, FIRST_PROJECT)).is_ok()
}

/// Makes the empty directory of a task a project that holds at most `gib` GiB.
pub fn limit(dir: &Path, task_id: &str, gib: u32) -> io::Result<()> {
    let fd = open(dir)?;
    let start = task_id
        .bytes()
        .fold(0u32, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
    // Another task that is here now may have the same number.
    let free = (0..64).map(|n| FIRST_PROJECT + start.wrapping_add(n) % PROJECTS);
    for project in free {
        let used = limits(&fd, project)?;
        if used.block_hard == 0 && used.space == 0 {
            set_limit(&fd, project, u64::from(gib) << 20)?;
            return set_project(&fd, project);
        }
    }
    Err(io::Error::other("no project number is free"))
}

/// Forgets the limit of a directory that is about to be removed.
pub fn release(dir: &Path) -> io::Result<()> {
    let fd = open(dir)?;
    let project = attributes(&fd)?.project;
    if project >= FIRST_PROJECT {
        set_limit(&fd, project, 0)
    } else {
        Ok(())
    }
}

/// Bytes that a limited task's directory holds; none where it is not limited.
pub fn used(dir: &Path) -> io::Result<Option<u64>> {
    let fd = open(dir)?;
    // File systems without projects know no such attribute.
    let Ok(attributes) = attributes(&fd) else {
        return Ok(None);
    };
    match attributes.project {
        project if project >= FIRST_PROJECT => Ok(Some(limits(&fd, project)?.space)),
        _ => Ok(None),
    }
}

fn open(dir: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        dir,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

fn attributes(fd: &OwnedFd) -> io::Result<Attributes> {
    let mut out = Attributes::default();
    // SAFETY: the kernel fills in the structure it is given for this request.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), FS_IOC_FSGETXATTR as _, &mut out) }.into())?;
    Ok(out)
}

fn set_project(fd: &OwnedFd, project: u32) -> io::Result<()> {
    let mut wanted = attributes(fd)?;
    wanted.project = project;
    wanted.flags |= FS_XFLAG_PROJINHERIT;
    // SAFETY: the kernel reads the structure it is given for this request.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), FS_IOC_FSSETXATTR as _, &wanted) }.into())
}

fn limits(fd: &OwnedFd, project: u32) -> io::Result<Limits> {
    let mut out = Limits::default();
    quota(fd, Q_GETQUOTA, project, &mut out)?;
    Ok(out)
}

fn set_limit(fd: &OwnedFd, project: u32, kib: u64) -> io::Result<()> {
    let mut wanted = Limits {
        block_hard: kib,
        block_soft: kib,
        valid: QIF_BLIMITS,
        ..Limits::default()
    };
    quota(fd, Q_SETQUOTA, project, &mut wanted)
}

fn quota(fd: &OwnedFd, command: libc::c_uint, project: u32, limits: &mut Limits) -> io::Result<()> {
    let command = (command << 8) | PRJQUOTA;
    let limits: *mut Limits = limits;
    // SAFETY: the kernel reads or fills in the structure that these commands name, which lives through the call.
    check(unsafe { libc::syscall(SYS_QUOTACTL_FD, fd.as_raw_fd(), command, project, limits) })
}

fn check(returned: libc::c_long) -> io::Result<()> {
    if returned < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_sizes() {
        assert_eq!(size_of::<Attributes>(), 28);
        assert_eq!(size_of::<Limits>(), 72);
    }

    #[test]
    fn a_limit_is_set_exactly_where_it_is_said_to_be_enforced() {
        let dir = tempfile::tempdir().unwrap();
        let limited = limit(dir.path(), "0123456789abcdef", 1);
        assert_eq!(limited.is_ok(), is_enforced(dir.path()), "{limited:?}");
        assert_eq!(used(dir.path()).unwrap().is_some(), limited.is_ok());
        if limited.is_ok() {
            release(dir.path()).unwrap();
        }
        assert!(!is_enforced(Path::new("/proc")));
    }
}
