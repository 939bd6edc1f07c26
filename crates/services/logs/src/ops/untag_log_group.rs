//! UntagLogGroup.

use crate::tagging::{self, Named};
use crate::{Logs, api};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `ResourceNotFoundException`, `InvalidParameterException`.
pub async fn handle(service: &Logs, cx: &RequestContext, input: api::UntagLogGroupRequest) -> Result<(), AwsError> {
    let named = input.log_group_name.unwrap_or_default();
    tagging::remove(service, cx, Named::Name(&named), &input.tags.unwrap_or_default()).await
}
