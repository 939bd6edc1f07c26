//! PutAccountSetting.

use crate::records::AccountSettingRecord;
use crate::{Ecs, account_settings, api};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;

/// # Errors
/// `InvalidParameterException`, `AccessDeniedException`, `ClientException` for values that are not supported.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::PutAccountSettingRequest,
) -> Result<api::PutAccountSettingResponse, AwsError> {
    let principal = account_settings::principal(cx, input.principal_arn.as_deref())?;
    let setting = put(service, cx, input.name, input.value, principal).await?;
    Ok(api::PutAccountSettingResponse { setting: Some(setting) })
}

/// Stores a setting of `principal` (none: root, hence everyone's).
///
/// # Errors
/// `InvalidParameterException`, `ClientException`.
pub(super) async fn put(
    service: &Ecs,
    cx: &RequestContext,
    name: Option<String>,
    value: Option<String>,
    principal: Option<String>,
) -> Result<api::Setting, AwsError> {
    let (name, value) = (name.unwrap_or_default(), value.unwrap_or_default());
    account_settings::admit(&name, &value)?;
    let reply = account_settings::shape(cx, &name, &value, principal.as_deref());
    let key = AccountSettingRecord::key(&cx.region, principal.as_deref(), &name);
    let mut txn = Txn::new();
    txn.put(
        &key,
        AccountSettingRecord {
            name,
            value,
            principal_arn: principal,
        },
    );
    service.store.commit(txn).await?;
    Ok(reply)
}
