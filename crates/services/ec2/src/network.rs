//! The bridge to nodes: VPCs, security groups and interfaces as the network table has them.
//!
//! Control calls `table` when a node connects and `changes` for every change of a record here. Pure. The invariant: the
//! whole table is what the changes make of an earlier whole table, one by one.

use crate::cidr;
use crate::records::{
    EndpointRecord, GroupRule, InterfaceOwner, InterfaceRecord, InternetGatewayRecord, NatGatewayRecord, PoolRecord,
    PrefixListRecord, RouteTableRecord, RulePeer, SecurityGroupRecord, SubnetRecord, VpcRecord,
};
use crate::routing::{self, Seen};
use neargate_link::network::{
    GroupEntry, Holder, InterfaceEntry, NetworkEntry, Peer, Range, Traffic, TrafficRule, VpcEntry,
};
use neargate_store::{Change, Record, Snapshot};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

type Entries = Vec<(String, Option<NetworkEntry>)>;

/// Everything, of all regions.
pub fn table(snapshot: &Snapshot) -> Vec<NetworkEntry> {
    let vpcs = snapshot.range::<VpcRecord>("").map(|(_, vpc)| vpc_entry(&vpc));
    let groups = snapshot.range::<SecurityGroupRecord>("");
    let groups = groups.map(|(_, group)| group_entry(snapshot, &group));
    let mut ways = Ways::default();
    let interfaces = snapshot.range::<InterfaceRecord>("");
    let interfaces = interfaces.map(|(_, interface)| entry(&interface, ways.of(snapshot, &interface)));
    vpcs.chain(groups).chain(interfaces).collect()
}

/// What one change means in `snapshot`: entries by key, none for one that is gone.
pub fn changes(snapshot: &Snapshot, change: &Change) -> Entries {
    let key = |prefix: &str| change.key.strip_prefix(prefix);
    let last = |key: &str| key.rsplit('/').next().unwrap_or_default().to_owned();
    if let Some(key) = key(VpcRecord::PREFIX) {
        let now = snapshot.get::<VpcRecord>(key);
        return vec![(format!("vpc/{}", last(key)), now.map(|vpc| vpc_entry(&vpc)))];
    }
    if let Some(key) = key(SecurityGroupRecord::PREFIX) {
        let now = snapshot.get::<SecurityGroupRecord>(key);
        return vec![(
            format!("group/{}", last(key)),
            now.map(|group| group_entry(snapshot, &group)),
        )];
    }
    if let Some(key) = key(InterfaceRecord::PREFIX) {
        let address = Ipv4Addr::from(u32::from_str_radix(key, 16).unwrap_or_default());
        let now = snapshot.get::<InterfaceRecord>(key);
        return vec![(
            format!("interface/{address}"),
            now.map(|i| interface_entry(snapshot, &i)),
        )];
    }
    if let Some(key) = key(PrefixListRecord::PREFIX) {
        return of_prefix_list(snapshot, key);
    }
    of_routes(snapshot, change)
}

/// Groups and routes that name a prefix list.
fn of_prefix_list(snapshot: &Snapshot, key: &str) -> Entries {
    let groups = snapshot.indexed::<SecurityGroupRecord>(SecurityGroupRecord::BY_PREFIX_LIST, key);
    let mut out: Entries = groups
        .map(|(_, group)| (format!("group/{}", group.id), Some(group_entry(snapshot, &group))))
        .collect();
    let (region, id) = key.split_once('/').unwrap_or_default();
    let destination = crate::records::Destination::PrefixList(id.to_owned());
    for (_, table) in snapshot.range::<RouteTableRecord>(&format!("{region}/")) {
        if table.routes.iter().any(|r| r.destination == destination) {
            out.extend(interfaces_of(snapshot, region, &table.vpc_id));
        }
    }
    out
}

/// A change of what routes lead through may change the ways out of every interface of its VPC.
fn of_routes(snapshot: &Snapshot, change: &Change) -> Entries {
    let mut vpcs: Vec<(String, String)> = Vec::new();
    macro_rules! of {
        ($($record:ty => $vpc:expr),*) => {$(
            if change.key.starts_with(<$record>::PREFIX) {
                for record in [change.get::<$record>(), change.previous::<$record>()].into_iter().flatten() {
                    let of: fn(&$record) -> Option<String> = $vpc;
                    vpcs.extend(of(&record).map(|vpc| (record.region.clone(), vpc)));
                }
            }
        )*};
    }
    of!(
        RouteTableRecord => |r| Some(r.vpc_id.clone()),
        InternetGatewayRecord => |r| r.vpc_id.clone(),
        NatGatewayRecord => |r| Some(r.vpc_id.clone()),
        SubnetRecord => |r| Some(r.vpc_id.clone()),
        EndpointRecord => |r| Some(r.vpc_id.clone())
    );
    vpcs.sort_unstable();
    vpcs.dedup();
    vpcs.iter()
        .flat_map(|(region, vpc)| interfaces_of(snapshot, region, vpc))
        .collect()
}

fn interfaces_of(snapshot: &Snapshot, region: &str, vpc_id: &str) -> Entries {
    let all = snapshot.range::<InterfaceRecord>("");
    let mut ways = Ways::default();
    all.filter(|(_, i)| i.region == region && i.vpc_id == vpc_id)
        .map(|(_, i)| {
            let entry = entry(&i, ways.of(snapshot, &i));
            (format!("interface/{}", i.address), Some(entry))
        })
        .collect()
}

/// Where a subnet's routes lead an interface.
#[derive(Clone, Default)]
struct Way {
    out: Vec<Range>,
    /// Its public address is reached from outside.
    reached: bool,
    /// As whom holders of public addresses see it, by parts of the pool.
    seen: Vec<(Range, Seen)>,
    /// There is one part: the pool.
    alike: bool,
}

/// Ways of subnets, by region, subnet and whether the interface has a public address: interfaces of one subnet share them.
#[derive(Default)]
struct Ways(BTreeMap<(String, String, bool), Way>);

impl Ways {
    fn of(&mut self, snapshot: &Snapshot, interface: &InterfaceRecord) -> Way {
        let public = interface.public_address.is_some();
        let place = (interface.region.clone(), interface.subnet_id.clone(), public);
        let way = self.0.entry(place).or_insert_with(|| way_of(snapshot, interface));
        way.clone()
    }
}

fn vpc_entry(vpc: &VpcRecord) -> NetworkEntry {
    NetworkEntry::Vpc(VpcEntry {
        id: vpc.id.clone(),
        ranges: vpc.ranges(),
        dns: vpc.dns_support,
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

fn group_entry(snapshot: &Snapshot, group: &SecurityGroupRecord) -> NetworkEntry {
    let rules = |egress: bool| {
        let rules = group.rules.iter().filter(move |rule| rule.egress == egress);
        rules
            .flat_map(|rule| traffic_rules(snapshot, &group.region, rule))
            .collect()
    };
    NetworkEntry::Group(GroupEntry {
        id: group.id.clone(),
        ingress: rules(false),
        egress: rules(true),
    })
}

/// The rule, once for each range of a prefix list; nothing for IPv6, of which tasks have none.
pub fn traffic_rules(snapshot: &Snapshot, region: &str, rule: &GroupRule) -> Vec<TrafficRule> {
    let Some(traffic) = traffic(rule) else {
        return Vec::new();
    };
    let peers = match &rule.peer {
        RulePeer::Ipv4(text) => cidr::parse(text).map(Peer::Range).into_iter().collect(),
        RulePeer::Ipv6(_) => Vec::new(),
        RulePeer::PrefixList(id) => {
            let ranges = routing::list_ranges(snapshot, region, id);
            ranges.into_iter().map(Peer::Range).collect()
        }
        RulePeer::Group(id) => vec![Peer::Group(id.clone())],
    };
    peers.into_iter().map(|peer| TrafficRule { traffic, peer }).collect()
}

fn traffic(rule: &GroupRule) -> Option<Traffic> {
    let port = |n: Option<i32>| n.and_then(|n| u16::try_from(n).ok());
    let ports = (
        port(rule.from_port).unwrap_or(0),
        port(rule.to_port).unwrap_or(u16::MAX),
    );
    // -1 is any type or code.
    let kind = |n: Option<i32>| n.and_then(|n| u8::try_from(n).ok());
    Some(match rule.protocol.as_str() {
        "-1" => Traffic::Any,
        "tcp" => Traffic::Tcp(ports.0, ports.1),
        "udp" => Traffic::Udp(ports.0, ports.1),
        "icmp" => Traffic::Icmp(kind(rule.from_port), kind(rule.to_port)),
        "icmpv6" => return None,
        number => Traffic::Protocol(number.parse().ok()?),
    })
}

fn interface_entry(snapshot: &Snapshot, interface: &InterfaceRecord) -> NetworkEntry {
    entry(interface, way_of(snapshot, interface))
}

fn way_of(snapshot: &Snapshot, interface: &InterfaceRecord) -> Way {
    let Some(subnet) = crate::lookup::subnet(snapshot, &interface.region, &interface.subnet_id) else {
        return Way::default();
    };
    let public = interface.public_address.is_some();
    let pool = snapshot.get::<PoolRecord>(PoolRecord::KEY).map(|pool| pool.range);
    let seen = pool.map_or_else(Vec::new, |pool| routing::seen(snapshot, &subnet, pool));
    Way {
        out: routing::ways_out(snapshot, &subnet, public),
        reached: public && routing::is_reached(snapshot, &subnet),
        alike: matches!(seen.as_slice(), [(part, _)] if Some(*part) == pool),
        seen,
    }
}

fn entry(interface: &InterfaceRecord, way: Way) -> NetworkEntry {
    let holder = match &interface.owner {
        InterfaceOwner::Task { .. } => Holder::Task,
        InterfaceOwner::LoadBalancer { .. } => Holder::LoadBalancer,
        InterfaceOwner::NatGateway { .. } | InterfaceOwner::Endpoint { .. } | InterfaceOwner::User => Holder::Nobody,
    };
    let seen = way.seen.into_iter().filter(|_| holder == Holder::Task);
    let seen = seen.filter_map(|(part, seen)| match seen {
        Seen::Itself => Some((part, interface.public_address?)),
        Seen::As(address) => Some((part, address)),
    });
    let seen: Vec<(Range, Ipv4Addr)> = seen.collect();
    NetworkEntry::Interface(InterfaceEntry {
        address: interface.address,
        vpc_id: interface.vpc_id.clone(),
        groups: interface.security_groups.clone(),
        holder,
        // A load balancer answers whoever asked, and otherwise stays in its VPC.
        outbound: if holder == Holder::Task { way.out } else { Vec::new() },
        public_address: interface.public_address.filter(|_| way.reached),
        assigned_address: interface.public_address,
        seen_as: seen.first().filter(|_| way.alike).map(|(_, address)| *address),
        seen_parts: if way.alike { Vec::new() } else { seen },
    })
}
