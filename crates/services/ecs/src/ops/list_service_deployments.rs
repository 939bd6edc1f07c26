//! ListServiceDeployments: newest first.

use crate::api::{self, errors};
use crate::records::{ServiceDeploymentRecord, ServiceStatus};
use crate::{Ecs, paging, services};
use neargate_core::{AwsError, RequestContext, paging as core_paging};
use std::sync::Arc;

/// # Errors
/// `ClusterNotFoundException`, `ServiceNotFoundException`, `InvalidParameterException`.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::ListServiceDeploymentsRequest,
) -> Result<api::ListServiceDeploymentsResponse, AwsError> {
    let snapshot = service.store.snapshot();
    let reference = input.service.as_deref().unwrap_or_default();
    let owner = services::find(&snapshot, cx, input.cluster.as_deref(), reference)?;
    if owner.status == ServiceStatus::Inactive {
        return Err(errors::service_not_found_exception("Service not found."));
    }
    let statuses = input.status.unwrap_or_default();
    let created = input.created_at.unwrap_or_default();
    let mut listed: Vec<Arc<ServiceDeploymentRecord>> = snapshot
        .range::<ServiceDeploymentRecord>(&format!("{}/", owner.own_key()))
        .map(|(_, d)| d.record)
        .filter(|d| {
            d.created_at >= owner.created_at
                && (statuses.is_empty() || statuses.iter().any(|s| s == d.status()))
                && created.before.is_none_or(|before| d.created_at < before)
                && created.after.is_none_or(|after| d.created_at > after)
        })
        .collect();
    // Newest first, and yet ascending by the key that pages are cut by.
    let key = |d: &Arc<ServiceDeploymentRecord>| format!("{:020}/{}", i64::MAX - d.created_at.millis(), d.id);
    listed.sort_by_key(key);
    let max = paging::size(100, Some(input.max_results.unwrap_or(20)))?;
    let listing = format!("service-deployments/{}", owner.path());
    let token = input.next_token.as_deref().filter(|t| !t.is_empty());
    let page = core_paging::page(&listing, listed, key, max, token).map_err(|_| paging::bad_token())?;
    let brief = |d: &Arc<ServiceDeploymentRecord>| api::ServiceDeploymentBrief {
        service_deployment_arn: d.detail.service_deployment_arn.clone(),
        service_arn: d.detail.service_arn.clone(),
        cluster_arn: d.detail.cluster_arn.clone(),
        created_at: d.detail.created_at,
        started_at: d.detail.started_at,
        finished_at: d.detail.finished_at,
        target_service_revision_arn: d.detail.target_service_revision.as_ref().and_then(|r| r.arn.clone()),
        status: d.detail.status.clone(),
        status_reason: d.detail.status_reason.clone(),
    };
    Ok(api::ListServiceDeploymentsResponse {
        service_deployments: Some(page.items.iter().map(brief).collect()),
        next_token: page.next_token,
    })
}
