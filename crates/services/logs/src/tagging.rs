//! Tags of log groups, for both generations of tagging operations.

use crate::api::errors;
use crate::records::LogGroupRecord;
use crate::{Logs, resolve};
use neargate_core::tags::TagFault;
use neargate_core::{AwsError, RequestContext, Tags};
use neargate_store::{Snapshot, Txn, Versioned};
use std::collections::BTreeMap;

/// How an operation names its group.
#[derive(Clone, Copy)]
pub enum Named<'a> {
    Name(&'a str),
    Arn(&'a str),
}

/// # Errors
/// `InvalidParameterException`; `TooManyTagsException` is told apart by `too_many`.
pub fn admit(tags: Option<BTreeMap<String, String>>, too_many: fn(String) -> AwsError) -> Result<Tags, AwsError> {
    Tags::admit(tags.unwrap_or_default()).map_err(|fault| refuse(&fault, too_many))
}

fn refuse(fault: &TagFault, too_many: fn(String) -> AwsError) -> AwsError {
    match fault {
        TagFault::TooMany => too_many(fault.to_string()),
        _ => invalid(fault.to_string()),
    }
}

/// `InvalidParameterException`, which the older operations answer to too many tags as well.
pub fn invalid(message: String) -> AwsError {
    errors::invalid_parameter_exception(message)
}

/// `TooManyTagsException`.
pub fn too_many(message: String) -> AwsError {
    errors::too_many_tags_exception(message)
}

/// # Errors
/// `ResourceNotFoundException`, `InvalidParameterException`.
pub fn find(snapshot: &Snapshot, cx: &RequestContext, named: Named<'_>) -> Result<Versioned<LogGroupRecord>, AwsError> {
    match named {
        Named::Name(name) => resolve::group(snapshot, cx, name),
        Named::Arn(arn) => resolve::tagged_group(snapshot, cx, arn),
    }
}

/// Adds tags.
///
/// # Errors
/// `ResourceNotFoundException`, `InvalidParameterException`, and `too_many`.
pub async fn add(
    service: &Logs,
    cx: &RequestContext,
    named: Named<'_>,
    more: Tags,
    too_many: fn(String) -> AwsError,
) -> Result<(), AwsError> {
    change(service, cx, named, |tags| {
        tags.merge(more.clone()).map_err(|fault| refuse(&fault, too_many))
    })
    .await
}

/// Removes tags; keys that are not there do not matter.
///
/// # Errors
/// `ResourceNotFoundException`, `InvalidParameterException`.
pub async fn remove(service: &Logs, cx: &RequestContext, named: Named<'_>, keys: &[String]) -> Result<(), AwsError> {
    change(service, cx, named, |tags| {
        tags.remove(keys.iter().map(String::as_str));
        Ok(())
    })
    .await
}

async fn change(
    service: &Logs,
    cx: &RequestContext,
    named: Named<'_>,
    edit: impl Fn(&mut Tags) -> Result<(), AwsError>,
) -> Result<(), AwsError> {
    service
        .store
        .transact(|snapshot| {
            let group = find(snapshot, cx, named)?;
            let mut record = (*group.record).clone();
            edit(&mut record.tags)?;
            let mut txn = Txn::new();
            if record != *group.record {
                let key = record.own_key();
                txn.unchanged::<LogGroupRecord>(snapshot, &key).put(&key, record);
            }
            Ok::<_, AwsError>((txn, ()))
        })
        .await
}
