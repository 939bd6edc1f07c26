//! UntagResource.

use crate::tagging::{self, Named};
use crate::{Logs, api};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `ResourceNotFoundException`, `InvalidParameterException`.
pub async fn handle(service: &Logs, cx: &RequestContext, input: api::UntagResourceRequest) -> Result<(), AwsError> {
    let named = input.resource_arn.unwrap_or_default();
    tagging::remove(service, cx, Named::Arn(&named), &input.tag_keys.unwrap_or_default()).await
}
