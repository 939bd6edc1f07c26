//! A VPC.

use neargate_core::Tags;
use neargate_store::Record;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Key: `{region}/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VpcRecord {
    pub region: String,
    /// `vpc-` and 17 hex digits.
    pub id: String,
    pub cidr: (Ipv4Addr, u8),
    /// `vpc-cidr-assoc-` and 17 hex digits.
    pub cidr_association_id: String,
    /// `dopt-` and 17 hex digits.
    pub dhcp_options_id: String,
    /// `igw-` and 17 hex digits: the gateway through which the VPC reaches the internet.
    pub internet_gateway_id: String,
    pub is_default: bool,
    pub tags: Tags,
}

impl VpcRecord {
    pub fn key(region: &str, id: &str) -> String {
        format!("{region}/{id}")
    }

    /// Every range it has, the first one first.
    pub fn ranges(&self) -> Vec<(Ipv4Addr, u8)> {
        vec![self.cidr]
    }
}

impl Record for VpcRecord {
    const PREFIX: &'static str = "ec2/vpc/";
}
