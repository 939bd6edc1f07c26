//! `/dev` of a container: a tmpfs with the few nodes that every program expects, and for a privileged container all of the
//! machine's.

use super::{Problem, root};
use crate::sys::{self, MOUNT_ATTR_NOSUID};
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// A device node by its path below `/dev`.
#[derive(Clone, Debug)]
pub struct Node {
    pub name: String,
    mode: libc::mode_t,
    device: libc::dev_t,
}

/// Links that programs expect.
const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

fn standard() -> impl Iterator<Item = Node> {
    let nodes = [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ];
    nodes.into_iter().map(|(name, major, minor)| Node {
        name: name.to_owned(),
        mode: libc::S_IFCHR | 0o666,
        device: libc::makedev(major, minor),
    })
}

/// All device nodes of the machine, but for terminals.
pub fn of_host() -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut directories = vec![Path::new("/dev").to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let (path, Ok(meta)) = (entry.path(), entry.metadata()) else {
                continue;
            };
            let Some(name) = path.strip_prefix("/dev").ok().and_then(Path::to_str) else {
                continue;
            };
            let kind = meta.file_type();
            if kind.is_dir() && !["pts", "shm", "mqueue", "hugepages"].contains(&name) {
                directories.push(path);
            } else if (kind.is_block_device() || kind.is_char_device()) && !["console", "ptmx"].contains(&name) {
                nodes.push(Node {
                    name: name.to_owned(),
                    mode: meta.mode(),
                    device: meta.rdev(),
                });
            }
        }
    }
    nodes
}

/// Makes the file system, with `more` nodes than the standard ones. Where the kernel refuses to make nodes, the machine's own
/// are given back to be mounted in their places.
pub fn make(more: &[Node]) -> Result<(OwnedFd, Vec<(Node, OwnedFd)>), Problem> {
    let doing = "make /dev";
    let dev = sys::new_mount(c"tmpfs", &[("mode", "755"), ("size", "65536k")], MOUNT_ATTR_NOSUID);
    let dev = dev.map_err(Problem::doing(doing))?;
    let mut bound = Vec::new();
    for node in standard().chain(more.iter().cloned()) {
        match make_node(&dev, &node) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                let clone = sys::open_tree(libc::AT_FDCWD, &Path::new("/dev").join(&node.name), false);
                bound.push((node, clone.map_err(Problem::doing(doing))?));
            }
            other => other.map_err(Problem::doing(format_args!("make /dev/{}", node.name)))?,
        }
    }
    for (name, to) in LINKS {
        root::make_link(dev.as_raw_fd(), name, to).map_err(Problem::doing(doing))?;
    }
    Ok((dev, bound))
}

fn make_node(dev: &OwnedFd, node: &Node) -> io::Result<()> {
    let mut parent = None;
    let mut name = node.name.as_str();
    while let Some((directory, rest)) = name.split_once('/') {
        let at = parent.as_ref().unwrap_or(dev).as_raw_fd();
        root::make_directory(at, directory)?;
        parent = Some(sys::open_in_root(at, directory, libc::O_PATH | libc::O_DIRECTORY, 0)?);
        name = rest;
    }
    let at = parent.as_ref().unwrap_or(dev).as_raw_fd();
    let name = CString::new(name)?;
    // SAFETY: valid C string; umask cannot fail, and this process has one thread.
    unsafe {
        let before = libc::umask(0);
        let made = sys::check(libc::mknodat(at, name.as_ptr(), node.mode, node.device));
        libc::umask(before);
        made.map(drop)
    }
}
