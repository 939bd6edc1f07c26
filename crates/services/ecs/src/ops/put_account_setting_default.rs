//! PutAccountSettingDefault: the setting of every principal that has none of its own.

use super::put_account_setting::put;
use crate::{Ecs, api};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `InvalidParameterException`, `ClientException` for values that are not supported.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::PutAccountSettingDefaultRequest,
) -> Result<api::PutAccountSettingDefaultResponse, AwsError> {
    let setting = put(service, cx, input.name, input.value, None).await?;
    Ok(api::PutAccountSettingDefaultResponse { setting: Some(setting) })
}
