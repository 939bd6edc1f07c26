//! ListTagsForResource.

use crate::api::{self, errors};
use crate::{Ecs, tagged, tagging};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `InvalidParameterException`, `ClusterNotFoundException`.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::ListTagsForResourceRequest,
) -> Result<api::ListTagsForResourceResponse, AwsError> {
    let arn = input.resource_arn.unwrap_or_default();
    let snapshot = service.store.snapshot();
    let resource = tagged::find(&snapshot, cx, &arn, errors::invalid_parameter_exception)?;
    Ok(api::ListTagsForResourceResponse {
        tags: Some(tagging::shape(&tagged::tags(&snapshot, &resource))),
    })
}
