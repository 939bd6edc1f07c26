//! From a placed task to what its node is told to run: overrides applied, defaults filled in.
//!
//! Control calls `assignment` for every task of a node's desired set. Pure: the same snapshot and record give the same
//! spec, so that a node can tell a repetition from a change.

mod logging;

use crate::api;
use crate::records::{AccountSettingRecord, DesiredStatus, TaskDefinitionRecord, TaskRecord, TaskState};
use neargate_core::{CpuUnits, MiB};
use neargate_link as link;
use neargate_store::Snapshot;
use std::sync::Arc;

/// What the task's node is to do; none while it has no node, and once it is STOPPED. A wish to stop becomes a stop order.
pub fn assignment(snapshot: &Snapshot, task: &TaskRecord) -> Option<Arc<link::TaskSpec>> {
    if task.node.is_none() || task.state == TaskState::Stopped {
        return None;
    }
    let key = TaskDefinitionRecord::key(&task.region, &task.family, task.revision);
    let definition = snapshot.get::<TaskDefinitionRecord>(&key)?;
    let setting = AccountSettingRecord::key(&task.region, None, "defaultLogDriverMode");
    let blocking_default = snapshot
        .get::<AccountSettingRecord>(&setting)
        .is_some_and(|s| s.value.eq_ignore_ascii_case("blocking"));
    Some(Arc::new(spec(task, &definition.definition, blocking_default)?))
}

fn spec(task: &TaskRecord, d: &api::TaskDefinition, blocking_default: bool) -> Option<link::TaskSpec> {
    let network = match task.network_mode.as_str() {
        "awsvpc" => {
            let i = task.interface.as_ref()?;
            link::NetworkSpec::Awsvpc(link::InterfaceSpec {
                interface_id: i.interface_id.clone(),
                mac: i.mac.clone(),
                address: i.address,
                subnet_prefix: i.subnet_prefix,
                gateway: i.gateway,
                vpc_cidr: i.vpc_cidr,
                private_dns_name: i.private_dns_name.clone(),
                vpc_id: i.vpc_id.clone(),
                groups: i.groups.clone(),
            })
        }
        "host" => link::NetworkSpec::Host,
        "none" => link::NetworkSpec::None,
        _ => link::NetworkSpec::Bridge,
    };
    let containers = d
        .container_definitions
        .iter()
        .flatten()
        .map(|c| container(task, c, blocking_default))
        .collect();
    let volumes = d
        .volumes
        .iter()
        .flatten()
        .map(|v| link::VolumeSpec {
            name: v.name.clone().unwrap_or_default(),
            host_path: v
                .host
                .as_ref()
                .and_then(|h| h.source_path.clone())
                .filter(|p| !p.is_empty()),
        })
        .collect();
    // Who still takes traffic is left to finish it.
    let stop = (task.desired == DesiredStatus::Stopped && !task.takes_traffic()).then(|| link::StopOrder {
        code: task.stop_code.clone().unwrap_or_default(),
        reason: task.stopped_reason.clone().unwrap_or_default(),
    });
    Some(link::TaskSpec {
        arn: task.arn.clone(),
        id: task.id.clone(),
        region: task.region.clone(),
        cluster: task.cluster.clone(),
        family: task.family.clone(),
        revision: task.revision,
        launch_type: if task.is_fargate() {
            link::LaunchType::Fargate
        } else {
            link::LaunchType::Ec2
        },
        service: task.service.as_ref().map(|service| service.name.clone()),
        availability_zone: task.availability_zone.clone(),
        tags: task.tags.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        network,
        containers,
        volumes,
        cpu: task.cpu.map(CpuUnits),
        memory: task.memory.map(MiB),
        ephemeral_storage_gib: task.ephemeral_storage_gib,
        pid_mode: namespace(d.pid_mode.as_deref()),
        ipc_mode: namespace(d.ipc_mode.as_deref()),
        stop,
    })
}

fn namespace(mode: Option<&str>) -> link::NamespaceMode {
    match mode {
        Some("task") => link::NamespaceMode::Task,
        Some("host") => link::NamespaceMode::Host,
        Some("none") => link::NamespaceMode::None,
        _ => link::NamespaceMode::Private,
    }
}

fn container(task: &TaskRecord, c: &api::ContainerDefinition, blocking_default: bool) -> link::ContainerSpec {
    let name = c.name.clone().unwrap_or_default();
    let known = task.containers.iter().find(|k| k.name == name);
    let o = task
        .overrides
        .container_overrides
        .iter()
        .flatten()
        .find(|o| o.name.as_deref() == Some(name.as_str()));
    let count = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok());
    link::ContainerSpec {
        id: known.map(|k| k.id.clone()).unwrap_or_default(),
        image: c.image.clone().unwrap_or_default(),
        image_digest: task.pinned_digests.get(&name).cloned(),
        essential: c.essential.unwrap_or(true),
        entry_point: c.entry_point.clone(),
        command: o.and_then(|o| o.command.clone()).or_else(|| c.command.clone()),
        environment: environment(c, o),
        environment_files: o
            .and_then(|o| o.environment_files.as_ref())
            .or(c.environment_files.as_ref())
            .into_iter()
            .flatten()
            .filter_map(|f| f.value.clone())
            .collect(),
        user: c.user.clone(),
        working_directory: c.working_directory.clone(),
        hostname: c.hostname.clone(),
        extra_hosts: c
            .extra_hosts
            .iter()
            .flatten()
            .filter_map(|h| Some((h.hostname.clone()?, h.ip_address.clone()?)))
            .collect(),
        dns_servers: c.dns_servers.clone().unwrap_or_default(),
        dns_search_domains: c.dns_search_domains.clone().unwrap_or_default(),
        links: c.links.clone().unwrap_or_default(),
        disable_networking: c.disable_networking.unwrap_or(false),
        readonly_root_filesystem: c.readonly_root_filesystem.unwrap_or(false),
        privileged: c.privileged.unwrap_or(false),
        interactive: c.interactive.unwrap_or(false),
        pseudo_terminal: c.pseudo_terminal.unwrap_or(false),
        docker_labels: c.docker_labels.clone().unwrap_or_default(),
        docker_security_options: c.docker_security_options.clone().unwrap_or_default(),
        ulimits: c
            .ulimits
            .iter()
            .flatten()
            .map(|u| link::Ulimit {
                name: u.name.clone().unwrap_or_default(),
                soft: i64::from(u.soft_limit.unwrap_or(0)),
                hard: i64::from(u.hard_limit.unwrap_or(0)),
            })
            .collect(),
        linux: c.linux_parameters.as_ref().map(linux).unwrap_or_default(),
        system_controls: c
            .system_controls
            .iter()
            .flatten()
            .filter_map(|s| Some((s.namespace.clone()?, s.value.clone()?)))
            .collect(),
        cpu: known.map(|k| k.cpu).filter(|n| *n > 0).map(CpuUnits),
        memory: known.and_then(|k| k.memory).map(MiB),
        memory_reservation: known.and_then(|k| k.memory_reservation).map(MiB),
        depends_on: c
            .depends_on
            .iter()
            .flatten()
            .map(|d| link::Dependency {
                container: d.container_name.clone().unwrap_or_default(),
                condition: match d.condition.as_deref() {
                    Some("COMPLETE") => link::Condition::Complete,
                    Some("SUCCESS") => link::Condition::Success,
                    Some("HEALTHY") => link::Condition::Healthy,
                    _ => link::Condition::Start,
                },
            })
            .collect(),
        start_timeout: count(c.start_timeout),
        stop_timeout: count(c.stop_timeout),
        restart_policy: c
            .restart_policy
            .as_ref()
            .filter(|p| p.enabled == Some(true))
            .map(|p| link::RestartPolicy {
                ignored_exit_codes: p.ignored_exit_codes.clone().unwrap_or_default(),
                attempt_period: count(p.restart_attempt_period).unwrap_or(300),
            }),
        mounts: c
            .mount_points
            .iter()
            .flatten()
            .map(|m| link::MountPoint {
                volume: m.source_volume.clone().unwrap_or_default(),
                container_path: m.container_path.clone().unwrap_or_default(),
                read_only: m.read_only.unwrap_or(false),
            })
            .collect(),
        volumes_from: c
            .volumes_from
            .iter()
            .flatten()
            .map(|v| link::VolumeFrom {
                container: v.source_container.clone().unwrap_or_default(),
                read_only: v.read_only.unwrap_or(false),
            })
            .collect(),
        port_mappings: c
            .port_mappings
            .iter()
            .flatten()
            .filter_map(|m| port_mapping(&task.network_mode, m))
            .collect(),
        health_check: c.health_check.as_ref().and_then(health_check),
        log: logging::log(task, &name, c.log_configuration.as_ref(), blocking_default),
        name,
    }
}

/// The definition's variables in their order, overridden in place; new ones after them.
fn environment(c: &api::ContainerDefinition, o: Option<&api::ContainerOverride>) -> Vec<(String, String)> {
    let pairs = |list: &Option<Vec<api::KeyValuePair>>| -> Vec<(String, String)> {
        list.iter()
            .flatten()
            .filter_map(|p| Some((p.name.clone()?, p.value.clone().unwrap_or_default())))
            .collect()
    };
    let mut out: Vec<(String, String)> = Vec::new();
    for (name, value) in pairs(&c.environment)
        .into_iter()
        .chain(o.map(|o| pairs(&o.environment)).unwrap_or_default())
    {
        match out.iter_mut().find(|(n, _)| *n == name) {
            Some(known) => known.1 = value,
            None => out.push((name, value)),
        }
    }
    out
}

fn linux(p: &api::LinuxParameters) -> link::LinuxSpec {
    let mib = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok()).map(MiB);
    link::LinuxSpec {
        capabilities_add: p.capabilities.as_ref().and_then(|c| c.add.clone()).unwrap_or_default(),
        capabilities_drop: p.capabilities.as_ref().and_then(|c| c.drop.clone()).unwrap_or_default(),
        init_process: p.init_process_enabled.unwrap_or(false),
        shared_memory: mib(p.shared_memory_size),
        tmpfs: p
            .tmpfs
            .iter()
            .flatten()
            .map(|t| link::Tmpfs {
                container_path: t.container_path.clone().unwrap_or_default(),
                size: mib(t.size).unwrap_or_default(),
                mount_options: t.mount_options.clone().unwrap_or_default(),
            })
            .collect(),
        devices: p
            .devices
            .iter()
            .flatten()
            .map(|d| {
                let host_path = d.host_path.clone().unwrap_or_default();
                link::Device {
                    container_path: d.container_path.clone().unwrap_or_else(|| host_path.clone()),
                    host_path,
                    permissions: d
                        .permissions
                        .clone()
                        .filter(|p| !p.is_empty())
                        .unwrap_or_else(|| ["read", "write", "mknod"].map(str::to_owned).to_vec()),
                }
            })
            .collect(),
        max_swap: mib(p.max_swap),
        swappiness: p.swappiness.and_then(|n| u32::try_from(n).ok()),
    }
}

fn port_mapping(network_mode: &str, m: &api::PortMapping) -> Option<link::PortMapping> {
    let transport = match m.protocol.as_deref() {
        Some("udp") => link::Transport::Udp,
        _ => link::Transport::Tcp,
    };
    let port = |n: Option<i32>| n.and_then(|n| u16::try_from(n).ok()).filter(|p| *p != 0);
    let (first, last) = match m.container_port_range.as_deref() {
        Some(range) => {
            let (first, last) = range.split_once('-')?;
            (first.trim().parse().ok()?, last.trim().parse().ok()?)
        }
        None => {
            let p = port(m.container_port)?;
            (p, p)
        }
    };
    let host_port = match network_mode {
        "bridge" => port(m.host_port).unwrap_or(0),
        _ => first,
    };
    Some(link::PortMapping {
        container_port: first,
        container_port_end: last,
        host_port,
        transport,
    })
}

fn health_check(h: &api::HealthCheck) -> Option<link::HealthCheck> {
    let command = h.command.clone().filter(|c| !c.is_empty() && c[0] != "NONE")?;
    let or = |n: Option<i32>, default: u32| n.and_then(|n| u32::try_from(n).ok()).unwrap_or(default);
    Some(link::HealthCheck {
        command,
        interval: or(h.interval, 30),
        timeout: or(h.timeout, 5),
        retries: or(h.retries, 3),
        start_period: or(h.start_period, 0),
    })
}

#[cfg(test)]
mod tests;
