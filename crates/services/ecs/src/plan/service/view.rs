//! What a service plan stands on, and what it answers: plain data.

use crate::plan::events::ServiceEvent;
use crate::records::{ServiceRecord, TaskState, Told};
use neargate_core::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is known of the health of a task's essential containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// No essential container has a health check.
    None,
    Unknown,
    Healthy,
    Unhealthy,
}

/// A target that fails its health checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnhealthyTarget<'a> {
    /// ARN.
    pub group: &'a str,
    pub port: u16,
    /// E.g. `Health checks failed with these codes: [500]`.
    pub reason: &'a str,
}

/// A task of the service, as far as planning cares.
#[derive(Clone, Debug)]
pub struct TaskView<'a> {
    pub id: &'a str,
    /// `ecs-svc/…`
    pub deployment: &'a str,
    pub state: TaskState,
    /// Asked to stop, by anyone.
    pub stopping: bool,
    /// Given up with its machine: it may run still, but nobody can tell.
    pub lost: bool,
    /// See `ServiceLink::settled`.
    pub settled: bool,
    /// Of its containers and its targets together.
    pub checks: Checks,
    /// The target group that finds it unhealthy; none when it is its containers.
    pub unhealthy_in: Option<UnhealthyTarget<'a>>,
    /// Targets of which the service has something to tell: ARN of the group, and what.
    pub untold: Vec<(&'a str, Told)>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    /// When its processes had ended, or began to.
    pub ended_at: Option<Timestamp>,
    /// The node it is on, or (DAEMON) that it is meant for.
    pub node: Option<&'a str>,
    pub zone: Option<&'a str>,
    pub protected_until: Option<Timestamp>,
    pub stop_code: Option<&'a str>,
    /// A node has taken it.
    pub placed: bool,
    /// Why no node takes it, as `Waiting::event`.
    pub waiting: Option<&'a str>,
    /// Image digests known, by container.
    pub digests: Vec<(&'a str, &'a str)>,
}

impl TaskView<'_> {
    /// On its way to RUNNING or there, and wanted.
    pub(super) fn live(&self) -> bool {
        !self.stopping && self.state <= TaskState::Running
    }

    pub(super) fn unhealthy(&self) -> bool {
        self.checks == Checks::Unhealthy
    }

    /// RUNNING and nothing bad known of it.
    pub(super) fn serving(&self) -> bool {
        self.live() && self.state == TaskState::Running && !self.unhealthy()
    }

    /// Still counts as running or pending for its deployment.
    pub(super) fn present(&self) -> bool {
        self.state < TaskState::Stopping && !self.lost
    }

    /// What maximumPercent counts: up to RUNNING, whether asked to stop or not.
    pub(super) fn counted(&self) -> bool {
        self.state <= TaskState::Running && !self.lost
    }
}

/// A node that a DAEMON service belongs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeView<'a> {
    pub id: &'a str,
    /// Connected: new tasks may be put there.
    pub open: bool,
}

/// Everything a plan stands on.
#[derive(Clone, Debug)]
pub struct ServiceView<'a> {
    pub service: &'a ServiceRecord,
    pub tasks: &'a [TaskView<'a>],
    /// Ascending by id; DAEMON only.
    pub nodes: &'a [NodeView<'a>],
    /// Zones that tasks of this service can be in, ascending.
    pub zones: &'a [String],
    /// How long a task without health check must run to count as healthy.
    pub healthy_after: Duration,
    /// When the first grace period ends that still passes over failed health checks.
    pub grace_ends: Option<Timestamp>,
    /// The most tasks that one plan may change.
    pub budget: usize,
}

/// Tasks to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// `ecs-svc/…` of the plan's service.
    pub deployment: String,
    pub count: u32,
    /// How many of them replace unhealthy tasks.
    pub for_unhealthy: u32,
    /// DAEMON: where.
    pub node: Option<String>,
}

/// A task to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    pub task: String,
    /// ECS `stoppedReason`; the code is `ServiceSchedulerInitiated`.
    pub reason: String,
}

/// A change of a service deployment's history entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Last part of its ARN.
    pub id: String,
    pub status: &'static str,
    pub reason: Option<String>,
    pub finished: bool,
    /// ARN of the service revision that is rolled back to.
    pub rollback_to: Option<String>,
    /// New status of its circuit breaker.
    pub breaker: Option<&'static str>,
    pub failures: Option<u32>,
}

impl History {
    pub fn ended(id: &str, status: &'static str, reason: &str) -> History {
        History {
            id: id.to_owned(),
            status,
            reason: Some(reason.to_owned()),
            finished: true,
            ..History::default()
        }
    }
}

/// The next step. Nothing is left to choose for who performs it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The service as it is to be stored; none when unchanged.
    pub service: Option<ServiceRecord>,
    pub launch: Vec<Launch>,
    pub stop: Vec<Stop>,
    /// Ids of tasks whose targets' comings and goings are told now.
    pub told: Vec<String>,
    /// Ids of tasks whose end has now been counted.
    pub settle: Vec<String>,
    /// In the order they are told.
    pub events: Vec<ServiceEvent>,
    pub history: Vec<History>,
    /// Service revisions (ARN) whose image digests became known.
    pub resolved: Vec<(String, BTreeMap<String, String>)>,
    /// Why, for the log.
    pub reasons: Vec<String>,
    pub wake_at: Option<Timestamp>,
    /// Plan again at once: the budget ended before the work did, or the outcome changes what is right.
    pub more: bool,
}

impl Plan {
    /// True when there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.service.is_none()
            && self.launch.is_empty()
            && self.stop.is_empty()
            && self.settle.is_empty()
            && self.told.is_empty()
            && self.events.is_empty()
            && self.history.is_empty()
            && self.resolved.is_empty()
    }
}
