//! Which sockets a table wants, and which listeners are reached through each: pure.
//!
//! Called whenever a table comes. A door is one address and port. A balancer's own address leads to one listener; the
//! machine's loopback address is shared, by names where the protocol has any. Invariant: who holds a nameless port keeps
//! it while others come and go.

use neargate_link::gateway::{Balancer, GatewayTable, Listener, Problem, Protocol};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    Tcp,
    Udp,
}

/// What tells the listeners of one door apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// The Host header.
    Host,
    /// The name in TLS.
    Tls,
    /// Nothing: there is one listener.
    Nothing,
}

/// A listener as it is reached through a door.
#[derive(Clone, Debug, PartialEq)]
pub struct Behind {
    /// ARN.
    pub balancer: Arc<str>,
    /// ARN.
    pub listener: Arc<str>,
    pub dns_name: Arc<str>,
    pub protocol: Protocol,
    /// Where connections to targets are made from.
    pub source: Option<Ipv4Addr>,
    /// Security groups are checked here, because nftables cannot tell balancers apart on this address.
    pub ingress: Option<Arc<[neargate_link::TrafficRule]>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Door {
    pub names: Names,
    /// At least one.
    pub behind: Vec<Behind>,
}

pub type Doors = BTreeMap<(Transport, SocketAddr), Door>;

/// The doors that `table` wants, given those there are.
pub fn plan(table: &GatewayTable, loopback: IpAddr, present: &Doors) -> (Doors, Vec<Problem>) {
    let mut doors = Doors::new();
    let mut shared: BTreeMap<(Transport, u16), Vec<(&Balancer, &Listener)>> = BTreeMap::new();
    for balancer in &table.balancers {
        for listener in &balancer.listeners {
            for transport in transports(listener.protocol) {
                for own in &balancer.addresses {
                    let at = SocketAddr::from((own.address, listener.port));
                    let door = Door {
                        names: names(listener.protocol),
                        behind: vec![behind(balancer, listener, Some(own.address), false)],
                    };
                    doors.insert((*transport, at), door);
                }
                if balancer.on_loopback {
                    let together = shared.entry((*transport, listener.port)).or_default();
                    together.push((balancer, listener));
                }
            }
        }
    }
    let mut problems = Vec::new();
    for ((transport, port), mut wanted) in shared {
        let at = (transport, SocketAddr::new(loopback, port));
        let holders: &[Behind] = present.get(&at).map_or(&[], |door| &door.behind);
        // Stable: among equals the order of ARNs stays.
        wanted.sort_by_key(|(_, listener)| !holders.iter().any(|held| *held.listener == *listener.arn));
        let names = names(wanted[0].1.protocol);
        let first = &wanted[0].0.arn;
        let mut door = Door {
            names,
            behind: Vec::new(),
        };
        for (balancer, listener) in &wanted {
            let fits = names == self::names(listener.protocol) && (names != Names::Nothing || door.behind.is_empty());
            if fits {
                let source = balancer.addresses.first().map(|own| own.address);
                door.behind.push(behind(balancer, listener, source, true));
            } else {
                problems.push(Problem {
                    listener: listener.arn.clone(),
                    message: format!(
                        "port {port} on {loopback} belongs to load balancer {first}, and nothing tells their \
                         connections apart; this listener is reached at the load balancer's own addresses only"
                    ),
                });
            }
        }
        doors.insert(at, door);
    }
    (doors, problems)
}

fn behind(balancer: &Balancer, listener: &Listener, source: Option<Ipv4Addr>, checked: bool) -> Behind {
    Behind {
        balancer: balancer.arn.as_str().into(),
        listener: listener.arn.as_str().into(),
        dns_name: balancer.dns_name.as_str().into(),
        protocol: listener.protocol,
        source,
        ingress: balancer.ingress.as_deref().filter(|_| checked).map(Arc::from),
    }
}

fn transports(protocol: Protocol) -> &'static [Transport] {
    match protocol {
        Protocol::Udp => &[Transport::Udp],
        Protocol::TcpUdp => &[Transport::Tcp, Transport::Udp],
        Protocol::Http | Protocol::Https | Protocol::Tcp | Protocol::Tls => &[Transport::Tcp],
    }
}

fn names(protocol: Protocol) -> Names {
    match protocol {
        Protocol::Http => Names::Host,
        Protocol::Https | Protocol::Tls => Names::Tls,
        Protocol::Tcp | Protocol::Udp | Protocol::TcpUdp => Names::Nothing,
    }
}

impl Door {
    /// True when it leads to the same listeners as the other, whomever they let in.
    pub fn leads_as(&self, other: &Door) -> bool {
        let listeners = |door: &Door| door.behind.iter().map(|one| one.listener.clone()).collect::<Vec<_>>();
        listeners(self) == listeners(other)
    }

    /// Which of `behind` a name asks for: the balancer of that name, or the only one there is.
    pub fn named(&self, name: &[u8]) -> Option<usize> {
        match &self.behind[..] {
            [_] => Some(0),
            several => {
                let name = name.strip_suffix(b".").unwrap_or(name);
                several
                    .iter()
                    .position(|one| one.dns_name.as_bytes().eq_ignore_ascii_case(name))
            }
        }
    }
}

impl Behind {
    /// True when its security groups let `peer` in.
    pub fn admits(&self, peer: IpAddr, port: u16) -> bool {
        use neargate_link::{Peer, Traffic};
        let Some(rules) = &self.ingress else { return true };
        let tcp = !matches!(self.protocol, Protocol::Udp);
        let udp = matches!(self.protocol, Protocol::Udp | Protocol::TcpUdp);
        let IpAddr::V4(peer) = peer.to_canonical() else {
            return false;
        };
        rules.iter().any(|rule| {
            let traffic = match rule.traffic {
                Traffic::Any => true,
                Traffic::Tcp(from, to) => tcp && (from..=to).contains(&port),
                Traffic::Udp(from, to) => udp && (from..=to).contains(&port),
                Traffic::Protocol(number) => (tcp && number == 6) || (udp && number == 17),
                Traffic::Icmp(..) => false,
            };
            traffic
                && match &rule.peer {
                    Peer::Range((base, length)) => {
                        let mask = u32::MAX.checked_shl(32 - u32::from(*length)).unwrap_or(0);
                        (u32::from(*base) ^ u32::from(peer)) & mask == 0
                    }
                    Peer::Group(_) => false,
                }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use neargate_link::gateway::{BalancerAddress, BalancerKind};
    use neargate_link::{Peer, Traffic, TrafficRule};

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn balancer(name: &str, listeners: &[(u16, Protocol)]) -> Balancer {
        Balancer {
            arn: name.to_owned(),
            id: name.to_owned(),
            kind: BalancerKind::Application,
            dns_name: format!("{name}.elb.localhost"),
            on_loopback: true,
            addresses: vec![BalancerAddress {
                address: Ipv4Addr::new(10, 0, 0, name.as_bytes()[0]),
                zone: "a".to_owned(),
            }],
            ingress: None,
            attributes: BTreeMap::new(),
            listeners: listeners
                .iter()
                .map(|(port, protocol)| Listener {
                    arn: format!("{name}/{port}"),
                    port: *port,
                    protocol: *protocol,
                    ssl_policy: None,
                    certificates: Vec::new(),
                    alpn_policy: None,
                    attributes: BTreeMap::new(),
                    rules: Vec::new(),
                })
                .collect(),
        }
    }

    fn table(balancers: Vec<Balancer>) -> GatewayTable {
        GatewayTable {
            balancers,
            ..GatewayTable::default()
        }
    }

    #[test]
    fn names_share_a_port_and_nameless_ones_do_not() {
        let two = table(vec![
            balancer("a", &[(80, Protocol::Http), (9, Protocol::Tcp)]),
            balancer("b", &[(80, Protocol::Http), (9, Protocol::Tcp)]),
        ]);
        let (doors, problems) = plan(&two, LOOPBACK, &Doors::new());
        let web = &doors[&(Transport::Tcp, SocketAddr::new(LOOPBACK, 80))];
        assert_eq!(
            web.named(b"B.elb.localhost.").map(|at| &*web.behind[at].balancer),
            Some("b")
        );
        assert_eq!(web.named(b"example.com"), None);
        assert_eq!(problems.iter().map(|p| &*p.listener).collect::<Vec<_>>(), ["b/9"]);
        assert_eq!(doors.len(), 2 + 4, "and each at its own address");
    }

    #[test]
    fn who_holds_a_nameless_port_keeps_it() {
        let (present, _) = plan(
            &table(vec![balancer("b", &[(9, Protocol::Tcp)])]),
            LOOPBACK,
            &Doors::new(),
        );
        let both = table(vec![
            balancer("a", &[(9, Protocol::Tcp)]),
            balancer("b", &[(9, Protocol::Tcp)]),
        ]);
        let (_, problems) = plan(&both, LOOPBACK, &present);
        assert_eq!(problems.iter().map(|p| &*p.listener).collect::<Vec<_>>(), ["a/9"]);
    }

    #[test]
    fn the_only_one_gets_every_name() {
        let one = table(vec![balancer("a", &[(80, Protocol::Http)])]);
        let (doors, _) = plan(&one, LOOPBACK, &Doors::new());
        let web = &doors[&(Transport::Tcp, SocketAddr::new(LOOPBACK, 80))];
        assert!(web.named(b"shop.example").is_some());
    }

    #[test]
    fn security_groups_are_checked_over_loopback_only() {
        let mut one = balancer("a", &[(80, Protocol::Http)]);
        one.ingress = Some(vec![TrafficRule {
            traffic: Traffic::Tcp(80, 80),
            peer: Peer::Range((Ipv4Addr::new(10, 0, 0, 0), 8)),
        }]);
        let (doors, _) = plan(&table(vec![one]), LOOPBACK, &Doors::new());
        let at = |address: &str| &doors[&(Transport::Tcp, address.parse().unwrap())].behind[0];
        assert!(!at("127.0.0.1:80").admits(LOOPBACK, 80));
        assert!(at("127.0.0.1:80").admits([10, 1, 2, 3].into(), 80));
        assert!(!at("127.0.0.1:80").admits([10, 1, 2, 3].into(), 81));
        assert!(at("10.0.0.97:80").admits(LOOPBACK, 80), "nftables has seen to it");
    }
}
