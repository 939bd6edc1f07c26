//! From what a request names to records, with AWS's errors for what is not there.

use crate::api::errors;
use crate::records::{LogGroupRecord, LogStreamRecord};
use neargate_core::{Arn, AwsError, RequestContext};
use neargate_store::{Snapshot, Versioned};

/// The ARN of a log group, without the `:*` at its end.
pub fn group_arn(cx: &RequestContext, name: &str) -> String {
    cx.arn("logs", format!("log-group:{name}"))
}

/// # Errors
/// `ResourceNotFoundException`.
pub fn group(snapshot: &Snapshot, cx: &RequestContext, name: &str) -> Result<Versioned<LogGroupRecord>, AwsError> {
    group_in(snapshot, &cx.region, name)
}

/// # Errors
/// `ResourceNotFoundException`.
pub fn group_in(snapshot: &Snapshot, region: &str, name: &str) -> Result<Versioned<LogGroupRecord>, AwsError> {
    snapshot
        .get(&LogGroupRecord::key(region, name))
        .ok_or_else(|| errors::resource_not_found_exception("The specified log group does not exist."))
}

/// # Errors
/// `ResourceNotFoundException`.
pub fn stream(snapshot: &Snapshot, group: &LogGroupRecord, name: &str) -> Result<Versioned<LogStreamRecord>, AwsError> {
    snapshot
        .get(&LogStreamRecord::key(group.uid, name))
        .ok_or_else(|| errors::resource_not_found_exception("The specified log stream does not exist."))
}

/// The group that a request names in one of two ways.
///
/// # Errors
/// `InvalidParameterException` for both or neither, `ResourceNotFoundException`.
pub fn named_group(
    snapshot: &Snapshot,
    cx: &RequestContext,
    name: Option<&str>,
    identifier: Option<&str>,
) -> Result<Versioned<LogGroupRecord>, AwsError> {
    match (name, identifier) {
        (Some(name), None) => group(snapshot, cx, name),
        (None, Some(identifier)) => identified_group(snapshot, cx, identifier),
        (Some(_), Some(_)) => Err(errors::invalid_parameter_exception(
            "LogGroup name and LogGroup ARN are mutually exclusive parameters.",
        )),
        (None, None) => Err(errors::invalid_parameter_exception(
            "Either logGroupName or logGroupIdentifier must be given.",
        )),
    }
}

/// The group behind a name or an ARN, with or without `:*`.
///
/// # Errors
/// `InvalidParameterException` for an ARN of something else, `ResourceNotFoundException`.
pub fn identified_group(
    snapshot: &Snapshot,
    cx: &RequestContext,
    identifier: &str,
) -> Result<Versioned<LogGroupRecord>, AwsError> {
    if !identifier.starts_with("arn:") {
        return group(snapshot, cx, identifier);
    }
    let name = name_in_arn(cx, identifier)
        .ok_or_else(|| errors::invalid_parameter_exception(format!("'{identifier}' is not the ARN of a log group.")))?;
    match name {
        Named::Here(name) => group(snapshot, cx, &name),
        Named::Elsewhere => Err(errors::resource_not_found_exception(
            "The specified log group does not exist.",
        )),
    }
}

/// The group that a tagging operation names by its ARN.
///
/// # Errors
/// `InvalidParameterException` for what is no ARN, `ResourceNotFoundException`.
pub fn tagged_group(
    snapshot: &Snapshot,
    cx: &RequestContext,
    arn: &str,
) -> Result<Versioned<LogGroupRecord>, AwsError> {
    let missing = || errors::resource_not_found_exception("The specified resource does not exist.");
    if arn.parse::<Arn>().is_err() {
        return Err(errors::invalid_parameter_exception(format!("'{arn}' is not an ARN.")));
    }
    match name_in_arn(cx, arn) {
        Some(Named::Here(name)) => group(snapshot, cx, &name).map_err(|_| missing()),
        _ => Err(missing()),
    }
}

enum Named {
    Here(String),
    /// In another region or account.
    Elsewhere,
}

fn name_in_arn(cx: &RequestContext, arn: &str) -> Option<Named> {
    let arn: Arn = arn.parse().ok()?;
    let name = arn.resource.strip_prefix("log-group:")?;
    let name = name.strip_suffix(":*").unwrap_or(name);
    if arn.service != "logs" || name.is_empty() || name.contains(':') {
        return None;
    }
    if arn.region != cx.region || arn.account != cx.account {
        return Some(Named::Elsewhere);
    }
    Some(Named::Here(name.to_owned()))
}
