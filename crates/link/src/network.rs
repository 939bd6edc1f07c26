//! What a node must know of the VPCs beyond its own tasks: security groups, who holds which address, names.
//!
//! Control sends it whole when a node connects and as changes afterwards, before the tasks that need it. Invariant: an
//! entry stands alone; a rule that names a group or a VPC which is not there matches nothing.

use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// A range: network address and prefix length.
pub type Range = (Ipv4Addr, u8);

/// One entry of a node's network table, under a key that `NetworkEntry::key` makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum NetworkEntry {
    Vpc(VpcEntry),
    Group(GroupEntry),
    Interface(InterfaceEntry),
    Name(NameEntry),
}

impl NetworkEntry {
    /// `vpc/{id}`, `group/{id}`, `interface/{address}`, `name/{vpc id}/{name}`.
    pub fn key(&self) -> String {
        match self {
            NetworkEntry::Vpc(vpc) => format!("vpc/{}", vpc.id),
            NetworkEntry::Group(group) => format!("group/{}", group.id),
            NetworkEntry::Interface(interface) => format!("interface/{}", interface.address),
            NetworkEntry::Name(name) => format!("name/{}/{}", name.vpc_id.as_deref().unwrap_or("*"), name.name),
        }
    }
}

/// A VPC: its ranges get unreachable routes, and nothing of it reaches another VPC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VpcEntry {
    pub id: String,
    /// The first is the one whose base + 2 is the resolver.
    pub ranges: Vec<Range>,
    /// `enableDnsSupport`: the resolver answers.
    pub dns: bool,
    /// Suffix of its instances' names, e.g. `ec2.internal` or `eu-west-1.compute.internal`.
    pub domain: String,
}

/// A security group's rules; what none admits is dropped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupEntry {
    pub id: String,
    pub ingress: Vec<TrafficRule>,
    pub egress: Vec<TrafficRule>,
}

/// Admits packets of a kind from (ingress) or to (egress) a peer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TrafficRule {
    pub traffic: Traffic,
    pub peer: Peer,
}

/// Kinds of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Traffic {
    Any,
    /// Inclusive ports.
    Tcp(u16, u16),
    Udp(u16, u16),
    /// Type and code; none is any.
    Icmp(Option<u8>, Option<u8>),
    /// IP protocol number, any port.
    Protocol(u8),
}

/// The other side of a packet. Prefix lists arrive as their ranges.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Peer {
    Range(Range),
    /// Any interface in the group of this id.
    Group(String),
}

/// An address that a task or a load balancer holds, on whichever machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InterfaceEntry {
    pub address: Ipv4Addr,
    pub vpc_id: String,
    /// Ids, 1 to 16.
    pub groups: Vec<String>,
    pub holder: Holder,
    /// Ranges outside the VPC that its subnet's routes lead out to: usually `0.0.0.0/0`, or nothing.
    pub outbound: Vec<Range>,
    /// Address under which it is reached from outside the VPC; none also where its subnet's routes do not lead the answers back.
    pub public_address: Option<Ipv4Addr>,
    /// The public address that it was given, reached or not: its public name says it.
    #[serde(default)]
    pub assigned_address: Option<Ipv4Addr>,
    /// Address that those it calls by their public addresses see: its own public one, or its NAT gateway's.
    #[serde(default)]
    pub seen_as: Option<Ipv4Addr>,
    /// The same where it depends on which public addresses it calls; `seen_as` is none then.
    #[serde(default)]
    pub seen_parts: Vec<(Range, Ipv4Addr)>,
}

impl InterfaceEntry {
    /// A task's, without a way out of its VPC.
    pub fn of_task(address: Ipv4Addr, vpc_id: String, groups: Vec<String>) -> InterfaceEntry {
        InterfaceEntry {
            address,
            vpc_id,
            groups,
            holder: Holder::Task,
            outbound: Vec::new(),
            public_address: None,
            assigned_address: None,
            seen_as: None,
            seen_parts: Vec::new(),
        }
    }
}

/// Who holds an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holder {
    /// The network namespace of a task, on the machine that runs it.
    Task,
    /// A load balancer: an address of the machine that runs the gateway.
    LoadBalancer,
    /// Nobody: an interface that was made and not attached, a NAT gateway.
    Nobody,
}

/// A name that the resolver answers with these addresses, and nobody else is asked about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NameEntry {
    /// Lower case, without the last dot.
    pub name: String,
    /// Only to tasks of this VPC; none answers everybody.
    pub vpc_id: Option<String>,
    pub addresses: Vec<Ipv4Addr>,
}
