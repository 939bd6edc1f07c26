//! Finding what a request names, by short name or ARN, with the error AWS gives when it is not there.

use crate::api::errors;
use crate::records::{ClusterRecord, FamilyRecord, TaskDefinitionRecord};
use neargate_core::{Arn, AwsError, RequestContext};
use neargate_store::{Snapshot, Versioned};

/// The cluster's short name; `default` when none is named.
///
/// # Errors
/// `InvalidParameterException` for an ARN of another service, region or account.
pub fn cluster_name(cx: &RequestContext, reference: Option<&str>) -> Result<String, AwsError> {
    match reference {
        None | Some("") => Ok("default".to_owned()),
        Some(text) if text.starts_with("arn:") => {
            let arn: Arn = text.parse().map_err(|_| invalid_identifier(text))?;
            match arn.resource_parts() {
                ("cluster", name) if arn.service == "ecs" && arn.region == cx.region && arn.account == cx.account => {
                    Ok(name.to_owned())
                }
                _ => Err(invalid_identifier(text)),
            }
        }
        Some(name) => Ok(name.to_owned()),
    }
}

fn invalid_identifier(text: &str) -> AwsError {
    errors::invalid_parameter_exception(format!(
        "Invalid identifier: Identifier is for cluster. Your cluster is {text}"
    ))
}

/// The ACTIVE cluster that `reference` names.
///
/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`.
pub fn cluster(
    snapshot: &Snapshot,
    cx: &RequestContext,
    reference: Option<&str>,
) -> Result<Versioned<ClusterRecord>, AwsError> {
    let name = cluster_name(cx, reference)?;
    match snapshot.get::<ClusterRecord>(&ClusterRecord::key(&cx.region, &name)) {
        Some(cluster) if cluster.is_active() => Ok(cluster),
        Some(_) => Err(errors::cluster_not_found_exception(
            "The referenced cluster was inactive.",
        )),
        None => Err(errors::cluster_not_found_exception("Cluster not found.")),
    }
}

/// A task definition as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskDefinitionName {
    pub family: String,
    /// None: the newest ACTIVE one.
    pub revision: Option<u32>,
}

/// Reads `family`, `family:revision` or an ARN; none for an ARN of another service, region or account.
///
/// # Errors
/// `ClientException` for a revision that is no number.
pub fn task_definition_name(cx: &RequestContext, reference: &str) -> Result<Option<TaskDefinitionName>, AwsError> {
    let short = match reference.parse::<Arn>() {
        Ok(arn) if arn.service == "ecs" && arn.region == cx.region && arn.account == cx.account => {
            match arn.resource.strip_prefix("task-definition/") {
                Some(short) => short.to_owned(),
                None => return Ok(None),
            }
        }
        Ok(_) => return Ok(None),
        Err(_) => reference.to_owned(),
    };
    let (family, revision) = match short.split_once(':') {
        None => (short.as_str(), None),
        Some((family, number)) => match number.parse::<u32>() {
            Ok(revision) => (family, Some(revision)),
            Err(_) => {
                return Err(errors::client_exception(format!(
                    "Invalid revision number. Number: {number}"
                )));
            }
        },
    };
    Ok(Some(TaskDefinitionName {
        family: family.to_owned(),
        revision,
    }))
}

/// The task definition that `reference` names: `family`, `family:revision` or an ARN; the newest ACTIVE revision when
/// no revision is given. The answer may be INACTIVE when a revision is given.
///
/// # Errors
/// `ClientException` as AWS words it.
pub fn task_definition(
    snapshot: &Snapshot,
    cx: &RequestContext,
    reference: &str,
) -> Result<Versioned<TaskDefinitionRecord>, AwsError> {
    let name = task_definition_name(cx, reference)?;
    name.and_then(|name| find(snapshot, cx, &name))
        .ok_or_else(|| errors::client_exception("Unable to describe task definition."))
}

/// The same, for running: it must be ACTIVE.
///
/// # Errors
/// `ClientException` as AWS words it.
pub fn active_task_definition(
    snapshot: &Snapshot,
    cx: &RequestContext,
    reference: &str,
) -> Result<Versioned<TaskDefinitionRecord>, AwsError> {
    let name = task_definition_name(cx, reference)?;
    match name.and_then(|name| find(snapshot, cx, &name)) {
        Some(definition) if definition.status() == "ACTIVE" => Ok(definition),
        Some(_) => Err(errors::client_exception("TaskDefinition is inactive")),
        None => Err(errors::client_exception("TaskDefinition not found.")),
    }
}

fn find(
    snapshot: &Snapshot,
    cx: &RequestContext,
    name: &TaskDefinitionName,
) -> Option<Versioned<TaskDefinitionRecord>> {
    let revision = match name.revision {
        Some(revision) => revision,
        None => {
            snapshot
                .get::<FamilyRecord>(&FamilyRecord::key(&cx.region, &name.family))?
                .latest_active?
        }
    };
    snapshot.get(&TaskDefinitionRecord::key(&cx.region, &name.family, revision))
}
