//! The form in which AWS describes a definition: defaults filled in, sizes as plain numbers, no list missing that AWS
//! always answers.

use super::list;
use crate::api;
use crate::launch::overrides::{parse_cpu, parse_memory};

/// The request in normal form.
///
/// # Errors
/// A task size that cannot be read.
pub(super) fn form(input: api::RegisterTaskDefinitionRequest) -> Result<api::TaskDefinition, String> {
    let network_mode = text(input.network_mode).unwrap_or_else(|| "bridge".to_owned());
    let cpu = text(input.cpu).map(|cpu| match parse_cpu(&cpu) {
        Some(units) => Ok(units.to_string()),
        None => Err(format!("Invalid 'cpu' setting for task: {cpu}")),
    });
    let memory = text(input.memory).map(|memory| match parse_memory(&memory) {
        Some(mib) => Ok(mib.to_string()),
        None => Err(format!("Invalid 'memory' setting for task: {memory}")),
    });
    let containers = input.container_definitions.unwrap_or_default();
    Ok(api::TaskDefinition {
        container_definitions: Some(containers.into_iter().map(|c| container(c, &network_mode)).collect()),
        cpu: cpu.transpose()?,
        memory: memory.transpose()?,
        enable_fault_injection: input.enable_fault_injection,
        ephemeral_storage: input.ephemeral_storage,
        execution_role_arn: text(input.execution_role_arn),
        family: input.family,
        ipc_mode: text(input.ipc_mode),
        network_mode: Some(network_mode),
        pid_mode: text(input.pid_mode),
        placement_constraints: Some(input.placement_constraints.unwrap_or_default()),
        requires_compatibilities: compatibilities(input.requires_compatibilities),
        runtime_platform: input.runtime_platform.filter(|p| *p != api::RuntimePlatform::default()),
        task_role_arn: text(input.task_role_arn),
        volumes: Some(input.volumes.unwrap_or_default().into_iter().map(volume).collect()),
        ..Default::default()
    })
}

fn text(value: Option<String>) -> Option<String> {
    value.filter(|v| !v.is_empty())
}

fn compatibilities(given: Option<Vec<String>>) -> Option<Vec<String>> {
    let mut out: Vec<String> = Vec::new();
    for item in given? {
        if !out.contains(&item) {
            out.push(item);
        }
    }
    (!out.is_empty()).then_some(out)
}

fn volume(mut volume: api::Volume) -> api::Volume {
    volume.configured_at_launch = volume.configured_at_launch.filter(|at_launch| *at_launch);
    let api::HostVolumeProperties { source_path } = volume.host.unwrap_or_default();
    volume.host = Some(api::HostVolumeProperties {
        source_path: text(source_path),
    });
    volume
}

fn container(mut c: api::ContainerDefinition, network_mode: &str) -> api::ContainerDefinition {
    c.cpu.get_or_insert(0);
    c.essential.get_or_insert(true);
    c.environment.get_or_insert_default();
    c.mount_points.get_or_insert_default();
    c.volumes_from.get_or_insert_default();
    c.system_controls.get_or_insert_default();
    for pair in c.environment.iter_mut().flatten() {
        pair.value.get_or_insert_default();
    }
    for mapping in c.port_mappings.get_or_insert_default() {
        mapping.protocol.get_or_insert_with(|| "tcp".to_owned());
        if list_text(&mapping.container_port_range).is_none() {
            mapping.container_port_range = None;
            match network_mode {
                "bridge" => mapping.host_port.get_or_insert(0),
                _ => mapping.host_port.get_or_insert(mapping.container_port.unwrap_or(0)),
            };
            // 0 asks for the container's own port where it is the only one possible.
            if network_mode != "bridge" && mapping.host_port == Some(0) {
                mapping.host_port = mapping.container_port;
            }
        }
    }
    if let Some(check) = &mut c.health_check {
        check.interval.get_or_insert(30);
        check.timeout.get_or_insert(5);
        check.retries.get_or_insert(3);
    }
    c.hostname = text(c.hostname);
    c.user = text(c.user);
    c.working_directory = text(c.working_directory);
    if list(&c.secrets).is_empty() {
        c.secrets = None;
    }
    if list(&c.resource_requirements).is_empty() {
        c.resource_requirements = None;
    }
    if list(&c.credential_specs).is_empty() {
        c.credential_specs = None;
    }
    c
}

fn list_text(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|v| !v.is_empty())
}
