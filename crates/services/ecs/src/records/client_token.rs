//! A request that was made under a client token, so that repeating it answers the same.

use neargate_core::Timestamp;
use neargate_store::Record;
use serde::{Deserialize, Serialize};

/// Key: `{region}/{operation}/{cluster}/{token}`. Forgotten after a day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientTokenRecord {
    /// The request as canonical JSON, without the token.
    pub request: String,
    /// Keys of the resources it made, without their record's prefix.
    pub made: Vec<String>,
    /// The failures it answered, as JSON values of the API's shape.
    pub failures: Vec<crate::api::Failure>,
    pub created_at: Timestamp,
}

impl ClientTokenRecord {
    /// Index: tokens by the hour (since 1970) in which they were used.
    pub const BY_HOUR: &'static str = "client-token-by-hour";
    /// How long a token is remembered.
    pub const LIFETIME: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

    pub fn key(region: &str, operation: &str, cluster: &str, token: &str) -> String {
        format!("{region}/{operation}/{cluster}/{token}")
    }

    pub fn hour(at: Timestamp) -> i64 {
        at.secs().div_euclid(3600)
    }
}

impl Record for ClientTokenRecord {
    const PREFIX: &'static str = "ecs/client-token/";

    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![(Self::BY_HOUR, Self::hour(self.created_at).to_string())]
    }
}
