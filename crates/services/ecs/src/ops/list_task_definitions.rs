//! ListTaskDefinitions: by family name and then by revision, either way round.

use crate::api::{self, errors};
use crate::records::{FamilyRecord, TaskDefinitionRecord};
use crate::{Ecs, paging};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Snapshot;

/// # Errors
/// `InvalidParameterException`.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::ListTaskDefinitionsRequest,
) -> Result<api::ListTaskDefinitionsResponse, AwsError> {
    let status = input.status.as_deref().filter(|s| !s.is_empty()).unwrap_or("ACTIVE");
    if !matches!(status, "ACTIVE" | "INACTIVE" | "DELETE_IN_PROGRESS") {
        return Err(errors::invalid_parameter_exception(format!(
            "Unknown value for status: {status}"
        )));
    }
    let descending = match input.sort.as_deref().filter(|s| !s.is_empty()) {
        None | Some("ASC") => false,
        Some("DESC") => true,
        Some(other) => {
            return Err(errors::invalid_parameter_exception(format!(
                "Unknown value for sort: {other}"
            )));
        }
    };
    let family = input.family_prefix.as_deref().filter(|f| !f.is_empty());
    let max = paging::size(100, input.max_results)?;
    let listing = format!("task-definitions {status} {descending}");
    let after = match input.next_token.as_deref().filter(|t| !t.is_empty()) {
        Some(token) => Some(position(&listing, token)?),
        None => None,
    };

    let snapshot = service.store.snapshot();
    let mut families: Vec<String> = match family {
        Some(family) => vec![family.to_owned()],
        None => snapshot
            .range::<FamilyRecord>(&format!("{}/", cx.region))
            .filter(|(_, f)| f.stored > 0)
            .map(|(_, f)| f.family.clone())
            .collect(),
    };
    if descending {
        families.reverse();
    }
    let mut found: Vec<(String, u32, String)> = Vec::new();
    for family in families {
        if let Some((last, _)) = &after
            && if descending { family > *last } else { family < *last }
        {
            continue;
        }
        let mut revisions = revisions(&snapshot, &cx.region, &family, status);
        if descending {
            revisions.reverse();
        }
        if let Some((last, number)) = &after
            && family == *last
        {
            revisions.retain(|(revision, _)| {
                if descending {
                    revision < number
                } else {
                    revision > number
                }
            });
        }
        found.extend(
            revisions
                .into_iter()
                .map(|(revision, arn)| (family.clone(), revision, arn)),
        );
        if found.len() > max {
            break;
        }
    }
    let more = found.len() > max;
    found.truncate(max);
    let next_token = found
        .last()
        .filter(|_| more)
        .map(|(family, revision, _)| neargate_core::paging::token(&listing, &format!("{family}:{revision}")));
    let arns = found.into_iter().map(|(_, _, arn)| arn).collect();
    Ok(api::ListTaskDefinitionsResponse {
        task_definition_arns: Some(arns),
        next_token,
    })
}

/// The family and revision after which the listing goes on.
fn position(listing: &str, token: &str) -> Result<(String, u32), AwsError> {
    let last = neargate_core::paging::resume(listing, token).map_err(|_| paging::bad_token())?;
    let (family, revision) = last.split_once(':').ok_or_else(paging::bad_token)?;
    Ok((family.to_owned(), revision.parse().map_err(|_| paging::bad_token())?))
}

fn revisions(snapshot: &Snapshot, region: &str, family: &str, status: &str) -> Vec<(u32, String)> {
    snapshot
        .range::<TaskDefinitionRecord>(&format!("{region}/{family}/"))
        .map(|(_, r)| r)
        .filter(|r| r.status() == status)
        .map(|r| (r.revision, r.arn().to_owned()))
        .collect()
}
