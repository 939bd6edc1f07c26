//! What a load balancer's security groups admit, for connections that nftables cannot tell apart.

use neargate_ec2::api::IpPermission;
use neargate_link::network::Range;
use neargate_link::{Peer, Traffic, TrafficRule};
use neargate_store::Snapshot;

/// The ingress rules of the groups, ascending and each once.
pub fn rules(snapshot: &Snapshot, region: &str, groups: &[String]) -> Vec<TrafficRule> {
    let mut out: Vec<TrafficRule> = groups
        .iter()
        .filter_map(|id| neargate_ec2::security_group(snapshot, region, id))
        .flat_map(|group| group.ingress.iter().flat_map(permission).collect::<Vec<_>>())
        .collect();
    out.sort();
    out.dedup();
    out
}

fn permission(asked: &IpPermission) -> Vec<TrafficRule> {
    let Some(traffic) = traffic(asked) else {
        return Vec::new();
    };
    let ranges = asked.ip_ranges.iter().flatten();
    let ranges = ranges.filter_map(|r| range(r.cidr_ip.as_deref()?)).map(Peer::Range);
    let groups = asked.user_id_group_pairs.iter().flatten();
    let groups = groups.filter_map(|pair| pair.group_id.clone()).map(Peer::Group);
    ranges.chain(groups).map(|peer| TrafficRule { traffic, peer }).collect()
}

fn traffic(asked: &IpPermission) -> Option<Traffic> {
    let port = |value: Option<i32>, open: u16| match value {
        None | Some(-1) => Some(open),
        Some(port) => u16::try_from(port).ok(),
    };
    let icmp = |value: Option<i32>| value.and_then(|v| u8::try_from(v).ok());
    Some(match asked.ip_protocol.as_deref()? {
        "-1" => Traffic::Any,
        "tcp" | "6" => Traffic::Tcp(port(asked.from_port, 0)?, port(asked.to_port, u16::MAX)?),
        "udp" | "17" => Traffic::Udp(port(asked.from_port, 0)?, port(asked.to_port, u16::MAX)?),
        "icmp" | "1" => Traffic::Icmp(icmp(asked.from_port), icmp(asked.to_port)),
        other => Traffic::Protocol(other.parse().ok()?),
    })
}

fn range(text: &str) -> Option<Range> {
    let (address, prefix) = text.split_once('/')?;
    Some((address.parse().ok()?, prefix.parse().ok()?))
}
