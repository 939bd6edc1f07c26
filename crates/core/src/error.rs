//! An AWS-shaped error: code, HTTP status, message and, for a few shapes, further members.
//!
//! Operations return it, the protocol layer encodes it. Generated constructors (one per modelled error) live in each
//! service's `api::errors`.

use std::borrow::Cow;
use std::fmt;

/// An error as an AWS client sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct AwsError {
    /// The error's code as the SDK matches it, e.g. `ClusterNotFoundException`.
    pub code: Cow<'static, str>,
    /// HTTP status.
    pub status: u16,
    /// What went wrong, for a person.
    pub message: String,
    /// Members of the error shape besides `message` (JSON object members by model name).
    pub extra: Vec<(&'static str, serde_json::Value)>,
}

impl AwsError {
    /// An error with `code`, HTTP `status` and `message`.
    pub fn new(code: impl Into<Cow<'static, str>>, status: u16, message: impl Into<String>) -> Self {
        AwsError {
            code: code.into(),
            status,
            message: message.into(),
            extra: Vec::new(),
        }
    }

    /// The same error with one more member of its shape.
    pub fn with(mut self, member: &'static str, value: serde_json::Value) -> Self {
        self.extra.push((member, value));
        self
    }

    /// What leaves the process when something internal failed; the cause is logged by the caller, never sent.
    pub fn internal() -> Self {
        AwsError::new(
            "InternalFailure",
            500,
            "The request processing has failed because of an unknown error.",
        )
    }

    /// True when the caller is at fault (4xx).
    pub fn is_client_fault(&self) -> bool {
        self.status < 500
    }
}

impl fmt::Display for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for AwsError {}
