//! Fills an empty volume with what the image has at its mount point, as Docker does: owner, mode and content. A container
//! that already uses the volume may change it meanwhile, so everything is made relative to held descriptors and no
//! symlink is followed.

use crate::sys;
use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Deepest directory that is copied.
const MAX_DEPTH: usize = 128;

/// Fills `volume` from `destination` in `root`; nothing happens when the volume holds something or the image has no such
/// directory.
pub fn from_image(root: RawFd, destination: &str, volume: &Path) -> io::Result<()> {
    let Some(image) = super::root::find(root, destination)? else {
        return Ok(());
    };
    if !sys::is_dir(image.as_raw_fd())? || !volume.is_dir() || fs::read_dir(volume)?.next().is_some() {
        return Ok(());
    }
    let path = sys::c_path(volume)?;
    let volume = open_at(libc::AT_FDCWD, &path, libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    copy_directory(Path::new(&format!("/proc/self/fd/{}", image.as_raw_fd())), &volume, 0)
}

fn copy_directory(from: &Path, to: &OwnedFd, depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other("directories nested too deeply"));
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, meta) = (entry.path(), entry.metadata()?);
        let name = CString::new(entry.file_name().as_bytes())?;
        let (kind, at) = (meta.file_type(), to.as_raw_fd());
        if kind.is_dir() {
            // SAFETY: valid C string.
            sys::check(unsafe { libc::mkdirat(at, name.as_ptr(), 0o700) })?;
            let made = open_at(at, &name, libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
            copy_directory(&path, &made, depth + 1)?;
        } else if kind.is_file() {
            let made = open_at(at, &name, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL, 0o600)?;
            let mut made = fs::File::from(made);
            io::copy(&mut fs::File::open(&path)?, &mut made)?;
            take_owner(made.as_raw_fd(), &meta)?;
        } else if kind.is_symlink() {
            let target = CString::new(fs::read_link(&path)?.into_os_string().into_vec())?;
            // SAFETY: valid C strings.
            unsafe {
                sys::check(libc::symlinkat(target.as_ptr(), at, name.as_ptr()))?;
                let flags = libc::AT_SYMLINK_NOFOLLOW;
                sys::check(libc::fchownat(at, name.as_ptr(), meta.uid(), meta.gid(), flags))?;
            }
        } else if kind.is_fifo() {
            // SAFETY: valid C string.
            sys::check(unsafe { libc::mkfifoat(at, name.as_ptr(), meta.mode() & 0o7777) })?;
        }
    }
    take_owner(to.as_raw_fd(), &fs::metadata(from)?)
}

fn open_at(at: RawFd, name: &CStr, flags: libc::c_int, mode: libc::c_uint) -> io::Result<OwnedFd> {
    let flags = flags | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    // SAFETY: valid C string; the descriptor is ours.
    unsafe {
        Ok(OwnedFd::from_raw_fd(sys::check(libc::openat(
            at,
            name.as_ptr(),
            flags,
            mode,
        ))?))
    }
}

fn take_owner(fd: RawFd, meta: &fs::Metadata) -> io::Result<()> {
    // SAFETY: plain numbers. The owner first: changing it clears set-user-id bits.
    unsafe {
        sys::check(libc::fchown(fd, meta.uid(), meta.gid()))?;
        sys::check(libc::fchmod(fd, meta.mode() & 0o7777)).map(drop)
    }
}
