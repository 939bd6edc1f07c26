//! Rules of the definition as a whole: family, sizes, modes, volumes, roles, placement.

use super::{Check, is_name, list, name, network_mode};
use crate::api;
use crate::plan::expression;
use neargate_core::Arn;

/// Smallest and largest task cpu outside Fargate, in cpu units.
const CPU: std::ops::RangeInclusive<u32> = 128..=196_608;
const MAX_CONSTRAINTS: usize = 10;

pub(super) fn family(family: Option<&str>) -> Check {
    match family {
        None | Some("") => Err("Family should not be null or empty.".to_owned()),
        Some(text) if !is_name(text) => Err("Family contains invalid characters.".to_owned()),
        Some(_) => Ok(()),
    }
}

pub(super) fn check(d: &api::TaskDefinition) -> Check {
    sizes(d)?;
    modes(d)?;
    volumes(d)?;
    for role in [&d.task_role_arn, &d.execution_role_arn].into_iter().flatten() {
        if !is_role(role) {
            return Err("Role is not valid".to_owned());
        }
    }
    if let Some(storage) = &d.ephemeral_storage
        && !(21..=200).contains(&storage.size_in_gi_b.unwrap_or(0))
    {
        return Err("Ephemeral storage size must be between 21 GiB and 200 GiB.".to_owned());
    }
    if let Some(architecture) = d.runtime_platform.as_ref().and_then(|p| p.cpu_architecture.as_deref())
        && !matches!(architecture, "X86_64" | "ARM64")
    {
        return Err(format!(
            "Invalid value for runtimePlatform.cpuArchitecture: {architecture}"
        ));
    }
    let constraints = list(&d.placement_constraints);
    if constraints.len() > MAX_CONSTRAINTS {
        return Err(format!(
            "Too many placement constraints: at most {MAX_CONSTRAINTS} are allowed."
        ));
    }
    for constraint in constraints {
        if constraint.r#type.as_deref() != Some("memberOf") {
            return Err("The only placement constraint that a task definition supports is memberOf.".to_owned());
        }
        let text = constraint.expression.as_deref().unwrap_or_default();
        if text.is_empty() {
            return Err("The memberOf placement constraint must have an expression.".to_owned());
        }
        if let Err(error) = expression::parse(text) {
            return Err(format!("Invalid expression in placement constraint: {error}"));
        }
    }
    Ok(())
}

/// Task size against container sizes.
fn sizes(d: &api::TaskDefinition) -> Check {
    let number = |text: &Option<String>| text.as_deref().and_then(|t| t.parse::<u32>().ok());
    let (cpu, memory) = (number(&d.cpu), number(&d.memory));
    if cpu.is_some_and(|cpu| !CPU.contains(&cpu)) {
        return Err(format!(
            "Invalid 'cpu' setting for task. Valid values are between {} and {} CPU units.",
            CPU.start(),
            CPU.end()
        ));
    }
    if memory.is_some_and(|memory| memory < 4) {
        return Err("Invalid 'memory' setting for task.".to_owned());
    }
    let (mut cpu_sum, mut memory_sum) = (0_u64, 0_u64);
    for c in list(&d.container_definitions) {
        let size = |value: Option<i32>| value.and_then(|v| u32::try_from(v).ok());
        let (hard, soft) = (size(c.memory), size(c.memory_reservation));
        if memory.is_none() && hard.is_none() && soft.is_none() {
            return Err(format!(
                "Invalid setting for container '{}'. At least one of 'memory' or 'memoryReservation' must be specified.",
                name(c)
            ));
        }
        if let (Some(task), Some(hard)) = (memory, hard)
            && hard > task
        {
            return Err(format!(
                "Invalid setting for container '{}'. The 'memory' setting for container is greater than for the task.",
                name(c)
            ));
        }
        cpu_sum += u64::from(size(c.cpu).unwrap_or(0));
        memory_sum += u64::from(soft.or(hard).unwrap_or(0));
    }
    if cpu.is_some_and(|task| cpu_sum > u64::from(task)) {
        return Err("The total 'cpu' setting for containers is greater than for the task.".to_owned());
    }
    if memory.is_some_and(|task| memory_sum > u64::from(task)) {
        return Err("The total 'memory' setting for containers is greater than for the task.".to_owned());
    }
    Ok(())
}

fn modes(d: &api::TaskDefinition) -> Check {
    match network_mode(d) {
        "bridge" | "host" | "awsvpc" | "none" => {}
        other => return Err(format!("Invalid network mode: {other}")),
    }
    match d.pid_mode.as_deref() {
        None | Some("host" | "task") => {}
        Some(other) => return Err(format!("Invalid pidMode: {other}")),
    }
    match d.ipc_mode.as_deref() {
        None | Some("host" | "task" | "none") => {}
        Some(other) => return Err(format!("Invalid ipcMode: {other}")),
    }
    Ok(())
}

fn volumes(d: &api::TaskDefinition) -> Check {
    let volumes = list(&d.volumes);
    for (at, volume) in volumes.iter().enumerate() {
        let name = volume.name.as_deref().unwrap_or_default();
        if !is_name(name) {
            return Err("Volume.name should have 1 to 255 letters, numbers, hyphens and underscores.".to_owned());
        }
        if volumes[..at].iter().any(|other| other.name == volume.name) {
            return Err(format!("Duplicate volume name: '{name}'."));
        }
        if let Some(path) = volume.host.as_ref().and_then(|h| h.source_path.as_deref())
            && (!path.starts_with('/') || path.contains('\0'))
        {
            return Err(format!("host.sourcePath of volume '{name}' must be an absolute path."));
        }
    }
    for c in list(&d.container_definitions) {
        let mounts = list(&c.mount_points);
        for (at, mount) in mounts.iter().enumerate() {
            let source = mount.source_volume.as_deref().unwrap_or_default();
            if !volumes.iter().any(|v| v.name.as_deref() == Some(source)) {
                return Err(format!("Unknown volume '{source}'."));
            }
            let path = mount.container_path.as_deref().unwrap_or_default();
            if !path.starts_with('/') || path.contains('\0') {
                return Err(format!(
                    "Invalid setting for container '{}'. containerPath '{path}' must be an absolute path.",
                    name(c)
                ));
            }
            if mounts[..at]
                .iter()
                .any(|other| other.container_path == mount.container_path)
            {
                return Err(format!(
                    "Invalid setting for container '{}'. Duplicate mount point: {path}",
                    name(c)
                ));
            }
        }
    }
    Ok(())
}

/// A role's name or ARN: `arn:aws:iam::000000000000:role/path/name`.
fn is_role(text: &str) -> bool {
    let name = |text: &str, max: usize| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
        (1..=max).contains(&text.len()) && text.chars().all(allowed)
    };
    if !text.starts_with("arn:") {
        return name(text, 64);
    }
    let Ok(arn) = text.parse::<Arn>() else { return false };
    let account = arn.account.len() == 12 && arn.account.bytes().all(|b| b.is_ascii_digit());
    let path = arn
        .resource
        .strip_prefix("role/")
        .is_some_and(|path| path.split('/').all(|part| name(part, 512)));
    arn.service == "iam" && arn.region.is_empty() && account && path
}
