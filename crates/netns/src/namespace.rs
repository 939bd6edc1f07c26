//! A network namespace made, filled and kept by a bind mount, in a thread of its own.

use crate::config::Interface;
use crate::netlink::Netlink;
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// MAC of every veth's host end: locally administered, the task's next hop.
pub const HOST_MAC: [u8; 6] = [0x0a, 0x4e, 0x47, 0x00, 0x00, 0x01];

/// What a namespace holds besides loopback.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    /// Loopback only.
    Isolated,
    Routed {
        interface: Interface,
        host_name: &'a str,
        host_ns: &'a File,
    },
}

/// Makes a namespace reachable at `path`. Answers a netlink socket of it.
pub fn create(path: &Path, content: Content<'_>) -> io::Result<Netlink> {
    File::create(path)?;
    let made = std::thread::scope(|scope| {
        let worker = std::thread::Builder::new()
            .name("netns".into())
            .stack_size(128 * 1024)
            .spawn_scoped(scope, || {
                // The thread ends with this closure, so no other code ever runs in the new namespace.
                // SAFETY: only this thread's network namespace changes, and it shares no netns-dependent state.
                if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                    return Err(io::Error::last_os_error());
                }
                let netlink = fill(content)?;
                let handle = format!("/proc/self/task/{}/ns/net", rustix::thread::gettid().as_raw_nonzero());
                mount_bind(handle, path)?;
                Ok(netlink)
            })?;
        worker
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the namespace thread panicked")))
    });
    if made.is_err() {
        let _ = fs::remove_file(path);
    }
    made
}

fn fill(content: Content<'_>) -> io::Result<Netlink> {
    let mut netlink = Netlink::open()?;
    netlink.set_up(1)?;
    // As Docker: a container's user may bind low ports, they are the container's own.
    fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")?;
    // And may ping.
    fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;
    if let Content::Routed {
        interface,
        host_name,
        host_ns,
    } = content
    {
        netlink.add_veth(interface.mac, host_name, HOST_MAC, host_ns.as_raw_fd())?;
        let index = interface_index("eth0")?;
        netlink.add_address(index, interface.address)?;
        netlink.add_link_route(interface.gateway, index, None)?;
        netlink.add_neighbour(index, interface.gateway, HOST_MAC)?;
        netlink.add_default_route(interface.gateway, index)?;
    }
    Ok(netlink)
}

/// Index of an interface of the calling thread's namespace.
pub fn interface_index(name: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `name` is a valid C string for the length of the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// Lets go of the namespace at `path`: the kernel drops it with its last process. Removing what is gone is fine.
pub fn remove(path: &Path) -> io::Result<()> {
    match unmount(path, UnmountFlags::DETACH) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Keeps the folder's mounts to itself, so that namespace handles do not multiply into containers.
pub fn prepare(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    if !is_mount_point(dir)? {
        mount_bind(dir, dir)?;
        rustix::mount::mount_change(dir, rustix::mount::MountPropagationFlags::PRIVATE)?;
    }
    Ok(())
}

/// Undoes `prepare`.
pub fn unprepare(dir: &Path) -> io::Result<()> {
    match unmount(dir, UnmountFlags::DETACH) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn is_mount_point(dir: &Path) -> io::Result<bool> {
    let dir = fs::canonicalize(dir)?;
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(table
        .lines()
        .filter_map(|l| l.split(' ').nth(4))
        .any(|m| Path::new(m) == dir))
}
