//! A VPC endpoint.

use super::ClientToken;
use neargate_core::{Tags, Timestamp};
use neargate_store::Record;
use serde::{Deserialize, Serialize};

/// Key: `{region}/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointRecord {
    pub region: String,
    /// `vpce-` and 17 hex digits.
    pub id: String,
    pub vpc_id: String,
    /// E.g. `com.amazonaws.us-east-1.s3`.
    pub service_name: String,
    /// `Gateway` or `Interface`.
    pub kind: String,
    pub policy: String,
    pub private_dns: bool,
    /// Gateway.
    pub route_tables: Vec<String>,
    /// Interface: subnet and the network interface in it.
    pub interfaces: Vec<(String, String)>,
    pub security_groups: Vec<String>,
    pub created_at: Timestamp,
    #[serde(default)]
    pub made_under: Option<ClientToken>,
    pub tags: Tags,
}

impl EndpointRecord {
    pub fn key(region: &str, id: &str) -> String {
        format!("{region}/{id}")
    }
}

impl Record for EndpointRecord {
    const PREFIX: &'static str = "ec2/endpoint/";
}
