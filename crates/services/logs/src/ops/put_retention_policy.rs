//! PutRetentionPolicy.

use crate::api::{self, errors};
use crate::{Logs, retention};
use neargate_core::{AwsError, RequestContext};

/// The periods there are.
const DAYS: [i32; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
];

/// # Errors
/// `InvalidParameterException` for other periods, `ResourceNotFoundException`.
pub async fn handle(
    service: &Logs,
    cx: &RequestContext,
    input: api::PutRetentionPolicyRequest,
) -> Result<(), AwsError> {
    let days = input.retention_in_days.unwrap_or_default();
    if !DAYS.contains(&days) {
        let all = DAYS.map(|d| d.to_string()).join(", ");
        return Err(errors::invalid_parameter_exception(format!(
            "1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: \
             Member must satisfy enum value set: [{all}]"
        )));
    }
    let name = input.log_group_name.unwrap_or_default();
    retention::set(service, cx, &name, Some(days)).await
}
