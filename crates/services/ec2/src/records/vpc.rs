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
    pub is_default: bool,
    /// Further ranges, each with its association id.
    #[serde(default)]
    pub more_ranges: Vec<((Ipv4Addr, u8), String)>,
    /// `acl-` and 17 hex digits: the network ACL that all its subnets use.
    #[serde(default)]
    pub network_acl_id: String,
    #[serde(default)]
    pub network_acl_tags: Tags,
    /// `default` or `dedicated`, which is the same on one's own machines.
    #[serde(default)]
    pub tenancy: String,
    #[serde(default)]
    pub dns_support: bool,
    #[serde(default)]
    pub dns_hostnames: bool,
    #[serde(default)]
    pub usage_metrics: bool,
    pub tags: Tags,
}

impl VpcRecord {
    pub fn key(region: &str, id: &str) -> String {
        format!("{region}/{id}")
    }

    /// Every range it has, the first one first.
    pub fn ranges(&self) -> Vec<(Ipv4Addr, u8)> {
        let more = self.more_ranges.iter().map(|(range, _)| *range);
        std::iter::once(self.cidr).chain(more).collect()
    }
}

impl Record for VpcRecord {
    const PREFIX: &'static str = "ec2/vpc/";
}
