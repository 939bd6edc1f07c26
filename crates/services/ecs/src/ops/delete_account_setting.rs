//! DeleteAccountSetting: the principal's own setting goes; the answer is what holds for it from now on.

use crate::records::AccountSettingRecord;
use crate::{Ecs, account_settings, api};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;

/// # Errors
/// `InvalidParameterException`, `AccessDeniedException`.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::DeleteAccountSettingRequest,
) -> Result<api::DeleteAccountSettingResponse, AwsError> {
    let name = input.name.unwrap_or_default();
    account_settings::admit_name(&name)?;
    let principal = account_settings::principal(cx, input.principal_arn.as_deref())?;
    let mut txn = Txn::new();
    txn.delete::<AccountSettingRecord>(&AccountSettingRecord::key(&cx.region, principal.as_deref(), &name));
    service.store.commit(txn).await?;
    let value = account_settings::effective(&service.store.snapshot(), &cx.region, principal.as_deref(), &name);
    let setting = account_settings::shape(cx, &name, &value, principal.as_deref());
    Ok(api::DeleteAccountSettingResponse { setting: Some(setting) })
}
