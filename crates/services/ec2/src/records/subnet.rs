//! A subnet of a VPC.

use neargate_core::Tags;
use neargate_store::Record;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Key: `{region}/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubnetRecord {
    pub region: String,
    /// `subnet-` and 17 hex digits.
    pub id: String,
    pub vpc_id: String,
    pub vpc_cidr: (Ipv4Addr, u8),
    pub cidr: (Ipv4Addr, u8),
    /// E.g. `us-east-1a`.
    pub availability_zone: String,
    /// E.g. `use1-az1`.
    pub availability_zone_id: String,
    /// The subnet that its zone uses when none is named.
    pub default_for_az: bool,
    pub map_public_ip_on_launch: bool,
    /// `aclassoc-` and 17 hex digits.
    #[serde(default)]
    pub acl_association_id: String,
    /// `ip-name` or `resource-name`.
    #[serde(default)]
    pub hostname_type: String,
    #[serde(default)]
    pub resource_name_dns: bool,
    pub tags: Tags,
}

impl SubnetRecord {
    pub fn key(region: &str, id: &str) -> String {
        format!("{region}/{id}")
    }

    /// Addresses of the range.
    pub fn size(&self) -> u32 {
        1u32 << (32 - u32::from(self.cidr.1.clamp(1, 32)))
    }

    /// Addresses that interfaces may take: AWS keeps the first four and the last of a subnet.
    pub fn usable(&self) -> u32 {
        self.size().saturating_sub(Self::RESERVED_FIRST + 1)
    }

    /// Network address, router, DNS and one for AWS's future use.
    pub const RESERVED_FIRST: u32 = 4;
}

impl Record for SubnetRecord {
    const PREFIX: &'static str = "ec2/subnet/";
}
