//! ListClusters: the ACTIVE ones, by name.

use crate::records::ClusterRecord;
use crate::{Ecs, api, paging};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `InvalidParameterException`.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::ListClustersRequest,
) -> Result<api::ListClustersResponse, AwsError> {
    let snapshot = service.store.snapshot();
    let region = format!("{}/", cx.region);
    let active = snapshot
        .range::<ClusterRecord>(&region)
        .map(|(_, c)| c)
        .filter(|c| c.is_active());
    let token = input.next_token.as_deref();
    let page = paging::page("clusters", active, |c| c.name.clone(), 100, input.max_results, token)?;
    Ok(api::ListClustersResponse {
        cluster_arns: Some(page.items.iter().map(|c| c.arn.clone()).collect()),
        next_token: page.next_token,
    })
}
