//! ListContainerInstances: every node is a container instance of every cluster.

use crate::api::{self, errors};
use crate::plan::expression;
use crate::records::NodeRecord;
use crate::{Ecs, instances, paging, resolve};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::ListContainerInstancesRequest,
) -> Result<api::ListContainerInstancesResponse, AwsError> {
    let filter = match input.filter.as_deref().filter(|f| !f.is_empty()) {
        Some(text) => Some(
            expression::parse(text)
                .map_err(|error| errors::invalid_parameter_exception(format!("Invalid filter: {error}")))?,
        ),
        None => None,
    };
    let active = match input.status.as_deref().filter(|s| !s.is_empty()) {
        None | Some("ACTIVE") => true,
        // No node is ever in one of these.
        Some("DRAINING" | "REGISTERING" | "DEREGISTERING" | "REGISTRATION_FAILED") => false,
        Some(other) => {
            return Err(errors::invalid_parameter_exception(format!(
                "Unknown container instance status: {other}"
            )));
        }
    };
    let snapshot = service.store.snapshot();
    let cluster = resolve::cluster(&snapshot, cx, input.cluster.as_deref())?;
    let groups = format!("{}/{}/", cluster.region, cluster.name);
    let page = service.placer.with_fleet(&service.store, |fleet| {
        let found = snapshot.range::<NodeRecord>("").filter(|(id, _)| {
            active
                && filter.as_ref().is_none_or(|f| {
                    fleet
                        .index(id)
                        .is_some_and(|at| f.holds(&fleet.instance(at, &cx.region, &groups)))
                })
        });
        let listing = format!("instances {groups} {:?} {:?}", input.filter, input.status);
        let token = input.next_token.as_deref();
        paging::page(
            &listing,
            found,
            |(id, _)| (*id).to_owned(),
            100,
            input.max_results,
            token,
        )
    })?;
    Ok(api::ListContainerInstancesResponse {
        container_instance_arns: Some(
            page.items
                .iter()
                .map(|(id, _)| instances::arn(cx, &cluster, id))
                .collect(),
        ),
        next_token: page.next_token,
    })
}
