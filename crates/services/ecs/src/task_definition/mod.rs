//! What makes a task definition valid, and the normal form in which it is stored and described.
//!
//! RegisterTaskDefinition calls `admit`, which is pure. The invariants: a definition that leaves here asks for nothing
//! that Neargate would ignore, and registering a description again gives the same description.

mod attributes;
mod container;
pub mod deletion;
mod fargate;
mod image;
mod linux;
mod log;
mod normal;
mod order;
mod ports;
mod task;
mod unsupported;

use crate::api::{self, errors};
use neargate_core::AwsError;

/// A rule that holds, or the sentence that says which does not.
type Check = Result<(), String>;

/// Bytes that a definition may have as JSON.
const MAX_BYTES: usize = 65_536;

/// The definition in its normal form, without what registration gives it (ARN, revision, status, time).
///
/// # Errors
/// `ClientException` with the first rule broken.
pub fn admit(input: api::RegisterTaskDefinitionRequest) -> Result<api::TaskDefinition, AwsError> {
    check(input).map_err(errors::client_exception)
}

fn check(input: api::RegisterTaskDefinitionRequest) -> Result<api::TaskDefinition, String> {
    task::family(input.family.as_deref())?;
    unsupported::task(&input)?;
    let mut definition = normal::form(input)?;
    container::names(&definition)?;
    for c in list(&definition.container_definitions) {
        unsupported::container(c)?;
        container::check(&definition, c).map_err(|rule| in_container(c, &rule))?;
    }
    task::check(&definition)?;
    ports::check(&definition)?;
    order::check(&definition)?;

    let fargate = fargate::check(&definition);
    if list(&definition.requires_compatibilities)
        .iter()
        .any(|c| c == "FARGATE")
    {
        fargate.clone()?;
    }
    if definition.ephemeral_storage.is_some() && fargate.is_err() {
        return Err("ephemeralStorage is only supported for task definitions that are compatible with FARGATE.".into());
    }
    definition.compatibilities = Some(attributes::compatibilities(&definition, fargate.is_ok()));
    definition.requires_attributes = Some(attributes::required(&definition));
    let bytes = serde_json::to_vec(&definition).map_or(usize::MAX, |json| json.len());
    if bytes > MAX_BYTES {
        return Err(format!(
            "Actual length: '{bytes}'. Max allowed length is '{MAX_BYTES}' bytes."
        ));
    }
    Ok(definition)
}

/// A rule that one container breaks, as AWS words most of them. Rules about `Container.…` stand alone.
fn in_container(container: &api::ContainerDefinition, rule: &str) -> String {
    match rule.starts_with(|c: char| c.is_ascii_lowercase() || c == '\'') {
        true => format!("Invalid setting for container '{}'. {rule}", name(container)),
        false => rule.to_owned(),
    }
}

/// The items of a list that may be missing.
fn list<T>(items: &Option<Vec<T>>) -> &[T] {
    items.as_deref().unwrap_or_default()
}

fn name(container: &api::ContainerDefinition) -> &str {
    container.name.as_deref().unwrap_or_default()
}

/// The network mode of a definition in normal form.
fn network_mode(definition: &api::TaskDefinition) -> &str {
    definition.network_mode.as_deref().unwrap_or("bridge")
}

/// Letters, digits, hyphens and underscores, 1 to 255 of them: families, containers, volumes.
fn is_name(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests;
