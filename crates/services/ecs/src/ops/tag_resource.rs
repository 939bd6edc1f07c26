//! TagResource.

use crate::api::{self, errors};
use crate::{Ecs, tagged, tagging};
use neargate_core::tags::TagFault;
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `InvalidParameterException`, `ResourceNotFoundException`, `ClusterNotFoundException`, `LimitExceededException`.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::TagResourceRequest,
) -> Result<api::TagResourceResponse, AwsError> {
    let more = tagging::admit(input.tags)?;
    let arn = input.resource_arn.unwrap_or_default();
    service
        .store
        .transact(|snapshot| {
            let resource = tagged::find(snapshot, cx, &arn, errors::resource_not_found_exception)?;
            let mut tags = tagged::tags(snapshot, &resource);
            tags.merge(more.clone()).map_err(|fault| match fault {
                TagFault::TooMany => errors::limit_exceeded_exception(fault.to_string()),
                other => tagging::refuse(other),
            })?;
            Ok::<_, AwsError>((tagged::put(snapshot, &resource, tags), api::TagResourceResponse {}))
        })
        .await
}
