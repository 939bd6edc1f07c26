//! Rules of one container, apart from ports and the order of containers.
//!
//! A rule's sentence that starts with a small letter or a quote is put behind the container's name.

use super::{Check, image, is_name, linux, list, log, name, network_mode};
use crate::api;

/// Containers a definition may have.
const MAX_CONTAINERS: usize = 10;

/// Names, their number, and that one container is essential.
pub(super) fn names(d: &api::TaskDefinition) -> Check {
    let containers = list(&d.container_definitions);
    if containers.is_empty() {
        return Err("Container list cannot be empty.".to_owned());
    }
    if containers.len() > MAX_CONTAINERS {
        return Err(format!(
            "A task definition can have at most {MAX_CONTAINERS} containers."
        ));
    }
    for (at, c) in containers.iter().enumerate() {
        if name(c).is_empty() {
            return Err("Container.name should not be null or empty.".to_owned());
        }
        if !is_name(name(c)) {
            return Err("Container.name contains invalid characters.".to_owned());
        }
        if containers[..at].iter().any(|other| other.name == c.name) {
            return Err(format!(
                "Container names must be unique. Duplicate container name: '{}'.",
                name(c)
            ));
        }
    }
    if !containers.iter().any(|c| c.essential == Some(true)) {
        return Err("At least one container must be marked as essential.".to_owned());
    }
    Ok(())
}

pub(super) fn check(d: &api::TaskDefinition, c: &api::ContainerDefinition) -> Check {
    image::check(c.image.as_deref())?;
    sizes(c)?;
    environment(c)?;
    health_check(c)?;
    restart_policy(c)?;
    network(d, c)?;
    linux::check(d, c)?;
    log::check(c)?;
    for (field, value) in [("startTimeout", c.start_timeout), ("stopTimeout", c.stop_timeout)] {
        if value.is_some_and(|seconds| seconds < 0) {
            return Err(format!("'{field}' must not be negative."));
        }
    }
    if let Some(value) = c.version_consistency.as_deref()
        && !matches!(value, "enabled" | "disabled")
    {
        return Err(format!(
            "'versionConsistency' must be enabled or disabled, not {value}."
        ));
    }
    if c.user.as_deref().is_some_and(|user| !is_user(user)) {
        return Err("'user' must be user, user:group, uid, uid:gid, user:gid or uid:group.".to_owned());
    }
    Ok(())
}

fn sizes(c: &api::ContainerDefinition) -> Check {
    if c.cpu.is_some_and(|cpu| cpu < 0) {
        return Err("'cpu' must not be negative.".to_owned());
    }
    for (field, value) in [("memory", c.memory), ("memoryReservation", c.memory_reservation)] {
        if value.is_some_and(|mib| mib < 4) {
            return Err(format!("'{field}' must be at least 4 MiB."));
        }
    }
    if let (Some(hard), Some(soft)) = (c.memory, c.memory_reservation)
        && hard < soft
    {
        return Err("'memory' must be greater than 'memoryReservation'.".to_owned());
    }
    Ok(())
}

fn environment(c: &api::ContainerDefinition) -> Check {
    for pair in list(&c.environment) {
        let name = pair.name.as_deref().unwrap_or_default();
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(format!("'environment' has an invalid variable name: '{name}'."));
        }
        if pair.value.as_deref().is_some_and(|value| value.contains('\0')) {
            return Err(format!("'environment' variable {name} has an invalid value."));
        }
    }
    let files = list(&c.environment_files);
    if files.len() > 10 {
        return Err("'environmentFiles' can have at most 10 entries.".to_owned());
    }
    for file in files {
        if file.r#type.as_deref() != Some("s3") {
            return Err("'environmentFiles' supports only the type s3.".to_owned());
        }
        let value = file.value.as_deref().unwrap_or_default();
        let object = value
            .strip_prefix("arn:")
            .and_then(|rest| rest.split_once(":s3:::"))
            .and_then(|(_, path)| path.split_once('/'))
            .is_some_and(|(bucket, key)| !bucket.is_empty() && !key.is_empty());
        if !object {
            return Err(format!(
                "'environmentFiles' must name Amazon S3 objects by their ARN, not '{value}'."
            ));
        }
        if !value.ends_with(".env") {
            return Err(format!("'environmentFiles' must have the file extension .env: {value}"));
        }
    }
    Ok(())
}

fn health_check(c: &api::ContainerDefinition) -> Check {
    let Some(check) = &c.health_check else { return Ok(()) };
    match list(&check.command) {
        [kind, command, ..] if matches!(kind.as_str(), "CMD" | "CMD-SHELL") && !command.is_empty() => {}
        _ => return Err("'healthCheck.command' must start with CMD or CMD-SHELL, followed by a command.".to_owned()),
    }
    for (field, value, range) in [
        ("interval", check.interval, 5..=300),
        ("timeout", check.timeout, 2..=60),
        ("retries", check.retries, 1..=10),
        ("startPeriod", check.start_period, 0..=300),
    ] {
        if value.is_some_and(|v| !range.contains(&v)) {
            let (from, to) = range.into_inner();
            return Err(format!("'healthCheck.{field}' must be between {from} and {to}."));
        }
    }
    Ok(())
}

fn restart_policy(c: &api::ContainerDefinition) -> Check {
    let Some(policy) = &c.restart_policy else { return Ok(()) };
    let enabled = policy.enabled == Some(true);
    if !enabled && (policy.restart_attempt_period.is_some() || !list(&policy.ignored_exit_codes).is_empty()) {
        return Err("'restartPolicy' must be enabled to have a restartAttemptPeriod or ignoredExitCodes.".to_owned());
    }
    if policy
        .restart_attempt_period
        .is_some_and(|seconds| !(60..=1800).contains(&seconds))
    {
        return Err("'restartPolicy.restartAttemptPeriod' must be between 60 and 1800.".to_owned());
    }
    if list(&policy.ignored_exit_codes).len() > 50 {
        return Err("'restartPolicy.ignoredExitCodes' can have at most 50 entries.".to_owned());
    }
    Ok(())
}

/// Members that some network modes cannot have.
fn network(d: &api::TaskDefinition, c: &api::ContainerDefinition) -> Check {
    let mode = network_mode(d);
    if mode != "bridge" && !list(&c.links).is_empty() {
        return Err(format!("Links are not supported when networkMode={mode}."));
    }
    if mode == "awsvpc" || mode == "host" {
        if c.hostname.is_some() {
            return Err(format!(
                "hostname is not supported on container when networkMode={mode}."
            ));
        }
        if c.disable_networking == Some(true) {
            return Err(format!(
                "disableNetworking is not supported on container when networkMode={mode}."
            ));
        }
    }
    if mode == "awsvpc" && !list(&c.extra_hosts).is_empty() {
        return Err(format!(
            "extraHosts is not supported on container when networkMode={mode}."
        ));
    }
    for host in list(&c.extra_hosts) {
        let address = host.ip_address.as_deref().unwrap_or_default();
        if address.parse::<std::net::IpAddr>().is_err() {
            return Err(format!("'extraHosts' has an invalid IP address: '{address}'."));
        }
        let name = host.hostname.as_deref().unwrap_or_default();
        if !is_host(name) {
            return Err(format!("'extraHosts' has an invalid host name: '{name}'."));
        }
    }
    for server in list(&c.dns_servers) {
        if server.parse::<std::net::IpAddr>().is_err() {
            return Err(format!("'dnsServers' has an invalid IP address: '{server}'."));
        }
    }
    if let Some(domain) = list(&c.dns_search_domains).iter().find(|domain| !is_host(domain)) {
        return Err(format!("'dnsSearchDomains' has an invalid domain: '{domain}'."));
    }
    if c.hostname.as_deref().is_some_and(|hostname| !is_host(hostname)) {
        return Err("'hostname' has invalid characters.".to_owned());
    }
    Ok(())
}

/// What /etc/hosts and resolv.conf can carry.
fn is_host(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    (1..=255).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_user(text: &str) -> bool {
    let part = |text: &str| !text.is_empty() && !text.contains([':', '\0', '\n']) && !text.starts_with('-');
    match text.split_once(':') {
        Some((user, group)) => part(user) && part(group),
        None => part(text),
    }
}
