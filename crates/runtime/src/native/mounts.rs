//! A container's mount namespace: root, kernel file systems, what the task mounts, and what is hidden from it.

use super::nodes::{self, Node};
use super::pause::Shared;
use super::{Problem, populate, root};
use crate::launch::RootFs;
use crate::plan::{MountKind, Plan, PlannedMount};
use crate::sys::{self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

/// The finished tree's handles.
pub struct Made {
    pub root: OwnedFd,
    pub proc: OwnedFd,
    /// The container's own pseudo terminals.
    pub devpts: Option<OwnedFd>,
    /// The machine's `/dev/null`, not mounted anywhere yet, for masking files.
    null: OwnedFd,
}

const QUIET: u64 = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

/// First, in a mount namespace of its own: mounts the root file system.
pub fn prepare(plan: &Plan) -> Result<(), Problem> {
    let private = libc::MS_REC | libc::MS_PRIVATE;
    sys::mount(c"", c"/", c"", private, c"").map_err(Problem::doing("make mounts private"))?;
    mount_root(&plan.rootfs, place(plan), &wanted(plan))
}

/// Where the root file system is mounted until it is entered.
fn place(plan: &Plan) -> &Path {
    match &plan.rootfs {
        RootFs::Directory(path) => path,
        RootFs::Overlay { upper, .. } => upper,
    }
}

/// Makes everything else and enters it. Sources on the machine are taken hold of before its root is let go.
pub fn enter(plan: &Plan, mut shared: Shared, cgroups: &[String]) -> Result<Made, Problem> {
    let root = sys::open_dir(place(plan)).map_err(Problem::doing("open the root file system"))?;
    let mut sources = Vec::with_capacity(plan.mounts.len());
    for mount in &plan.mounts {
        sources.push(source(mount, root.as_raw_fd())?);
    }
    let host_nodes = if plan.privileged { nodes::of_host() } else { Vec::new() };
    let (dev, bound) = nodes::make(&host_nodes)?;
    let mut lent = Vec::with_capacity(plan.devices.len());
    for device in &plan.devices {
        let clone = sys::open_tree(libc::AT_FDCWD, &device.host_path, false);
        lent.push(clone.map_err(Problem::doing(format_args!("device {}", device.host_path.display())))?);
    }

    let null = sys::open_tree(libc::AT_FDCWD, Path::new("/dev/null"), false).map_err(Problem::doing("/dev/null"))?;

    // SAFETY: plain number.
    sys::check(unsafe { libc::fchdir(root.as_raw_fd()) }).map_err(Problem::doing("enter the root file system"))?;
    sys::pivot_to_current_directory().map_err(Problem::doing("pivot_root"))?;
    let root = sys::open_dir(Path::new("/")).map_err(Problem::doing("open /"))?;
    let top = root.as_raw_fd();

    let proc = match shared.proc.take() {
        Some(proc) => proc,
        None => new(c"proc", &[], QUIET)?,
    };
    let mut devpts = None;
    for (mount, source) in plan.mounts.iter().zip(sources) {
        let path = mount.destination.as_str();
        match &mount.kind {
            MountKind::Proc => attach_kernel(top, path, &proc)?,
            MountKind::Dev => attach_dev(top, path, &dev, &bound)?,
            MountKind::Devpts => {
                let options = [
                    ("newinstance", ""),
                    ("ptmxmode", "0666"),
                    ("mode", "0620"),
                    ("gid", "5"),
                ];
                let fs = new(c"devpts", &options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)?;
                root::attach(top, path, &fs)?;
                devpts = Some(fs);
            }
            // Kernels without POSIX message queues need no place for them.
            MountKind::Mqueue => match sys::new_mount(c"mqueue", &[], QUIET) {
                Err(e) if e.raw_os_error() == Some(libc::ENODEV) => {}
                fs => root::attach(top, path, &fs.map_err(Problem::doing("mount mqueue"))?)?,
            },
            MountKind::Sysfs => {
                let read_only = if mount.read_only { MOUNT_ATTR_RDONLY } else { 0 };
                attach_kernel(top, path, &new(c"sysfs", &[], QUIET | read_only)?)?;
            }
            MountKind::Cgroup => mount_cgroups(top, path, mount.read_only, cgroups)?,
            MountKind::Shm(size) => {
                let size = size.to_string();
                root::attach(top, path, &new(c"tmpfs", &[("mode", "1777"), ("size", &size)], QUIET)?)?;
            }
            MountKind::TaskShm(_) => {
                let shm = shared
                    .shm
                    .take()
                    .ok_or_else(|| Problem("the task has no shared memory".into()))?;
                root::attach(top, path, &shm)?;
            }
            MountKind::Tmpfs { attributes, options } => {
                let options: Vec<_> = options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                let read_only = if mount.read_only { MOUNT_ATTR_RDONLY } else { 0 };
                let fs = sys::new_mount(c"tmpfs", &options, attributes | read_only);
                let fs = fs.map_err(Problem::doing(format_args!("mount tmpfs on \"{path}\"")))?;
                attach_asked(top, path, &fs)?;
            }
            MountKind::Bind { .. } | MountKind::HostShm => {
                let tree = source.ok_or_else(|| Problem(format!("mount source of \"{path}\" is missing")))?;
                attach_asked(top, path, &tree)?;
            }
        }
    }
    for (device, clone) in plan.devices.iter().zip(&lent) {
        let path = &device.container_path;
        if sys::is_dir(clone.as_raw_fd()).unwrap_or(true) {
            return Err(Problem(format!("device {} is a directory", device.host_path.display())));
        }
        attach_asked(top, path, clone)?;
    }
    Ok(Made {
        root,
        proc,
        devpts,
        null,
    })
}

/// Last, when nothing more is made: kernel parameters, then what is closed to the container. Only the root's handle is left.
pub fn seal(plan: &Plan, made: Made) -> Result<OwnedFd, Problem> {
    for (path, value) in &plan.sysctls {
        write_sysctl(made.proc.as_raw_fd(), path, value).map_err(Problem::doing(format_args!(
            "write sysctl key {}",
            path.replace('/', ".")
        )))?;
    }
    let top = made.root.as_raw_fd();
    for path in plan.readonly {
        let Some(found) = root::find(top, path).map_err(Problem::doing(path))? else {
            continue;
        };
        let clone = sys::open_tree(found.as_raw_fd(), Path::new(""), true).map_err(Problem::doing(path))?;
        sys::mount_setattr(clone.as_raw_fd(), true, MOUNT_ATTR_RDONLY, 0).map_err(Problem::doing(path))?;
        sys::move_mount(clone.as_raw_fd(), found.as_raw_fd()).map_err(Problem::doing(path))?;
    }
    let empty_options = [("mode", "755"), ("nr_blocks", "1"), ("nr_inodes", "1")];
    let mut empty = Cover::Loose(new(c"tmpfs", &empty_options, QUIET | MOUNT_ATTR_RDONLY)?);
    let mut null = Cover::Loose(made.null);
    for path in plan.masked {
        let Some(found) = root::find(top, path).map_err(Problem::doing(path))? else {
            continue;
        };
        let is_dir = sys::is_dir(found.as_raw_fd()).map_err(Problem::doing(path))?;
        let cover = if is_dir { &mut empty } else { &mut null };
        cover.put(&found).map_err(Problem::doing(path))?;
    }
    if plan.readonly_root {
        sys::mount_setattr(top, false, MOUNT_ATTR_RDONLY, 0).map_err(Problem::doing("make the root read-only"))?;
    }
    Ok(made.root)
}

/// Something to hide things behind. A detached mount can be mounted once; from then on it is cloned.
enum Cover {
    Loose(OwnedFd),
    Mounted(OwnedFd),
}

impl Cover {
    fn put(&mut self, over: &OwnedFd) -> io::Result<()> {
        match self {
            Cover::Loose(mount) => {
                sys::move_mount(mount.as_raw_fd(), over.as_raw_fd())?;
                // The same handle, of the mount where it is now.
                *self = Cover::Mounted(mount.try_clone()?);
                Ok(())
            }
            Cover::Mounted(mount) => {
                sys::move_mount(sys::clone_mount(mount.as_raw_fd())?.as_raw_fd(), over.as_raw_fd())
            }
        }
    }
}

/// Mounts the root file system at `place`. What `wanted` lists exists in it, whatever the image has.
pub fn mount_root(rootfs: &RootFs, place: &Path, wanted: &[Wanted]) -> Result<(), Problem> {
    match rootfs {
        RootFs::Directory(path) => {
            let clone = sys::open_tree(libc::AT_FDCWD, path, true);
            let clone = clone.map_err(Problem::doing(format_args!("rootfs {}", path.display())))?;
            let place = sys::open_dir(place).map_err(Problem::doing("rootfs"))?;
            sys::move_mount(clone.as_raw_fd(), place.as_raw_fd()).map_err(Problem::doing("mount the rootfs"))
        }
        RootFs::Overlay { lower, upper, work } => {
            let held =
                |path: &Path| sys::open_dir(path).map_err(Problem::doing(format_args!("layer {}", path.display())));
            let mut layers = lower.iter().map(|path| held(path)).collect::<Result<Vec<_>, _>>()?;
            let (upper_fd, work_fd) = (held(upper)?, held(work)?);
            if !wanted.is_empty() {
                layers.push(skeleton(place, wanted)?);
            }
            // Short names by descriptor: the kernel takes a page of options, and layers may be more than a hundred.
            let name = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
            let lower: Vec<String> = layers.iter().map(name).collect();
            let options = format!(
                "lowerdir={},upperdir={},workdir={},index=off,xino=on,volatile",
                lower.join(":"),
                name(&upper_fd),
                name(&work_fd)
            );
            // What a volatile mount leaves against being mounted again; here that is a restart of the container.
            let _ = std::fs::remove_dir_all(work.join("work/incompat"));
            let options = CString::new(options).map_err(|e| Problem(e.to_string()))?;
            let place = sys::c_path(place).map_err(Problem::doing("mount the overlay"))?;
            sys::mount(c"overlay", &place, c"overlay", 0, &options).map_err(Problem::doing("mount the overlay"))
        }
    }
}

/// A place that something will be mounted on.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    path: String,
    is_dir: bool,
}

/// The places of a plan's mounts, but for those in file systems that are mounted themselves.
fn wanted(plan: &Plan) -> Vec<Wanted> {
    let mut wanted = Vec::with_capacity(plan.mounts.len());
    for mount in &plan.mounts {
        let is_dir = match &mount.kind {
            MountKind::Bind { path, .. } => path.is_dir(),
            _ => true,
        };
        let path = mount.destination.clone();
        let inside = |outer: &Wanted| path.strip_prefix(&outer.path).is_some_and(|rest| rest.starts_with('/'));
        if !wanted.iter().any(inside) {
            wanted.push(Wanted { path, is_dir });
        }
    }
    wanted
}

/// A lowest layer with what mounts need, in memory, mounted at `place` (where the overlay will cover it). In the upper directory
/// each of them would be a file of the disk to make and to delete again.
fn skeleton(place: &Path, wanted: &[Wanted]) -> Result<OwnedFd, Problem> {
    let doing = "mount points";
    let memory = new(c"tmpfs", &[("mode", "755"), ("size", "64k")], 0)?;
    for Wanted { path, is_dir } in wanted {
        let made = if *is_dir {
            root::directory(memory.as_raw_fd(), path)
        } else {
            root::file(memory.as_raw_fd(), path)
        };
        made.map_err(Problem::doing(doing))?;
    }
    let at = sys::open_dir(place).map_err(Problem::doing(doing))?;
    sys::move_mount(memory.as_raw_fd(), at.as_raw_fd()).map_err(Problem::doing(doing))?;
    sys::open_dir(place).map_err(Problem::doing(doing))
}

/// Takes hold of what a mount shows, while the machine's root is still in sight.
fn source(mount: &PlannedMount, root: RawFd) -> Result<Option<OwnedFd>, Problem> {
    let path = match &mount.kind {
        MountKind::Bind { path, .. } => path.as_path(),
        MountKind::HostShm => Path::new("/dev/shm"),
        _ => return Ok(None),
    };
    let doing = || format!("bind source path {}", path.display());
    let tree = sys::open_tree(libc::AT_FDCWD, path, true).map_err(Problem::doing(doing()))?;
    if let MountKind::Bind { populate: true, .. } = &mount.kind {
        populate::from_image(root, &mount.destination, path)
            .map_err(Problem::doing(format!("fill {}", path.display())))?;
    }
    if mount.read_only {
        sys::mount_setattr(tree.as_raw_fd(), true, MOUNT_ATTR_RDONLY, 0).map_err(Problem::doing(doing()))?;
    }
    Ok(Some(tree))
}

/// Mounts what the task asked for, not over a kernel file system.
fn attach_asked(root: RawFd, path: &str, mount: &OwnedFd) -> Result<(), Problem> {
    if let Ok(Some(found)) = root::find(root, path)
        && root::is_kernel_file_system(found.as_raw_fd()).map_err(Problem::doing(path))?
    {
        return Err(Problem(format!(
            "mount destination \"{path}\" leads into a kernel file system"
        )));
    }
    root::attach(root, path, mount)
}

/// Mounts a kernel file system, where masks and read-only mounts will look for it: at no other place that a link leads to.
fn attach_kernel(root: RawFd, path: &str, mount: &OwnedFd) -> Result<(), Problem> {
    if let Ok(found) = sys::open_in_root(root, path, libc::O_PATH | libc::O_NOFOLLOW, 0)
        && !sys::is_dir(found.as_raw_fd()).map_err(Problem::doing(path))?
    {
        return Err(Problem(format!("the image's {path} is not a directory")));
    }
    root::attach(root, path, mount)
}

fn attach_dev(root: RawFd, path: &str, dev: &OwnedFd, bound: &[(Node, OwnedFd)]) -> Result<(), Problem> {
    root::attach(root, path, dev)?;
    for (node, clone) in bound {
        root::attach(root, &format!("{path}/{}", node.name), clone)?;
    }
    Ok(())
}

/// The container's own cgroups, as its cgroup namespace shows them.
fn mount_cgroups(root: RawFd, path: &str, read_only: bool, v1: &[String]) -> Result<(), Problem> {
    let attributes = if read_only { QUIET | MOUNT_ATTR_RDONLY } else { QUIET };
    if v1.is_empty() {
        return root::attach(root, path, &new(c"cgroup2", &[], attributes)?);
    }
    let all = new(c"tmpfs", &[("mode", "755"), ("size", "64k")], QUIET)?;
    root::attach(root, path, &all)?;
    for hierarchy in v1 {
        let controllers: Vec<&str> = hierarchy.split(',').collect();
        let options: Vec<(&str, &str)> = controllers.iter().map(|c| (*c, "")).collect();
        root::attach(
            root,
            &format!("{path}/{hierarchy}"),
            &new(c"cgroup", &options, attributes)?,
        )?;
        for controller in controllers.iter().filter(|_| controllers.len() > 1) {
            root::make_link(all.as_raw_fd(), controller, hierarchy).map_err(Problem::doing("link a controller"))?;
        }
    }
    if read_only {
        sys::mount_setattr(all.as_raw_fd(), false, MOUNT_ATTR_RDONLY, 0).map_err(Problem::doing("seal cgroups"))?;
    }
    Ok(())
}

fn new(kind: &std::ffi::CStr, options: &[(&str, &str)], attributes: u64) -> Result<OwnedFd, Problem> {
    sys::new_mount(kind, options, attributes).map_err(Problem::doing(format_args!("mount {}", kind.to_string_lossy())))
}

fn write_sysctl(proc: RawFd, path: &str, value: &str) -> io::Result<()> {
    let fd = sys::open_in_root(proc, &format!("/sys/{path}"), libc::O_WRONLY, 0)?;
    sys::write(fd.as_raw_fd(), value.as_bytes()).map(drop)
}
