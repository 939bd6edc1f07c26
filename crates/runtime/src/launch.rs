//! What the node asks for: a shim with its task-wide settings, and a container to start in it. Sent as JSON over the
//! shim's socket. Every path is absolute and is the host's, unless it says "inside".

use neargate_core::{CpuUnits, MiB};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A task's shim: what all of its containers share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShimLaunch {
    /// Existing directory of this task alone. Holds `shim.sock`, `state.json`, `shim.log`, and what a runtime CLI needs.
    pub task_dir: PathBuf,
    /// Letters, digits, `-` and `_`; names the task's cgroup.
    pub task_id: String,
    /// Name of the cgroup under the hierarchy's root that holds every task, e.g. `neargate-<instance>`.
    pub cgroup_base: String,
    pub limits: TaskLimits,
    pub network: Network,
    pub pid: Sharing,
    pub ipc: Sharing,
    pub runtime: RuntimeKind,
}

/// Hard limits and weight of the whole task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskLimits {
    pub cpu: Option<CpuUnits>,
    /// Weight among the machine's tasks when they want more time than there is; none is Linux's default.
    #[serde(default)]
    pub share: Option<CpuUnits>,
    pub memory: Option<MiB>,
    /// Processes and threads.
    pub pids: u64,
}

impl Default for TaskLimits {
    /// No limit but the one against fork bombs.
    fn default() -> Self {
        TaskLimits {
            cpu: None,
            share: None,
            memory: None,
            pids: 8192,
        }
    }
}

/// Which network namespace a container lives in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Network {
    /// The machine's.
    Host,
    /// An existing one, e.g. `/run/netns/x` or `/proc/self/fd/…` of the shim's making.
    Path(PathBuf),
    /// A new one for each container, with nothing but an idle loopback.
    #[default]
    Private,
}

/// Whose pid or ipc namespace a container lives in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sharing {
    /// One for each container.
    #[default]
    Private,
    /// One for the task. For pid, a pause process is its init.
    Task,
    /// The machine's.
    Host,
}

/// What starts containers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum RuntimeKind {
    /// Built in: the shim makes the container itself.
    #[default]
    Native,
    /// An OCI runtime's command line, e.g. `/usr/bin/crun`.
    Cli(PathBuf),
}

/// A container to start. `name` is unique in the task; starting it again after it exited is a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerLaunch {
    /// Letters, digits, `-` and `_`, at most 255.
    pub name: String,
    /// The runtime id, shown to users.
    pub id: String,
    pub rootfs: RootFs,
    /// Entry point and command; the first is looked up in `PATH` of `env`, inside.
    pub argv: Vec<String>,
    /// `KEY=value`. `PATH` and `HOME` are added when missing, as Docker does.
    pub env: Vec<String>,
    /// Inside; made when missing. Empty means `/`.
    pub cwd: String,
    /// `user`, `uid`, `user:group`, `uid:gid` …; resolved in the image. Empty means root.
    pub user: String,
    pub hostname: Option<String>,
    /// A pseudo terminal as stdin, stdout and stderr.
    pub terminal: bool,
    /// Keeps stdin open (nothing is ever written to it) rather than `/dev/null`.
    pub interactive: bool,
    /// Puts a small init at pid 1 that forwards signals and reaps.
    pub init: bool,
    pub readonly_root: bool,
    pub privileged: bool,
    pub no_new_privileges: bool,
    /// Capability names with or without `CAP_`, or `ALL`.
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub seccomp: Seccomp,
    pub mounts: Vec<Mount>,
    /// Size of `/dev/shm`; 64 MiB when none, no `/dev/shm` of its own at all when zero.
    pub shm: Option<MiB>,
    /// Namespaced kernel parameters: `net.*`, `fs.mqueue.*` and the `kernel.*` of System V ipc.
    pub sysctls: Vec<(String, String)>,
    pub ulimits: Vec<Ulimit>,
    pub devices: Vec<Device>,
    pub resources: Resources,
    /// Overrides the task's, e.g. `disableNetworking`.
    pub network: Option<Network>,
    pub log: Log,
}

/// Where the root file system comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RootFs {
    /// An overlay. `lower` is ordered from the topmost layer down; `upper` and `work` are existing directories of one file
    /// system. What is written is not synced when the container ends: it is lost with the machine's power.
    Overlay {
        lower: Vec<PathBuf>,
        upper: PathBuf,
        work: PathBuf,
    },
    /// A directory used as it is.
    Directory(PathBuf),
}

impl Default for RootFs {
    fn default() -> Self {
        RootFs::Directory(PathBuf::new())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// Docker's default profile; nothing when the container is privileged.
    #[default]
    Default,
    Unconfined,
}

/// Something mounted inside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mount {
    /// Inside; made when missing, symlinks never lead out of the root.
    pub destination: String,
    pub source: MountSource,
    pub read_only: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MountSource {
    /// An existing file or directory of the host. With `populate`, an empty directory first takes owner, mode and content of
    /// what the image has at the destination, as Docker's volumes do.
    Bind { path: PathBuf, populate: bool },
    /// `options` as ECS lists them, e.g. `noexec`, `mode=1770`.
    Tmpfs { size: MiB, options: Vec<String> },
}

/// A resource limit by ECS's name (`nofile`, `core` …); -1 is unlimited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ulimit {
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

/// A device of the host lent to a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    pub host_path: PathBuf,
    /// Inside.
    pub container_path: String,
    pub read: bool,
    pub write: bool,
    pub mknod: bool,
}

/// A container's share of the task's resources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Relative share.
    pub cpu: Option<CpuUnits>,
    /// Hard limit: exceeding it kills.
    pub memory: Option<MiB>,
    /// Soft limit: what is kept under pressure.
    pub memory_reservation: Option<MiB>,
    pub swap: Swap,
    /// 0 to 100. Cgroup v2 has only 0 (no swap); anything else is refused there.
    pub swappiness: Option<u32>,
    pub pids: Option<u64>,
}

/// How much of a container may be swapped out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Swap {
    #[default]
    None,
    /// On top of `memory`.
    UpTo(MiB),
    /// As much as the machine has.
    Unlimited,
}

impl Swap {
    /// None is unlimited.
    pub fn limit(self) -> Option<MiB> {
        match self {
            Swap::None => Some(MiB(0)),
            Swap::UpTo(limit) => Some(limit),
            Swap::Unlimited => None,
        }
    }
}

/// Where stdout and stderr go: CRI-format files, rotated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// The live file; its directory exists. Older ones are `path.1` (newest) to `path.<files - 1>`.
    pub path: PathBuf,
    pub max_bytes: u64,
    pub files: u32,
    pub mode: LogMode,
}

impl Default for Log {
    fn default() -> Self {
        Log {
            path: PathBuf::new(),
            max_bytes: 10 << 20,
            files: 5,
            mode: LogMode::Blocking,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogMode {
    /// A container that writes faster than the file takes it waits in its write.
    #[default]
    Blocking,
    /// It never waits: lines beyond this many buffered bytes are dropped and counted.
    NonBlocking { max_buffer_bytes: u64 },
}

/// A process to run inside a running container and to wait for, e.g. a health check.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Exec {
    pub container: String,
    pub argv: Vec<String>,
    /// Added to the container's own.
    pub env: Vec<String>,
    /// None: the container's.
    pub user: Option<String>,
    /// None: the container's.
    pub cwd: Option<String>,
    /// After this it is killed.
    pub timeout_millis: u64,
}
