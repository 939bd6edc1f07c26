//! Where a subnet's packets may go: its route table, read by longest prefix.
//!
//! Called for what nodes are told (`network`) and by `lookup`. Pure. AWS's rules: an internet gateway carries only
//! interfaces with a public address, both ways; a NAT gateway works when it is available and its own subnet leads to the
//! internet; whatever else a route names leads nowhere.

use crate::cidr::{self, Cidr};
use crate::records::{
    Destination, InterfaceOwner, InternetGatewayRecord, NatGatewayRecord, PrefixListRecord, RouteRecord,
    RouteTableRecord, RouteTarget, SubnetRecord,
};
use neargate_store::{Snapshot, Versioned};
use std::net::Ipv4Addr;

/// The route table of a subnet: its own, or the VPC's main one.
pub fn table_of(
    snapshot: &Snapshot,
    region: &str,
    vpc_id: &str,
    subnet_id: &str,
) -> Option<Versioned<RouteTableRecord>> {
    let mut main = None;
    for (_, table) in snapshot.range::<RouteTableRecord>(&format!("{region}/")) {
        if table.vpc_id != vpc_id {
            continue;
        }
        if table.associations.iter().any(|a| a.subnet_id == subnet_id) {
            return Some(table);
        }
        if table.main_association.is_some() {
            main = Some(table);
        }
    }
    main
}

/// True while the route's target is there and takes packets.
pub fn is_active(snapshot: &Snapshot, table: &RouteTableRecord, route: &RouteRecord) -> bool {
    let region = &table.region;
    match &route.target {
        RouteTarget::InternetGateway(id) => snapshot
            .get::<InternetGatewayRecord>(&InternetGatewayRecord::key(region, id))
            .is_some_and(|igw| igw.vpc_id.as_ref() == Some(&table.vpc_id)),
        RouteTarget::NatGateway(id) => snapshot
            .get::<NatGatewayRecord>(&NatGatewayRecord::key(region, id))
            .is_some_and(|nat| nat.is_available()),
        // There are no instances to which a user's interface could be attached.
        RouteTarget::Interface(id) => crate::lookup::interface(snapshot, region, id)
            .is_some_and(|interface| !matches!(interface.owner, InterfaceOwner::User)),
        RouteTarget::Endpoint(_) => true,
    }
}

/// Ranges outside the VPC that packets of an interface in the subnet reach.
pub fn ways_out(snapshot: &Snapshot, subnet: &SubnetRecord, public: bool) -> Vec<Cidr> {
    ways(snapshot, subnet, |target| match target {
        RouteTarget::InternetGateway(_) => public,
        RouteTarget::NatGateway(id) => nat_leads_out(snapshot, &subnet.region, id),
        RouteTarget::Interface(_) | RouteTarget::Endpoint(_) => false,
    })
}

/// True when a public address in the subnet is reached from outside: answers go back through an internet gateway.
pub fn is_reached(snapshot: &Snapshot, subnet: &SubnetRecord) -> bool {
    let gateway = |target: &RouteTarget| matches!(target, RouteTarget::InternetGateway(_));
    !ways(snapshot, subnet, gateway).is_empty()
}

/// Whose address calls from a subnet carry outside its VPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The interface's own public one.
    Itself,
    /// That of a NAT gateway.
    As(Ipv4Addr),
}

/// As whom those at the addresses of `pool`, outside the VPC, see those in the subnet: by the parts of it to which its
/// routes lead.
pub fn seen(snapshot: &Snapshot, subnet: &SubnetRecord, pool: Cidr) -> Vec<(Cidr, Seen)> {
    let Some(table) = table_of(snapshot, &subnet.region, &subnet.vpc_id, &subnet.id) else {
        return Vec::new();
    };
    let parts = |leads: &dyn Fn(&RouteTarget) -> bool| {
        let ways = ways(snapshot, subnet, leads).into_iter();
        ways.filter_map(|range| {
            let inside = cidr::within(pool, range).then_some(range);
            inside.or_else(|| cidr::within(range, pool).then_some(pool))
        })
        .collect::<Vec<Cidr>>()
    };
    let gateway = parts(&|target| matches!(target, RouteTarget::InternetGateway(_)));
    let mut out: Vec<(Cidr, Seen)> = gateway.into_iter().map(|part| (part, Seen::Itself)).collect();
    let mut nats: Vec<&String> = table
        .routes
        .iter()
        .filter_map(|route| match &route.target {
            RouteTarget::NatGateway(id) if nat_leads_out(snapshot, &subnet.region, id) => Some(id),
            _ => None,
        })
        .collect();
    nats.sort_unstable();
    nats.dedup();
    for id in nats {
        let nat = snapshot.get::<NatGatewayRecord>(&NatGatewayRecord::key(&subnet.region, id));
        if let Some(address) = nat.and_then(|nat| nat.public_address) {
            let through = parts(&|target| matches!(target, RouteTarget::NatGateway(other) if other == id));
            out.extend(through.into_iter().map(|part| (part, Seen::As(address))));
        }
    }
    out
}

/// Ranges outside the VPC to which a target that `leads` out is the nearest of the subnet's routes.
fn ways(snapshot: &Snapshot, subnet: &SubnetRecord, leads: impl Fn(&RouteTarget) -> bool) -> Vec<Cidr> {
    let Some(table) = table_of(snapshot, &subnet.region, &subnet.vpc_id, &subnet.id) else {
        return Vec::new();
    };
    // A route of the table itself goes before one of a prefix list for the same range.
    let mut routes: Vec<(Cidr, bool, bool)> = Vec::new();
    for route in &table.routes {
        let leads = is_active(snapshot, &table, route) && leads(&route.target);
        let own = matches!(route.destination, Destination::Range(_));
        let ranges = ranges(snapshot, &table.region, &route.destination);
        routes.extend(ranges.into_iter().map(|range| (range, own, leads)));
    }
    let mut out: Vec<Cidr> = Vec::new();
    for (range, own, _) in routes.iter().filter(|(_, _, leads)| *leads) {
        let before = |(r, o, leads): &&(Cidr, bool, bool)| !leads && (r.1 > range.1 || r.1 == range.1 && *o && !own);
        out.extend(routes.iter().filter(before).fold(vec![*range], |left, (hole, ..)| {
            left.into_iter().flat_map(|r| cidr::without(r, *hole)).collect()
        }));
    }
    // Ranges that lie in others add nothing.
    out.sort_unstable_by_key(|(base, prefix)| (*prefix, *base));
    let mut widest: Vec<Cidr> = Vec::new();
    for range in out {
        if !widest.iter().any(|wide| cidr::within(*wide, range)) {
            widest.push(range);
        }
    }
    widest.sort_unstable();
    widest
}

fn nat_leads_out(snapshot: &Snapshot, region: &str, id: &str) -> bool {
    let Some(nat) = snapshot.get::<NatGatewayRecord>(&NatGatewayRecord::key(region, id)) else {
        return false;
    };
    nat.is_available()
        && nat.public_address.is_some()
        && table_of(snapshot, region, &nat.vpc_id, &nat.subnet_id).is_some_and(|table| {
            table
                .routes
                .iter()
                .any(|r| matches!(r.target, RouteTarget::InternetGateway(_)) && is_active(snapshot, &table, r))
        })
}

/// The IPv4 ranges that a destination stands for.
pub fn ranges(snapshot: &Snapshot, region: &str, destination: &Destination) -> Vec<Cidr> {
    match destination {
        Destination::Range(range) => vec![*range],
        Destination::PrefixList(id) => list_ranges(snapshot, region, id),
    }
}

/// The IPv4 ranges of a prefix list; AWS's own lists stand for services that are not here.
pub fn list_ranges(snapshot: &Snapshot, region: &str, id: &str) -> Vec<Cidr> {
    let list = snapshot.get::<PrefixListRecord>(&PrefixListRecord::key(region, id));
    let entries = list.iter().flat_map(|list| &list.entries);
    entries.filter_map(|entry| cidr::parse(&entry.cidr)).collect()
}
