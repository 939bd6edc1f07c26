//! What the container-instance operations share: how a request names a node, and a node as it is described.

use crate::api::{self, errors};
use crate::plan::placement::Fleet;
use crate::records::{ClusterRecord, HostPort, NodeRecord, TaskRecord, TaskState};
use neargate_core::{Arn, AwsError, RequestContext};
use neargate_link::Transport;
use neargate_store::{Snapshot, Versioned};

/// The node that `reference` (an id or an ARN) names.
///
/// # Errors
/// `InvalidParameterException` for an ARN of something else.
pub fn find(
    snapshot: &Snapshot,
    cx: &RequestContext,
    cluster: &ClusterRecord,
    reference: &str,
) -> Result<Option<Versioned<NodeRecord>>, AwsError> {
    let id = match reference.parse::<Arn>() {
        Err(_) => Some(reference.to_owned()),
        Ok(arn) => {
            let ("container-instance", rest) = arn.resource_parts() else {
                return Err(errors::invalid_parameter_exception(
                    "Container instance identifier is invalid",
                ));
            };
            let here = arn.service == "ecs" && arn.region == cx.region && arn.account == cx.account;
            match rest.split_once('/') {
                Some((named, id)) if here && named == cluster.name => Some(id.to_owned()),
                None if here => Some(rest.to_owned()),
                _ => None,
            }
        }
    };
    Ok(id.and_then(|id| snapshot.get::<NodeRecord>(&id)))
}

/// The node's ARN as a container instance of `cluster`.
pub fn arn(cx: &RequestContext, cluster: &ClusterRecord, node: &str) -> String {
    match node.starts_with("arn:") {
        true => node.to_owned(),
        false => cx.arn("ecs", format!("container-instance/{}/{node}", cluster.name)),
    }
}

/// The node as a container instance of `cluster`.
pub fn shape(
    snapshot: &Snapshot,
    fleet: &Fleet,
    cx: &RequestContext,
    cluster: &ClusterRecord,
    node: &NodeRecord,
) -> api::ContainerInstance {
    let (mut running, mut pending) = (0, 0);
    for (_, task) in snapshot.indexed::<TaskRecord>(TaskRecord::BY_NODE, &node.hello.node_id) {
        if task.region == cluster.region && task.cluster == cluster.name {
            match task.state {
                TaskState::Running => running += 1,
                TaskState::Provisioning | TaskState::Pending | TaskState::Activating => pending += 1,
                _ => {}
            }
        }
    }
    let view = fleet.node(&node.hello.node_id);
    let (cpu, memory) = (i64::from(node.hello.cpu.0), i64::from(node.hello.memory.0));
    let free = view.map_or((cpu, memory), |v| (v.free_cpu().max(0), v.free_memory().max(0)));
    let held: &[HostPort] = view.map(|v| v.ports()).unwrap_or_default();
    let attributes = node
        .attributes(&cx.region)
        .into_iter()
        .map(|(name, value)| api::Attribute {
            name: Some(name),
            value,
            ..api::Attribute::default()
        });
    api::ContainerInstance {
        agent_connected: Some(node.connected),
        attachments: Some(Vec::new()),
        attributes: Some(attributes.collect()),
        container_instance_arn: Some(arn(cx, cluster, &node.hello.node_id)),
        ec2_instance_id: Some(node.ec2_instance_id()),
        pending_tasks_count: Some(pending),
        registered_at: Some(node.registered_at),
        registered_resources: Some(resources(cpu, memory, &[])),
        remaining_resources: Some(resources(free.0, free.1, held)),
        running_tasks_count: Some(running),
        status: Some("ACTIVE".to_owned()),
        tags: Some(Vec::new()),
        version: Some(node.version),
        version_info: Some(api::VersionInfo {
            agent_version: Some(node.hello.version.clone()),
            ..api::VersionInfo::default()
        }),
        ..api::ContainerInstance::default()
    }
}

fn resources(cpu: i64, memory: i64, ports: &[HostPort]) -> Vec<api::Resource> {
    let number = |name: &str, value: i64| api::Resource {
        name: Some(name.to_owned()),
        r#type: Some("INTEGER".to_owned()),
        integer_value: Some(i32::try_from(value).unwrap_or(i32::MAX)),
        double_value: Some(0.0),
        long_value: Some(0),
        string_set_value: None,
    };
    let set = |name: &str, transport: Transport| api::Resource {
        name: Some(name.to_owned()),
        r#type: Some("STRINGSET".to_owned()),
        integer_value: Some(0),
        double_value: Some(0.0),
        long_value: Some(0),
        string_set_value: Some(
            ports
                .iter()
                .filter(|p| p.transport == transport)
                .flat_map(|p| p.first..=p.last)
                .map(|p| p.to_string())
                .collect(),
        ),
    };
    vec![
        number("CPU", cpu),
        number("MEMORY", memory),
        set("PORTS", Transport::Tcp),
        set("PORTS_UDP", Transport::Udp),
    ]
}

/// The node's health: a connected one is well.
pub fn health(node: &NodeRecord) -> api::ContainerInstanceHealthStatus {
    let status = if node.connected { "OK" } else { "INSUFFICIENT_DATA" };
    api::ContainerInstanceHealthStatus {
        overall_status: Some(status.to_owned()),
        details: Some(vec![api::InstanceHealthCheckResult {
            r#type: Some("CONTAINER_RUNTIME".to_owned()),
            status: Some(status.to_owned()),
            status_reason: None,
            last_status_change: Some(node.connectivity_at),
            last_updated: Some(node.connectivity_at),
        }]),
    }
}
