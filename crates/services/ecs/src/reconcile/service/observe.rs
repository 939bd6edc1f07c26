//! What one service and everything of it is like, read from a snapshot for the planner.

use crate::Ecs;
use crate::api;
use crate::launch::capacity::CapacityPlan;
use crate::plan::expression::{self, Expression, Instance as _};
use crate::plan::placement::Fleet;
use crate::plan::service::{Checks, NodeView, ServiceView, TaskView, UnhealthyTarget};
use crate::records::{
    DesiredStatus, Registered, ServiceRecord, ServiceSpec, TaskContainer, TaskDefinitionRecord, TaskRecord,
};
use crate::targets::is_healthy;
use neargate_core::Timestamp;
use neargate_elbv2::{TargetRecord, targets};
use neargate_link::Health;
use neargate_link::gateway::TargetState;
use neargate_store::Snapshot;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A node that a DAEMON belongs on.
struct DaemonNode {
    id: String,
    /// By which a placement constraint names it.
    instance_id: String,
    connected: bool,
}

/// A service with its tasks, the nodes a DAEMON belongs on, and the zones its tasks can be in.
pub struct Observed {
    pub snapshot: Snapshot,
    pub service: Arc<ServiceRecord>,
    /// Not STOPPED, or not settled.
    pub tasks: Vec<Arc<TaskRecord>>,
    nodes: Vec<DaemonNode>,
    zones: Vec<String>,
    healthy_after: Duration,
}

impl Observed {
    /// The service at `key` as it is now; none when it is not there.
    pub fn of(ecs: &Ecs, key: &str) -> Option<Observed> {
        let snapshot = ecs.store.snapshot();
        let service = snapshot.get::<ServiceRecord>(key)?.record;
        let tasks: Vec<_> = snapshot
            .indexed::<TaskRecord>(TaskRecord::OPEN_BY_SERVICE, key)
            .map(|(_, task)| task.record)
            .collect();
        let (nodes, zones) = match service.is_daemon() {
            true => (
                ecs.placer
                    .with_fleet(&ecs.store, |fleet| daemon_nodes(fleet, &snapshot, &service)),
                Vec::new(),
            ),
            false => (Vec::new(), zones(ecs, &snapshot, &service)),
        };
        Some(Observed {
            snapshot,
            service,
            tasks,
            nodes,
            zones,
            healthy_after: ecs.healthy_after,
        })
    }

    /// Calls `look` with what the planner takes.
    pub fn with_view<T>(&self, budget: usize, now: Timestamp, look: impl FnOnce(&ServiceView<'_>) -> T) -> T {
        let unresolved = self.service.deployments.iter().any(|d| !d.unresolved.is_empty());
        let pins: BTreeMap<&str, &str> = self.nodes.iter().map(|n| (&*n.instance_id, &*n.id)).collect();
        let found: Vec<TargetHealth> = self
            .tasks
            .iter()
            .map(|t| target_health(&self.snapshot, t, now))
            .collect();
        let tasks = self.tasks.iter().zip(&found);
        let tasks = tasks.filter_map(|(t, targets)| task_view(t, targets, unresolved, &pins));
        let mut tasks: Vec<TaskView<'_>> = tasks.collect();
        let ripe = found.iter().filter_map(|targets| targets.ripe).min();
        let grace_ends = self.pass_over_in_grace(&mut tasks, now).into_iter().chain(ripe).min();
        let nodes = self.nodes.iter();
        let nodes: Vec<NodeView<'_>> = nodes
            .map(|n| NodeView {
                id: &n.id,
                open: n.connected,
            })
            .collect();
        look(&ServiceView {
            service: &self.service,
            tasks: &tasks,
            nodes: &nodes,
            zones: &self.zones,
            healthy_after: self.healthy_after,
            grace_ends,
            budget,
        })
    }
}

/// `pins` has node ids by instance id.
fn task_view<'a>(
    task: &'a TaskRecord,
    targets: &'a TargetHealth,
    digests: bool,
    pins: &BTreeMap<&str, &'a str>,
) -> Option<TaskView<'a>> {
    let link = task.service.as_ref()?;
    let stopping = task.desired == DesiredStatus::Stopped;
    Some(TaskView {
        id: &task.id,
        deployment: &link.deployment_id,
        state: task.state,
        stopping,
        lost: task.is_lost(),
        settled: link.settled,
        checks: together(checks(&task.containers), targets.checks),
        unhealthy_in: targets.unhealthy.as_ref().map(|(group, port, reason)| UnhealthyTarget {
            group,
            port: *port,
            reason,
        }),
        untold: task
            .targets
            .iter()
            .filter_map(|t| Some((&*t.group_arn, t.untold()?)))
            .collect(),
        created_at: task.created_at,
        started_at: task.started_at,
        ended_at: task.execution_stopped_at.or(task.stopping_at).or(task.stopped_at),
        node: task.node.as_deref().or_else(|| pins.get(task.pinned_to()?).copied()),
        zone: task.availability_zone.as_deref(),
        protected_until: task.protected_until,
        stop_code: task.stop_code.as_deref(),
        placed: task.node.is_some(),
        waiting: task.waiting.as_ref().map(|w| w.event.as_str()),
        digests: match digests {
            true => task
                .containers
                .iter()
                .filter_map(|c| Some((&*c.name, c.image_digest.as_deref()?)))
                .collect(),
            false => Vec::new(),
        },
    })
}

fn checks(containers: &[TaskContainer]) -> Checks {
    let mut found = Checks::None;
    for container in containers.iter().filter(|c| c.essential && c.has_health_check) {
        found = match (found, container.health) {
            (_, Health::Unhealthy) => return Checks::Unhealthy,
            (Checks::Unknown, _) | (_, Health::Unknown) => Checks::Unknown,
            (_, Health::Healthy) => Checks::Healthy,
        };
    }
    found
}

/// What a task's target groups say of it.
struct TargetHealth {
    checks: Checks,
    /// ARN of the group, port and reason.
    unhealthy: Option<(String, u16, String)>,
    /// When a target that gets no traffic counts as unhealthy.
    ripe: Option<Timestamp>,
}

/// Healthy only where every target is; a target that left speaks for as it was then.
fn target_health(snapshot: &Snapshot, task: &TaskRecord, now: Timestamp) -> TargetHealth {
    let mut out = TargetHealth {
        checks: Checks::None,
        unhealthy: None,
        ripe: None,
    };
    for target in &task.targets {
        let found = match (target.left_healthy, &target.registered) {
            (Some(true), _) => Checks::Healthy,
            (Some(false), _) | (None, None) => Checks::Unknown,
            (None, Some(registered)) => {
                let (found, ripe) = standing(snapshot, task, &target.group_arn, registered, now);
                out.ripe = out.ripe.into_iter().chain(ripe).min();
                match found {
                    Standing::Healthy => Checks::Healthy,
                    Standing::Unknown => Checks::Unknown,
                    Standing::Unhealthy(reason) => {
                        let first = || (target.group_arn.clone(), registered.port, reason);
                        out.unhealthy.get_or_insert_with(first);
                        Checks::Unhealthy
                    }
                }
            }
        };
        out.checks = together(out.checks, found);
    }
    out
}

enum Standing {
    Healthy,
    Unknown,
    /// With the reason.
    Unhealthy(String),
}

/// How a target that its task has not left stands in its group, and when that changes by itself.
fn standing(
    snapshot: &Snapshot,
    task: &TaskRecord,
    group_arn: &str,
    registered: &Registered,
    now: Timestamp,
) -> (Standing, Option<Timestamp>) {
    let because = |reason: &str| (Standing::Unhealthy(reason.to_owned()), None);
    let Some(target) = targets::target(snapshot, group_arn, &registered.id, registered.port) else {
        return match targets::target_group(snapshot, &task.region, group_arn) {
            Some(_) => because(targets::NOT_REGISTERED),
            None => (Standing::Unknown, None),
        };
    };
    if target.draining_until.is_some() {
        return because(targets::DEREGISTRATION_IN_PROGRESS);
    }
    match (target.health.state, stranded_at(snapshot, &task.region, &target)) {
        (_, Some(ripe)) if ripe <= now => because(targets::ZONE_NOT_ENABLED),
        (state, _) if is_healthy(state) => (Standing::Healthy, None),
        (TargetState::Unhealthy, _) => because(target.health.description.as_deref().unwrap_or_default()),
        (_, ripe) => (Standing::Unknown, ripe),
    }
}

/// When a target in a zone that its load balancer does not serve counts as unhealthy: once checks would have failed as
/// often as they may. None for those that get traffic.
fn stranded_at(snapshot: &Snapshot, region: &str, target: &TargetRecord) -> Option<Timestamp> {
    if target.health.state != TargetState::Initial {
        return None;
    }
    let group = targets::target_group(snapshot, region, &target.group_arn)?;
    let check = &group.health_check;
    let failing = Duration::from_secs(u64::from(check.interval) * u64::from(check.unhealthy_threshold));
    let served = targets::is_in_enabled_zone(snapshot, &group, target);
    (!served).then(|| target.registered_at.plus(failing))
}

/// What two kinds of checks say: the worst of them, where there are any.
fn together(a: Checks, b: Checks) -> Checks {
    match (a, b) {
        (Checks::Unhealthy, _) | (_, Checks::Unhealthy) => Checks::Unhealthy,
        (Checks::Unknown, _) | (_, Checks::Unknown) => Checks::Unknown,
        (Checks::Healthy, _) | (_, Checks::Healthy) => Checks::Healthy,
        (Checks::None, Checks::None) => Checks::None,
    }
}

impl Observed {
    /// Lets failed health checks of young tasks count for nothing yet; answers when the first of these is old enough.
    fn pass_over_in_grace(&self, tasks: &mut [TaskView<'_>], now: Timestamp) -> Option<Timestamp> {
        let grace = Duration::from_secs(u64::from(self.service.health_check_grace_period));
        let mut ends = None;
        for task in tasks.iter_mut().filter(|t| t.checks == Checks::Unhealthy) {
            let until = task.started_at.unwrap_or(now).plus(grace);
            if until > now {
                task.checks = Checks::Unknown;
                ends = Some(ends.map_or(until, |first: Timestamp| first.min(until)));
            }
        }
        ends
    }

    /// The placement constraint that binds a DAEMON's task to its node.
    pub fn pin(&self, node: &str) -> Option<api::PlacementConstraint> {
        let node = self.nodes.iter().find(|n| n.id == node)?;
        Some(TaskRecord::pin_to(&node.instance_id))
    }
}

/// The nodes that satisfy the service's constraints and its PRIMARY's task definition, and whether each is connected.
fn daemon_nodes(fleet: &Fleet, snapshot: &Snapshot, service: &ServiceRecord) -> Vec<DaemonNode> {
    let key = TaskDefinitionRecord::key(&service.region, &service.spec.family, service.spec.revision);
    let Some(definition) = snapshot.get::<TaskDefinitionRecord>(&key) else {
        return Vec::new();
    };
    let d = &definition.definition;
    let own = service.placement_constraints.iter().map(|c| c.expression.as_deref());
    let inherited = d
        .placement_constraints
        .iter()
        .flatten()
        .map(|c| c.expression.as_deref());
    let parse = |text: &str| expression::parse(text).unwrap_or(Expression::Any(Vec::new()));
    let member_of: Vec<Expression> = own.chain(inherited).flatten().map(parse).collect();
    let architecture = d.runtime_platform.as_ref().and_then(|p| p.cpu_architecture.as_deref());
    let cluster = format!("{}/{}/", service.region, service.cluster);
    let mut out = Vec::new();
    for (at, node) in fleet.nodes().iter().enumerate() {
        let instance = fleet.instance(at, &service.region, &cluster);
        let fits = architecture.is_none_or(|a| a == node.architecture());
        if fits && member_of.iter().all(|e| e.holds(&instance)) {
            out.push(DaemonNode {
                id: node.id().to_owned(),
                instance_id: instance.instance_id().to_owned(),
                connected: node.connected(),
            });
        }
    }
    out.sort_by(|a, b| a.id.cmp(&b.id));
    out
}

/// Zones that tasks of the PRIMARY can be in: those of its subnets, on EC2 only where there is a machine.
fn zones(ecs: &Ecs, snapshot: &Snapshot, service: &ServiceRecord) -> Vec<String> {
    if service.availability_zone_rebalancing != "ENABLED" {
        return Vec::new();
    }
    let spec = &service.spec;
    let subnets = spec.network.iter().flat_map(|n| n.subnets.iter().flatten());
    let mut zones: BTreeSet<String> = subnets
        .filter_map(|id| neargate_ec2::subnet(snapshot, &service.region, id))
        .map(|subnet| subnet.availability_zone.clone())
        .collect();
    if spec.effective_launch_type() != "FARGATE" {
        let machines: BTreeSet<String> = ecs.placer.with_fleet(&ecs.store, |fleet| {
            let connected = fleet.nodes().iter().filter(|n| n.connected());
            connected.map(|n| n.zone(&service.region)).collect()
        });
        zones = if spec.network.is_some() {
            &zones & &machines
        } else {
            machines
        };
    }
    zones.into_iter().collect()
}

/// Where the next tasks of `spec` get their capacity, and how many the service has on each provider.
pub fn capacity(spec: &ServiceSpec, tasks: &[Arc<TaskRecord>]) -> (CapacityPlan, BTreeMap<String, u32>) {
    let plan = match (&spec.launch_type, spec.capacity_provider_strategy.is_empty()) {
        (None, false) => CapacityPlan::Strategy(spec.capacity_provider_strategy.clone()),
        _ => CapacityPlan::LaunchType(spec.effective_launch_type().to_owned()),
    };
    let mut counts = BTreeMap::new();
    for provider in tasks
        .iter()
        .filter(|t| t.desired == DesiredStatus::Running)
        .filter_map(|t| t.capacity_provider.as_ref())
    {
        *counts.entry(provider.clone()).or_default() += 1;
    }
    (plan, counts)
}
