//! What the task operations share: how a request names a task, and a task as it is described.

use crate::api::{self, errors};
use crate::records::{ClusterRecord, NodeRecord, TaskContainer, TaskInterface, TaskRecord, TaskState};
use crate::tagging;
use neargate_core::{Arn, AwsError, RequestContext};
use neargate_link::{Health, NetworkBinding, Transport};
use neargate_store::{Snapshot, Versioned};

/// The task id that `reference` (an id or an ARN) names in `cluster`; none for an ARN of elsewhere.
///
/// # Errors
/// `InvalidParameterException` for a text that is neither.
pub fn id(cx: &RequestContext, cluster: &str, reference: &str) -> Result<Option<String>, AwsError> {
    if !reference.starts_with("arn:") {
        return match reference.len() {
            32 | 36 => Ok(Some(reference.to_owned())),
            _ => Err(errors::invalid_parameter_exception(
                "taskId length should be one of [32,36]",
            )),
        };
    }
    let bad = || errors::invalid_parameter_exception("Task Identifier is invalid");
    let arn: Arn = reference.parse().map_err(|_| bad())?;
    let ("task", rest) = arn.resource_parts() else {
        return Err(bad());
    };
    if arn.service != "ecs" || rest.is_empty() {
        return Err(bad());
    }
    let here = arn.region == cx.region && arn.account == cx.account;
    Ok(match rest.split_once('/') {
        Some((named, id)) if here && named == cluster => Some(id.to_owned()),
        None if here => Some(rest.to_owned()),
        _ => None,
    })
}

/// The task that `reference` names, if it is there for users.
///
/// # Errors
/// `InvalidParameterException` for a text that names no task at all.
pub fn find(
    snapshot: &Snapshot,
    cx: &RequestContext,
    cluster: &ClusterRecord,
    reference: &str,
) -> Result<Option<Versioned<TaskRecord>>, AwsError> {
    let id = id(cx, &cluster.name, reference)?;
    let task = id.and_then(|id| snapshot.get::<TaskRecord>(&TaskRecord::key(&cluster.region, &cluster.name, &id)));
    Ok(task.filter(|task| task.is_shown()))
}

/// The failure of a task that is not there.
pub fn missing(cx: &RequestContext, cluster: &ClusterRecord, reference: &str) -> api::Failure {
    failure(arn_of(cx, cluster, reference), "MISSING", None)
}

/// The ARN that `reference` stands for.
pub fn arn_of(cx: &RequestContext, cluster: &ClusterRecord, reference: &str) -> String {
    match reference.starts_with("arn:") {
        true => reference.to_owned(),
        false => cx.arn("ecs", format!("task/{}/{reference}", cluster.name)),
    }
}

pub fn failure(arn: String, reason: impl Into<String>, detail: Option<String>) -> api::Failure {
    api::Failure {
        arn: Some(arn),
        reason: Some(reason.into()),
        detail,
    }
}

/// The task as it is described.
pub fn shape(snapshot: &Snapshot, task: &TaskRecord, tags: bool) -> api::Task {
    let node = task.node.as_deref().and_then(|id| snapshot.get::<NodeRecord>(id));
    let reached = task.connectivity_at.is_some();
    let away = node
        .as_ref()
        .filter(|n| !n.connected && task.state != TaskState::Stopped);
    let architecture = match node
        .as_ref()
        .map(|n| n.hello.cpu_architecture.as_str())
        .or(task.cpu_architecture.as_deref())
    {
        Some("ARM64") => "arm64",
        _ => "x86_64",
    };
    let fargate = task.is_fargate();
    api::Task {
        attachments: Some(attachment(task).into_iter().collect()),
        attributes: Some(vec![api::Attribute {
            name: Some("ecs.cpu-architecture".to_owned()),
            value: Some(architecture.to_owned()),
            ..api::Attribute::default()
        }]),
        availability_zone: task.availability_zone.clone(),
        capacity_provider_name: task.capacity_provider.clone(),
        cluster_arn: Some(task.sibling_arn(&format!("cluster/{}", task.cluster))),
        connectivity: reached.then(|| if away.is_some() { "DISCONNECTED" } else { "CONNECTED" }.to_owned()),
        connectivity_at: match &away {
            Some(node) if reached => Some(node.connectivity_at),
            _ => task.connectivity_at,
        },
        container_instance_arn: task
            .node
            .as_ref()
            .filter(|_| !fargate)
            .map(|node| task.sibling_arn(&format!("container-instance/{}/{node}", task.cluster))),
        containers: Some(task.containers.iter().map(|c| container(task, c)).collect()),
        cpu: task
            .cpu
            .or((task.reserved_cpu > 0).then_some(task.reserved_cpu))
            .map(|n| n.to_string()),
        created_at: Some(task.created_at),
        desired_status: Some(task.desired.as_str().to_owned()),
        enable_execute_command: Some(task.enable_execute_command),
        ephemeral_storage: task.ephemeral_storage_gib.map(|gib| api::EphemeralStorage {
            size_in_gi_b: Some(signed(gib)),
        }),
        execution_stopped_at: task.execution_stopped_at,
        fargate_ephemeral_storage: task.ephemeral_storage_gib.map(|gib| api::TaskEphemeralStorage {
            size_in_gi_b: Some(signed(gib)),
            kms_key_id: None,
        }),
        group: Some(task.group.clone()),
        health_status: Some(health(task.health).to_owned()),
        inference_accelerators: Some(Vec::new()),
        last_status: Some(task.state.as_str().to_owned()),
        launch_type: Some(task.launch_type.clone()),
        memory: task
            .memory
            .or((task.reserved_memory > 0).then_some(task.reserved_memory))
            .map(|n| n.to_string()),
        overrides: Some(overrides(task)),
        platform_family: fargate.then(|| "Linux".to_owned()),
        platform_version: task.platform_version.clone(),
        pull_started_at: task.pull_started_at,
        pull_stopped_at: task.pull_stopped_at,
        started_at: task.started_at,
        started_by: task.started_by.clone(),
        stop_code: task.stop_code.clone(),
        stopped_at: task.stopped_at,
        stopped_reason: task.stopped_reason.clone(),
        stopping_at: task.stopping_at,
        tags: Some(if tags { tagging::shape(&task.tags) } else { Vec::new() }),
        task_arn: Some(task.arn.clone()),
        task_definition_arn: Some(task.task_definition_arn()),
        trusted_execution_summary: None,
        version: Some(task.version),
    }
}

fn signed(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn health(health: Health) -> &'static str {
    match health {
        Health::Unknown => "UNKNOWN",
        Health::Healthy => "HEALTHY",
        Health::Unhealthy => "UNHEALTHY",
    }
}

/// The ElasticNetworkInterface of an awsvpc task: PRECREATED until it has an address, ATTACHED until the node runs no
/// more of it, DELETED once the address is given back.
fn attachment(task: &TaskRecord) -> Option<api::Attachment> {
    let id = task.attachment_id.clone()?;
    let status = match &task.interface {
        None if task.state == TaskState::Stopped => "DELETED",
        None => "PRECREATED",
        Some(i) if i.released => "DELETED",
        Some(_) if task.state == TaskState::Pending && task.connectivity_at.is_none() => "ATTACHING",
        Some(_) => "ATTACHED",
    };
    let pair = |name: &str, value: String| api::KeyValuePair {
        name: Some(name.to_owned()),
        value: Some(value),
    };
    let details = match &task.interface {
        Some(i) => vec![
            pair("subnetId", i.subnet_id.clone()),
            pair("networkInterfaceId", i.interface_id.clone()),
            pair("macAddress", i.mac.clone()),
            pair("privateDnsName", i.private_dns_name.clone()),
            pair("privateIPv4Address", i.address.to_string()),
        ],
        None => {
            let first = task.network.as_ref().and_then(|n| n.subnets.as_ref()?.first().cloned());
            first.map(|id| pair("subnetId", id)).into_iter().collect()
        }
    };
    Some(api::Attachment {
        id: Some(id),
        r#type: Some("ElasticNetworkInterface".to_owned()),
        status: Some(status.to_owned()),
        details: Some(details),
    })
}

fn container(task: &TaskRecord, c: &TaskContainer) -> api::Container {
    let interfaces = |i: &TaskInterface| api::NetworkInterface {
        attachment_id: task.attachment_id.clone(),
        private_ipv4_address: Some(i.address.to_string()),
        ipv6_address: None,
    };
    api::Container {
        container_arn: Some(task.sibling_arn(&format!("container/{}/{}/{}", task.cluster, task.id, c.id))),
        cpu: Some(c.cpu.to_string()),
        exit_code: c.exit_code,
        health_status: Some(health(c.health).to_owned()),
        image: Some(c.image.clone()),
        image_digest: c.image_digest.clone(),
        last_status: Some(c.last_status.clone()),
        memory: c.memory.map(|n| n.to_string()),
        memory_reservation: c.memory_reservation.map(|n| n.to_string()),
        name: Some(c.name.clone()),
        network_bindings: Some(c.network_bindings.iter().map(binding).collect()),
        network_interfaces: Some(task.interface.iter().map(interfaces).collect()),
        reason: c.reason.clone(),
        runtime_id: c.runtime_id.clone(),
        task_arn: Some(task.arn.clone()),
        ..api::Container::default()
    }
}

fn binding(b: &NetworkBinding) -> api::NetworkBinding {
    let one = |port: u16| (b.further == 0).then_some(i32::from(port));
    let range = |port: u16| (b.further > 0).then(|| format!("{port}-{}", port.saturating_add(b.further)));
    api::NetworkBinding {
        bind_ip: Some(b.bind_ip.clone()),
        container_port: one(b.container_port),
        host_port: one(b.host_port),
        protocol: Some(
            match b.transport {
                Transport::Tcp => "tcp",
                Transport::Udp => "udp",
            }
            .to_owned(),
        ),
        container_port_range: range(b.container_port),
        host_port_range: range(b.host_port),
    }
}

/// The overrides as AWS echoes them: one entry a container, empty or not.
fn overrides(task: &TaskRecord) -> api::TaskOverride {
    let given = task.overrides.container_overrides.as_deref().unwrap_or_default();
    let of = |c: &TaskContainer| {
        given
            .iter()
            .find(|o| o.name.as_ref() == Some(&c.name))
            .cloned()
            .unwrap_or_else(|| api::ContainerOverride {
                name: Some(c.name.clone()),
                ..api::ContainerOverride::default()
            })
    };
    api::TaskOverride {
        container_overrides: Some(task.containers.iter().map(of).collect()),
        inference_accelerator_overrides: Some(Vec::new()),
        ..task.overrides.clone()
    }
}

#[cfg(test)]
mod tests;
