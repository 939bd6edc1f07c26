//! A target group.

use neargate_core::{Tags, Timestamp};
use neargate_store::Record;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Key: `{region}/{name}`. A commit that makes a listener forward to it changes it too, so that it is never deleted
/// under a listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetGroupRecord {
    pub region: String,
    pub name: String,
    pub arn: String,
    /// `ip` or `instance`.
    pub target_type: String,
    /// `HTTP`, `HTTPS`, `TCP`, `TLS`, `UDP`, `TCP_UDP`.
    pub protocol: Option<String>,
    /// `HTTP1`, `HTTP2`, `GRPC`; of HTTP and HTTPS groups alone.
    pub protocol_version: Option<String>,
    /// Where targets are reached that were registered without a port.
    pub port: u16,
    pub vpc_id: String,
    pub health_check: HealthCheck,
    /// Every attribute, defaults included.
    pub attributes: BTreeMap<String, String>,
    pub created_at: Timestamp,
    pub tags: Tags,
}

/// How targets are probed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthCheck {
    pub enabled: bool,
    /// `HTTP`, `HTTPS`, `TCP`.
    pub protocol: String,
    /// `traffic-port` or a number.
    pub port: String,
    /// None for TCP.
    pub path: Option<String>,
    /// Seconds.
    pub interval: u32,
    /// Seconds.
    pub timeout: u32,
    pub healthy_threshold: u32,
    pub unhealthy_threshold: u32,
    /// HTTP or gRPC codes; none for TCP.
    pub matcher: Option<String>,
}

impl TargetGroupRecord {
    pub fn key(region: &str, name: &str) -> String {
        format!("{region}/{name}")
    }

    /// `targetgroup/NAME/0123456789abcdef`.
    pub fn id(&self) -> &str {
        crate::arns::resource(&self.arn)
    }

    /// The value of an attribute that is a number.
    pub fn number(&self, attribute: &str) -> Option<u64> {
        self.attributes.get(attribute)?.parse().ok()
    }

    /// Attribute: seconds for which a deregistered target keeps what it has begun.
    pub const DEREGISTRATION_DELAY: &'static str = "deregistration_delay.timeout_seconds";
}

impl Record for TargetGroupRecord {
    const PREFIX: &'static str = "elbv2/target-group/";
}
