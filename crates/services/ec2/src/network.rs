//! The bridge to nodes: VPCs, security groups and interfaces as the network table has them.
//!
//! Control calls `table` when a node connects and `changes` for every change of a record here. Pure. The invariant: the
//! whole table is what the changes make of an earlier whole table, one by one.

use crate::api;
use crate::records::{InterfaceOwner, InterfaceRecord, SecurityGroupRecord, VpcRecord};
use neargate_link::network::{
    GroupEntry, Holder, InterfaceEntry, NetworkEntry, Peer, Range, Traffic, TrafficRule, VpcEntry,
};
use neargate_store::{Change, Record, Snapshot};
use std::net::Ipv4Addr;

/// Everything, of all regions.
pub fn table(snapshot: &Snapshot) -> Vec<NetworkEntry> {
    let vpcs = snapshot.range::<VpcRecord>("").map(|(_, vpc)| vpc_entry(&vpc));
    let groups = snapshot
        .range::<SecurityGroupRecord>("")
        .map(|(_, group)| group_entry(&group));
    let interfaces = snapshot.range::<InterfaceRecord>("").map(|(_, i)| interface_entry(&i));
    vpcs.chain(groups).chain(interfaces).collect()
}

/// What one change means in `snapshot`: entries by key, none for one that is gone.
pub fn changes(snapshot: &Snapshot, change: &Change) -> Vec<(String, Option<NetworkEntry>)> {
    let mut out = Vec::new();
    if let Some(key) = change.key.strip_prefix(VpcRecord::PREFIX) {
        let id = key.rsplit('/').next().unwrap_or_default();
        out.push((
            format!("vpc/{id}"),
            snapshot.get::<VpcRecord>(key).map(|v| vpc_entry(&v)),
        ));
    } else if let Some(key) = change.key.strip_prefix(SecurityGroupRecord::PREFIX) {
        let id = key.rsplit('/').next().unwrap_or_default();
        let now = snapshot.get::<SecurityGroupRecord>(key);
        out.push((format!("group/{id}"), now.map(|g| group_entry(&g))));
    } else if let Some(key) = change.key.strip_prefix(InterfaceRecord::PREFIX) {
        let address = Ipv4Addr::from(u32::from_str_radix(key, 16).unwrap_or_default());
        let now = snapshot.get::<InterfaceRecord>(key);
        out.push((format!("interface/{address}"), now.map(|i| interface_entry(&i))));
    }
    out
}

fn vpc_entry(vpc: &VpcRecord) -> NetworkEntry {
    NetworkEntry::Vpc(VpcEntry {
        id: vpc.id.clone(),
        ranges: vpc.ranges(),
        dns: true,
        domain: domain(&vpc.region),
    })
}

/// Suffix of private names in a region.
fn domain(region: &str) -> String {
    match region {
        "us-east-1" => "ec2.internal".to_owned(),
        region => format!("{region}.compute.internal"),
    }
}

fn group_entry(group: &SecurityGroupRecord) -> NetworkEntry {
    NetworkEntry::Group(GroupEntry {
        id: group.id.clone(),
        ingress: rules(&group.ingress),
        egress: rules(&group.egress),
    })
}

fn rules(permissions: &[api::IpPermission]) -> Vec<TrafficRule> {
    let mut out = Vec::new();
    for permission in permissions {
        let Some(traffic) = traffic(permission) else { continue };
        let ranges = permission.ip_ranges.iter().flatten();
        let ranges = ranges.filter_map(|r| Some(Peer::Range(range(r.cidr_ip.as_deref()?)?)));
        let groups = permission.user_id_group_pairs.iter().flatten();
        let groups = groups.filter_map(|g| g.group_id.clone().map(Peer::Group));
        out.extend(ranges.chain(groups).map(|peer| TrafficRule { traffic, peer }));
    }
    out
}

fn range(text: &str) -> Option<Range> {
    let (base, prefix) = text.split_once('/')?;
    Some((base.parse().ok()?, prefix.parse().ok()?))
}

fn traffic(permission: &api::IpPermission) -> Option<Traffic> {
    let port = |n: Option<i32>| n.and_then(|n| u16::try_from(n).ok());
    let ports = (port(permission.from_port), port(permission.to_port));
    let kind = |n: Option<i32>| n.and_then(|n| u8::try_from(n).ok());
    Some(match (permission.ip_protocol.as_deref()?, ports) {
        ("-1", _) => Traffic::Any,
        ("tcp" | "6", (Some(from), Some(to))) => Traffic::Tcp(from, to),
        ("udp" | "17", (Some(from), Some(to))) => Traffic::Udp(from, to),
        ("tcp" | "6", _) => Traffic::Tcp(0, u16::MAX),
        ("udp" | "17", _) => Traffic::Udp(0, u16::MAX),
        ("icmp" | "1", _) => Traffic::Icmp(kind(permission.from_port), kind(permission.to_port)),
        (other, _) => Traffic::Protocol(other.parse().ok()?),
    })
}

fn interface_entry(interface: &InterfaceRecord) -> NetworkEntry {
    let holder = match &interface.owner {
        InterfaceOwner::Task { .. } => Holder::Task,
        InterfaceOwner::LoadBalancer { .. } => Holder::LoadBalancer,
        _ => Holder::Nobody,
    };
    // A default VPC's subnets route to the internet, for whoever has a public address.
    let out = holder == Holder::Task && interface.public_address.is_some();
    NetworkEntry::Interface(InterfaceEntry {
        address: interface.address,
        vpc_id: interface.vpc_id.clone(),
        groups: interface.security_groups.clone(),
        holder,
        outbound: if out {
            vec![(Ipv4Addr::UNSPECIFIED, 0)]
        } else {
            Vec::new()
        },
        public_address: interface.public_address,
    })
}
