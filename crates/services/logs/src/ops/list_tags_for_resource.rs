//! ListTagsForResource.

use crate::tagging::{self, Named};
use crate::{Logs, api};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `ResourceNotFoundException`, `InvalidParameterException`.
pub async fn handle(
    service: &Logs,
    cx: &RequestContext,
    input: api::ListTagsForResourceRequest,
) -> Result<api::ListTagsForResourceResponse, AwsError> {
    let named = input.resource_arn.unwrap_or_default();
    let group = tagging::find(&service.store.snapshot(), cx, Named::Arn(&named))?;
    Ok(api::ListTagsForResourceResponse {
        tags: Some(group.tags.0.clone()),
    })
}
