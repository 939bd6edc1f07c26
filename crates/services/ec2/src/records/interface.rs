//! A network interface of a task.

use super::ClientToken;
use neargate_core::{Tags, Timestamp};
use neargate_store::Record;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Key: the address as 8 hex digits, so that one commit at most ever holds an address. Regions share the machines'
/// routing tables, and every region's default VPC has the same range; so an address is unique across regions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InterfaceRecord {
    pub region: String,
    /// `eni-` and 17 hex digits.
    pub id: String,
    pub vpc_id: String,
    pub subnet_id: String,
    pub subnet_cidr: (Ipv4Addr, u8),
    pub vpc_cidr: (Ipv4Addr, u8),
    pub availability_zone: String,
    pub mac: String,
    pub address: Ipv4Addr,
    pub security_groups: Vec<String>,
    pub description: String,
    pub created_at: Timestamp,
    /// Who has it.
    #[serde(default)]
    pub owner: InterfaceOwner,
    /// Where it is reached from outside the VPC.
    #[serde(default)]
    pub public_address: Option<Ipv4Addr>,
    /// False lets a machine forward for others.
    #[serde(default = "yes")]
    pub source_dest_check: bool,
    #[serde(default)]
    pub made_under: Option<ClientToken>,
    #[serde(default)]
    pub tags: Tags,
}

fn yes() -> bool {
    true
}

/// Who has an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum InterfaceOwner {
    Task {
        arn: String,
    },
    LoadBalancer {
        arn: String,
    },
    NatGateway {
        id: String,
    },
    Endpoint {
        id: String,
    },
    /// Made by CreateNetworkInterface.
    #[default]
    User,
}

impl InterfaceRecord {
    /// Index: the interface of an id, value `{region}/{id}`.
    pub const BY_ID: &'static str = "ec2-interface-by-id";

    /// Counter: interfaces of a subnet.
    pub fn in_subnet(region: &str, subnet_id: &str) -> String {
        format!("ec2-interface/{region}/{subnet_id}")
    }

    pub fn key(address: Ipv4Addr) -> String {
        format!("{:08x}", u32::from(address))
    }

    /// What the keys of all addresses in a range start with; ranges of a length between two digits share it with others.
    pub fn keys_in((base, prefix): (Ipv4Addr, u8)) -> String {
        let mut key = Self::key(base);
        key.truncate(usize::from(prefix) / 4);
        key
    }

    /// First host address of the subnet: the VPC router.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.subnet_cidr.0) + 1)
    }

    /// `ip-172-31-0-10.ec2.internal`, or `….{region}.compute.internal` outside us-east-1.
    pub fn private_dns_name(&self) -> String {
        let dashed = self.address.to_string().replace('.', "-");
        match self.region.as_str() {
            "us-east-1" => format!("ip-{dashed}.ec2.internal"),
            region => format!("ip-{dashed}.{region}.compute.internal"),
        }
    }
}

impl Record for InterfaceRecord {
    const PREFIX: &'static str = "ec2/interface/";

    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![(Self::BY_ID, format!("{}/{}", self.region, self.id))]
    }

    fn counters(&self) -> Vec<String> {
        vec![Self::in_subnet(&self.region, &self.subnet_id)]
    }
}
