//! UntagResource.

use crate::api::{self, errors};
use crate::{Ecs, tagged};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `InvalidParameterException`, `ResourceNotFoundException`, `ClusterNotFoundException`.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::UntagResourceRequest,
) -> Result<api::UntagResourceResponse, AwsError> {
    let arn = input.resource_arn.unwrap_or_default();
    let keys = input.tag_keys.unwrap_or_default();
    if let Some(key) = keys.iter().find(|key| key.to_ascii_lowercase().starts_with("aws:")) {
        return Err(errors::invalid_parameter_exception(format!(
            "Tags with the prefix aws: cannot be removed: {key}"
        )));
    }
    service
        .store
        .transact(|snapshot| {
            let resource = tagged::find(snapshot, cx, &arn, errors::resource_not_found_exception)?;
            let mut tags = tagged::tags(snapshot, &resource);
            tags.remove(keys.iter().map(String::as_str));
            Ok::<_, AwsError>((tagged::put(snapshot, &resource, tags), api::UntagResourceResponse {}))
        })
        .await
}
