//! DescribeLogGroups.

use crate::api::{self, errors};
use crate::records::LogGroupRecord;
use crate::{Logs, resolve, token};
use neargate_core::{AwsError, RequestContext, paging};
use neargate_store::Snapshot;
use std::collections::BTreeMap;
use std::sync::Arc;

/// # Errors
/// `InvalidParameterException`.
pub async fn handle(
    service: &Logs,
    cx: &RequestContext,
    input: api::DescribeLogGroupsRequest,
) -> Result<api::DescribeLogGroupsResponse, AwsError> {
    let invalid = |message: &str| errors::invalid_parameter_exception(message);
    if input.log_group_name_prefix.is_some() && input.log_group_name_pattern.is_some() {
        return Err(invalid(
            "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
        ));
    }
    let alone = input.log_group_name_prefix.is_none()
        && input.log_group_name_pattern.is_none()
        && input.log_group_class.is_none();
    if input.log_group_identifiers.is_some() && !alone {
        return Err(invalid(
            "LogGroup identifiers can only be combined with includeLinkedAccounts.",
        ));
    }
    let linked = input.include_linked_accounts == Some(true);
    if !linked && input.account_identifiers.as_ref().is_some_and(|ids| !ids.is_empty()) {
        return Err(invalid(
            "Account identifiers can only be given when includeLinkedAccounts is true.",
        ));
    }
    let snapshot = service.store.snapshot();
    let groups = if of_other_accounts_only(cx, &input) {
        // No account is linked to this one, so it sees no other's groups.
        Vec::new()
    } else {
        select(&snapshot, cx, &input)?
    };
    let brief = input.log_group_name_pattern.is_some();
    let limit = usize::try_from(input.limit.unwrap_or(50)).unwrap_or(50);
    let listing = format!("logs-groups/{}", cx.region);
    let page = paging::page(&listing, groups, |g| g.name.clone(), limit, input.next_token.as_deref())
        .map_err(|paging::BadToken| token::invalid())?;
    Ok(api::DescribeLogGroupsResponse {
        log_groups: Some(
            page.items
                .iter()
                .map(|group| shape(service, cx, group, brief))
                .collect(),
        ),
        next_token: page.next_token,
    })
}

fn of_other_accounts_only(cx: &RequestContext, input: &api::DescribeLogGroupsRequest) -> bool {
    let none_of_ours = matches!(input.log_group_class.as_deref(), Some(class) if class != "STANDARD");
    let accounts = input.account_identifiers.as_deref().unwrap_or_default();
    none_of_ours || (!accounts.is_empty() && !accounts.contains(&cx.account))
}

/// The groups asked for, ascending by name.
fn select(
    snapshot: &Snapshot,
    cx: &RequestContext,
    input: &api::DescribeLogGroupsRequest,
) -> Result<Vec<Arc<LogGroupRecord>>, AwsError> {
    if let Some(identifiers) = &input.log_group_identifiers {
        let mut found = BTreeMap::new();
        for identifier in identifiers {
            match resolve::identified_group(snapshot, cx, identifier) {
                Ok(group) => {
                    found.insert(group.name.clone(), group.record);
                }
                Err(error) if error.code == "ResourceNotFoundException" => {}
                Err(error) => return Err(error),
            }
        }
        return Ok(found.into_values().collect());
    }
    let prefix = input.log_group_name_prefix.as_deref().unwrap_or_default();
    let pattern = input.log_group_name_pattern.as_deref().unwrap_or_default();
    let groups = snapshot.range::<LogGroupRecord>(&LogGroupRecord::key(&cx.region, prefix));
    Ok(groups
        .map(|(_, group)| group.record)
        .filter(|group| group.name.contains(pattern))
        .collect())
}

/// `brief` is what a search by pattern answers.
fn shape(service: &Logs, cx: &RequestContext, group: &LogGroupRecord, brief: bool) -> api::LogGroup {
    let arn = resolve::group_arn(cx, &group.name);
    let known = api::LogGroup {
        arn: Some(format!("{arn}:*")),
        creation_time: Some(group.created_at.0),
        log_group_name: Some(group.name.clone()),
        ..Default::default()
    };
    if brief {
        return known;
    }
    api::LogGroup {
        deletion_protection_enabled: Some(false),
        log_group_arn: Some(arn),
        log_group_class: Some("STANDARD".into()),
        metric_filter_count: Some(0),
        retention_in_days: group.retention_days,
        stored_bytes: i64::try_from(service.storage.stored_bytes(group.uid)).ok(),
        ..known
    }
}
