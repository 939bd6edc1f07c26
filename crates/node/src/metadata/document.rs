//! What the endpoint says of tasks and containers, as ECS words it. Pure.
//!
//! Source: "Amazon ECS task metadata endpoint version 4" of the ECS developer guide.

use super::Known;
use crate::bundle::launch::runtime_id;
use crate::plan::network_of;
use crate::plan::observed::{Image, Observed, Piece, Run};
use crate::plan::report::phase;
use neargate_core::{MiB, Timestamp};
use neargate_link::{Health, InterfaceSpec, LaunchType, LogSpec, NetworkSpec, Phase, TaskSpec, Transport};
use neargate_netns::Cidr;
use serde_json::{Map, Value, json};
use std::net::Ipv4Addr;

/// Versions of the endpoint; later ones say more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V2,
    V3,
    V4,
}

/// What the machine adds to a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Around {
    /// Where the task's programs ask for names.
    pub resolver: Ipv4Addr,
    /// When the clock was looked at.
    pub at: Timestamp,
    /// None: it is not synchronized.
    pub error_bound_millis: Option<f64>,
    /// Ephemeral storage that the task uses; none: it has none, or nobody knows yet.
    pub storage_used: Option<MiB>,
}

/// The document of a task.
pub fn task(known: &Known, version: Version, around: &Around, tags: bool) -> Value {
    let Known { spec, observed } = known;
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            out.insert(name.to_owned(), value);
        }
    };
    put("Cluster", json!(cluster_arn(spec)));
    put("TaskARN", json!(spec.arn));
    put("Family", json!(spec.family));
    put("ServiceName", json!(spec.service));
    put("Revision", json!(spec.revision.to_string()));
    put("DesiredStatus", json!(desired(known)));
    put("KnownStatus", json!(task_status(observed)));
    put(
        "Limits",
        limits(spec.cpu.map(|cpu| f64::from(cpu.0) / 1024.0), spec.memory.map(|m| m.0)),
    );
    put("PullStartedAt", time(observed.pull_started_at));
    put("PullStoppedAt", time(observed.pull_stopped_at));
    put("ExecutionStoppedAt", time(observed.execution_stopped_at));
    put("AvailabilityZone", json!(spec.availability_zone));
    if version == Version::V4 {
        put("LaunchType", json!(launch_type(spec)));
        if let NetworkSpec::Awsvpc(interface) = &spec.network {
            put("VPCID", json!(interface.vpc_id));
        }
        if spec.launch_type == LaunchType::Fargate {
            put("ClockDrift", clock_drift(around));
            put("EphemeralStorageMetrics", storage(spec, around));
        }
        put("FaultInjectionEnabled", json!(false));
    }
    let containers = (0..spec.containers.len()).map(|index| container(known, index, version, around));
    put("Containers", containers.collect());
    if tags && !spec.tags.is_empty() {
        let tags: Map<String, Value> = spec.tags.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        put("TaskTags", Value::Object(tags));
    }
    Value::Object(out)
}

/// The document of one of its containers.
pub fn container(known: &Known, index: usize, version: Version, around: &Around) -> Value {
    let Known { spec, observed } = known;
    let (c, seen) = (&spec.containers[index], &observed.containers[index]);
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            out.insert(name.to_owned(), value);
        }
    };
    put("DockerId", json!(runtime_id(spec, index)));
    put("Name", json!(c.name));
    put("DockerName", json!(c.name));
    put("Image", json!(c.image));
    put("ImageID", json!(seen.digest));
    put("Labels", labels(spec, index));
    put("DesiredStatus", json!(desired(known)));
    put("KnownStatus", json!(container_status(observed, index)));
    if let Run::Stopped { at, code } = seen.run {
        put("ExitCode", json!(code));
        put("FinishedAt", time(Some(at)));
    }
    put(
        "Limits",
        limits(c.cpu.map(|cpu| f64::from(cpu.0)), c.memory.map(|m| m.0)),
    );
    // Made and started in one go.
    put("CreatedAt", time(seen.started_at));
    put("StartedAt", time(seen.started_at));
    put("Type", json!("NORMAL"));
    if c.health_check.is_some() {
        put("Health", json!({ "status": health(seen.health.status) }));
    }
    if c.restart_policy.is_some() {
        put("RestartCount", json!(seen.restarts));
    }
    if version == Version::V4 {
        if let LogSpec::Awslogs(log) = &c.log {
            put("LogDriver", json!("awslogs"));
            let options = json!({
                "awslogs-group": log.group, "awslogs-region": log.region, "awslogs-stream": log.stream,
            });
            put("LogOptions", options);
        } else {
            put("LogDriver", json!("json-file"));
        }
        put("ContainerARN", json!(container_arn(spec, index)));
        put("Snapshotter", json!("overlayfs"));
    }
    let ports = seen.bindings.iter().flat_map(|b| {
        b.ports().map(move |(container_port, host_port)| {
            json!({
                "ContainerPort": container_port, "HostPort": host_port, "HostIp": b.bind_ip,
                "Protocol": match b.transport { Transport::Tcp => "tcp", Transport::Udp => "udp" },
            })
        })
    });
    let ports: Vec<Value> = ports.collect();
    if !ports.is_empty() {
        put("Ports", Value::Array(ports));
    }
    put("Networks", json!([network(known, index, version, around.resolver)]));
    Value::Object(out)
}

fn network(known: &Known, index: usize, version: Version, resolver: Ipv4Addr) -> Value {
    let address = known
        .observed
        .networks
        .get(network_of(&known.spec, index))
        .and_then(|n| n.address);
    let addresses: Vec<Ipv4Addr> = address.into_iter().collect();
    match &known.spec.network {
        NetworkSpec::Awsvpc(interface) => awsvpc(interface, &addresses, version, resolver),
        NetworkSpec::Bridge => json!({ "NetworkMode": "bridge", "IPv4Addresses": addresses }),
        NetworkSpec::Host => json!({ "NetworkMode": "host", "IPv4Addresses": addresses }),
        NetworkSpec::None => json!({ "NetworkMode": "none", "IPv4Addresses": addresses }),
    }
}

fn awsvpc(interface: &InterfaceSpec, addresses: &[Ipv4Addr], version: Version, resolver: Ipv4Addr) -> Value {
    let mut out = json!({ "NetworkMode": "awsvpc", "IPv4Addresses": addresses });
    if version == Version::V4 {
        let prefix = interface.subnet_prefix;
        let subnet = Cidr::containing(interface.address, prefix).map(|subnet| subnet.to_string());
        let search = interface.private_dns_name.split_once('.').map(|(_, domain)| domain);
        out["AttachmentIndex"] = json!(0);
        out["MACAddress"] = json!(interface.mac);
        out["IPv4SubnetCIDRBlock"] = json!(subnet);
        out["DomainNameServers"] = json!([resolver]);
        out["DomainNameSearchList"] = json!(search.into_iter().collect::<Vec<_>>());
        out["PrivateDNSName"] = json!(interface.private_dns_name);
        out["SubnetGatewayIpv4Address"] = json!(format!("{}/{prefix}", interface.gateway));
    }
    out
}

fn labels(spec: &TaskSpec, index: usize) -> Value {
    let mut labels = Map::new();
    for (name, value) in &spec.containers[index].docker_labels {
        labels.insert(name.clone(), json!(value));
    }
    for (name, value) in [
        ("cluster", cluster_arn(spec)),
        ("container-name", spec.containers[index].name.clone()),
        ("task-arn", spec.arn.clone()),
        ("task-definition-family", spec.family.clone()),
        ("task-definition-version", spec.revision.to_string()),
    ] {
        labels.insert(format!("com.amazonaws.ecs.{name}"), json!(value));
    }
    Value::Object(labels)
}

/// `arn:…:task/CLUSTER/ID` says where the cluster is.
fn cluster_arn(spec: &TaskSpec) -> String {
    match spec.arn.split_once(":task/") {
        Some((place, _)) => format!("{place}:cluster/{}", spec.cluster),
        None => spec.cluster.clone(),
    }
}

fn container_arn(spec: &TaskSpec, index: usize) -> Option<String> {
    let (place, rest) = spec.arn.split_once(":task/")?;
    Some(format!("{place}:container/{rest}/{}", spec.containers[index].id))
}

fn launch_type(spec: &TaskSpec) -> &'static str {
    match spec.launch_type {
        LaunchType::Fargate => "FARGATE",
        LaunchType::Ec2 => "EC2",
    }
}

fn limits(cpu: Option<f64>, memory: Option<u32>) -> Value {
    let mut limits = Map::new();
    if let Some(cpu) = cpu {
        limits.insert("CPU".to_owned(), json!(cpu));
    }
    if let Some(memory) = memory {
        limits.insert("Memory".to_owned(), json!(memory));
    }
    match limits.is_empty() {
        true => Value::Null,
        false => Value::Object(limits),
    }
}

fn desired(known: &Known) -> &'static str {
    match known.observed.stop.is_some() || known.spec.stop.is_some() {
        true => "STOPPED",
        false => "RUNNING",
    }
}

fn task_status(observed: &Observed) -> &'static str {
    match phase(observed) {
        Phase::Stopped => "STOPPED",
        Phase::Running | Phase::Stopping => "RUNNING",
        Phase::Pending => {
            let status = |index| container_status(observed, index);
            // As far as all of them are.
            let order = ["NONE", "PULLED", "CREATED", "RUNNING"];
            let reached = |index| {
                order
                    .iter()
                    .position(|s| *s == status(index))
                    .unwrap_or(order.len() - 1)
            };
            let least = (0..observed.containers.len()).map(reached).min().unwrap_or_default();
            order[least]
        }
    }
}

fn container_status(observed: &Observed, index: usize) -> &'static str {
    let c = &observed.containers[index];
    match (c.run, &c.image, c.rootfs) {
        (Run::Stopped { .. }, ..) => "STOPPED",
        (Run::Running, ..) => "RUNNING",
        (_, _, Piece::Ready) => "CREATED",
        (_, Image::Ready, _) => "PULLED",
        _ => "NONE",
    }
}

fn health(health: Health) -> &'static str {
    match health {
        Health::Unknown => "UNKNOWN",
        Health::Healthy => "HEALTHY",
        Health::Unhealthy => "UNHEALTHY",
    }
}

fn clock_drift(around: &Around) -> Value {
    match around.error_bound_millis {
        Some(bound) => json!({
            "ClockErrorBound": bound,
            "ReferenceTimestamp": around.at.iso8601(),
            "ClockSynchronizationStatus": "SYNCHRONIZED",
        }),
        None => json!({ "ClockSynchronizationStatus": "NOT_SYNCHRONIZED" }),
    }
}

/// The size that ECS gives a Fargate task which asks for none.
const DEFAULT_STORAGE_GIB: u32 = 20;
/// And what Fargate says of it: 16 MiB more than 20 GiB. What it says of other sizes is not known, so these are told as they
/// are.
const DEFAULT_STORAGE_MIB: u32 = 20_496;

fn storage(spec: &TaskSpec, around: &Around) -> Value {
    let Some((used, gib)) = around.storage_used.zip(spec.ephemeral_storage_gib) else {
        return Value::Null;
    };
    let reserved = match gib {
        DEFAULT_STORAGE_GIB => DEFAULT_STORAGE_MIB,
        other => other.saturating_mul(1024),
    };
    json!({ "Utilized": used.0, "Reserved": reserved })
}

fn time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| json!(at.iso8601()))
}
