//! A load balancer.

use neargate_core::{Tags, Timestamp};
use neargate_link::gateway::BalancerKind;
use neargate_store::Record;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Key: `{region}/{name}`. Every commit that adds, removes or moves a listener changes it too, so that a port is never
/// taken twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadBalancerRecord {
    pub region: String,
    pub name: String,
    pub arn: String,
    pub kind: BalancerKind,
    pub internal: bool,
    /// Lower case.
    pub dns_name: String,
    pub vpc_id: String,
    /// One in each zone, ascending by zone.
    pub seats: Vec<Seat>,
    pub security_groups: Vec<String>,
    /// `EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic` as last set; none until then.
    pub enforce_on_private_link: Option<String>,
    /// Every attribute, defaults included.
    pub attributes: BTreeMap<String, String>,
    /// Port to listener id.
    pub listeners: BTreeMap<u16, String>,
    pub created_at: Timestamp,
    pub tags: Tags,
}

/// The load balancer's place in a subnet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seat {
    pub subnet_id: String,
    /// E.g. `us-east-1a`.
    pub zone: String,
    pub interface_id: String,
    pub address: Ipv4Addr,
    pub public_address: Option<Ipv4Addr>,
    /// The elastic address that was asked for.
    pub allocation_id: Option<String>,
    /// The address was asked for by `PrivateIPv4Address`.
    pub chosen: bool,
}

impl LoadBalancerRecord {
    pub fn key(region: &str, name: &str) -> String {
        format!("{region}/{name}")
    }

    /// `app/NAME/0123456789abcdef`.
    pub fn id(&self) -> &str {
        crate::arns::resource(&self.arn)
            .strip_prefix("loadbalancer/")
            .unwrap_or_default()
    }

    /// Start of the keys of its listeners.
    pub fn listeners_prefix(&self) -> String {
        let random = self.arn.rsplit('/').next().unwrap_or_default();
        format!("{}/{}/{random}/", self.region, self.name)
    }
}

impl Record for LoadBalancerRecord {
    const PREFIX: &'static str = "elbv2/load-balancer/";
}
