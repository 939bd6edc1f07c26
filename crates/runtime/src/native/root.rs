//! Paths inside a container's root: opened and made so that no symlink of the image, and nobody who changes the tree
//! meanwhile, leads out of it. Everything goes through descriptors that `openat2` resolved; no path is resolved twice.

use super::Problem;
use crate::sys;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Opens what is at `path`, none when nothing is.
pub fn find(root: RawFd, path: &str) -> io::Result<Option<OwnedFd>> {
    match sys::open_in_root(root, path, libc::O_PATH, 0) {
        Ok(fd) => Ok(Some(fd)),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Links that lead nowhere yet and are followed one after another to what is to be made.
const MOST_LINKS: u8 = 8;

/// The directory at `path`, made with its parents when missing.
pub fn directory(root: RawFd, path: &str) -> io::Result<OwnedFd> {
    make_directories(root, path, MOST_LINKS)
}

fn make_directories(root: RawFd, path: &str, links: u8) -> io::Result<OwnedFd> {
    let open = |path: &str| sys::open_in_root(root, path, libc::O_PATH | libc::O_DIRECTORY, 0);
    if let Ok(found) = open(path) {
        return Ok(found);
    }
    let mut reached = String::from("/");
    let mut at = open("/")?;
    for part in path.split('/').filter(|p| !matches!(*p, "" | ".")) {
        let parent = reached.clone();
        reached.push_str(part);
        at = match open(&reached) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => match leads_to(&at, &parent, part)? {
                Some(target) => make_directories(root, &target, fewer(links)?)?,
                None => {
                    make_directory(at.as_raw_fd(), part)?;
                    open(&reached)?
                }
            },
            other => other?,
        };
        reached.push('/');
    }
    Ok(at)
}

/// What is at `path`, an empty file made there when nothing is.
pub fn file(root: RawFd, path: &str) -> io::Result<OwnedFd> {
    make_file(root, path, MOST_LINKS)
}

fn make_file(root: RawFd, path: &str, links: u8) -> io::Result<OwnedFd> {
    if let Some(found) = find(root, path)? {
        return Ok(found);
    }
    if let Some((parent, name)) = path.rsplit_once('/') {
        let at = make_directories(root, parent, links)?;
        if let Some(target) = leads_to(&at, parent, name)? {
            return make_file(root, &target, fewer(links)?);
        }
    }
    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_NOCTTY | libc::O_NONBLOCK;
    drop(sys::open_in_root(root, path, flags, 0o755)?);
    sys::open_in_root(root, path, libc::O_PATH, 0)
}

/// Where the link `name` in the directory `at`, reached by `parent`, leads; none when there is no link.
fn leads_to(at: &OwnedFd, parent: &str, name: &str) -> io::Result<Option<String>> {
    let target = match sys::read_link(at.as_raw_fd(), name) {
        Ok(target) => target,
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => return Ok(None),
        Err(e) => return Err(e),
    };
    Ok(Some(match target.starts_with('/') {
        true => target,
        false => format!("{parent}/{target}"),
    }))
}

fn fewer(links: u8) -> io::Result<u8> {
    let too_many = || io::Error::from_raw_os_error(libc::ELOOP);
    links.checked_sub(1).ok_or_else(too_many)
}

/// A text file's content, empty when it is missing; at most a mebibyte of it.
pub fn read(root: RawFd, path: &str) -> Result<String, Problem> {
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let fd = match sys::open_in_root(root, path, flags, 0) {
        Ok(fd) => fd,
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => return Ok(String::new()),
        Err(e) => return Err(Problem::doing(format_args!("open {path}"))(e)),
    };
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while bytes.len() < 1 << 20 {
        match sys::read(fd.as_raw_fd(), &mut chunk).map_err(Problem::doing(format_args!("read {path}")))? {
            0 => break,
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// One directory by name in another; being there already is well.
pub fn make_directory(parent: RawFd, name: &str) -> io::Result<()> {
    let name = CString::new(name)?;
    // SAFETY: valid C string.
    match sys::check(unsafe { libc::mkdirat(parent, name.as_ptr(), 0o755) }) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

/// A symbolic link by name in a directory; being there already is well.
pub fn make_link(parent: RawFd, name: &str, to: &str) -> io::Result<()> {
    let (name, to) = (CString::new(name)?, CString::new(to)?);
    // SAFETY: valid C strings.
    match sys::check(unsafe { libc::symlinkat(to.as_ptr(), parent, name.as_ptr()) }) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

/// Whether a descriptor lies in a kernel file system, over which nothing asked for is mounted.
pub fn is_kernel_file_system(fd: RawFd) -> io::Result<bool> {
    let kernels = [
        libc::PROC_SUPER_MAGIC,
        libc::SYSFS_MAGIC,
        libc::CGROUP_SUPER_MAGIC,
        libc::CGROUP2_SUPER_MAGIC,
    ];
    Ok(kernels.contains(&sys::file_system_of(fd)?))
}

/// Mounts a detached mount at `path`: a directory or a file, as the mount's own root is.
pub fn attach(root: RawFd, path: &str, mount: &OwnedFd) -> Result<(), Problem> {
    let target = match sys::is_dir(mount.as_raw_fd()) {
        Ok(true) => directory(root, path),
        Ok(false) => file(root, path),
        Err(e) => Err(e),
    };
    let target = target.map_err(Problem::doing(format_args!("make mountpoint \"{path}\"")))?;
    sys::move_mount(mount.as_raw_fd(), target.as_raw_fd()).map_err(Problem::doing(format_args!("mount on \"{path}\"")))
}
