//! Finding what a request names, by short name or ARN, with the error AWS gives when it is not there.

use crate::api::errors;
use crate::records::{ClusterRecord, TaskDefinitionRecord};
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
    errors::invalid_parameter_exception(format!("Invalid identifier: Identifier is for cluster. Your cluster is {text}"))
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
    snapshot
        .get::<ClusterRecord>(&ClusterRecord::key(&cx.region, &name))
        .filter(|c| c.status == "ACTIVE")
        .ok_or_else(|| errors::cluster_not_found_exception("Cluster not found."))
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
    let not_found = || errors::client_exception("Unable to describe task definition.");
    let short = match reference.parse::<Arn>() {
        Ok(arn) if arn.service == "ecs" && arn.region == cx.region && arn.account == cx.account => {
            arn.resource.strip_prefix("task-definition/").ok_or_else(not_found)?.to_owned()
        }
        Ok(_) => return Err(not_found()),
        Err(_) => reference.to_owned(),
    };
    match short.split_once(':') {
        Some((family, revision)) => {
            let revision: u32 = revision
                .parse()
                .map_err(|_| errors::client_exception(format!("Invalid revision number. Number: {revision}")))?;
            snapshot.get(&TaskDefinitionRecord::key(&cx.region, family, revision)).ok_or_else(not_found)
        }
        None => snapshot
            .range::<TaskDefinitionRecord>(&format!("{}/{short}/", cx.region))
            .filter(|(_, r)| r.status() == "ACTIVE")
            .last()
            .map(|(_, r)| r)
            .ok_or_else(not_found),
    }
}
