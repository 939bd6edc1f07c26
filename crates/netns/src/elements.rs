//! Elements of the firewall's sets and maps: which an interface has, and how they are written.
//!
//! Pure. `table` compares an interface's elements before and after a change, so that a change costs what it changes. The
//! invariant: an interface's elements follow from its entry alone.

use crate::config::Cidr;
use neargate_link::network::{Holder, InterfaceEntry};
use std::fmt;
use std::net::Ipv4Addr;

/// An element of the set or map called `set`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    pub set: String,
    pub key: Key,
    pub data: Data,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Address(Ipv4Addr),
    Pair(Ipv4Addr, Ipv4Addr),
    Range(Cidr),
    /// From an address into a range.
    Within(Ipv4Addr, Cidr),
}

/// What a map has for the key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    Nothing,
    Accept,
    Jump(String),
    Address(Ipv4Addr),
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key {
            Key::Address(a) => write!(f, "{a}"),
            Key::Pair(a, b) => write!(f, "{a} . {b}"),
            Key::Range(range) => write!(f, "{range}"),
            Key::Within(a, range) => write!(f, "{a} . {range}"),
        }?;
        match &self.data {
            Data::Nothing => Ok(()),
            Data::Accept => f.write_str(" : accept"),
            Data::Jump(chain) => write!(f, " : jump {chain}"),
            Data::Address(a) => write!(f, " : {a}"),
        }
    }
}

impl Element {
    pub fn new(set: impl Into<String>, key: Key, data: Data) -> Element {
        Element {
            set: set.into(),
            key,
            data,
        }
    }

    /// False for ranges, which only the nft program writes.
    pub fn is_exact(&self) -> bool {
        !matches!(self.key, Key::Range(_) | Key::Within(..))
    }
}

/// What all groups of an interface are called together: the name of its chains.
pub fn combination(groups: &[String]) -> Option<Vec<String>> {
    let mut sorted = groups.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    (!sorted.is_empty()).then_some(sorted)
}

/// The set of a group's addresses.
pub fn group_set(id: &str) -> String {
    format!("group_{}", identifier(id))
}

/// The set of a VPC's addresses.
pub fn vpc_set(id: &str) -> String {
    format!("vpc_{}", identifier(id))
}

/// The chain that packets of a VPC's interfaces pass.
pub fn vpc_chain(id: &str) -> String {
    format!("of_{}", identifier(id))
}

pub fn ingress_chain(group: &str) -> String {
    format!("ingress_{}", identifier(group))
}

pub fn egress_chain(group: &str) -> String {
    format!("egress_{}", identifier(group))
}

/// The chains of a combination of groups: towards its interfaces, from them.
pub fn combination_chains(groups: &[String]) -> (String, String) {
    let name = match groups {
        [one] => identifier(one),
        several => format!("{}_{:016x}", several.len(), hash(&several.join(","))),
    };
    (format!("to_{name}"), format!("from_{name}"))
}

/// `id` as nftables takes names; what it does not take is told apart by a hash.
fn identifier(id: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if id.len() <= 40 && !id.is_empty() && id.chars().all(plain) {
        return id.to_owned();
    }
    format!("_{:016x}", hash(id))
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
    })
}

/// All elements of an interface, sorted.
pub fn of_interface(interface: &InterfaceEntry) -> Vec<Element> {
    let address = interface.address;
    let key = Key::Address(address);
    let balancer = interface.holder == Holder::LoadBalancer;
    let mut out = vec![
        Element::new(vpc_set(&interface.vpc_id), key, Data::Nothing),
        Element::new("vpc_of", key, Data::Jump(vpc_chain(&interface.vpc_id))),
    ];
    match combination(&interface.groups) {
        Some(groups) => {
            let (to, from) = combination_chains(&groups);
            out.push(Element::new("ingress", key, Data::Jump(to)));
            out.push(Element::new("egress", key, Data::Jump(from)));
            out.extend(groups.iter().map(|g| Element::new(group_set(g), key, Data::Nothing)));
        }
        // A Network Load Balancer made without security groups: everything passes. A task always has groups.
        None if balancer => {
            out.push(Element::new("ingress", key, Data::Accept));
            out.push(Element::new("egress", key, Data::Accept));
        }
        None => {}
    }
    if balancer {
        out.push(Element::new("balancers", key, Data::Nothing));
    }
    if balancer || interface.public_address.is_some() {
        out.push(Element::new("selves", Key::Pair(address, address), Data::Nothing));
    }
    let seen_as = interface.seen_as.map(Data::Address);
    out.extend(seen_as.map(|seen_as| Element::new("seen_as", key, seen_as)));
    let parts = interface.seen_parts.iter();
    out.extend(parts.filter_map(|((base, prefix), seen_as)| {
        let key = Key::Within(address, Cidr::containing(*base, *prefix)?);
        Some(Element::new("seen_parts", key, Data::Address(*seen_as)))
    }));
    out.extend(ways_out(interface));
    out.sort_unstable();
    out.dedup();
    out
}

fn ways_out(interface: &InterfaceEntry) -> Vec<Element> {
    let ranges = interface.outbound.iter();
    let ranges: Vec<Cidr> = ranges
        .filter_map(|(base, prefix)| Cidr::containing(*base, *prefix))
        .collect();
    if ranges.iter().any(|r| r.prefix() == 0) {
        return vec![Element::new("outbound", Key::Address(interface.address), Data::Nothing)];
    }
    crate::rules::outermost(ranges)
        .into_iter()
        .map(|range| Element::new("outbound_ranges", Key::Within(interface.address, range), Data::Nothing))
        .collect()
}
