//! Applying a layer's entries under one directory, and nowhere else.
//!
//! Every path is opened with `openat2(RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)` from the layer's root: a link inside
//! the layer is followed while it stays inside, and an entry that would pass through an absolute or climbing link is
//! refused. The last component is never followed. No device node is ever made, except overlayfs' own whiteouts, which
//! carry no device; device entries of old base images are left out, since the runtime makes a container's `/dev`.

use super::stream::{Entry, TarStream};
use crate::dirs::remove_tree;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tar::EntryType;

/// Bytes of directory names remembered until the end of a layer.
const MAX_REMEMBERED: usize = 64 << 20;
const OPAQUE: &str = "trusted.overlay.opaque";

/// Why applying stopped.
#[derive(Debug)]
pub(super) enum Fault {
    /// The entry asks for what no layer may do.
    Refused {
        entry: String,
        why: String,
    },
    TooLarge(String),
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(e: io::Error) -> Self {
        Fault::Io(e)
    }
}

impl From<Errno> for Fault {
    fn from(e: Errno) -> Self {
        Fault::Io(e.into())
    }
}

/// A layer being applied.
pub(super) struct Applier {
    root: Rc<OwnedFd>,
    /// Where replaced directories go until the end; beside the root, outside of the layer.
    trash: PathBuf,
    trashed: u64,
    /// The directory of the entry before: entries come grouped.
    last_parent: Option<(Vec<u8>, Rc<OwnedFd>)>,
    /// Directories' times, set last because their entries change them.
    times: BTreeMap<Vec<u8>, (i64, u32)>,
    /// Directories the archive has no entry for.
    implicit: BTreeSet<Vec<u8>>,
    /// Bytes of names kept in the two, never counted down.
    remembered: usize,
    buffer: Vec<u8>,
}

impl Applier {
    /// Applies into `root`, an empty directory; `trash` must be on the same file system and not exist.
    pub(super) fn new(root: &Path, trash: PathBuf) -> io::Result<Applier> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o755))?;
        Ok(Applier {
            root: Rc::new(fd),
            trash,
            trashed: 0,
            last_parent: None,
            times: BTreeMap::new(),
            implicit: BTreeSet::from([b".".to_vec()]),
            remembered: 0,
            buffer: vec![0; 128 * 1024],
        })
    }

    /// Applies every entry; answers the directories that no entry described, parents first.
    pub(super) fn apply<R: Read>(mut self, tar: &mut TarStream<R>, max_entries: u64) -> Result<Vec<Vec<u8>>, Fault> {
        let mut count = 0;
        while let Some(entry) = tar.next()? {
            count += 1;
            if count > max_entries {
                return Err(Fault::TooLarge(format!("it has more than {max_entries} entries")));
            }
            self.entry(&entry, tar)?;
            if self.remembered > MAX_REMEMBERED {
                return Err(Fault::TooLarge(
                    "the names of its directories take more than 64 MiB".to_owned(),
                ));
            }
        }
        for (path, time) in std::mem::take(&mut self.times).into_iter().rev() {
            // The directory may have been replaced since.
            if let Ok(fd) = self.beneath(&path, OFlags::DIRECTORY | OFlags::RDONLY) {
                rustix::fs::futimens(&fd, &timestamps(time))?;
            }
        }
        remove_tree(&self.trash)?;
        Ok(self.implicit.into_iter().collect())
    }

    fn entry<R: Read>(&mut self, entry: &Entry, tar: &mut TarStream<R>) -> Result<(), Fault> {
        let refuse = |why: &str| refused(&entry.path, why);
        let parts = components(&entry.path).map_err(refuse)?;
        let Some((name, parents)) = parts.split_last() else {
            // The layer's root itself.
            if entry.kind == EntryType::Directory {
                self.implicit.remove(&b"."[..]);
                self.directory_attributes(&self.root.clone(), b".", entry)?;
            }
            return Ok(());
        };
        let path = parts.join(&b'/');
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            return self.whiteout(entry, parents, hidden);
        }
        if parts.iter().any(|p| p.starts_with(b".wh.")) {
            // Contents of AUFS' own directories (`.wh..wh.plnk`): metadata of the build machine.
            return Ok(());
        }
        match entry.kind {
            EntryType::Block | EntryType::Char => {
                tracing::debug!(entry = %lossy(&entry.path), "a device node in a layer is left out");
                return Ok(());
            }
            EntryType::Regular
            | EntryType::Continuous
            | EntryType::GNUSparse
            | EntryType::Directory
            | EntryType::Symlink
            | EntryType::Link
            | EntryType::Fifo => {}
            other => {
                return Err(refuse(&format!(
                    "it is of the unknown type {:?}",
                    other.as_byte() as char
                )));
            }
        }
        let parent = self.parent(&entry.path, parents)?;
        self.implicit.remove(&path);
        if entry.kind == EntryType::Directory {
            return self.directory(entry, &parent, name, path);
        }
        self.clear(&parent, name)?;
        match entry.kind {
            EntryType::Symlink => {
                if entry.link.is_empty() {
                    return Err(refuse("it is a symbolic link to nothing"));
                }
                rustix::fs::symlinkat(&entry.link[..], &parent, *name).map_err(|e| explain(&entry.path, e))?;
                self.attributes_at(&parent, name, entry)
            }
            EntryType::Fifo => {
                rustix::fs::mknodat(&parent, *name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
                    .map_err(|e| explain(&entry.path, e))?;
                self.attributes_at(&parent, name, entry)?;
                rustix::fs::chmodat(
                    &parent,
                    *name,
                    Mode::from_raw_mode(entry.mode & 0o7777),
                    AtFlags::empty(),
                )?;
                Ok(())
            }
            EntryType::Link => self.hard_link(entry, &parent, name),
            _ => self.file(entry, &parent, name, tar),
        }
    }

    fn file<R: Read>(
        &mut self,
        entry: &Entry,
        parent: &OwnedFd,
        name: &[u8],
        tar: &mut TarStream<R>,
    ) -> Result<(), Fault> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd =
            rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600)).map_err(|e| explain(&entry.path, e))?;
        let mut file = File::from(fd);
        match &entry.pieces {
            None => loop {
                let n = tar.read(&mut self.buffer)?;
                if n == 0 {
                    break;
                }
                file.write_all(&self.buffer[..n])?;
            },
            Some(pieces) => {
                file.set_len(entry.size)?;
                for (offset, length) in pieces {
                    let (mut at, end) = (*offset, offset + length);
                    while at < end {
                        let most = self.buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
                        let n = tar.read(&mut self.buffer[..most])?;
                        file.write_all_at(&self.buffer[..n], at)?;
                        at += n as u64;
                    }
                }
            }
        }
        attributes(&file, entry)?;
        rustix::fs::futimens(&file, &timestamps(entry.mtime))?;
        Ok(())
    }

    fn hard_link(&mut self, entry: &Entry, parent: &OwnedFd, name: &[u8]) -> Result<(), Fault> {
        // A leading slash means the layer's root, as it does to docker.
        let start = entry.link.iter().position(|b| *b != b'/').unwrap_or(entry.link.len());
        let parts = components(&entry.link[start..])
            .map_err(|_| refused(&entry.path, "it is a hard link that leaves the layer"))?;
        let missing = || {
            refused(
                &entry.path,
                &format!("its hard link target \"{}\" is not in the layer", lossy(&entry.link)),
            )
        };
        let Some((target, parents)) = parts.split_last() else {
            return Err(missing());
        };
        let from = if parents.is_empty() {
            self.root.clone()
        } else {
            match self.beneath(&parents.join(&b'/'), OFlags::PATH | OFlags::DIRECTORY) {
                Ok(fd) => Rc::new(fd),
                Err(Errno::XDEV | Errno::LOOP) => {
                    return Err(refused(
                        &entry.path,
                        "its hard link target lies behind a symbolic link that leaves the layer",
                    ));
                }
                Err(_) => return Err(missing()),
            }
        };
        match rustix::fs::linkat(&from, *target, parent, name, AtFlags::empty()) {
            Ok(()) => Ok(()),
            Err(Errno::NOENT) => Err(missing()),
            Err(Errno::PERM) => Err(refused(&entry.path, "it is a hard link to a directory")),
            Err(e) => Err(explain(&entry.path, e)),
        }
    }

    fn directory(&mut self, entry: &Entry, parent: &OwnedFd, name: &[u8], path: Vec<u8>) -> Result<(), Fault> {
        match kind_of(parent, name)? {
            Some(FileType::Directory) => {}
            found => {
                // A whiteout of the lower directory and a new one in the same layer: nothing of the lower shows.
                let opaque = found == Some(FileType::CharacterDevice);
                self.clear(parent, name)?;
                make_directory(parent, name, opaque).map_err(|e| explain(&entry.path, e))?;
            }
        }
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        self.directory_attributes(&fd, &path, entry)
    }

    fn directory_attributes(&mut self, fd: &OwnedFd, path: &[u8], entry: &Entry) -> Result<(), Fault> {
        attributes(fd, entry)?;
        self.remembered += path.len() + 64;
        self.times.insert(path.to_vec(), entry.mtime);
        Ok(())
    }

    fn attributes_at(&self, parent: &OwnedFd, name: &[u8], entry: &Entry) -> Result<(), Fault> {
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        rustix::fs::utimensat(parent, name, &timestamps(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    /// `.wh.<name>` hides `name` of the layers below; `.wh..wh..opq` hides all that is below its directory.
    fn whiteout(&mut self, entry: &Entry, parents: &[&[u8]], hidden: &[u8]) -> Result<(), Fault> {
        if hidden == b".wh..opq" {
            let parent = self.parent(&entry.path, parents)?;
            let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(&parent, ".", flags, Mode::empty())?;
            rustix::fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty())?;
            return Ok(());
        }
        if hidden.starts_with(b".wh.") {
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(refused(&entry.path, "it is a whiteout of no name"));
        }
        let parent = self.parent(&entry.path, parents)?;
        match kind_of(&parent, hidden)? {
            // The layer brings the name anew: only what is below goes.
            Some(FileType::Directory) => {
                let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(&parent, hidden, flags, Mode::empty())?;
                rustix::fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty())?;
            }
            Some(_) => {}
            None => {
                let mode = Mode::from_raw_mode(0o000);
                rustix::fs::mknodat(&parent, hidden, FileType::CharacterDevice, mode, 0)
                    .map_err(|e| explain(&entry.path, e))?;
            }
        }
        Ok(())
    }

    /// Makes way for a new entry.
    fn clear(&mut self, parent: &OwnedFd, name: &[u8]) -> Result<(), Fault> {
        match kind_of(parent, name)? {
            None => return Ok(()),
            Some(FileType::Directory) => {
                // Moved away rather than walked: its depth is the archive's choice.
                std::fs::create_dir_all(&self.trash)?;
                let to = self.trash.join(self.trashed.to_string());
                self.trashed += 1;
                rustix::fs::renameat(parent, name, CWD, &to)?;
            }
            Some(_) => rustix::fs::unlinkat(parent, name, AtFlags::empty())?,
        }
        self.last_parent = None;
        Ok(())
    }

    /// The directory `parents`, made where the archive has no entry for it.
    fn parent(&mut self, entry: &[u8], parents: &[&[u8]]) -> Result<Rc<OwnedFd>, Fault> {
        if parents.is_empty() {
            return Ok(self.root.clone());
        }
        let path = parents.join(&b'/');
        if let Some((last, fd)) = &self.last_parent
            && *last == path
        {
            return Ok(fd.clone());
        }
        let fd = match self.beneath(&path, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_parents(entry, parents)?,
            Err(e) => return Err(explain(entry, e)),
        };
        let fd = Rc::new(fd);
        self.last_parent = Some((path, fd.clone()));
        Ok(fd)
    }

    fn make_parents(&mut self, entry: &[u8], parents: &[&[u8]]) -> Result<OwnedFd, Fault> {
        let mut at: Rc<OwnedFd> = self.root.clone();
        for (i, name) in parents.iter().enumerate() {
            let path = parents[..=i].join(&b'/');
            let fd = match self.beneath(&path, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(fd) => fd,
                Err(first @ (Errno::NOENT | Errno::NOTDIR)) => {
                    let opaque = match kind_of(&at, name)? {
                        None => false,
                        Some(FileType::CharacterDevice) => {
                            rustix::fs::unlinkat(&at, *name, AtFlags::empty())?;
                            true
                        }
                        Some(FileType::Symlink) => {
                            return Err(refused(entry, "it lies behind a symbolic link that leads nowhere"));
                        }
                        Some(_) => return Err(explain(entry, first)),
                    };
                    make_directory(&at, name, opaque).map_err(|e| explain(entry, e))?;
                    self.remembered += path.len() + 64;
                    self.implicit.insert(path.clone());
                    self.beneath(&path, OFlags::PATH | OFlags::DIRECTORY)
                        .map_err(|e| explain(entry, e))?
                }
                Err(e) => return Err(explain(entry, e)),
            };
            at = Rc::new(fd);
        }
        // The loop left exactly one owner behind, unless there was nothing to make.
        match Rc::try_unwrap(at) {
            Ok(fd) => Ok(fd),
            Err(shared) => Ok(shared.as_fd().try_clone_to_owned()?),
        }
    }

    fn beneath(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        open_beneath(&self.root, path, flags)
    }
}

/// Opens `path` below `root`, refusing every way out.
pub(super) fn open_beneath(root: &OwnedFd, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    // EAGAIN: a rename elsewhere on the machine raced with a `..` in a link.
    for _ in 0..64 {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// The components of an entry's name; `.` and doubled slashes are nothing.
fn components(path: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    if path.contains(&0) {
        return Err("its name contains a zero byte");
    }
    if path.starts_with(b"/") {
        return Err("its name is an absolute path");
    }
    let mut parts = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("its name contains \"..\""),
            part => parts.push(part),
        }
    }
    Ok(parts)
}

fn kind_of(parent: &OwnedFd, name: &[u8]) -> Result<Option<FileType>, Fault> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(explain(name, e)),
    }
}

fn make_directory(parent: &OwnedFd, name: &[u8], opaque: bool) -> rustix::io::Result<()> {
    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    // Not through mkdir, which the umask cuts.
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o755))?;
    if opaque {
        rustix::fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty())?;
    }
    Ok(())
}

/// Owner, then mode (changing the owner clears set-id bits), then extended attributes (and capabilities).
fn attributes(fd: &impl AsFd, entry: &Entry) -> Result<(), Fault> {
    rustix::fs::fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode & 0o7777))?;
    for (name, value) in &entry.xattrs {
        // Others are the build machine's business (selinux) or would forge overlayfs' own marks (trusted, overlay).
        let user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
        if !user && name != b"security.capability" {
            continue;
        }
        match rustix::fs::fsetxattr(fd, &name[..], value, XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP) if user => {}
            other => other.map_err(|e| explain(&entry.path, e))?,
        }
    }
    Ok(())
}

fn timestamps((tv_sec, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec {
        tv_sec,
        tv_nsec: nanos.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(300).collect()
}

fn refused(entry: &[u8], why: &str) -> Fault {
    Fault::Refused {
        entry: lossy(entry),
        why: why.to_owned(),
    }
}

/// Errors that are the entry's fault name it; the others are the machine's.
fn explain(entry: &[u8], error: Errno) -> Fault {
    match error {
        Errno::XDEV => refused(entry, "it lies behind a symbolic link that leaves the layer"),
        Errno::LOOP => refused(entry, "it lies behind symbolic links that lead in a circle"),
        Errno::NOTDIR => refused(entry, "a part of its name is a file"),
        Errno::NAMETOOLONG => refused(entry, "its name is too long"),
        Errno::NOSYS => Fault::Io(io::Error::new(
            io::ErrorKind::Unsupported,
            "unpacking needs openat2, which Linux has from version 5.6 on",
        )),
        other => Fault::Io(other.into()),
    }
}
