//! What Neargate does not do yet, refused by its name.

use super::{Check, in_container, list};
use crate::api;

fn refuse(given: bool, field: &str) -> Check {
    match given {
        true => Err(format!("{field} is not supported by Neargate yet.")),
        false => Ok(()),
    }
}

pub(super) fn task(input: &api::RegisterTaskDefinitionRequest) -> Check {
    for compatibility in list(&input.requires_compatibilities) {
        match compatibility.as_str() {
            "EC2" | "FARGATE" => {}
            other => return refuse(true, &format!("requiresCompatibilities {other}")),
        }
    }
    refuse(input.proxy_configuration.is_some(), "proxyConfiguration")?;
    refuse(!list(&input.inference_accelerators).is_empty(), "inferenceAccelerators")?;
    refuse(input.enable_fault_injection == Some(true), "enableFaultInjection")?;
    refuse(
        input.trusted_execution_configuration.is_some(),
        "trustedExecutionConfiguration",
    )?;
    if let Some(family) = input
        .runtime_platform
        .as_ref()
        .and_then(|p| p.operating_system_family.as_deref())
    {
        refuse(
            family != "LINUX",
            &format!("runtimePlatform.operatingSystemFamily {family}"),
        )?;
    }
    for volume in list(&input.volumes) {
        refuse(volume.configured_at_launch == Some(true), "volumes.configuredAtLaunch")?;
        refuse(
            volume.docker_volume_configuration.is_some(),
            "volumes.dockerVolumeConfiguration",
        )?;
        refuse(
            volume.efs_volume_configuration.is_some(),
            "volumes.efsVolumeConfiguration",
        )?;
        refuse(
            volume.fsx_windows_file_server_volume_configuration.is_some(),
            "volumes.fsxWindowsFileServerVolumeConfiguration",
        )?;
        refuse(
            volume.s3files_volume_configuration.is_some(),
            "volumes.s3filesVolumeConfiguration",
        )?;
    }
    Ok(())
}

pub(super) fn container(c: &api::ContainerDefinition) -> Check {
    let refuse = |given: bool, field: &str| refuse(given, field).map_err(|rule| in_container(c, &rule));
    refuse(!list(&c.secrets).is_empty(), "secrets")?;
    refuse(c.repository_credentials.is_some(), "repositoryCredentials")?;
    refuse(c.firelens_configuration.is_some(), "firelensConfiguration")?;
    refuse(!list(&c.credential_specs).is_empty(), "credentialSpecs")?;
    if let Some(requirement) = list(&c.resource_requirements).first() {
        let kind = requirement.r#type.as_deref().unwrap_or_default();
        refuse(true, &format!("resourceRequirements {kind}"))?;
    }
    if let Some(log) = &c.log_configuration {
        refuse(!list(&log.secret_options).is_empty(), "logConfiguration.secretOptions")?;
        match log.log_driver.as_deref().unwrap_or_default() {
            "" | "awslogs" | "json-file" => {}
            driver => refuse(true, &format!("logConfiguration.logDriver {driver}"))?,
        }
    }
    for option in list(&c.docker_security_options) {
        match option.as_str() {
            "no-new-privileges" | "no-new-privileges:true" => {}
            other => refuse(true, &format!("dockerSecurityOptions {other}"))?,
        }
    }
    Ok(())
}
