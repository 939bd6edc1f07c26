//! An account setting: the account's default, or one principal's own.

use neargate_store::Record;
use serde::{Deserialize, Serialize};

/// Key: `{region}/{principal ARN or "default"}/{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountSettingRecord {
    pub name: String,
    pub value: String,
    /// None for the default of all principals.
    pub principal_arn: Option<String>,
}

impl AccountSettingRecord {
    pub fn key(region: &str, principal_arn: Option<&str>, name: &str) -> String {
        format!("{region}/{}/{name}", principal_arn.unwrap_or("default"))
    }
}

impl Record for AccountSettingRecord {
    const PREFIX: &'static str = "ecs/account-setting/";
}
