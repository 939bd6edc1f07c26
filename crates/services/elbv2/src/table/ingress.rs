//! What load balancers' security groups admit, for connections that nftables cannot tell apart.

use neargate_link::{NetworkEntry, TrafficRule};
use neargate_store::Snapshot;
use std::collections::BTreeMap;

/// Ingress rules of every security group, by id.
pub struct Ingress(BTreeMap<String, Vec<TrafficRule>>);

impl Ingress {
    pub fn new(snapshot: &Snapshot) -> Ingress {
        let groups = neargate_ec2::network::table(snapshot).into_iter();
        Ingress(
            groups
                .filter_map(|entry| match entry {
                    NetworkEntry::Group(group) => Some((group.id, group.ingress)),
                    _ => None,
                })
                .collect(),
        )
    }

    /// The rules of these groups, ascending and each once.
    pub fn of(&self, groups: &[String]) -> Vec<TrafficRule> {
        let mut out: Vec<TrafficRule> = groups
            .iter()
            .filter_map(|id| self.0.get(id))
            .flatten()
            .cloned()
            .collect();
        out.sort();
        out.dedup();
        out
    }
}
