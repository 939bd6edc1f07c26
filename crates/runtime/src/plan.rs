//! What a container is to be: the launch with every default filled in and every name checked. Pure: the native launcher and
//! the OCI runtimes' config both follow it, so that defaults and refusals are decided in one place.

use crate::caps::{self, CapSet};
use crate::launch::{ContainerLaunch, Device, MountSource, Network, RootFs, Seccomp, Sharing};
use crate::protocol::{Failure, FailureCode};
use std::path::PathBuf;

/// What a plan depends on beside the launch.
#[derive(Clone, Debug)]
pub struct Surroundings {
    pub network: Network,
    pub pid: Sharing,
    pub ipc: Sharing,
    /// Capabilities that the shim has to give.
    pub available: CapSet,
}

/// A container decided.
#[derive(Clone, Debug)]
pub struct Plan {
    pub name: String,
    pub id: String,
    pub rootfs: RootFs,
    pub argv: Vec<String>,
    pub env: Vec<String>,
    pub cwd: String,
    pub user: String,
    pub hostname: String,
    pub terminal: bool,
    pub interactive: bool,
    pub init: bool,
    pub readonly_root: bool,
    pub privileged: bool,
    pub no_new_privileges: bool,
    pub caps: CapSet,
    /// Whether the profile of [`crate::seccomp`] applies.
    pub seccomp: bool,
    pub network: Network,
    pub pid: Sharing,
    pub ipc: Sharing,
    /// In the order to be made: parents before children.
    pub mounts: Vec<PlannedMount>,
    pub masked: &'static [&'static str],
    pub readonly: &'static [&'static str],
    /// Path below `/proc/sys` and value.
    pub sysctls: Vec<(String, String)>,
    pub limits: Vec<Limit>,
    pub devices: Vec<Device>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PlannedMount {
    pub destination: String,
    pub kind: MountKind,
    pub read_only: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum MountKind {
    Proc,
    Sysfs,
    Dev,
    Devpts,
    Mqueue,
    /// A tmpfs of this many bytes.
    Shm(u64),
    /// The one that the task's containers share, at least this large.
    TaskShm(u64),
    HostShm,
    Cgroup,
    Tmpfs {
        attributes: u64,
        options: Vec<(String, String)>,
    },
    Bind {
        path: PathBuf,
        populate: bool,
    },
}

/// A resource limit by the kernel's number.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    pub name: &'static str,
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
}

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DEFAULT_SHM: u64 = 64 << 20;

/// Docker's: what would tell of or change the machine.
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const LIMITS: &[(&str, u32)] = &[
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("locks", libc::RLIMIT_LOCKS),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("rttime", libc::RLIMIT_RTTIME),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("stack", libc::RLIMIT_STACK),
];

/// The System V ipc parameters that belong to an ipc namespace.
const IPC_SYSCTLS: &[&str] = &[
    "msgmax",
    "msgmnb",
    "msgmni",
    "sem",
    "shmall",
    "shmmax",
    "shmmni",
    "shm_rmid_forced",
];

fn refused(message: impl Into<String>) -> Failure {
    Failure {
        code: FailureCode::CannotCreateContainerError,
        message: message.into(),
    }
}

/// Whether `name` may name a container, a task or a file made for one.
pub fn is_plain_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=255).contains(&name.len()) && name.bytes().all(plain)
}

/// Decides a container.
///
/// # Errors
/// `CannotCreateContainerError` with what is wrong with the launch.
pub fn decide(launch: &ContainerLaunch, around: &Surroundings) -> Result<Plan, Failure> {
    if !is_plain_name(&launch.name) {
        return Err(refused(format!("invalid container name \"{}\"", launch.name)));
    }
    if launch.argv.first().is_none_or(String::is_empty) {
        return Err(refused("no command specified"));
    }
    let cwd = if launch.cwd.is_empty() { "/" } else { &launch.cwd };
    if !cwd.starts_with('/') {
        return Err(refused(format!(
            "the working directory '{cwd}' is invalid, it needs to be an absolute path"
        )));
    }
    let texts = [&launch.cwd, &launch.user]
        .into_iter()
        .chain(&launch.argv)
        .chain(&launch.env);
    if texts.chain(&launch.hostname).any(|text| text.contains('\0')) {
        return Err(refused(
            "a NUL byte in command, environment, user, working directory or hostname",
        ));
    }
    let hostname = launch
        .hostname
        .clone()
        .unwrap_or_else(|| launch.id.chars().take(12).collect());
    if hostname.len() > 64 {
        return Err(refused(format!("hostname \"{hostname}\" is longer than 64 bytes")));
    }
    let network = launch.network.clone().unwrap_or_else(|| around.network.clone());
    let caps = caps::decide(&launch.cap_add, &launch.cap_drop, launch.privileged, around.available).map_err(refused)?;
    let sysctls = launch
        .sysctls
        .iter()
        .map(|(key, value)| sysctl(key, value, &network, around.ipc));
    let mut sysctls = sysctls.collect::<Result<Vec<_>, _>>()?;
    if network == Network::Private {
        // What Docker gives every container of its own network: low ports and ping without privilege.
        for (key, value) in [
            ("net/ipv4/ip_unprivileged_port_start", "0"),
            ("net/ipv4/ping_group_range", "0 2147483647"),
        ] {
            if !sysctls.iter().any(|(k, _)| k == key) {
                sysctls.insert(0, (key.to_owned(), value.to_owned()));
            }
        }
    }
    Ok(Plan {
        name: launch.name.clone(),
        id: launch.id.clone(),
        rootfs: launch.rootfs.clone(),
        argv: launch.argv.clone(),
        env: environment(launch, &hostname),
        cwd: cwd.to_owned(),
        user: launch.user.clone(),
        hostname,
        terminal: launch.terminal,
        interactive: launch.interactive,
        init: launch.init,
        readonly_root: launch.readonly_root,
        privileged: launch.privileged,
        no_new_privileges: launch.no_new_privileges,
        caps,
        seccomp: launch.seccomp == Seccomp::Default && !launch.privileged,
        network,
        pid: around.pid,
        ipc: around.ipc,
        mounts: mounts(launch, around)?,
        masked: if launch.privileged { &[] } else { MASKED },
        readonly: if launch.privileged { &[] } else { READONLY },
        sysctls,
        limits: limits(launch)?,
        devices: launch.devices.clone(),
    })
}

/// What Docker adds to the environment when it is not there. `HOME` follows once the user is known.
fn environment(launch: &ContainerLaunch, hostname: &str) -> Vec<String> {
    let mut env = Vec::with_capacity(launch.env.len() + 3);
    let mut default = |key: &str, value: &str| {
        if variable(&launch.env, key).is_none() {
            env.push(format!("{key}={value}"));
        }
    };
    default("PATH", DEFAULT_PATH);
    default("HOSTNAME", hostname);
    if launch.terminal {
        default("TERM", "xterm");
    }
    // A variable given twice has its last value.
    for (at, pair) in launch.env.iter().enumerate() {
        let key = pair.split('=').next().unwrap_or(pair);
        if variable(&launch.env[at + 1..], key).is_none() {
            env.push(pair.clone());
        }
    }
    env
}

/// The value of `key` among `KEY=value` pairs.
pub fn variable<'a>(env: &'a [String], key: &str) -> Option<&'a str> {
    env.iter()
        .rev()
        .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
}

fn sysctl(key: &str, value: &str, network: &Network, ipc: Sharing) -> Result<(String, String), Failure> {
    let path = if key.contains('/') {
        key.to_owned()
    } else {
        key.replace('.', "/")
    };
    let mut parts = path.split('/');
    let (first, second) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let namespaced = match first {
        "net" if *network == Network::Host => {
            return Err(refused(format!(
                "sysctl \"{key}\" is not allowed in the host network namespace"
            )));
        }
        "net" => !second.is_empty(),
        "fs" => second == "mqueue",
        "kernel" => IPC_SYSCTLS.contains(&second) && parts.next().is_none(),
        _ => false,
    };
    if first != "net" && ipc == Sharing::Host && namespaced {
        return Err(refused(format!(
            "sysctl \"{key}\" is not allowed in the host ipc namespace"
        )));
    }
    if !namespaced || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(refused(format!(
            "sysctl \"{key}\" is not in a separate kernel namespace"
        )));
    }
    Ok((path, value.to_owned()))
}

fn limits(launch: &ContainerLaunch) -> Result<Vec<Limit>, Failure> {
    let bound = |n: i64| u64::try_from(n).unwrap_or(libc::RLIM_INFINITY);
    launch
        .ulimits
        .iter()
        .map(|wanted| {
            let known = LIMITS.iter().find(|(name, _)| *name == wanted.name);
            let (name, resource) = known.ok_or_else(|| refused(format!("invalid ulimit type: {}", wanted.name)))?;
            let (soft, hard) = (bound(wanted.soft), bound(wanted.hard));
            if soft > hard {
                return Err(refused(format!(
                    "ulimit soft limit must be less than or equal to hard limit: {name}"
                )));
            }
            Ok(Limit {
                name,
                resource: *resource,
                soft,
                hard,
            })
        })
        .collect()
}

fn mounts(launch: &ContainerLaunch, around: &Surroundings) -> Result<Vec<PlannedMount>, Failure> {
    let at = |destination: &str, kind, read_only| PlannedMount {
        destination: destination.to_owned(),
        kind,
        read_only,
    };
    let mut mounts = vec![
        at("/proc", MountKind::Proc, false),
        at("/dev", MountKind::Dev, false),
        at("/dev/pts", MountKind::Devpts, false),
        at("/dev/mqueue", MountKind::Mqueue, false),
        at("/sys", MountKind::Sysfs, !launch.privileged),
        at("/sys/fs/cgroup", MountKind::Cgroup, !launch.privileged),
    ];
    let shm = launch.shm.map_or(DEFAULT_SHM, |size| size.bytes());
    match around.ipc {
        _ if shm == 0 => {}
        Sharing::Private => mounts.push(at("/dev/shm", MountKind::Shm(shm), false)),
        Sharing::Task => mounts.push(at("/dev/shm", MountKind::TaskShm(shm), false)),
        Sharing::Host => mounts.push(at("/dev/shm", MountKind::HostShm, false)),
    }
    let mut asked = Vec::with_capacity(launch.mounts.len());
    for mount in &launch.mounts {
        let destination = inside(&mount.destination)?;
        let kind = match &mount.source {
            MountSource::Bind { path, populate } if path.is_absolute() => MountKind::Bind {
                path: path.clone(),
                populate: *populate,
            },
            MountSource::Bind { path, .. } => {
                return Err(refused(format!(
                    "mount source \"{}\" is not an absolute path",
                    path.display()
                )));
            }
            MountSource::Tmpfs { size, options } => {
                let (attributes, mut options) = tmpfs(options)?;
                options.push(("size".to_owned(), size.bytes().to_string()));
                MountKind::Tmpfs { attributes, options }
            }
        };
        let read_only = mount.read_only;
        asked.push(PlannedMount {
            destination,
            kind,
            read_only,
        });
    }
    // Parents first; what is asked for at the place of a default replaces it.
    asked.sort_by_key(|m| m.destination.matches('/').count());
    mounts.retain(|m| !asked.iter().any(|a| a.destination == m.destination));
    mounts.extend(asked);
    Ok(mounts)
}

/// A destination as a clean absolute path inside.
fn inside(destination: &str) -> Result<String, Failure> {
    let parts: Vec<&str> = destination.split('/').filter(|p| !matches!(*p, "" | ".")).collect();
    if !destination.starts_with('/') || destination.contains('\0') || parts.contains(&"..") {
        return Err(refused(format!(
            "invalid mount path: '{destination}' mount path must be absolute"
        )));
    }
    match parts.first() {
        None => Err(refused("invalid mount: destination can't be '/'")),
        // A mount there could hide what the masks and the sysctls rely on.
        Some(&("proc" | "sys")) => Err(refused(format!(
            "invalid mount: destination '{destination}' lies in a kernel file system"
        ))),
        Some(_) => Ok(format!("/{}", parts.join("/"))),
    }
}

/// Docker's defaults for a tmpfs (`noexec,nosuid,nodev`), changed by `options`.
fn tmpfs(options: &[String]) -> Result<(u64, Vec<(String, String)>), Failure> {
    use crate::sys::{
        MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID,
        MOUNT_ATTR_RDONLY, MOUNT_ATTR_STRICTATIME,
    };
    let mut attributes = MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    let mut data = Vec::new();
    for option in options {
        let (set, clear) = match option.as_str() {
            "defaults" | "relatime" | "async" => (0, 0),
            "ro" => (MOUNT_ATTR_RDONLY, 0),
            "rw" => (0, MOUNT_ATTR_RDONLY),
            "nosuid" => (MOUNT_ATTR_NOSUID, 0),
            "suid" => (0, MOUNT_ATTR_NOSUID),
            "nodev" => (MOUNT_ATTR_NODEV, 0),
            "dev" => (0, MOUNT_ATTR_NODEV),
            "noexec" => (MOUNT_ATTR_NOEXEC, 0),
            "exec" => (0, MOUNT_ATTR_NOEXEC),
            "noatime" => (MOUNT_ATTR_NOATIME, MOUNT_ATTR_STRICTATIME),
            "strictatime" => (MOUNT_ATTR_STRICTATIME, MOUNT_ATTR_NOATIME),
            "nodiratime" => (MOUNT_ATTR_NODIRATIME, 0),
            other => match other.split_once('=') {
                Some((key @ ("mode" | "uid" | "gid" | "nr_inodes" | "nr_blocks" | "mpol"), value)) => {
                    data.push((key.to_owned(), value.to_owned()));
                    (0, 0)
                }
                _ => return Err(refused(format!("tmpfs option \"{other}\" is not supported"))),
            },
        };
        attributes = (attributes & !clear) | set;
    }
    Ok((attributes, data))
}

#[cfg(test)]
mod tests;
