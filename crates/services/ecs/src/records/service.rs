//! A service with its live deployments, and the events it tells.
//!
//! Written by the service operations and by `reconcile::service`. Everything the planner must remember between two looks
//! (failure counts, back-off, what an old deployment still keeps running) lies here, so that a restart forgets nothing.

use crate::api;
use neargate_core::{Tags, Timestamp};
use neargate_store::Record;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a service is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ServiceStatus {
    Active,
    /// Deleted; tasks are still being stopped.
    Draining,
    /// Deleted; still described for a while.
    Inactive,
}

impl ServiceStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceStatus::Active => "ACTIVE",
            ServiceStatus::Draining => "DRAINING",
            ServiceStatus::Inactive => "INACTIVE",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SchedulingStrategy {
    Replica,
    Daemon,
}

impl SchedulingStrategy {
    pub fn as_str(self) -> &'static str {
        match self {
            SchedulingStrategy::Replica => "REPLICA",
            SchedulingStrategy::Daemon => "DAEMON",
        }
    }
}

/// What a service revision pins: the members whose change starts a deployment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// ARN.
    pub task_definition: String,
    pub family: String,
    pub revision: u32,
    /// `FARGATE` or `EC2`; none when a capacity provider strategy is used.
    pub launch_type: Option<String>,
    pub capacity_provider_strategy: Vec<api::CapacityProviderStrategyItem>,
    /// Fargate only.
    pub platform_version: Option<String>,
    /// Fargate only.
    pub platform_family: Option<String>,
    /// awsvpc only.
    pub network: Option<api::AwsVpcConfiguration>,
    /// Target groups that tasks join, each with the container and port that take its traffic.
    #[serde(default)]
    pub load_balancers: Vec<api::LoadBalancer>,
}

impl ServiceSpec {
    /// `FARGATE` or `EC2`, whichever way it was asked for.
    pub fn effective_launch_type(&self) -> &str {
        match (&self.launch_type, self.capacity_provider_strategy.first()) {
            (Some(launch_type), _) => launch_type,
            (None, Some(_)) => "FARGATE",
            (None, None) => "EC2",
        }
    }
}

/// `rolloutState` of a deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RolloutState {
    #[default]
    InProgress,
    Completed,
    Failed,
}

impl RolloutState {
    pub fn as_str(self) -> &'static str {
        match self {
            RolloutState::InProgress => "IN_PROGRESS",
            RolloutState::Completed => "COMPLETED",
            RolloutState::Failed => "FAILED",
        }
    }
}

/// What makes launches wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackoffCause {
    /// Tasks stop before they reach RUNNING: AWS's throttle.
    #[default]
    FailedToStart,
    /// Tasks reach RUNNING and stop before they count as healthy.
    ExitedEarly,
}

/// How long launches of a deployment wait after repeated failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    pub cause: BackoffCause,
    /// Rounds of launches that failed one after the other.
    pub step: u32,
    /// When the last round was found to have failed: older tasks add nothing.
    pub failed_at: Timestamp,
    /// No launch before this.
    pub retry_at: Timestamp,
}

/// Tasks of a deployment that no node takes: they wait, and each round of waiting counts as a failure to launch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unplaced {
    /// The reason as it was told.
    pub event: String,
    pub rounds: u32,
    /// When the next round is over.
    pub next_at: Timestamp,
}

/// What StopServiceDeployment asked of the running service deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum StopRequest {
    Abort,
    Rollback,
}

/// A deployment that still has, or is to have, tasks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// `ecs-svc/` and 19 digits.
    pub id: String,
    /// Last part of the ARN of the service deployment that brought it (or is rolling back to it).
    pub service_deployment: String,
    pub service_revision_arn: String,
    pub spec: ServiceSpec,
    /// Tasks it is to keep. Falls to 0 while a newer deployment takes over.
    pub target: u32,
    /// Had completed once: tasks it loses while it is being replaced are replaced by its own revision.
    pub proven: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub rollout: RolloutState,
    pub reason: String,
    /// Its service deployment has left PENDING.
    pub started: bool,
    /// It is PRIMARY again because a newer deployment failed.
    pub rolling_back: bool,
    /// Failures that the circuit breaker counts; `failedTasks`.
    pub failures: u32,
    /// Healthy tasks when the last failure was counted: more than these reset the count.
    pub healthy_seen: u32,
    pub backoff: Backoff,
    pub unplaced: Option<Unplaced>,
    /// The event that minimumHealthyPercent and maximumPercent allow no step was told.
    pub blocked_told: bool,
    /// Containers whose image digest is not resolved yet (`versionConsistency`).
    pub unresolved: Vec<String>,
    /// Image digests resolved at the first pull, by container name.
    pub digests: BTreeMap<String, String>,
}

/// Key: `{region}/{cluster}/{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceRecord {
    pub region: String,
    pub cluster: String,
    pub name: String,
    pub arn: String,
    pub cluster_arn: String,
    pub status: ServiceStatus,
    pub scheduling: SchedulingStrategy,
    /// For DAEMON the number of nodes it belongs on, kept by the reconciler.
    pub desired_count: u32,
    /// What the PRIMARY deployment runs.
    pub spec: ServiceSpec,
    /// With every default filled in.
    pub deployment_configuration: api::DeploymentConfiguration,
    pub placement_constraints: Vec<api::PlacementConstraint>,
    pub placement_strategy: Vec<api::PlacementStrategy>,
    /// `ENABLED` or `DISABLED`.
    pub availability_zone_rebalancing: String,
    /// Seconds after a task's start in which failed health checks are passed over.
    #[serde(default)]
    pub health_check_grace_period: u32,
    pub tags: Tags,
    /// `TASK_DEFINITION`, `SERVICE` or `NONE`.
    pub propagate_tags: String,
    pub enable_ecs_managed_tags: bool,
    pub created_at: Timestamp,
    /// ARN of who created it.
    pub created_by: String,
    pub inactive_at: Option<Timestamp>,
    /// What the creating request asked: an equal one is answered with this service.
    pub request_fingerprint: String,

    /// The PRIMARY first, then the ACTIVE ones, newest first. Empty once INACTIVE.
    pub deployments: Vec<Deployment>,
    /// The last deployment that completed: where a rollback goes.
    pub last_completed: Option<Deployment>,
    /// Service deployment that `currentServiceDeployment` names.
    pub current_service_deployment: String,
    pub stop_requested: Option<StopRequest>,
    /// Events told so far, and how many of them belong to an earlier service of this name.
    pub events_told: u64,
    pub events_before: u64,
    /// When "has reached a steady state" was last told; none while it is not steady.
    pub steady_at: Option<Timestamp>,
    /// Said, since it was last steady, that tasks that are too many are protected.
    #[serde(default)]
    pub protection_told: bool,
    /// One task more than desired is kept until this, so that zones can be evened out; none when nothing is moved.
    pub rebalancing_until: Option<Timestamp>,
    /// Ids of tasks that were made and not told of yet, and whether each replaces an unhealthy one: a task that no
    /// machine has is none to AWS.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unannounced: BTreeMap<String, bool>,
}

impl ServiceRecord {
    /// Index: DAEMON services that are not INACTIVE; value empty.
    pub const DAEMONS: &'static str = "service-daemon";
    /// Index: INACTIVE services, described for a while; value empty.
    pub const INACTIVE: &'static str = "service-inactive";
    /// Index: services that run a task definition or may roll back to it, value `{region}/{family}/{revision}`.
    pub const BY_TASK_DEFINITION: &'static str = "service-by-task-definition";

    pub fn key(region: &str, cluster: &str, name: &str) -> String {
        format!("{region}/{cluster}/{name}")
    }

    pub fn own_key(&self) -> String {
        Self::key(&self.region, &self.cluster, &self.name)
    }

    /// The most recent deployment; none once INACTIVE.
    pub fn primary(&self) -> Option<&Deployment> {
        self.deployments.first()
    }

    pub fn is_daemon(&self) -> bool {
        self.scheduling == SchedulingStrategy::Daemon
    }

    /// Name of the ARN part after `service-deployment/` or `service-revision/`, without the id.
    pub fn path(&self) -> String {
        format!("{}/{}", self.cluster, self.name)
    }
}

impl Record for ServiceRecord {
    const PREFIX: &'static str = "ecs/service/";

    fn indexes(&self) -> Vec<(&'static str, String)> {
        let mut out = Vec::with_capacity(2 + self.deployments.len());
        if self.status == ServiceStatus::Inactive {
            out.push((Self::INACTIVE, String::new()));
            return out;
        }
        if self.is_daemon() {
            out.push((Self::DAEMONS, String::new()));
        }
        for deployment in self.deployments.iter().chain(&self.last_completed) {
            let spec = &deployment.spec;
            let entry = (
                Self::BY_TASK_DEFINITION,
                format!("{}/{}/{}", self.region, spec.family, spec.revision),
            );
            if !out.contains(&entry) {
                out.push(entry);
            }
        }
        out
    }
}

/// One of the last hundred events. Key: `{service key}/{slot:02}`, the slot being the event's number modulo a hundred.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceEventRecord {
    /// Counts up over the name's life.
    pub number: u64,
    /// UUID.
    pub id: String,
    pub created_at: Timestamp,
    pub message: String,
}

impl ServiceEventRecord {
    /// How many events AWS shows, and we keep.
    pub const KEPT: u64 = 100;

    pub fn key(service_key: &str, number: u64) -> String {
        format!("{service_key}/{:02}", number % Self::KEPT)
    }
}

impl Record for ServiceEventRecord {
    const PREFIX: &'static str = "ecs/service-event/";
}
