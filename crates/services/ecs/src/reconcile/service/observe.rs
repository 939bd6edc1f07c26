//! What one service and everything of it is like, read from a snapshot for the planner.

use crate::Ecs;
use crate::api;
use crate::launch::capacity::CapacityPlan;
use crate::plan::expression::{self, Expression};
use crate::plan::placement::Fleet;
use crate::plan::service::{Checks, NodeView, ServiceView, TaskView};
use crate::records::{
    DesiredStatus, ServiceRecord, ServiceSpec, TaskContainer, TaskDefinitionRecord, TaskRecord, node::zone_name,
};
use neargate_link::Health;
use neargate_store::Snapshot;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A service with its tasks, the nodes a DAEMON belongs on, and the zones its tasks can be in.
pub struct Observed {
    pub snapshot: Snapshot,
    pub service: Arc<ServiceRecord>,
    /// Not STOPPED, or not settled.
    pub tasks: Vec<Arc<TaskRecord>>,
    nodes: Vec<(String, bool)>,
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
    pub fn with_view<T>(&self, budget: usize, look: impl FnOnce(&ServiceView<'_>) -> T) -> T {
        let unresolved = self.service.deployments.iter().any(|d| !d.unresolved.is_empty());
        let tasks: Vec<TaskView<'_>> = self.tasks.iter().filter_map(|t| task_view(t, unresolved)).collect();
        let nodes: Vec<NodeView<'_>> = self
            .nodes
            .iter()
            .map(|(id, open)| NodeView { id, open: *open })
            .collect();
        look(&ServiceView {
            service: &self.service,
            tasks: &tasks,
            nodes: &nodes,
            zones: &self.zones,
            healthy_after: self.healthy_after,
            budget,
        })
    }
}

fn task_view(task: &TaskRecord, digests: bool) -> Option<TaskView<'_>> {
    let link = task.service.as_ref()?;
    let stopping = task.desired == DesiredStatus::Stopped;
    Some(TaskView {
        id: &task.id,
        deployment: &link.deployment_id,
        state: task.state,
        stopping,
        lost: task.is_lost(),
        settled: link.settled,
        checks: checks(&task.containers),
        created_at: task.created_at,
        started_at: task.started_at,
        ended_at: task.execution_stopped_at.or(task.stopped_at),
        node: task.node.as_deref().or_else(|| pinned_node(task)),
        zone: task.availability_zone.as_deref(),
        protected_until: task.protected_until,
        stop_code: task.stop_code.as_deref(),
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

const PINNED: &str = "ec2InstanceId == ";

/// The placement constraint that binds a DAEMON's task to its node.
pub fn pin(node: &str) -> api::PlacementConstraint {
    api::PlacementConstraint {
        r#type: Some("memberOf".to_owned()),
        expression: Some(format!("{PINNED}{node}")),
    }
}

fn pinned_node(task: &TaskRecord) -> Option<&str> {
    task.placement_constraints
        .last()?
        .expression
        .as_deref()?
        .strip_prefix(PINNED)
}

/// The nodes that satisfy the service's constraints and its PRIMARY's task definition, and whether each is connected.
fn daemon_nodes(fleet: &Fleet, snapshot: &Snapshot, service: &ServiceRecord) -> Vec<(String, bool)> {
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
    let mut out: Vec<(String, bool)> = Vec::new();
    for (at, node) in fleet.nodes().iter().enumerate() {
        let instance = fleet.instance(at, &service.region, &cluster);
        let fits = architecture.is_none_or(|a| a == node.architecture());
        if fits && member_of.iter().all(|e| e.holds(&instance)) {
            out.push((node.id().to_owned(), node.connected()));
        }
    }
    out.sort();
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
        let indexes: BTreeSet<u32> = ecs.placer.with_fleet(&ecs.store, |fleet| {
            fleet
                .nodes()
                .iter()
                .filter(|n| n.connected())
                .map(|n| n.zone_index())
                .collect()
        });
        let machines: BTreeSet<String> = indexes.into_iter().map(|i| zone_name(&service.region, i)).collect();
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
