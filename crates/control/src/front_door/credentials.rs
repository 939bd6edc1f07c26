//! Who may sign: the port from an access key id to its secret, and the root key that stands behind it until IAM comes.

use std::fmt;

/// An access key with whom it speaks for.
#[derive(Clone)]
pub struct AccessKey {
    pub secret: Secret,
    /// ARN of the caller, e.g. `arn:aws:iam::000000000000:root`.
    pub caller_arn: String,
    /// The caller's unique id; the account for root.
    pub caller_id: String,
    /// The session token that requests with this key must carry; none for long-lived keys.
    pub session_token: Option<Secret>,
}

/// A text that no log and no debug print shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where access keys are looked up. Answers from memory: it is asked once a request.
pub trait Credentials: Send + Sync + 'static {
    fn find(&self, access_key_id: &str) -> Option<AccessKey>;
}

/// The account's root key and nothing else.
pub struct RootCredentials {
    access_key_id: String,
    key: AccessKey,
}

impl RootCredentials {
    pub fn new(account: &str, access_key_id: impl Into<String>, secret: impl Into<String>) -> Self {
        RootCredentials {
            access_key_id: access_key_id.into(),
            key: AccessKey {
                secret: Secret::new(secret),
                caller_arn: format!("arn:aws:iam::{account}:root"),
                caller_id: account.to_owned(),
                session_token: None,
            },
        }
    }
}

impl Credentials for RootCredentials {
    fn find(&self, access_key_id: &str) -> Option<AccessKey> {
        (access_key_id == self.access_key_id).then(|| self.key.clone())
    }
}
