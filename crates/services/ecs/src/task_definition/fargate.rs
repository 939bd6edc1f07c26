//! What Fargate asks of a definition: checked when requiresCompatibilities names it, and to tell whether it could run
//! there when it does not.

use super::{Check, in_container, list, network_mode};
use crate::api;
use crate::launch::overrides::is_fargate_pair;

/// Most seconds of startTimeout and stopTimeout.
const MAX_TIMEOUT: i32 = 120;

pub(super) fn check(d: &api::TaskDefinition) -> Check {
    if network_mode(d) != "awsvpc" {
        return Err("Fargate only supports network mode \u{2018}awsvpc\u{2019}.".to_owned());
    }
    let number = |text: &Option<String>| text.as_deref().and_then(|t| t.parse::<u32>().ok());
    let Some(cpu) = number(&d.cpu) else {
        return Err("Fargate requires that 'cpu' be defined at the task level.".to_owned());
    };
    let Some(memory) = number(&d.memory) else {
        return Err("Fargate requires that 'memory' be defined at the task level.".to_owned());
    };
    if !is_fargate_pair(cpu, memory) {
        return Err(format!(
            "No Fargate configuration exists for given values: {cpu} CPU, {memory} memory. See the Amazon ECS documentation for the valid values."
        ));
    }
    if d.pid_mode.as_deref() == Some("host") {
        return Err("Fargate compatible task definitions only support the pidMode task.".to_owned());
    }
    refuse(d.ipc_mode.is_some(), "ipcMode")?;
    refuse(!list(&d.placement_constraints).is_empty(), "placementConstraints")?;
    if list(&d.volumes)
        .iter()
        .any(|v| v.host.as_ref().is_some_and(|h| h.source_path.is_some()))
    {
        return Err("host.sourcePath should not be set for volumes in Fargate.".to_owned());
    }
    for c in list(&d.container_definitions) {
        container(d, c)?;
    }
    Ok(())
}

fn refuse(given: bool, field: &str) -> Check {
    match given {
        true => Err(format!("Fargate compatible task definitions do not support {field}.")),
        false => Ok(()),
    }
}

fn container(d: &api::TaskDefinition, c: &api::ContainerDefinition) -> Check {
    refuse(c.privileged == Some(true), "privileged containers")?;
    refuse(!list(&c.docker_security_options).is_empty(), "dockerSecurityOptions")?;
    if let Some(linux) = &c.linux_parameters {
        refuse(!list(&linux.devices).is_empty(), "devices")?;
        refuse(linux.shared_memory_size.is_some(), "sharedMemorySize")?;
        refuse(linux.max_swap.is_some(), "maxSwap")?;
        refuse(linux.swappiness.is_some(), "swappiness")?;
        let added = linux.capabilities.as_ref().map(|c| list(&c.add)).unwrap_or_default();
        if let Some(name) = added.iter().find(|name| *name != "SYS_PTRACE") {
            refuse(true, &format!("adding the capability {name}"))?;
        }
    }
    for (field, value) in [("startTimeout", c.start_timeout), ("stopTimeout", c.stop_timeout)] {
        if value.is_some_and(|seconds| seconds > MAX_TIMEOUT) {
            return Err(in_container(
                c,
                &format!("'{field}' must be at most {MAX_TIMEOUT} seconds on Fargate."),
            ));
        }
    }
    if d.execution_role_arn.is_none() && is_ecr(c.image.as_deref().unwrap_or_default()) {
        return Err("Fargate requires task definition to have execution role ARN to support ECR images.".to_owned());
    }
    // AWS also wants an execution role for awslogs: here the node itself writes the logs, and needs none.
    let Some(log) = &c.log_configuration else { return Ok(()) };
    let driver = log.log_driver.as_deref().unwrap_or_default();
    if driver != "awslogs" {
        return Err(format!(
            "Fargate compatible task definitions do not support log driver {driver}."
        ));
    }
    if log
        .options
        .as_ref()
        .is_none_or(|o| o.get("awslogs-stream-prefix").is_none_or(String::is_empty))
    {
        return Err("Log driver awslogs requires options: awslogs-stream-prefix".to_owned());
    }
    Ok(())
}

/// True for `000000000000.dkr.ecr.REGION.amazonaws.com/…`.
pub(super) fn is_ecr(image: &str) -> bool {
    image
        .split_once('/')
        .is_some_and(|(host, _)| host.contains(".dkr.ecr.") && host.contains(".amazonaws.com"))
}
