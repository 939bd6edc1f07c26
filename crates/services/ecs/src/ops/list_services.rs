//! ListServices: the ACTIVE services of a cluster, by name.

use crate::records::{ServiceRecord, ServiceStatus};
use crate::{Ecs, api, paging, resolve};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::ListServicesRequest,
) -> Result<api::ListServicesResponse, AwsError> {
    let snapshot = service.store.snapshot();
    let cluster = resolve::cluster(&snapshot, cx, input.cluster.as_deref())?;
    let prefix = format!("{}/{}/", cx.region, cluster.name);
    let is = |wanted: &Option<String>, have: &str| wanted.as_deref().is_none_or(|w| w == have);
    let listed = snapshot
        .range::<ServiceRecord>(&prefix)
        .map(|(_, s)| s.record)
        .filter(|s| {
            s.status == ServiceStatus::Active
                && input
                    .launch_type
                    .as_ref()
                    .is_none_or(|t| s.spec.launch_type.as_ref() == Some(t))
                && is(&input.scheduling_strategy, s.scheduling.as_str())
                && is(&input.resource_management_type, "CUSTOMER")
        });
    let listing = format!("services/{}", cluster.name);
    let max = Some(input.max_results.unwrap_or(10));
    let page = paging::page(
        &listing,
        listed,
        |s| s.name.clone(),
        100,
        max,
        input.next_token.as_deref(),
    )?;
    Ok(api::ListServicesResponse {
        service_arns: Some(page.items.iter().map(|s| s.arn.clone()).collect()),
        next_token: page.next_token,
    })
}
