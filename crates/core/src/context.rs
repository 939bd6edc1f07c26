//! Who asks, where and when: what the front door knows of a request once its signature holds.

use crate::{Arn, Timestamp};

/// Handed to every operation with its decoded input.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// UUID answered as `x-amzn-RequestId`.
    pub request_id: String,
    /// Region of the credential scope; resources live in it.
    pub region: String,
    /// The account that Neargate plays, 12 digits.
    pub account: String,
    /// ARN of the caller, e.g. `arn:aws:iam::000000000000:root`.
    pub caller_arn: String,
    /// The caller's unique id (`GetCallerIdentity` answers it as `UserId`).
    pub caller_id: String,
    /// Access key id that signed.
    pub access_key: String,
    /// When the request arrived.
    pub now: Timestamp,
}

impl RequestContext {
    /// ARN of a resource of `service` in the request's region and account.
    pub fn arn(&self, service: &str, resource: impl Into<String>) -> String {
        Arn::new(service, &self.region, &self.account, resource).to_string()
    }
}
