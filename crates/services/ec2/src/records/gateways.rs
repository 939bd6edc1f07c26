//! Internet and NAT gateways.

use neargate_core::{Tags, Timestamp};
use neargate_store::Record;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Key: `{region}/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InternetGatewayRecord {
    pub region: String,
    /// `igw-` and 17 hex digits.
    pub id: String,
    /// The VPC that it is attached to.
    pub vpc_id: Option<String>,
    pub tags: Tags,
}

impl InternetGatewayRecord {
    pub fn key(region: &str, id: &str) -> String {
        format!("{region}/{id}")
    }
}

impl Record for InternetGatewayRecord {
    const PREFIX: &'static str = "ec2/internet-gateway/";
}

/// Key: `{region}/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NatGatewayRecord {
    pub region: String,
    /// `nat-` and 17 hex digits.
    pub id: String,
    pub vpc_id: String,
    pub subnet_id: String,
    pub interface_id: String,
    pub private_address: Ipv4Addr,
    /// Of public ones: the elastic address.
    pub allocation_id: Option<String>,
    pub public_address: Option<Ipv4Addr>,
    pub created_at: Timestamp,
    /// Deleted ones are described for an hour.
    pub deleted_at: Option<Timestamp>,
    pub client_token: Option<String>,
    pub tags: Tags,
}

impl NatGatewayRecord {
    pub fn key(region: &str, id: &str) -> String {
        format!("{region}/{id}")
    }

    pub fn is_available(&self) -> bool {
        self.deleted_at.is_none()
    }
}

impl Record for NatGatewayRecord {
    const PREFIX: &'static str = "ec2/nat-gateway/";
}
