//! TagResource.

use crate::tagging::{self, Named};
use crate::{Logs, api};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `ResourceNotFoundException`, `InvalidParameterException`, `TooManyTagsException`.
pub async fn handle(service: &Logs, cx: &RequestContext, input: api::TagResourceRequest) -> Result<(), AwsError> {
    let named = input.resource_arn.unwrap_or_default();
    let tags = tagging::admit(input.tags, tagging::too_many)?;
    tagging::add(service, cx, Named::Arn(&named), tags, tagging::too_many).await
}
