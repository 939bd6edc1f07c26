//! A task and what is known of it.

use crate::api;
use neargate_core::{Tags, Timestamp};
use neargate_link as link;
use neargate_store::Record;
use serde::{Deserialize, Serialize};

/// ECS task states in the order they are passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TaskState {
    Provisioning,
    Pending,
    Activating,
    Running,
    Deactivating,
    Stopping,
    Deprovisioning,
    Stopped,
}

impl TaskState {
    pub fn as_str(self) -> &'static str {
        match self {
            TaskState::Provisioning => "PROVISIONING",
            TaskState::Pending => "PENDING",
            TaskState::Activating => "ACTIVATING",
            TaskState::Running => "RUNNING",
            TaskState::Deactivating => "DEACTIVATING",
            TaskState::Stopping => "STOPPING",
            TaskState::Deprovisioning => "DEPROVISIONING",
            TaskState::Stopped => "STOPPED",
        }
    }
}

/// Where a task asked to be: RUNNING, or STOPPED once anything decided so. Never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DesiredStatus {
    Running,
    Stopped,
}

/// Key: `{region}/{cluster}/{id}`. The task definition is looked up by family and revision when it is needed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    pub region: String,
    pub cluster: String,
    /// 32 hex digits.
    pub id: String,
    pub arn: String,
    pub family: String,
    pub revision: u32,
    /// `family:NAME` or `service:NAME` unless the request named one.
    pub group: String,
    pub started_by: Option<String>,
    /// Name of the service that owns it, with the deployment (`ecs-svc/…`) and service revision it belongs to.
    pub service: Option<ServiceLink>,
    /// `FARGATE` or `EC2`.
    pub launch_type: String,
    pub capacity_provider: Option<String>,
    pub platform_version: Option<String>,
    /// awsvpc only.
    pub network: Option<api::AwsVpcConfiguration>,
    /// Interface taken for it (`ec2/interface/` record), released when it is STOPPED.
    pub interface: Option<TaskInterface>,
    pub overrides: api::TaskOverride,
    pub placement_constraints: Vec<api::PlacementConstraint>,
    pub placement_strategy: Vec<api::PlacementStrategy>,
    pub tags: Tags,
    pub enable_execute_command: bool,
    pub reference_id: Option<String>,
    /// Image digests pinned by the service revision, by container name.
    pub pinned_digests: std::collections::BTreeMap<String, String>,

    pub desired: DesiredStatus,
    pub state: TaskState,
    /// Grows with every change that a client can see.
    pub version: i64,
    /// Node it is placed on.
    pub node: Option<String>,
    pub availability_zone: Option<String>,
    /// cpu units and MiB that placement reserves on the node.
    pub reserved_cpu: u32,
    pub reserved_memory: u32,
    pub containers: Vec<TaskContainer>,
    pub health: link::Health,

    pub created_at: Timestamp,
    pub pull_started_at: Option<Timestamp>,
    pub pull_stopped_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub stopping_at: Option<Timestamp>,
    pub execution_stopped_at: Option<Timestamp>,
    pub stopped_at: Option<Timestamp>,
    /// ECS `stopCode`.
    pub stop_code: Option<String>,
    pub stopped_reason: Option<String>,
    pub connected: bool,
    pub connectivity_at: Option<Timestamp>,
    /// Scale-in protection ends then.
    pub protected_until: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceLink {
    pub name: String,
    /// `ecs-svc/` and 19 digits.
    pub deployment_id: String,
    pub service_revision_arn: String,
}

/// The ElasticNetworkInterface attachment of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskInterface {
    /// UUID.
    pub attachment_id: String,
    pub interface_id: String,
    pub subnet_id: String,
    pub mac: String,
    pub address: std::net::Ipv4Addr,
    pub subnet_prefix: u8,
    pub gateway: std::net::Ipv4Addr,
    pub vpc_cidr: (std::net::Ipv4Addr, u8),
    pub private_dns_name: String,
    pub released: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskContainer {
    pub name: String,
    /// UUID, last part of the container's ARN.
    pub id: String,
    pub image: String,
    pub cpu: u32,
    pub memory: Option<u32>,
    pub memory_reservation: Option<u32>,
    pub essential: bool,
    pub has_health_check: bool,
    /// `PENDING`, `RUNNING`, `STOPPED`.
    pub last_status: String,
    pub exit_code: Option<i32>,
    pub reason: Option<String>,
    pub runtime_id: Option<String>,
    pub image_digest: Option<String>,
    pub health: link::Health,
    pub network_bindings: Vec<link::NetworkBinding>,
}

impl TaskRecord {
    /// Index: tasks of a service, value `{region}/{cluster}/{service}`.
    pub const BY_SERVICE: &'static str = "task-by-service";
    /// Index: tasks placed on a node and not STOPPED, value the node id.
    pub const BY_NODE: &'static str = "task-by-node";
    /// Index: tasks waiting for placement (PROVISIONING, desired RUNNING, no node), value empty.
    pub const UNPLACED: &'static str = "task-unplaced";
    /// Index: STOPPED tasks, kept visible for an hour; value empty.
    pub const STOPPED: &'static str = "task-stopped";

    pub fn key(region: &str, cluster: &str, id: &str) -> String {
        format!("{region}/{cluster}/{id}")
    }

    pub fn own_key(&self) -> String {
        Self::key(&self.region, &self.cluster, &self.id)
    }
}

impl Record for TaskRecord {
    const PREFIX: &'static str = "ecs/task/";

    fn indexes(&self) -> Vec<(&'static str, String)> {
        let mut out = Vec::with_capacity(2);
        if let Some(service) = &self.service {
            out.push((Self::BY_SERVICE, format!("{}/{}/{}", self.region, self.cluster, service.name)));
        }
        match (&self.node, self.state) {
            (_, TaskState::Stopped) => out.push((Self::STOPPED, String::new())),
            (Some(node), _) => out.push((Self::BY_NODE, node.clone())),
            (None, _) => out.push((Self::UNPLACED, String::new())),
        }
        out
    }
}
