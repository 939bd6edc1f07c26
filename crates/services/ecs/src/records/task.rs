//! A task and what is known of it.

use crate::api;
use neargate_core::{Tags, Timestamp};
use neargate_link as link;
use neargate_store::Record;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// ECS task states in the order they are passed; `plan::transition` says who may end each.
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

impl DesiredStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            DesiredStatus::Running => "RUNNING",
            DesiredStatus::Stopped => "STOPPED",
        }
    }
}

/// Key: `{region}/{cluster}/{id}`. What placement needs is copied from the task definition when the task is made; the
/// definition itself is looked up by family and revision when the task is assigned.
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
    /// `1.4.0`; Fargate only.
    pub platform_version: Option<String>,
    /// `awsvpc`, `bridge`, `host` or `none`.
    pub network_mode: String,
    /// awsvpc only.
    pub network: Option<api::AwsVpcConfiguration>,
    /// UUID of the ElasticNetworkInterface attachment; awsvpc only.
    pub attachment_id: Option<String>,
    /// Interface taken for it (`ec2/interface/` record), released when it is STOPPED.
    pub interface: Option<TaskInterface>,
    pub overrides: api::TaskOverride,
    /// Those of the request after those of the task definition.
    pub placement_constraints: Vec<api::PlacementConstraint>,
    pub placement_strategy: Vec<api::PlacementStrategy>,
    pub tags: Tags,
    pub enable_execute_command: bool,
    pub reference_id: Option<String>,
    /// Image digests pinned by the service revision, by container name.
    pub pinned_digests: BTreeMap<String, String>,

    pub desired: DesiredStatus,
    pub state: TaskState,
    /// Grows with every change that a client can see.
    pub version: i64,
    /// Node it is placed on.
    pub node: Option<String>,
    pub availability_zone: Option<String>,
    /// Task size after overrides, in cpu units; none where neither definition nor override gives one.
    pub cpu: Option<u32>,
    /// Task size after overrides, in MiB.
    pub memory: Option<u32>,
    /// cpu units and MiB that placement reserves on the node.
    pub reserved_cpu: u32,
    pub reserved_memory: u32,
    /// Ports of the machine that placement reserves (network modes bridge and host).
    pub host_ports: Vec<HostPort>,
    /// `X86_64` or `ARM64`; none runs anywhere.
    pub cpu_architecture: Option<String>,
    /// Fargate only.
    pub ephemeral_storage_gib: Option<u32>,
    /// Why it could not be placed when placement last tried; none once it is placed. Of many equal waiting tasks only
    /// the oldest carries it.
    pub waiting: Option<Waiting>,
    pub containers: Vec<TaskContainer>,
    pub health: link::Health,
    /// Where it takes traffic once it runs.
    #[serde(default)]
    pub targets: Vec<TaskTarget>,

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
    /// When its node first reported it. Whether it is connected now is its node's `NodeRecord::connected`.
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
    /// The service has taken note that this task ends: it asked for it, or it counted the failure. False at launch.
    #[serde(default)]
    pub settled: bool,
}

/// The network interface of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskInterface {
    pub interface_id: String,
    pub subnet_id: String,
    pub mac: String,
    pub address: std::net::Ipv4Addr,
    pub subnet_prefix: u8,
    pub gateway: std::net::Ipv4Addr,
    pub vpc_cidr: (std::net::Ipv4Addr, u8),
    pub private_dns_name: String,
    #[serde(default)]
    pub vpc_id: String,
    #[serde(default)]
    pub groups: Vec<String>,
    pub released: bool,
}

/// A place in a target group that a task is to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskTarget {
    pub group_arn: String,
    pub container: String,
    pub container_port: u16,
    /// While it is registered: under what.
    pub registered: Option<Registered>,
    /// The group was gone when the task was to join it.
    #[serde(default)]
    pub group_gone: bool,
    /// Was healthy when it left; none before that.
    pub left_healthy: Option<bool>,
    /// What the service has told of it.
    pub told: Told,
}

/// A target's id and port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    pub id: String,
    pub port: u16,
}

/// Service events about a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Told {
    #[default]
    Nothing,
    Registered,
    Deregistered,
    FailedToRegister,
}

impl TaskTarget {
    /// What its service has to tell of it next.
    pub fn untold(&self) -> Option<Told> {
        match self.told {
            Told::Nothing | Told::FailedToRegister if self.registered.is_some() => Some(Told::Registered),
            Told::Nothing if self.group_gone => Some(Told::FailedToRegister),
            Told::Registered if self.left_healthy.is_some() => Some(Told::Deregistered),
            _ => None,
        }
    }
}

/// A port of the machine, first to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostPort {
    pub first: u16,
    pub last: u16,
    pub transport: link::Transport,
}

impl HostPort {
    pub fn overlaps(&self, other: &HostPort) -> bool {
        self.transport == other.transport && self.first <= other.last && other.first <= self.last
    }
}

/// A task that no node could take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// As a service event continues after `was unable to place a task`, e.g. ` because no container instance met all
    /// of its requirements. Reason: No Container Instances were found in your cluster. For more information, see …`
    pub event: String,
    /// The reason as RunTask answers it in a failure, e.g. `RESOURCE:MEMORY`.
    pub reason: String,
    pub since: Timestamp,
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
    pub restart_count: u32,
    pub network_bindings: Vec<link::NetworkBinding>,
}

const PINNED: &str = "ec2InstanceId == ";

impl TaskRecord {
    /// Index: tasks of a service, value `{region}/{cluster}/{service}`.
    pub const BY_SERVICE: &'static str = "task-by-service";
    /// Index: tasks that a service still has to look at (not STOPPED, or not `settled`), value as of `BY_SERVICE`.
    pub const OPEN_BY_SERVICE: &'static str = "task-open-by-service";
    /// Index: tasks placed on a node and not STOPPED, value the node id.
    pub const BY_NODE: &'static str = "task-by-node";
    /// Index: the same tasks, value the task id.
    pub const BY_ID: &'static str = "task-by-id";
    /// Index: tasks that no node has yet, value empty.
    pub const UNPLACED: &'static str = "task-unplaced";
    /// Index: tasks that are to end, or have, and are still registered with a target group; value empty.
    pub const LEAVING: &'static str = "task-leaving";
    /// Index: STOPPED tasks, kept visible for an hour; value the minute (since 1970) in which they stopped.
    pub const STOPPED: &'static str = "task-stopped";

    pub fn key(region: &str, cluster: &str, id: &str) -> String {
        format!("{region}/{cluster}/{id}")
    }

    pub fn own_key(&self) -> String {
        Self::key(&self.region, &self.cluster, &self.id)
    }

    /// ARN of another ECS resource of the same region and account, e.g. `task-definition/web:1`.
    pub fn sibling_arn(&self, resource: &str) -> String {
        let prefix = self
            .arn
            .split_once(":task/")
            .map_or(self.arn.as_str(), |(prefix, _)| prefix);
        format!("{prefix}:{resource}")
    }

    pub fn task_definition_arn(&self) -> String {
        self.sibling_arn(&format!("task-definition/{}:{}", self.family, self.revision))
    }

    pub fn is_fargate(&self) -> bool {
        self.launch_type == "FARGATE"
    }

    /// Given up with its machine: what it does there is not known, and does not count.
    pub fn is_lost(&self) -> bool {
        self.desired == DesiredStatus::Stopped && self.stop_code.as_deref() == Some("TerminationNotice")
    }

    /// True while a target group may still send it requests.
    pub fn takes_traffic(&self) -> bool {
        self.targets.iter().any(|t| t.registered.is_some())
    }

    /// The placement constraint that binds a DAEMON's task to one instance.
    pub fn pin_to(instance_id: &str) -> api::PlacementConstraint {
        api::PlacementConstraint {
            r#type: Some("memberOf".to_owned()),
            expression: Some(format!("{PINNED}{instance_id}")),
        }
    }

    /// The instance (`i-…`) that a DAEMON's task was made for.
    pub fn pinned_to(&self) -> Option<&str> {
        let constraint = self.placement_constraints.last()?;
        constraint.expression.as_deref()?.strip_prefix(PINNED)
    }

    /// For users a service's task is there once a machine has it; what waits for room is none yet.
    pub fn is_shown(&self) -> bool {
        self.node.is_some() || self.service.is_none()
    }

    /// True while the task holds cpu, memory and ports of its node.
    pub fn holds_resources(&self) -> bool {
        self.node.is_some() && self.state != TaskState::Stopped
    }

    /// The value under which `STOPPED` finds tasks that stopped at `at`.
    pub fn stopped_minute(at: Timestamp) -> i64 {
        at.secs().div_euclid(60)
    }
}

impl Record for TaskRecord {
    const PREFIX: &'static str = "ecs/task/";

    fn counters(&self) -> Vec<String> {
        super::counters::of_task(self)
    }

    fn indexes(&self) -> Vec<(&'static str, String)> {
        let mut out = Vec::with_capacity(3);
        if let Some(service) = &self.service {
            let value = format!("{}/{}/{}", self.region, self.cluster, service.name);
            if self.state != TaskState::Stopped || !service.settled {
                out.push((Self::OPEN_BY_SERVICE, value.clone()));
            }
            out.push((Self::BY_SERVICE, value));
        }
        if self.takes_traffic() && (self.desired == DesiredStatus::Stopped || self.state > TaskState::Running) {
            out.push((Self::LEAVING, String::new()));
        }
        match (&self.node, self.state) {
            (_, TaskState::Stopped) => {
                let at = self.stopped_at.unwrap_or(self.created_at);
                out.push((Self::STOPPED, Self::stopped_minute(at).to_string()));
            }
            (Some(node), _) => {
                out.push((Self::BY_NODE, node.clone()));
                out.push((Self::BY_ID, self.id.clone()));
            }
            (None, _) => out.push((Self::UNPLACED, String::new())),
        }
        out
    }
}
