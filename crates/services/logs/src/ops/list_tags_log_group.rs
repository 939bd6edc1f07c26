//! ListTagsLogGroup.

use crate::tagging::{self, Named};
use crate::{Logs, api};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `ResourceNotFoundException`, `InvalidParameterException`.
pub async fn handle(
    service: &Logs,
    cx: &RequestContext,
    input: api::ListTagsLogGroupRequest,
) -> Result<api::ListTagsLogGroupResponse, AwsError> {
    let named = input.log_group_name.unwrap_or_default();
    let group = tagging::find(&service.store.snapshot(), cx, Named::Name(&named))?;
    Ok(api::ListTagsLogGroupResponse {
        tags: Some(group.tags.0.clone()),
    })
}
