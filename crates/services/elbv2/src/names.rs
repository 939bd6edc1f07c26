//! DNS names of load balancers, for the resolver of every machine: to tasks of its VPC with its own addresses, which they
//! always reach; to everybody else with its public ones, where it has any.

use crate::records::LoadBalancerRecord;
use neargate_link::network::{NameEntry, NetworkEntry};
use neargate_store::{Change, Snapshot};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Every load balancer's name.
pub fn table(snapshot: &Snapshot) -> Vec<NetworkEntry> {
    snapshot
        .range::<LoadBalancerRecord>("")
        .flat_map(|(_, balancer)| entries(&balancer))
        .collect()
}

/// What one change means: keys of `NetworkEntry`, none for names that are gone.
pub fn changes(_snapshot: &Snapshot, change: &Change) -> Vec<(String, Option<NetworkEntry>)> {
    let of = |balancer: Option<Arc<LoadBalancerRecord>>| {
        balancer
            .map(|balancer| entries(&balancer))
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
    };
    let new = of(change.get::<LoadBalancerRecord>());
    let old = of(change.previous::<LoadBalancerRecord>());
    let gone = old.iter().map(NetworkEntry::key);
    let gone = gone.filter(|key| new.iter().all(|new| new.key() != *key));
    let gone: Vec<_> = gone.map(|key| (key, None)).collect();
    let changed = new.into_iter().filter(|new| !old.contains(new));
    let changed = changed.map(|new| (new.key(), Some(new)));
    gone.into_iter().chain(changed).collect()
}

fn entries(balancer: &LoadBalancerRecord) -> [NetworkEntry; 2] {
    let own: Vec<Ipv4Addr> = balancer.seats.iter().map(|seat| seat.address).collect();
    let public: Vec<Ipv4Addr> = balancer.seats.iter().filter_map(|seat| seat.public_address).collect();
    let entry = |vpc_id, addresses| {
        NetworkEntry::Name(NameEntry {
            name: balancer.dns_name.clone(),
            vpc_id,
            addresses,
        })
    };
    let outside = if public.is_empty() { own.clone() } else { public };
    [entry(None, outside), entry(Some(balancer.vpc_id.clone()), own)]
}
