//! DNS names of load balancers, for the resolver of every machine: one entry a load balancer, answered to everybody.

use crate::records::LoadBalancerRecord;
use neargate_link::network::{NameEntry, NetworkEntry};
use neargate_store::{Change, Snapshot};

/// Every load balancer's name.
pub fn table(snapshot: &Snapshot) -> Vec<NetworkEntry> {
    snapshot
        .range::<LoadBalancerRecord>("")
        .map(|(_, balancer)| entry(&balancer))
        .collect()
}

/// What one change means: keys of `NetworkEntry`, none for names that are gone.
pub fn changes(_snapshot: &Snapshot, change: &Change) -> Vec<(String, Option<NetworkEntry>)> {
    let new = change.get::<LoadBalancerRecord>().map(|balancer| entry(&balancer));
    let old = change.previous::<LoadBalancerRecord>().map(|balancer| entry(&balancer));
    if new == old {
        return Vec::new();
    }
    let mut out = Vec::new();
    if let Some(old) = &old
        && new.as_ref().map(NetworkEntry::key) != Some(old.key())
    {
        out.push((old.key(), None));
    }
    out.extend(new.map(|new| (new.key(), Some(new))));
    out
}

fn entry(balancer: &LoadBalancerRecord) -> NetworkEntry {
    NetworkEntry::Name(NameEntry {
        name: balancer.dns_name.clone(),
        vpc_id: None,
        addresses: balancer.seats.iter().map(|seat| seat.address).collect(),
    })
}
