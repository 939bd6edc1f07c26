//! A task as a node is told to run it, and as it reports it. Everything is resolved: overrides applied, address
//! chosen, revision pinned. Container members mirror ECS's container definition by name.

use neargate_core::{CpuUnits, MiB, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// A task to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    pub arn: String,
    /// 32 hex digits, the last part of the ARN.
    pub id: String,
    pub region: String,
    pub cluster: String,
    pub family: String,
    pub revision: u32,
    pub launch_type: LaunchType,
    /// Service that it is one of.
    #[serde(default)]
    pub service: Option<String>,
    #[serde(default)]
    pub availability_zone: Option<String>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    pub network: NetworkSpec,
    pub containers: Vec<ContainerSpec>,
    pub volumes: Vec<VolumeSpec>,
    /// Hard limit of the task.
    pub cpu: Option<CpuUnits>,
    /// Hard limit of the task.
    pub memory: Option<MiB>,
    pub ephemeral_storage_gib: Option<u32>,
    pub pid_mode: NamespaceMode,
    pub ipc_mode: NamespaceMode,
    /// Set once the task is to stop; never taken back.
    pub stop: Option<StopOrder>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LaunchType {
    Fargate,
    Ec2,
}

/// Which pid or ipc namespace containers live in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceMode {
    /// One per container.
    #[default]
    Private,
    /// One for the task.
    Task,
    /// The machine's.
    Host,
    /// Ipc only: private with no shared memory.
    None,
}

/// Why a task is to stop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StopOrder {
    /// ECS `stopCode`, e.g. `UserInitiated`, `ServiceSchedulerInitiated`.
    pub code: String,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum NetworkSpec {
    Awsvpc(InterfaceSpec),
    /// An address of the node's own bridge range; ports are published on the host.
    Bridge,
    Host,
    None,
}

/// The task's own network interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InterfaceSpec {
    pub interface_id: String,
    pub mac: String,
    pub address: Ipv4Addr,
    pub subnet_prefix: u8,
    /// First address of the subnet.
    pub gateway: Ipv4Addr,
    pub vpc_cidr: (Ipv4Addr, u8),
    /// `ip-172-31-0-10.ec2.internal`.
    pub private_dns_name: String,
    #[serde(default)]
    pub vpc_id: String,
    /// Security groups that hold from the task's first packet on, also when the network table is late.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// A container with its overrides applied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    pub name: String,
    /// Last part of its ARN.
    #[serde(default)]
    pub id: String,
    pub image: String,
    /// Digest the service revision pinned (`versionConsistency`); none resolves the tag anew.
    pub image_digest: Option<String>,
    pub essential: bool,
    pub entry_point: Option<Vec<String>>,
    pub command: Option<Vec<String>>,
    pub environment: Vec<(String, String)>,
    /// ARNs of S3 objects; read below environment, which wins.
    pub environment_files: Vec<String>,
    pub user: Option<String>,
    pub working_directory: Option<String>,
    pub hostname: Option<String>,
    pub extra_hosts: Vec<(String, String)>,
    pub dns_servers: Vec<String>,
    pub dns_search_domains: Vec<String>,
    pub links: Vec<String>,
    pub disable_networking: bool,
    pub readonly_root_filesystem: bool,
    pub privileged: bool,
    pub interactive: bool,
    pub pseudo_terminal: bool,
    pub docker_labels: BTreeMap<String, String>,
    pub docker_security_options: Vec<String>,
    pub ulimits: Vec<Ulimit>,
    pub linux: LinuxSpec,
    pub system_controls: Vec<(String, String)>,
    /// Relative share; a hard limit only of the task.
    pub cpu: Option<CpuUnits>,
    pub memory: Option<MiB>,
    pub memory_reservation: Option<MiB>,
    pub depends_on: Vec<Dependency>,
    /// Seconds to wait for dependencies.
    pub start_timeout: Option<u32>,
    /// Seconds between the stop signal and SIGKILL; 30 when none.
    pub stop_timeout: Option<u32>,
    pub restart_policy: Option<RestartPolicy>,
    pub mounts: Vec<MountPoint>,
    pub volumes_from: Vec<VolumeFrom>,
    pub port_mappings: Vec<PortMapping>,
    pub health_check: Option<HealthCheck>,
    pub log: LogSpec,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ulimit {
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinuxSpec {
    pub capabilities_add: Vec<String>,
    pub capabilities_drop: Vec<String>,
    pub init_process: bool,
    pub shared_memory: Option<MiB>,
    pub tmpfs: Vec<Tmpfs>,
    pub devices: Vec<Device>,
    pub max_swap: Option<MiB>,
    pub swappiness: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tmpfs {
    pub container_path: String,
    pub size: MiB,
    pub mount_options: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    pub host_path: String,
    pub container_path: String,
    /// `read`, `write`, `mknod`.
    pub permissions: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    Start,
    Complete,
    Success,
    Healthy,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dependency {
    pub container: String,
    pub condition: Condition,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestartPolicy {
    pub ignored_exit_codes: Vec<i32>,
    /// Seconds a container must have run before it may be restarted; 300 when not given.
    pub attempt_period: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MountPoint {
    pub volume: String,
    pub container_path: String,
    pub read_only: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeFrom {
    pub container: String,
    pub read_only: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeSpec {
    pub name: String,
    /// Bind mount of this host path; none is an empty volume of the task.
    pub host_path: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Transport {
    Tcp,
    Udp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PortMapping {
    pub container_port: u16,
    /// Last port of a `containerPortRange`; equal to `container_port` otherwise.
    pub container_port_end: u16,
    /// 0 in bridge mode: any free port.
    pub host_port: u16,
    pub transport: Transport,
}

impl PortMapping {
    /// How many ports follow the first.
    pub fn further(&self) -> u16 {
        self.container_port_end.saturating_sub(self.container_port)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// `["CMD", …]` or `["CMD-SHELL", "…"]`.
    pub command: Vec<String>,
    /// Seconds, 5 to 300.
    pub interval: u32,
    /// Seconds, 2 to 60.
    pub timeout: u32,
    pub retries: u32,
    /// Seconds, 0 to 300.
    pub start_period: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum LogSpec {
    /// Files on the node only.
    #[default]
    JsonFile,
    Awslogs(AwslogsSpec),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AwslogsSpec {
    pub region: String,
    pub group: String,
    pub stream: String,
    pub create_group: bool,
    /// Regular expression that starts a new event (`awslogs-multiline-pattern`, or one made from
    /// `awslogs-datetime-format`).
    pub multiline_pattern: Option<String>,
    /// Non-blocking mode: bytes buffered before lines are dropped.
    pub max_buffer_bytes: Option<u64>,
}

/// How far a task is, as its node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Images, network, containers are being made.
    Pending,
    Running,
    /// Containers are being stopped.
    Stopping,
    /// No process is left; the network is released.
    Stopped,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    #[default]
    Unknown,
    Healthy,
    Unhealthy,
}

/// A task's state. Reports of one task only move forward.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    pub task_id: String,
    pub phase: Phase,
    pub containers: Vec<ContainerReport>,
    pub pull_started_at: Option<Timestamp>,
    pub pull_stopped_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub stopping_at: Option<Timestamp>,
    pub execution_stopped_at: Option<Timestamp>,
    pub stopped_at: Option<Timestamp>,
    /// ECS `stopCode` when the node decided the stop: `TaskFailedToStart`, `EssentialContainerExited`.
    pub stop_code: Option<String>,
    pub stopped_reason: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerReport {
    pub name: String,
    /// `PENDING`, `RUNNING`, `STOPPED`.
    pub last_status: String,
    pub exit_code: Option<i32>,
    pub reason: Option<String>,
    pub runtime_id: Option<String>,
    pub image_digest: Option<String>,
    pub health: Health,
    pub restart_count: u32,
    pub network_bindings: Vec<NetworkBinding>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkBinding {
    pub bind_ip: String,
    pub container_port: u16,
    pub host_port: u16,
    /// How many ports that follow are bound likewise: those of a `containerPortRange`.
    #[serde(default)]
    pub further: u16,
    pub transport: Transport,
}

impl NetworkBinding {
    /// Each container port with its host port.
    pub fn ports(&self) -> impl Iterator<Item = (u16, u16)> + use<> {
        let (container_port, host_port) = (self.container_port, self.host_port);
        (0..=self.further).map(move |n| (container_port.saturating_add(n), host_port.saturating_add(n)))
    }
}
