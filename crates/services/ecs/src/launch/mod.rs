//! Making task records: what RunTask, StartTask and the service reconciler have in common.
//!
//! `new_task` is pure: ids and time come in, a PROVISIONING record goes out, or the AWS error that says what does not
//! fit. `admit` checks the parts of a request that do not depend on one task. The invariant: a record that leaves here
//! carries everything that placement needs, so that placement never reads a task definition.

pub mod admit;
pub mod capacity;
pub mod overrides;
pub mod request;

pub use admit::{admit_network, admit_placement};
pub use capacity::{Capacity, admit_capacity, next_provider};

use crate::api::{self, errors};
use crate::records::{
    ClusterRecord, DesiredStatus, HostPort, ServiceLink, TaskContainer, TaskDefinitionRecord, TaskRecord, TaskState,
};
use crate::targets;
use neargate_core::{AwsError, Ids, Tags, Timestamp};
use neargate_link as link;
use std::collections::BTreeMap;

/// A Fargate task's cpu is a ceiling, not a reservation: placement counts a tenth of it, so that a machine of two cores
/// runs what AWS spreads over many. Memory is counted whole, and so is the cpu of launch type EC2, as on AWS.
const FARGATE_CPU_OVERCOMMIT: u32 = 10;

/// A task to make. Every part that `admit` and `capacity` check has been checked.
#[derive(Clone)]
pub struct LaunchRequest<'a> {
    pub cluster: &'a ClusterRecord,
    pub definition: &'a TaskDefinitionRecord,
    pub overrides: api::TaskOverride,
    pub capacity: Capacity,
    /// awsvpc only.
    pub network: Option<api::AwsVpcConfiguration>,
    /// None: `service:NAME` for a service's task, otherwise `family:FAMILY`.
    pub group: Option<String>,
    pub started_by: Option<String>,
    pub service: Option<ServiceLink>,
    /// Of the request; those of the task definition are added.
    pub placement_constraints: Vec<api::PlacementConstraint>,
    pub placement_strategy: Vec<api::PlacementStrategy>,
    /// The user's, propagated ones included.
    pub tags: Tags,
    pub enable_ecs_managed_tags: bool,
    pub reference_id: Option<String>,
    /// Target groups that the task joins once it runs.
    pub load_balancers: &'a [api::LoadBalancer],
    /// By container name.
    pub pinned_digests: BTreeMap<String, String>,
    pub now: Timestamp,
    pub ids: &'a dyn Ids,
}

/// A PROVISIONING task without a node.
///
/// # Errors
/// `InvalidParameterException` for an override that does not fit the task definition.
pub fn new_task(request: LaunchRequest<'_>) -> Result<TaskRecord, AwsError> {
    let LaunchRequest {
        cluster,
        definition,
        capacity,
        service,
        ids,
        now,
        ..
    } = request;
    let d = &definition.definition;
    let sizes = overrides::admit(d, &request.overrides, capacity.is_fargate())?;
    let id = ids.hex32();
    let network_mode = d.network_mode.clone().unwrap_or_else(|| "bridge".to_owned());
    let awsvpc = network_mode == "awsvpc";

    let group = request.group.unwrap_or_else(|| match &service {
        Some(service) => format!("service:{}", service.name),
        None => format!("family:{}", definition.family),
    });
    let mut tags = request.tags;
    if request.enable_ecs_managed_tags {
        tags.0.insert("aws:ecs:clusterName".to_owned(), cluster.name.clone());
        if let Some(service) = &service {
            tags.0.insert("aws:ecs:serviceName".to_owned(), service.name.clone());
        }
    }
    let own_constraints = d
        .placement_constraints
        .iter()
        .flatten()
        .map(|c| api::PlacementConstraint {
            r#type: c.r#type.clone(),
            expression: c.expression.clone(),
        });
    let placement_constraints: Vec<_> = own_constraints.chain(request.placement_constraints).collect();
    if placement_constraints.len() > 10 {
        return Err(errors::invalid_parameter_exception(
            "placementConstraints can have at most 10 items.",
        ));
    }
    let containers: Vec<TaskContainer> = d
        .container_definitions
        .iter()
        .flatten()
        .zip(&sizes.containers)
        .map(|(c, size)| TaskContainer {
            name: c.name.clone().unwrap_or_default(),
            id: ids.uuid(),
            image: c.image.clone().unwrap_or_default(),
            cpu: size.cpu,
            memory: size.memory,
            memory_reservation: size.memory_reservation,
            essential: c.essential.unwrap_or(true),
            has_health_check: c.health_check.is_some(),
            last_status: "PENDING".to_owned(),
            ..TaskContainer::default()
        })
        .collect();
    let fargate = capacity.is_fargate();
    let platform_version = fargate.then(|| capacity::PLATFORM_VERSION.to_owned());
    let ephemeral_storage_gib = fargate.then_some(sizes.ephemeral_storage_gib);

    Ok(TaskRecord {
        region: cluster.region.clone(),
        cluster: cluster.name.clone(),
        arn: format!("{}/{id}", cluster.arn.replacen(":cluster/", ":task/", 1)),
        id,
        family: definition.family.clone(),
        revision: definition.revision,
        group,
        started_by: request.started_by,
        service,
        launch_type: capacity.launch_type,
        capacity_provider: capacity.provider,
        platform_version,
        network: request.network.filter(|_| awsvpc),
        attachment_id: awsvpc.then(|| ids.uuid()),
        interface: None,
        overrides: request.overrides,
        placement_constraints,
        placement_strategy: request.placement_strategy,
        tags,
        enable_execute_command: false,
        reference_id: request.reference_id,
        pinned_digests: request.pinned_digests,
        desired: DesiredStatus::Running,
        state: TaskState::Provisioning,
        version: 1,
        node: None,
        availability_zone: None,
        cpu: sizes.task_cpu,
        memory: sizes.task_memory,
        reserved_cpu: if fargate {
            sizes.reserved_cpu / FARGATE_CPU_OVERCOMMIT
        } else {
            sizes.reserved_cpu
        },
        reserved_memory: sizes.reserved_memory,
        host_ports: host_ports(d, &network_mode),
        network_mode,
        cpu_architecture: d.runtime_platform.as_ref().and_then(|p| p.cpu_architecture.clone()),
        ephemeral_storage_gib,
        waiting: None,
        containers,
        health: link::Health::Unknown,
        targets: request.load_balancers.iter().filter_map(targets::wanted).collect(),
        created_at: now,
        pull_started_at: None,
        pull_stopped_at: None,
        started_at: None,
        stopping_at: None,
        execution_stopped_at: None,
        stopped_at: None,
        stop_code: None,
        stopped_reason: None,
        connectivity_at: None,
        protected_until: None,
    })
}

/// Who asks a task to stop, and why: ECS's `stopCode` and `stoppedReason`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopAsk {
    pub code: String,
    pub reason: String,
}

impl StopAsk {
    pub fn new(code: &str, reason: impl Into<String>) -> StopAsk {
        StopAsk {
            code: code.to_owned(),
            reason: reason.into(),
        }
    }
}

/// The task with a wish to stop; none when it has one already or is over. A task that no node has is STOPPED at once.
pub fn ask_stop(task: &TaskRecord, ask: &StopAsk, now: Timestamp) -> Option<TaskRecord> {
    if task.desired == DesiredStatus::Stopped || task.state == TaskState::Stopped {
        return None;
    }
    let mut next = task.clone();
    next.desired = DesiredStatus::Stopped;
    next.stop_code = Some(ask.code.clone());
    next.stopped_reason = Some(ask.reason.clone());
    next.version += 1;
    if next.takes_traffic() {
        // Its targets drain first; its node is told to stop it once they have.
        next.state = next.state.max(TaskState::Deactivating);
    }
    if next.node.is_none() {
        next.state = TaskState::Stopped;
        next.waiting = None;
        next.stopping_at = Some(now);
        next.execution_stopped_at = Some(now);
        next.stopped_at = Some(now);
        for container in &mut next.containers {
            container.last_status = "STOPPED".to_owned();
        }
    }
    Some(next)
}

/// Ports of the machine that the task must have for itself.
fn host_ports(definition: &api::TaskDefinition, network_mode: &str) -> Vec<HostPort> {
    if !matches!(network_mode, "bridge" | "host") {
        return Vec::new();
    }
    let mut out: Vec<HostPort> = definition
        .container_definitions
        .iter()
        .flatten()
        .flat_map(|c| c.port_mappings.iter().flatten())
        .filter_map(|mapping| {
            let transport = match mapping.protocol.as_deref() {
                Some("udp") => link::Transport::Udp,
                _ => link::Transport::Tcp,
            };
            let port = |n: i32| u16::try_from(n).ok().filter(|p| *p != 0);
            match (network_mode, mapping.container_port_range.as_deref()) {
                ("host", Some(range)) => {
                    let (first, last) = range.split_once('-')?;
                    Some(HostPort {
                        first: first.parse().ok()?,
                        last: last.parse().ok()?,
                        transport,
                    })
                }
                // A range under bridge takes whatever ports are free when the task starts.
                (_, Some(_)) => None,
                ("host", None) => {
                    let p = port(mapping.host_port.filter(|p| *p != 0).or(mapping.container_port)?)?;
                    Some(HostPort {
                        first: p,
                        last: p,
                        transport,
                    })
                }
                (_, None) => {
                    let p = port(mapping.host_port?)?;
                    Some(HostPort {
                        first: p,
                        last: p,
                        transport,
                    })
                }
            }
        })
        .collect();
    out.sort();
    out.dedup();
    out
}

#[cfg(test)]
mod tests;
