//! Overrides of a task: checked against the task definition, and the sizes that come out.

use crate::api::{self, errors};
use neargate_core::AwsError;

/// AWS's limit on the JSON of all container overrides.
const MAX_CHARACTERS: usize = 8192;
/// Fargate's storage when nothing is asked for.
const DEFAULT_STORAGE_GIB: u32 = 20;
/// The least memory a container may be given, in MiB.
const MIN_CONTAINER_MEMORY: i32 = 4;

/// Sizes after overrides, cpu in units and memory in MiB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    pub task_cpu: Option<u32>,
    pub task_memory: Option<u32>,
    pub reserved_cpu: u32,
    pub reserved_memory: u32,
    pub ephemeral_storage_gib: u32,
    /// In the definition's order.
    pub containers: Vec<ContainerSize>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerSize {
    pub cpu: u32,
    pub memory: Option<u32>,
    pub memory_reservation: Option<u32>,
}

/// Checks `overrides` against the definition.
///
/// # Errors
/// `InvalidParameterException` with the member that does not fit, `ClientException` for what Neargate does not do.
pub fn admit(
    definition: &api::TaskDefinition,
    overrides: &api::TaskOverride,
    fargate: bool,
) -> Result<Sizes, AwsError> {
    let bad = |message: String| Err(errors::invalid_parameter_exception(message));
    let length = serde_json::to_string(overrides).map_or(0, |text| text.chars().count());
    if length > MAX_CHARACTERS {
        return bad(format!("Container Overrides length must be at most {MAX_CHARACTERS}"));
    }
    if overrides
        .inference_accelerator_overrides
        .as_ref()
        .is_some_and(|list| !list.is_empty())
    {
        return Err(errors::client_exception(
            "overrides.inferenceAcceleratorOverrides is not supported: Amazon Elastic Inference is no longer available.",
        ));
    }
    for (member, role) in [
        ("taskRoleArn", &overrides.task_role_arn),
        ("executionRoleArn", &overrides.execution_role_arn),
    ] {
        if let Some(role) = role.as_deref().filter(|r| !r.is_empty())
            && !is_role(role)
        {
            return bad(format!(
                "overrides.{member} '{role}' is not the name or the ARN of an IAM role."
            ));
        }
    }

    let defined: Vec<&api::ContainerDefinition> = definition.container_definitions.iter().flatten().collect();
    let given: Vec<&api::ContainerOverride> = overrides.container_overrides.iter().flatten().collect();
    for (at, o) in given.iter().enumerate() {
        let Some(name) = o.name.as_deref().filter(|n| !n.is_empty()) else {
            if *o == &api::ContainerOverride::default() {
                continue;
            }
            return bad("Container override name must be specified.".to_owned());
        };
        if !defined.iter().any(|c| c.name.as_deref() == Some(name)) {
            return bad(format!(
                "Override for container named {name} is not a container in the TaskDefinition."
            ));
        }
        if given[..at].iter().any(|earlier| earlier.name.as_deref() == Some(name)) {
            return bad(format!("Duplicate container override for container named {name}."));
        }
        container(name, o)?;
    }

    let task_cpu = match overrides.cpu.as_deref().filter(|t| !t.is_empty()) {
        Some(text) => Some(parse_cpu(text).ok_or_else(|| invalid("cpu", text))?),
        None => definition.cpu.as_deref().and_then(parse_cpu),
    };
    let task_memory = match overrides.memory.as_deref().filter(|t| !t.is_empty()) {
        Some(text) => Some(parse_memory(text).ok_or_else(|| invalid("memory", text))?),
        None => definition.memory.as_deref().and_then(parse_memory),
    };
    if fargate && (overrides.cpu.is_some() || overrides.memory.is_some()) {
        let (cpu, memory) = (task_cpu.unwrap_or(0), task_memory.unwrap_or(0));
        if !is_fargate_pair(cpu, memory) {
            return bad(format!(
                "No Fargate configuration exists for given values: {cpu} CPU, {memory} memory."
            ));
        }
    }

    let containers: Vec<ContainerSize> = defined
        .iter()
        .map(|c| {
            let o = given.iter().find(|o| o.name == c.name && o.name.is_some());
            let pick = |own: Option<i32>, over: Option<i32>| over.or(own).and_then(|n| u32::try_from(n).ok());
            ContainerSize {
                cpu: pick(c.cpu, o.and_then(|o| o.cpu)).unwrap_or(0),
                memory: pick(c.memory, o.and_then(|o| o.memory)),
                memory_reservation: pick(c.memory_reservation, o.and_then(|o| o.memory_reservation)),
            }
        })
        .collect();
    for (c, size) in defined.iter().zip(&containers) {
        let name = c.name.as_deref().unwrap_or_default();
        if let (Some(memory), Some(reservation)) = (size.memory, size.memory_reservation)
            && memory < reservation
        {
            return bad(format!(
                "Invalid setting for container '{name}'. The memory value is less than the memoryReservation value."
            ));
        }
        if size.memory.is_none() && size.memory_reservation.is_none() && task_memory.is_none() {
            return bad(format!(
                "Invalid setting for container '{name}'. At least one of 'memory' or 'memoryReservation' must be specified."
            ));
        }
    }
    let cpu_sum: u32 = containers.iter().map(|c| c.cpu).sum();
    let reservation_sum: u32 = containers
        .iter()
        .filter_map(|c| c.memory_reservation.or(c.memory))
        .sum();
    if let Some(limit) = task_cpu
        && cpu_sum > limit
    {
        return bad(format!(
            "The sum of all container cpu values cannot be greater than the value of the task: {limit}."
        ));
    }
    if let Some(limit) = task_memory
        && (reservation_sum > limit || containers.iter().filter_map(|c| c.memory).any(|m| m > limit))
    {
        return bad(format!(
            "Invalid memory setting for container. The memory of the containers cannot be greater than the memory of the task: {limit}."
        ));
    }

    let storage = overrides.ephemeral_storage.as_ref();
    let ephemeral_storage_gib = match storage.map(|s| s.size_in_gi_b.unwrap_or(0)) {
        Some(_) if !fargate => {
            return bad("overrides.ephemeralStorage is only supported for tasks hosted on Fargate.".to_owned());
        }
        Some(size) if !(21..=200).contains(&size) => {
            return bad(format!(
                "Ephemeral storage size must be between 21 and 200 GiB, not {size}."
            ));
        }
        Some(size) => u32::try_from(size).unwrap_or(DEFAULT_STORAGE_GIB),
        None => definition
            .ephemeral_storage
            .as_ref()
            .and_then(|s| u32::try_from(s.size_in_gi_b?).ok())
            .unwrap_or(DEFAULT_STORAGE_GIB),
    };
    Ok(Sizes {
        task_cpu,
        task_memory,
        reserved_cpu: task_cpu.unwrap_or(cpu_sum),
        reserved_memory: task_memory.unwrap_or(reservation_sum),
        ephemeral_storage_gib,
        containers,
    })
}

fn container(name: &str, o: &api::ContainerOverride) -> Result<(), AwsError> {
    let bad = |message: String| Err(errors::invalid_parameter_exception(message));
    if o.resource_requirements.as_ref().is_some_and(|list| !list.is_empty()) {
        return Err(errors::client_exception(format!(
            "resourceRequirements is not supported in the override for container named {name}: no GPU or accelerator can be assigned yet."
        )));
    }
    if o.cpu.is_some_and(|cpu| cpu < 0) {
        return bad(format!(
            "Invalid setting for container '{name}'. The cpu value must be 0 or greater."
        ));
    }
    for (member, value) in [("memory", o.memory), ("memoryReservation", o.memory_reservation)] {
        if value.is_some_and(|m| m < MIN_CONTAINER_MEMORY) {
            return bad(format!(
                "Invalid '{member}' setting for container '{name}'. The minimum is {MIN_CONTAINER_MEMORY}."
            ));
        }
    }
    for pair in o.environment.iter().flatten() {
        match pair.name.as_deref() {
            None | Some("") => {
                return bad(format!(
                    "Environment variable name cannot be empty in the override for container named {name}."
                ));
            }
            Some(key) if key.contains(['=', '\0']) => {
                return bad(format!(
                    "Invalid environment variable name '{key}' in the override for container named {name}."
                ));
            }
            Some(_) => {}
        }
    }
    let files: Vec<_> = o.environment_files.iter().flatten().collect();
    if files.len() > 10 {
        return bad(format!(
            "The override for container named {name} can have at most 10 environment files."
        ));
    }
    for file in files {
        if file.r#type.as_deref() != Some("s3") {
            return bad(format!(
                "environmentFiles.type must be s3 in the override for container named {name}."
            ));
        }
        let value = file.value.as_deref().unwrap_or_default();
        if !(value.starts_with("arn:") && value.contains(":s3:::") && value.ends_with(".env")) {
            return bad(format!(
                "environmentFiles.value '{value}' is not the ARN of an .env object in S3."
            ));
        }
    }
    Ok(())
}

fn invalid(member: &str, text: &str) -> AwsError {
    errors::invalid_parameter_exception(format!("Invalid '{member}' setting for task: {text}"))
}

/// Cpu units: `256`, `.25 vCPU`, `1 vcpu`.
pub fn parse_cpu(text: &str) -> Option<u32> {
    let text = text.trim().to_ascii_lowercase();
    if let Some(number) = text.strip_suffix("vcpu") {
        let vcpu: f64 = number.trim().parse().ok()?;
        let units = (vcpu * 1024.0).round();
        return (1.0..=1e6).contains(&units).then_some(units as u32);
    }
    text.parse().ok().filter(|n| *n > 0)
}

/// MiB: `512`, `1GB`, `0.5 GB`.
pub fn parse_memory(text: &str) -> Option<u32> {
    let text = text.trim().to_ascii_lowercase();
    if let Some(number) = text.strip_suffix("gb") {
        let gb: f64 = number.trim().parse().ok()?;
        let mib = (gb * 1024.0).round();
        return (1.0..=1e8).contains(&mib).then_some(mib as u32);
    }
    text.parse().ok().filter(|n| *n > 0)
}

/// True when Fargate has a configuration of this cpu and memory.
pub fn is_fargate_pair(cpu: u32, memory: u32) -> bool {
    let steps = |from: u32, to: u32, by: u32| (from..=to).contains(&memory) && (memory - from).is_multiple_of(by);
    match cpu {
        256 => matches!(memory, 512 | 1024 | 2048),
        512 => steps(1024, 4096, 1024),
        1024 => steps(2048, 8192, 1024),
        2048 => steps(4096, 16384, 1024),
        4096 => steps(8192, 30720, 1024),
        8192 => steps(16384, 61440, 4096),
        16384 => steps(32768, 122_880, 8192),
        _ => false,
    }
}

/// A role's name or ARN by form.
fn is_role(text: &str) -> bool {
    let name = match text.strip_prefix("arn:") {
        Some(rest) => match rest.split_once(":iam::").and_then(|(_, r)| r.split_once(":role/")) {
            Some((account, name)) if account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => return false,
        },
        None => text,
    };
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+=,.@_-/".contains(c))
}
