//! What a security group's rules become in nftables: few lines, whatever the number of rules.
//!
//! Pure; `table` is the caller. A group's rules are folded by peer, ports into intervals and peers with the same ports
//! into one set, because a packet that opens a connection is compared line by line. The invariant: the clauses admit
//! exactly what some rule admits.

use crate::config::Cidr;
use crate::elements::group_set;
use neargate_link::network::{Peer, Traffic, TrafficRule};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Which side of a packet the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    fn peer_field(self) -> &'static str {
        match self {
            Direction::Ingress => "ip saddr",
            Direction::Egress => "ip daddr",
        }
    }
}

/// Peers and what they may send or get.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Clause {
    peers: Peers,
    kinds: Kinds,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Peers {
    Everyone,
    Ranges(Vec<Cidr>),
    Group(String),
}

/// Kinds of packets; ports are sorted intervals that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Kinds {
    any: bool,
    tcp: Vec<(u16, u16)>,
    udp: Vec<(u16, u16)>,
    icmp: BTreeSet<(Option<u8>, Option<u8>)>,
    protocols: BTreeSet<u8>,
}

impl Kinds {
    fn add(&mut self, traffic: Traffic) {
        match traffic {
            Traffic::Any => self.any = true,
            Traffic::Tcp(from, to) => self.tcp.push((from, to)),
            Traffic::Udp(from, to) => self.udp.push((from, to)),
            Traffic::Icmp(kind, code) => drop(self.icmp.insert((kind, code))),
            Traffic::Protocol(number) => drop(self.protocols.insert(number)),
        }
    }

    fn folded(mut self) -> Kinds {
        if self.any {
            return Kinds {
                any: true,
                ..Kinds::default()
            };
        }
        fold(&mut self.tcp);
        fold(&mut self.udp);
        if self.icmp.contains(&(None, None)) {
            self.icmp = BTreeSet::from([(None, None)]);
        }
        self
    }
}

/// Sorts intervals, joins those that meet, drops those that end before they begin.
fn fold(ports: &mut Vec<(u16, u16)>) {
    ports.retain(|(from, to)| from <= to);
    ports.sort_unstable();
    let mut out: Vec<(u16, u16)> = Vec::with_capacity(ports.len());
    for &(from, to) in ports.iter() {
        match out.last_mut() {
            Some(last) if u32::from(from) <= u32::from(last.1) + 1 => last.1 = last.1.max(to),
            _ => out.push((from, to)),
        }
    }
    *ports = out;
}

fn clauses(rules: &[TrafficRule]) -> Vec<Clause> {
    let mut by_peer: BTreeMap<&Peer, Kinds> = BTreeMap::new();
    for rule in rules {
        by_peer.entry(&rule.peer).or_default().add(rule.traffic);
    }
    let mut ranges: BTreeMap<Kinds, Vec<Cidr>> = BTreeMap::new();
    let mut out = Vec::new();
    for (peer, kinds) in by_peer {
        match peer {
            Peer::Group(id) => out.push(Clause {
                peers: Peers::Group(id.clone()),
                kinds: kinds.folded(),
            }),
            Peer::Range((base, prefix)) => {
                if let Some(range) = Cidr::containing(*base, *prefix) {
                    ranges.entry(kinds.folded()).or_default().push(range);
                }
            }
        }
    }
    out.extend(ranges.into_iter().map(|(kinds, ranges)| {
        let outermost = outermost(ranges);
        let everyone = outermost.first().is_some_and(|r| r.prefix() == 0);
        Clause {
            peers: if everyone {
                Peers::Everyone
            } else {
                Peers::Ranges(outermost)
            },
            kinds,
        }
    }));
    out
}

/// The ranges without those that lie in another of them, sorted: nftables refuses intervals that overlap.
pub fn outermost(mut ranges: Vec<Cidr>) -> Vec<Cidr> {
    ranges.sort_unstable();
    let mut out: Vec<Cidr> = Vec::with_capacity(ranges.len());
    for range in ranges {
        // Ranges nest or are apart, and the outer one sorts first.
        if !out.last().is_some_and(|last| last.contains(range.base())) {
            out.push(range);
        }
    }
    out
}

/// The lines of a group's chain.
pub fn lines(direction: Direction, rules: &[TrafficRule]) -> Vec<String> {
    clauses(rules).iter().flat_map(|c| clause_lines(direction, c)).collect()
}

fn clause_lines(direction: Direction, clause: &Clause) -> Vec<String> {
    let field = direction.peer_field();
    let peer = match &clause.peers {
        Peers::Everyone => String::new(),
        Peers::Group(id) => format!("{field} @{} ", group_set(id)),
        Peers::Ranges(ranges) => format!("{field} {} ", braces(ranges.iter())),
    };
    let kinds = &clause.kinds;
    if kinds.any {
        return vec![format!("{peer}accept")];
    }
    let mut out = Vec::new();
    for (name, ports) in [("tcp", &kinds.tcp), ("udp", &kinds.udp)] {
        if ports.as_slice() == [(0, u16::MAX)] {
            out.push(format!("{peer}meta l4proto {name} accept"));
        } else if !ports.is_empty() {
            let ports = ports.iter().map(|(from, to)| match from == to {
                true => from.to_string(),
                false => format!("{from}-{to}"),
            });
            out.push(format!("{peer}{name} dport {} accept", braces(ports)));
        }
    }
    for (kind, code) in &kinds.icmp {
        let mut line = format!("{peer}meta l4proto icmp ");
        if let Some(kind) = kind {
            let _ = write!(line, "icmp type {kind} ");
        }
        if let Some(code) = code {
            let _ = write!(line, "icmp code {code} ");
        }
        out.push(line + "accept");
    }
    if !kinds.protocols.is_empty() {
        out.push(format!("{peer}meta l4proto {} accept", braces(kinds.protocols.iter())));
    }
    out
}

fn braces<T: std::fmt::Display>(items: impl Iterator<Item = T>) -> String {
    let items: Vec<String> = items.map(|i| i.to_string()).collect();
    format!("{{ {} }}", items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    #[derive(Clone, Copy, Debug)]
    struct Packet {
        peer: u32,
        in_group: bool,
        protocol: u8,
        /// Destination port, or ICMP's type and code.
        detail: u16,
    }

    fn kind_admits(traffic: Traffic, p: Packet) -> bool {
        let [kind, code] = p.detail.to_be_bytes();
        match traffic {
            Traffic::Any => true,
            Traffic::Tcp(from, to) => p.protocol == 6 && (from..=to).contains(&p.detail),
            Traffic::Udp(from, to) => p.protocol == 17 && (from..=to).contains(&p.detail),
            Traffic::Icmp(t, c) => p.protocol == 1 && t.is_none_or(|t| t == kind) && c.is_none_or(|c| c == code),
            Traffic::Protocol(number) => p.protocol == number,
        }
    }

    fn rule_admits(rule: &TrafficRule, p: Packet) -> bool {
        let peer = match &rule.peer {
            Peer::Group(_) => p.in_group,
            Peer::Range((base, prefix)) => {
                Cidr::containing(*base, *prefix).is_some_and(|c| c.contains(Ipv4Addr::from(p.peer)))
            }
        };
        peer && kind_admits(rule.traffic, p)
    }

    fn clause_admits(clause: &Clause, p: Packet) -> bool {
        let peer = match &clause.peers {
            Peers::Everyone => true,
            Peers::Group(_) => p.in_group,
            Peers::Ranges(ranges) => ranges.iter().any(|r| r.contains(Ipv4Addr::from(p.peer))),
        };
        let k = &clause.kinds;
        let kinds = std::iter::once(Traffic::Any)
            .filter(|_| k.any)
            .chain(k.tcp.iter().map(|(a, b)| Traffic::Tcp(*a, *b)))
            .chain(k.udp.iter().map(|(a, b)| Traffic::Udp(*a, *b)))
            .chain(k.icmp.iter().map(|(a, b)| Traffic::Icmp(*a, *b)))
            .chain(k.protocols.iter().map(|n| Traffic::Protocol(*n)));
        peer && kinds.into_iter().any(|t| kind_admits(t, p))
    }

    fn rule() -> impl Strategy<Value = TrafficRule> {
        let port = 0u16..40;
        let byte = || proptest::option::of(0u8..4);
        let traffic = prop_oneof![
            1 => Just(Traffic::Any),
            4 => (port.clone(), port.clone()).prop_map(|(a, b)| Traffic::Tcp(a, b)),
            2 => (port.clone(), port).prop_map(|(a, b)| Traffic::Udp(a, b)),
            2 => (byte(), byte()).prop_map(|(a, b)| Traffic::Icmp(a, b)),
            1 => (0u8..20).prop_map(Traffic::Protocol),
        ];
        let peer = prop_oneof![
            4 => (0u32..256, 0u8..=33).prop_map(|(low, prefix)| Peer::Range((Ipv4Addr::from(low << 24 | low), prefix))),
            1 => Just(Peer::Group("sg-1".to_owned())),
        ];
        (traffic, peer).prop_map(|(traffic, peer)| TrafficRule { traffic, peer })
    }

    proptest! {
        #[test]
        fn clauses_admit_what_a_rule_admits(
            rules in proptest::collection::vec(rule(), 0..12),
            low in 0u32..256, in_group: bool, protocol in 0u8..20, detail in prop_oneof![0u16..44, any::<u16>()],
        ) {
            let packet = Packet { peer: low << 24 | low, in_group, protocol, detail };
            let by_rules = rules.iter().any(|r| rule_admits(r, packet));
            let by_clauses = clauses(&rules).iter().any(|c| clause_admits(c, packet));
            prop_assert_eq!(by_rules, by_clauses);
        }

        #[test]
        fn outermost_ranges_neither_nest_nor_miss_any(lows in proptest::collection::vec((0u32..64, 24u8..=32), 0..20)) {
            let all: Vec<Cidr> = lows.iter().filter_map(|(l, p)| Cidr::containing(Ipv4Addr::from(l << 4), *p)).collect();
            let kept = outermost(all.clone());
            for (n, a) in kept.iter().enumerate() {
                prop_assert!(kept.iter().skip(n + 1).all(|b| !a.overlaps(*b)));
            }
            prop_assert!(all.iter().all(|a| kept.iter().any(|k| k.contains(a.base()) && k.prefix() <= a.prefix())));
        }
    }

    #[test]
    fn fifty_ports_and_two_ranges_are_one_line() {
        let rules: Vec<TrafficRule> = (0..50)
            .flat_map(|n| {
                [[10, 0, 0, 0], [10, 9, 0, 0]].map(|base| TrafficRule {
                    traffic: Traffic::Tcp(8000 + 2 * n, 8000 + 2 * n),
                    peer: Peer::Range((base.into(), 16)),
                })
            })
            .collect();
        let lines = lines(Direction::Ingress, &rules);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("ip saddr { 10.0.0.0/16, 10.9.0.0/16 } tcp dport { 8000, 8002,"));
    }
}
