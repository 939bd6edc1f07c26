//! The names that the resolver knows itself: those of control's table, `ip-10-0-1-5.ec2.internal` of every VPC, and
//! `ec2-198-19-0-5.us-east-1.compute.localhost` of public addresses.
//!
//! `network` keeps it, `dns` asks. Pure. The invariant: a client is told names of its own VPC and of nobody else's.

use crate::config::{Cidr, NetworkConfig};
use crate::question::{A, ANY, Answer, PTR};
use crate::table::{NetworkChange, Step, Table};
use neargate_link::network::{NetworkEntry, VpcEntry};
use std::collections::HashMap;
use std::net::Ipv4Addr;

#[derive(Default)]
pub struct Names {
    vpcs: HashMap<String, VpcEntry>,
    /// VPC by address: as control told, and of tasks it has not told of.
    told: HashMap<Ipv4Addr, String>,
    own: HashMap<Ipv4Addr, String>,
    /// Private address by public one, and the other way.
    private_of: HashMap<Ipv4Addr, Ipv4Addr>,
    public_of: HashMap<Ipv4Addr, Ipv4Addr>,
    /// By key of the entry.
    names: HashMap<String, Vec<Ipv4Addr>>,
    machine: Option<Machine>,
}

/// Whom containers in bridge mode ask as: the machine, which is in the VPC that holds its resolver's address.
#[derive(Clone, Copy)]
struct Machine {
    bridge: Cidr,
    resolver: Ipv4Addr,
}

impl Names {
    pub fn of(config: &NetworkConfig, table: &Table) -> Names {
        let mut names = Names {
            machine: Some(Machine {
                bridge: config.bridge_cidr,
                resolver: config.resolver(),
            }),
            ..Names::default()
        };
        table.entries().for_each(|entry| names.upsert(&entry));
        let own = table.own().map(|i| (i.address, i.vpc_id.clone()));
        names.own.extend(own);
        names
    }

    /// Follows a step that is not a whole table.
    pub fn step(&mut self, step: &Step) {
        match step {
            Step::Control(NetworkChange { upsert, remove, .. }) => {
                remove.iter().for_each(|key| self.remove(key));
                upsert.iter().for_each(|entry| self.upsert(entry));
            }
            Step::Take(interface) => drop(self.own.insert(interface.address, interface.vpc_id.clone())),
            Step::Give(address) => drop(self.own.remove(address)),
        }
    }

    fn upsert(&mut self, entry: &NetworkEntry) {
        match entry {
            NetworkEntry::Vpc(vpc) => drop(self.vpcs.insert(vpc.id.clone(), vpc.clone())),
            NetworkEntry::Interface(i) => {
                self.own.remove(&i.address);
                self.told.insert(i.address, i.vpc_id.clone());
                self.publish(i.address, i.assigned_address);
            }
            NetworkEntry::Name(name) => drop(self.names.insert(entry.key(), name.addresses.clone())),
            NetworkEntry::Group(_) => {}
        }
    }

    fn remove(&mut self, key: &str) {
        let (kind, id) = key.split_once('/').unwrap_or((key, ""));
        match kind {
            "vpc" => drop(self.vpcs.remove(id)),
            "interface" => {
                if let Ok(address) = id.parse::<Ipv4Addr>() {
                    self.told.remove(&address);
                    self.publish(address, None);
                }
            }
            "name" => drop(self.names.remove(key)),
            _ => {}
        }
    }

    /// Notes which public address `private` has now.
    fn publish(&mut self, private: Ipv4Addr, public: Option<Ipv4Addr>) {
        if let Some(before) = self.public_of.remove(&private)
            && self.private_of.get(&before) == Some(&private)
        {
            self.private_of.remove(&before);
        }
        if let Some(public) = public {
            self.public_of.insert(private, public);
            self.private_of.insert(public, private);
        }
    }

    /// The machine's VPC, for a container in bridge mode.
    fn machines_vpc(&self, client: Ipv4Addr) -> Option<&String> {
        let machine = self.machine.filter(|machine| machine.bridge.contains(client))?;
        let around = self.vpcs.iter().filter(|(_, vpc)| holds(vpc, machine.resolver));
        // VPCs may have one range; always the same of them then.
        around.map(|(id, _)| id).min()
    }

    /// What `client` is answered; none when the question is to be asked elsewhere.
    pub fn answer(&self, client: Ipv4Addr, name: &str, kind: u16) -> Option<Answer> {
        let vpc_id = self.told.get(&client).or_else(|| self.own.get(&client));
        let vpc_id = vpc_id.or_else(|| self.machines_vpc(client));
        let vpc = vpc_id.and_then(|id| self.vpcs.get(id));
        if vpc.is_some_and(|vpc| !vpc.dns) {
            return Some(Answer::Refused);
        }
        let own = vpc_id.and_then(|id| self.names.get(&format!("name/{id}/{name}")));
        if let Some(addresses) = own.or_else(|| self.names.get(&format!("name/*/{name}"))) {
            return Some(of_kind(kind, A, Answer::Addresses(addresses.clone())));
        }
        if let Some(address) = name.strip_suffix(".in-addr.arpa").and_then(reversed) {
            let vpc = vpc.filter(|vpc| holds(vpc, address))?;
            return Some(of_kind(kind, PTR, Answer::Name(private_name(address, &vpc.domain))));
        }
        if let Some(public) = name.strip_suffix(PUBLIC_DOMAIN).and_then(public_address) {
            // Inside its VPC the name leads there directly, as on AWS: no way out is needed.
            let private = self.private_of.get(&public).copied();
            let known = private.map(|private| {
                if self.told.get(&private) == vpc_id {
                    private
                } else {
                    public
                }
            });
            return Some(known.map_or(Answer::NoSuchName, |known| {
                of_kind(kind, A, Answer::Addresses(vec![known]))
            }));
        }
        let vpc = vpc?;
        let host = name.strip_suffix(vpc.domain.as_str())?.strip_suffix('.')?;
        let address = private_address(host)?;
        Some(match holds(vpc, address) {
            true => of_kind(kind, A, Answer::Addresses(vec![address])),
            false => Answer::NoSuchName,
        })
    }
}

fn of_kind(asked: u16, kind: u16, answer: Answer) -> Answer {
    if asked == kind || asked == ANY {
        answer
    } else {
        Answer::Nothing
    }
}

fn holds(vpc: &VpcEntry, address: Ipv4Addr) -> bool {
    let mut ranges = vpc
        .ranges
        .iter()
        .filter_map(|(base, prefix)| Cidr::containing(*base, *prefix));
    ranges.any(|range| range.contains(address))
}

fn private_name(address: Ipv4Addr, domain: &str) -> String {
    let [a, b, c, d] = address.octets();
    format!("ip-{a}-{b}-{c}-{d}.{domain}")
}

/// The address that `ip-10-0-1-5` says.
fn private_address(host: &str) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = host.strip_prefix("ip-")?.replace('-', ".").parse().ok()?;
    // One name an address: leading zeros and the like are no names.
    (private_name(address, "") == format!("{host}.")).then_some(address)
}

/// What public names end with, after their region: `neargate_ec2` makes them.
const PUBLIC_DOMAIN: &str = ".compute.localhost";

/// The address that `ec2-198-19-0-5.us-east-1` says.
fn public_address(name: &str) -> Option<Ipv4Addr> {
    let (host, _) = name.strip_prefix("ec2-")?.split_once('.')?;
    host.replace('-', ".").parse().ok()
}

/// The address that `5.1.0.10` says backwards.
fn reversed(text: &str) -> Option<Ipv4Addr> {
    let [a, b, c, d] = text.parse::<Ipv4Addr>().ok()?.octets();
    Some(Ipv4Addr::new(d, c, b, a))
}

#[cfg(test)]
mod tests {
    use super::*;
    use neargate_link::network::{InterfaceEntry, NameEntry};

    fn interface(address: [u8; 4], vpc: &str) -> NetworkEntry {
        NetworkEntry::Interface(InterfaceEntry::of_task(address.into(), vpc.to_owned(), Vec::new()))
    }

    fn vpc(id: &str, base: [u8; 4], dns: bool) -> NetworkEntry {
        NetworkEntry::Vpc(VpcEntry {
            id: id.to_owned(),
            ranges: vec![(base.into(), 16)],
            dns,
            domain: "ec2.internal".to_owned(),
        })
    }

    fn name(name: &str, vpc: Option<&str>, last: u8) -> NetworkEntry {
        NetworkEntry::Name(NameEntry {
            name: name.to_owned(),
            vpc_id: vpc.map(str::to_owned),
            addresses: vec![Ipv4Addr::new(10, 0, 0, last)],
        })
    }

    fn world() -> Names {
        let mut names = Names {
            machine: Some(Machine {
                bridge: "198.18.0.0/24".parse().unwrap(),
                resolver: Ipv4Addr::new(10, 0, 0, 2),
            }),
            ..Names::default()
        };
        for entry in [
            vpc("vpc-a", [10, 0, 0, 0], true),
            vpc("vpc-b", [10, 1, 0, 0], true),
            vpc("vpc-off", [10, 2, 0, 0], false),
            interface([10, 0, 0, 5], "vpc-a"),
            interface([10, 1, 0, 5], "vpc-b"),
            interface([10, 2, 0, 5], "vpc-off"),
            name("web.elb", None, 100),
            name("db", Some("vpc-a"), 101),
        ] {
            names.upsert(&entry);
        }
        names
    }

    fn ask(names: &Names, client: [u8; 4], name: &str, kind: u16) -> Option<Answer> {
        names.answer(client.into(), name, kind)
    }

    #[test]
    fn names_are_told_to_everybody_or_to_their_vpc() {
        let names = world();
        let web = Some(Answer::Addresses(vec![[10, 0, 0, 100].into()]));
        assert_eq!(ask(&names, [10, 1, 0, 5], "web.elb", A), web);
        assert_eq!(ask(&names, [198, 18, 0, 5], "web.elb", A), web);
        assert_eq!(ask(&names, [10, 1, 0, 5], "web.elb", 28), Some(Answer::Nothing));
        assert!(matches!(
            ask(&names, [10, 0, 0, 5], "db", A),
            Some(Answer::Addresses(_))
        ));
        assert_eq!(ask(&names, [10, 1, 0, 5], "db", A), None);
        assert_eq!(ask(&names, [10, 2, 0, 5], "web.elb", A), Some(Answer::Refused));
        assert_eq!(ask(&names, [10, 0, 0, 5], "example.com", A), None);
    }

    #[test]
    fn private_names_of_the_own_vpc_go_both_ways() {
        let names = world();
        let client = [10, 0, 0, 5];
        let there = Answer::Addresses(vec![[10, 0, 1, 7].into()]);
        assert_eq!(ask(&names, client, "ip-10-0-1-7.ec2.internal", A), Some(there));
        assert_eq!(
            ask(&names, client, "ip-10-1-0-5.ec2.internal", A),
            Some(Answer::NoSuchName)
        );
        assert_eq!(ask(&names, client, "ip-10-0-01-7.ec2.internal", A), None);
        let back = Answer::Name("ip-10-0-1-7.ec2.internal".to_owned());
        assert_eq!(ask(&names, client, "7.1.0.10.in-addr.arpa", PTR), Some(back));
        assert_eq!(ask(&names, client, "5.0.1.10.in-addr.arpa", PTR), None);
    }

    #[test]
    fn public_names_lead_to_the_private_address_inside_their_vpc() {
        let mut names = world();
        let NetworkEntry::Interface(mut public) = interface([10, 0, 0, 6], "vpc-a") else {
            unreachable!()
        };
        public.assigned_address = Some([198, 19, 0, 5].into());
        names.upsert(&NetworkEntry::Interface(public));
        let name = "ec2-198-19-0-5.us-east-1.compute.localhost";
        let leads = |to: [u8; 4]| Some(Answer::Addresses(vec![to.into()]));
        assert_eq!(ask(&names, [10, 0, 0, 5], name, A), leads([10, 0, 0, 6]));
        assert_eq!(ask(&names, [10, 1, 0, 5], name, A), leads([198, 19, 0, 5]));
        let other = "ec2-198-19-0-6.us-east-1.compute.localhost";
        assert_eq!(ask(&names, [10, 0, 0, 5], other, A), Some(Answer::NoSuchName));
        names.upsert(&interface([10, 0, 0, 6], "vpc-a"));
        assert_eq!(ask(&names, [10, 0, 0, 5], name, A), Some(Answer::NoSuchName));
    }

    #[test]
    fn what_is_removed_is_not_told_any_more() {
        let mut names = world();
        names.step(&Step::Control(NetworkChange {
            whole: false,
            upsert: vec![name("web.elb", None, 102)],
            remove: vec!["name/vpc-a/db".to_owned(), "interface/10.0.0.5".to_owned()],
        }));
        let web = Some(Answer::Addresses(vec![[10, 0, 0, 102].into()]));
        assert_eq!(ask(&names, [10, 0, 0, 5], "web.elb", A), web);
        assert_eq!(ask(&names, [10, 0, 0, 5], "db", A), None);
    }

    #[test]
    fn a_container_in_bridge_mode_is_told_what_the_machines_vpc_is() {
        let names = world();
        let bridged = Ipv4Addr::new(198, 18, 0, 7);
        let found = names.answer(bridged, "ip-10-0-0-5.ec2.internal", A);
        assert_eq!(found, Some(Answer::Addresses(vec![[10, 0, 0, 5].into()])));
        let elsewhere = names.answer(bridged, "ip-10-1-0-5.ec2.internal", A);
        assert_eq!(elsewhere, Some(Answer::NoSuchName));
        let stranger = Ipv4Addr::new(203, 0, 113, 7);
        assert_eq!(names.answer(stranger, "ip-10-0-0-5.ec2.internal", A), None);
    }
}
