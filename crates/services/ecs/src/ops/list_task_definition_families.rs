//! ListTaskDefinitionFamilies.

use crate::api::{self, errors};
use crate::records::FamilyRecord;
use crate::{Ecs, paging};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `InvalidParameterException`.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::ListTaskDefinitionFamiliesRequest,
) -> Result<api::ListTaskDefinitionFamiliesResponse, AwsError> {
    let active = match input.status.as_deref().filter(|s| !s.is_empty()) {
        None | Some("ALL") => None,
        Some("ACTIVE") => Some(true),
        Some("INACTIVE") => Some(false),
        Some(other) => {
            return Err(errors::invalid_parameter_exception(format!(
                "Unknown value for status: {other}"
            )));
        }
    };
    let prefix = format!("{}/{}", cx.region, input.family_prefix.unwrap_or_default());
    let snapshot = service.store.snapshot();
    let families = snapshot
        .range::<FamilyRecord>(&prefix)
        .map(|(_, f)| f)
        .filter(|f| f.stored > 0 && active.is_none_or(|active| f.latest_active.is_some() == active));
    let token = input.next_token.as_deref();
    let page = paging::page(
        "families",
        families,
        |f| f.family.clone(),
        100,
        input.max_results,
        token,
    )?;
    Ok(api::ListTaskDefinitionFamiliesResponse {
        families: Some(page.items.iter().map(|f| f.family.clone()).collect()),
        next_token: page.next_token,
    })
}
