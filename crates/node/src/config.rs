//! What a node is told when it starts.
//!
//! The binary is the only one that fills it in, from flags and environment.

use neargate_core::{CpuUnits, MiB};
pub use neargate_images::{GcPolicy, Options as ImageOptions};
pub use neargate_netns::{Cidr, NetworkConfig};
pub use neargate_runtime::RuntimeKind;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A node's settings.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Everything the node keeps lies beneath.
    pub data_dir: PathBuf,
    /// Namespace handles; a file system that forgets on reboot (`/run/…`) is best.
    pub run_dir: PathBuf,
    /// Four hex digits that tell this instance's cgroups, interfaces and firewall from another's on the machine.
    pub instance: String,
    /// Socket of control's link.
    pub link_socket: PathBuf,
    /// The neargate binary, which shims are made of.
    pub exe: PathBuf,
    pub runtime: RuntimeKind,
    pub vpc_cidr: Cidr,
    pub bridge_cidr: Cidr,
    /// Pool of the addresses under which tasks are reached from outside their VPC.
    pub public_cidr: Cidr,
    /// DNS servers to forward tasks' questions to; empty follows the machine's /etc/resolv.conf.
    pub dns_upstreams: Vec<SocketAddr>,
    /// Capacity to tell control instead of the machine's.
    pub cpu: Option<CpuUnits>,
    pub memory: Option<MiB>,
    /// Attributes of the container instance besides the standard ones.
    pub attributes: BTreeMap<String, String>,
    pub images: ImageOptions,
    pub image_gc: GcPolicy,
    /// Registry accounts in the form of Docker's configuration file, read at each pull.
    pub registry_auth: Option<PathBuf>,
    /// Size at which a container's log file is rotated, and how many are kept.
    pub log_max_bytes: u64,
    pub log_files: u32,
    /// How long the log files of a finished task stay on the node, and of how many tasks at most.
    pub logs_kept_for: Duration,
    pub logs_kept_tasks: usize,
    /// Tasks are refused when the data directory has less free than this.
    pub min_free_bytes: u64,
    /// Version to introduce the node with.
    pub version: String,
}

impl NodeConfig {
    /// The defaults for a node that keeps its data in `data_dir`.
    pub fn new(data_dir: &Path, link_socket: &Path, exe: &Path) -> NodeConfig {
        let instance = instance_of(data_dir);
        NodeConfig {
            data_dir: data_dir.to_owned(),
            run_dir: PathBuf::from(format!("/run/neargate-{instance}")),
            instance,
            link_socket: link_socket.to_owned(),
            exe: exe.to_owned(),
            runtime: RuntimeKind::Native,
            vpc_cidr: "172.31.0.0/16".parse().expect("a range"),
            bridge_cidr: "198.18.0.0/16".parse().expect("a range"),
            public_cidr: "198.19.0.0/16".parse().expect("a range"),
            dns_upstreams: Vec::new(),
            cpu: None,
            memory: None,
            attributes: BTreeMap::new(),
            images: ImageOptions::default(),
            image_gc: GcPolicy::default(),
            registry_auth: None,
            log_max_bytes: 10 << 20,
            log_files: 5,
            logs_kept_for: Duration::from_secs(60 * 60),
            logs_kept_tasks: 1000,
            min_free_bytes: 64 << 20,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// The network of this instance.
    pub fn network(&self) -> NetworkConfig {
        NetworkConfig {
            instance: self.instance.clone(),
            run_dir: self.run_dir.join("netns"),
            vpc_cidr: self.vpc_cidr,
            bridge_cidr: self.bridge_cidr,
            public_cidr: self.public_cidr,
            dns_upstreams: self.dns_upstreams.clone(),
        }
    }

    /// Name of the cgroup that holds every task.
    pub fn cgroup_base(&self) -> String {
        format!("neargate-{}", self.instance)
    }

    pub fn images_dir(&self) -> PathBuf {
        self.data_dir.join("images")
    }
}

/// Four hex digits for a data directory: the same every time, and unlikely those of another directory.
pub fn instance_of(data_dir: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let path = std::fs::canonicalize(data_dir).or_else(|_| std::path::absolute(data_dir));
    let path = path.unwrap_or_else(|_| data_dir.to_owned());
    let bytes = path.as_os_str().as_bytes();
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{:04x}", (hash ^ (hash >> 16) ^ (hash >> 32) ^ (hash >> 48)) & 0xffff)
}
