//! What a load balancer's security groups admit, for connections that nftables cannot tell apart.

use neargate_link::TrafficRule;
use neargate_store::Snapshot;

/// The ingress rules of the groups, ascending and each once.
pub fn rules(snapshot: &Snapshot, region: &str, groups: &[String]) -> Vec<TrafficRule> {
    let mut out = Vec::new();
    for group in groups
        .iter()
        .filter_map(|id| neargate_ec2::security_group(snapshot, region, id))
    {
        let ingress = group.rules.iter().filter(|rule| !rule.egress);
        out.extend(ingress.flat_map(|rule| neargate_ec2::network::traffic_rules(snapshot, region, rule)));
    }
    out.sort();
    out.dedup();
    out
}
