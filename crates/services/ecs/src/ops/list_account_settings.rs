//! ListAccountSettings.

use crate::api::{self, errors};
use crate::{Ecs, account_settings, paging};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `InvalidParameterException`, `AccessDeniedException`.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::ListAccountSettingsRequest,
) -> Result<api::ListAccountSettingsResponse, AwsError> {
    let principal = account_settings::principal(cx, input.principal_arn.as_deref())?;
    if input.value.is_some() && input.name.is_none() {
        return Err(errors::invalid_parameter_exception(
            "You must specify an account setting name to use value.",
        ));
    }
    let all = input.effective_settings == Some(true);
    let snapshot = service.store.snapshot();
    let mut settings = account_settings::of_principal(&snapshot, cx, principal.as_deref(), all);
    settings.retain(|s| input.name.is_none() || s.name == input.name);
    settings.retain(|s| input.value.is_none() || s.value == input.value);
    let key = |s: &api::Setting| s.name.clone().unwrap_or_default();
    let page = paging::page(
        "account-settings",
        settings,
        key,
        10,
        input.max_results,
        input.next_token.as_deref(),
    )?;
    Ok(api::ListAccountSettingsResponse {
        settings: Some(page.items),
        next_token: page.next_token,
    })
}
