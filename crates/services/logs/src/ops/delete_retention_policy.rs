//! DeleteRetentionPolicy.

use crate::api;
use crate::{Logs, retention};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `ResourceNotFoundException`.
pub async fn handle(
    service: &Logs,
    cx: &RequestContext,
    input: api::DeleteRetentionPolicyRequest,
) -> Result<(), AwsError> {
    retention::set(service, cx, &input.log_group_name.unwrap_or_default(), None).await
}
