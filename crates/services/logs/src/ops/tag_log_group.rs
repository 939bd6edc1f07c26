//! TagLogGroup.

use crate::tagging::{self, Named};
use crate::{Logs, api};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `ResourceNotFoundException`, `InvalidParameterException`.
pub async fn handle(service: &Logs, cx: &RequestContext, input: api::TagLogGroupRequest) -> Result<(), AwsError> {
    let named = input.log_group_name.unwrap_or_default();
    let tags = tagging::admit(input.tags, tagging::invalid)?;
    tagging::add(service, cx, Named::Name(&named), tags, tagging::invalid).await
}
