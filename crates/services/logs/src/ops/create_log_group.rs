//! CreateLogGroup.

use crate::api::{self, errors};
use crate::records::LogGroupRecord;
use crate::{Logs, tagging};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{Condition, Txn};

/// # Errors
/// `ResourceAlreadyExistsException`, `InvalidParameterException` also for members that are not supported.
pub async fn handle(service: &Logs, cx: &RequestContext, input: api::CreateLogGroupRequest) -> Result<(), AwsError> {
    refuse_unsupported(&input)?;
    let name = input.log_group_name.unwrap_or_default();
    if name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws/")) {
        return Err(errors::invalid_parameter_exception(
            "Log groups starting with AWS/ are reserved for AWS.",
        ));
    }
    let record = LogGroupRecord {
        region: cx.region.clone(),
        uid: service.fresh_id(),
        created_at: cx.now,
        retention_days: None,
        tags: tagging::admit(input.tags, tagging::invalid)?,
        name,
    };
    let key = record.own_key();
    service
        .store
        .transact(|snapshot| {
            if snapshot.contains::<LogGroupRecord>(&key) {
                return Err(errors::resource_already_exists_exception(
                    "The specified log group already exists",
                ));
            }
            let mut txn = Txn::new();
            txn.expect::<LogGroupRecord>(&key, Condition::Absent)
                .put(&key, record.clone());
            Ok::<_, AwsError>((txn, ()))
        })
        .await
}

fn refuse_unsupported(input: &api::CreateLogGroupRequest) -> Result<(), AwsError> {
    let refused = |what: &str| {
        Err(errors::invalid_parameter_exception(format!(
            "{what} is not supported by Neargate yet."
        )))
    };
    if input.kms_key_id.is_some() {
        return refused("kmsKeyId");
    }
    match input.log_group_class.as_deref() {
        None | Some("STANDARD") => {}
        Some(class) => return refused(&format!("logGroupClass {class}")),
    }
    if input.deletion_protection_enabled == Some(true) {
        return refused("deletionProtectionEnabled");
    }
    Ok(())
}
