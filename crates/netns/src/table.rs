//! The network table that control sends, and what each change of it changes in the firewall.
//!
//! Pure; `enforce` performs. Beside control's entries there are those of this machine's own tasks, which hold until
//! control's table has their address, so that a task's groups bind its first packet. The invariant: the script of the
//! whole table makes what its changes, one by one, made, but for the idle chains that `made` keeps.

use crate::config::Cidr;
use crate::elements::{self, Data, Element, Key};
use crate::made::Made;
use crate::rules::outermost;
use neargate_link::network::{GroupEntry, Holder, InterfaceEntry, NameEntry, NetworkEntry, VpcEntry};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// A change of the network table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkChange {
    /// The table is `upsert` alone.
    pub whole: bool,
    pub upsert: Vec<NetworkEntry>,
    /// Keys as of `NetworkEntry::key`.
    pub remove: Vec<String>,
}

/// Anything that changes what is enforced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    Control(NetworkChange),
    /// A task of this machine takes an address.
    Take(InterfaceEntry),
    /// It gives it back.
    Give(Ipv4Addr),
}

/// What a step changes in the firewall.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// Commands before the elements: chains, sets, rules.
    pub commands: Vec<String>,
    pub delete: Vec<Element>,
    pub add: Vec<Element>,
    /// Commands after the elements: chains and sets that go.
    pub sweep: Vec<String>,
    /// VPCs changed: routes and resolvers follow.
    pub vpcs: bool,
    /// Addresses of load balancers or public ones changed.
    pub hosted: bool,
}

impl Delta {
    /// False when raw netlink, which knows exact elements alone, makes the change.
    pub fn needs_program(&self) -> bool {
        let exact = self.delete.iter().chain(&self.add).all(Element::is_exact);
        !(self.commands.is_empty() && self.sweep.is_empty() && exact)
    }

    /// The change as one transaction of the nft program.
    pub fn script(&self, table: &str) -> String {
        let mut commands = self.commands.clone();
        commands.extend(element_commands(table, "delete", &self.delete));
        commands.extend(element_commands(table, "add", &self.add));
        commands.extend_from_slice(&self.sweep);
        commands.join("\n") + "\n"
    }
}

pub struct Table {
    /// Name of the nftables table.
    name: String,
    /// The range that the instance was started with.
    base: Cidr,
    /// Where public addresses come from.
    pool: Cidr,
    vpcs: BTreeMap<String, VpcEntry>,
    groups: BTreeMap<String, GroupEntry>,
    interfaces: BTreeMap<Ipv4Addr, InterfaceEntry>,
    names: BTreeMap<String, NameEntry>,
    own: BTreeMap<Ipv4Addr, InterfaceEntry>,
    /// Ranges of VPCs that the machine's other networks hold: not enforced, not routed.
    refused: BTreeSet<Cidr>,
    /// Private by public address.
    publics: BTreeMap<Ipv4Addr, Ipv4Addr>,
    balancers: BTreeSet<Ipv4Addr>,
    made: Made,
    /// Elements of VPCs' ranges and resolvers that were made, sorted.
    made_ranges: Vec<Element>,
}

/// State of what a step touches, from before it.
#[derive(Default)]
struct Touched {
    interfaces: BTreeMap<Ipv4Addr, Option<InterfaceEntry>>,
    groups: BTreeMap<String, Option<GroupEntry>>,
    publics: BTreeMap<Ipv4Addr, Option<Ipv4Addr>>,
    vpcs: bool,
}

impl Table {
    pub fn new(name: String, base: Cidr, pool: Cidr) -> Table {
        Table {
            made: Made::new(name.clone()),
            made_ranges: Vec::new(),
            name,
            base,
            pool,
            vpcs: BTreeMap::new(),
            groups: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            names: BTreeMap::new(),
            own: BTreeMap::new(),
            refused: BTreeSet::new(),
            publics: BTreeMap::new(),
            balancers: BTreeSet::new(),
        }
    }

    /// Takes a step over and answers what it changes in the firewall.
    pub fn step(&mut self, step: Step) -> Delta {
        let mut touched = Touched::default();
        match step {
            Step::Control(change) => {
                let gone = if change.whole {
                    self.missing_in(&change.upsert)
                } else {
                    Vec::new()
                };
                for key in gone.iter().chain(&change.remove) {
                    self.remove(key, &mut touched);
                }
                for entry in change.upsert {
                    self.upsert(entry, &mut touched);
                }
            }
            Step::Take(interface) => {
                self.touch(interface.address, &mut touched);
                self.own.insert(interface.address, interface);
            }
            Step::Give(address) => {
                self.touch(address, &mut touched);
                self.own.remove(&address);
            }
        }
        self.delta(touched)
    }

    /// Keys of what a whole table does not have any more.
    fn missing_in(&self, whole: &[NetworkEntry]) -> Vec<String> {
        let kept: BTreeSet<String> = whole.iter().map(NetworkEntry::key).collect();
        self.entries()
            .map(|entry| entry.key())
            .filter(|key| !kept.contains(key))
            .collect()
    }

    fn touch(&self, address: Ipv4Addr, touched: &mut Touched) {
        let before = || self.interface(address).cloned();
        touched.interfaces.entry(address).or_insert_with(before);
    }

    fn upsert(&mut self, entry: NetworkEntry, touched: &mut Touched) {
        match entry {
            NetworkEntry::Vpc(vpc) => {
                touched.vpcs |= self.vpcs.get(&vpc.id) != Some(&vpc);
                self.vpcs.insert(vpc.id.clone(), vpc);
            }
            NetworkEntry::Group(group) => {
                if self.groups.get(&group.id) != Some(&group) {
                    let id = group.id.clone();
                    let before = self.groups.insert(id.clone(), group);
                    touched.groups.entry(id).or_insert(before);
                }
            }
            NetworkEntry::Interface(interface) => {
                self.touch(interface.address, touched);
                self.own.remove(&interface.address);
                self.interfaces.insert(interface.address, interface);
            }
            NetworkEntry::Name(name) => {
                let key = NetworkEntry::Name(name.clone()).key();
                self.names.insert(key, name);
            }
        }
    }

    fn remove(&mut self, key: &str, touched: &mut Touched) {
        let (kind, id) = key.split_once('/').unwrap_or((key, ""));
        match kind {
            "vpc" => {
                touched.vpcs |= self.vpcs.remove(id).is_some();
                self.made.forget_vpc(id);
            }
            "group" => {
                if let Some(before) = self.groups.remove(id) {
                    touched.groups.entry(id.to_owned()).or_insert(Some(before));
                }
            }
            "interface" => {
                if let Ok(address) = id.parse() {
                    self.touch(address, touched);
                    self.interfaces.remove(&address);
                }
            }
            "name" => drop(self.names.remove(key)),
            _ => {}
        }
    }

    fn delta(&mut self, touched: Touched) -> Delta {
        let mut delta = Delta {
            vpcs: touched.vpcs,
            ..Delta::default()
        };
        let mut publics = touched.publics;
        for (address, before) in &touched.interfaces {
            let after = self.interface(*address).cloned();
            let was = before.as_ref().map(elements::of_interface).unwrap_or_default();
            let is = after.as_ref().map(elements::of_interface).unwrap_or_default();
            delta
                .delete
                .extend(was.iter().filter(|e| is.binary_search(e).is_err()).cloned());
            delta
                .add
                .extend(is.iter().filter(|e| was.binary_search(e).is_err()).cloned());
            self.made
                .follow_interface(before.as_ref(), after.as_ref(), &mut delta.commands);
            delta.hosted |= self.host(*address, before.as_ref(), after.as_ref(), &mut publics);
        }
        for (public, before) in publics {
            let after = self.publics.get(&public).copied();
            if before != after {
                let element = |private| Element::new("public", Key::Address(public), Data::Address(private));
                delta.delete.extend(before.map(element));
                delta.add.extend(after.map(element));
            }
        }
        for (id, before) in &touched.groups {
            let now = self.groups.get(id);
            self.made.follow_group(id, before.as_ref(), now, &mut delta.commands);
        }
        delta.sweep = self.made.sweep(&self.groups, &self.vpcs);
        delta.delete.sort_unstable();
        delta.add.sort_unstable();
        delta
    }

    /// Adds to `delta` what VPCs' ranges and resolvers change. Ranges that stay are not touched: while a set is emptied and
    /// filled, a packet could find it empty.
    pub fn follow_ranges(&mut self, delta: &mut Delta) {
        let (was, is) = (std::mem::take(&mut self.made_ranges), self.range_elements());
        delta
            .delete
            .extend(was.iter().filter(|e| is.binary_search(e).is_err()).cloned());
        delta
            .add
            .extend(is.iter().filter(|e| was.binary_search(e).is_err()).cloned());
        delta.delete.sort_unstable();
        delta.add.sort_unstable();
        self.made_ranges = is;
    }

    /// Follows what of an interface lies on the machine itself; true when it changed.
    fn host(
        &mut self,
        address: Ipv4Addr,
        before: Option<&InterfaceEntry>,
        after: Option<&InterfaceEntry>,
        publics: &mut BTreeMap<Ipv4Addr, Option<Ipv4Addr>>,
    ) -> bool {
        let balances = after.is_some_and(|e| e.holder == Holder::LoadBalancer);
        let mut changed = match balances {
            true => self.balancers.insert(address),
            false => self.balancers.remove(&address),
        };
        let public = |entry: Option<&InterfaceEntry>| entry.and_then(|e| e.public_address);
        let (was, is) = (public(before), public(after));
        if was == is {
            return changed;
        }
        changed = true;
        for public in [was, is].into_iter().flatten() {
            publics.entry(public).or_insert(self.publics.get(&public).copied());
        }
        if let Some(public) = was.filter(|p| self.publics.get(p) == Some(&address)) {
            self.publics.remove(&public);
        }
        if let Some(public) = is {
            // Whoever got it last has it, also while control has not yet said that another lost it.
            self.publics.insert(public, address);
        }
        changed
    }

    fn range_elements(&self) -> Vec<Element> {
        let element = |set: &str, key| Element::new(set, key, Data::Nothing);
        let ranges = outermost(self.ranges())
            .into_iter()
            .map(|r| element("vpc_ranges", Key::Range(r)));
        let resolvers = self.resolvers().into_iter().chain([LINK_LOCAL_RESOLVER]);
        let mut out: Vec<Element> = ranges.collect();
        out.extend(resolvers.map(|a| element("resolvers", Key::Address(a))));
        out.sort_unstable();
        out
    }

    /// The commands that fill a firewall that has no group, VPC or interface yet.
    pub fn script(&mut self) -> String {
        self.made = Made::new(self.name.clone());
        self.made_ranges = self.range_elements();
        let mut commands = Vec::new();
        let mut elements = self.made_ranges.clone();
        for (id, group) in &self.groups {
            self.made.follow_group(id, None, Some(group), &mut commands);
        }
        let own = self
            .own
            .values()
            .filter(|own| !self.interfaces.contains_key(&own.address));
        let interfaces: Vec<InterfaceEntry> = self.interfaces.values().chain(own).cloned().collect();
        for interface in &interfaces {
            self.made.follow_interface(None, Some(interface), &mut commands);
            elements.extend(elements::of_interface(interface));
        }
        let publics = self.publics.iter();
        elements.extend(publics.map(|(p, a)| Element::new("public", Key::Address(*p), Data::Address(*a))));
        elements.sort_unstable();
        commands.extend(element_commands(&self.name, "add", &elements));
        commands.join("\n") + "\n"
    }

    /// What is to be done so that a task of this machine has `interface`; nothing where control has told of the address.
    pub fn taking(&self, interface: InterfaceEntry) -> Option<Step> {
        let known = self.interfaces.contains_key(&interface.address);
        (!known && self.own.get(&interface.address) != Some(&interface)).then_some(Step::Take(interface))
    }

    /// What is to be done when a task of this machine let go of `address`.
    pub fn giving(&self, address: Ipv4Addr) -> Option<Step> {
        self.own.contains_key(&address).then_some(Step::Give(address))
    }

    pub fn interface(&self, address: Ipv4Addr) -> Option<&InterfaceEntry> {
        self.interfaces.get(&address).or_else(|| self.own.get(&address))
    }

    /// Entries of control's table.
    pub fn entries(&self) -> impl Iterator<Item = NetworkEntry> {
        let vpcs = self.vpcs.values().cloned().map(NetworkEntry::Vpc);
        let groups = self.groups.values().cloned().map(NetworkEntry::Group);
        let interfaces = self.interfaces.values().cloned().map(NetworkEntry::Interface);
        let names = self.names.values().cloned().map(NetworkEntry::Name);
        vpcs.chain(groups).chain(interfaces).chain(names)
    }

    /// Interfaces that this machine's tasks took.
    pub fn own(&self) -> impl Iterator<Item = &InterfaceEntry> {
        self.own.values()
    }

    /// Ranges of VPCs, as they are told.
    pub fn told_ranges(&self) -> BTreeSet<Cidr> {
        let ranges = self.vpcs.values().flat_map(|vpc| &vpc.ranges);
        ranges
            .filter_map(|(base, prefix)| Cidr::containing(*base, *prefix))
            .collect()
    }

    /// Says which ranges the machine's own networks hold.
    pub fn refuse(&mut self, refused: BTreeSet<Cidr>) {
        self.refused = refused;
    }

    /// All ranges of VPCs that are enforced.
    pub fn ranges(&self) -> Vec<Cidr> {
        let mut ranges = self.told_ranges();
        ranges.insert(self.base);
        ranges.into_iter().filter(|r| !self.refused.contains(r)).collect()
    }

    /// The resolver of a VPC, the instance's own where it has none.
    pub fn resolver_of(&self, vpc_id: &str) -> Ipv4Addr {
        let own = self.vpcs.get(vpc_id).and_then(|vpc| self.resolver_in(vpc));
        own.unwrap_or(self.base.nth(2))
    }

    /// Those of all VPCs.
    pub fn resolvers(&self) -> BTreeSet<Ipv4Addr> {
        let all = self.vpcs.values().filter_map(|vpc| self.resolver_in(vpc));
        all.chain([self.base.nth(2)]).collect()
    }

    /// The VPC's base + 2; none where its range is not enforced or an interface of another VPC holds that address.
    fn resolver_in(&self, vpc: &VpcEntry) -> Option<Ipv4Addr> {
        let range = first_range(vpc).filter(|range| !self.refused.contains(range))?;
        Some(range.nth(2)).filter(|address| self.interface(*address).is_none())
    }

    /// Addresses of load balancers that this machine is to have.
    pub fn balancers(&self) -> BTreeSet<Ipv4Addr> {
        let ranges = self.ranges();
        let routed = |a: &Ipv4Addr| ranges.iter().any(|r| r.contains(*a));
        self.balancers.iter().copied().filter(routed).collect()
    }

    /// Public addresses of the pool that lead to an interface.
    pub fn publics(&self) -> BTreeSet<Ipv4Addr> {
        let of_pool = |a: &Ipv4Addr| self.pool.contains(*a);
        self.publics.keys().copied().filter(of_pool).collect()
    }
}

/// Answers DNS in every VPC, as on AWS.
const LINK_LOCAL_RESOLVER: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 253);

fn first_range(vpc: &VpcEntry) -> Option<Cidr> {
    vpc.ranges
        .first()
        .and_then(|(base, prefix)| Cidr::containing(*base, *prefix))
}

/// Commands for elements that are sorted by set.
fn element_commands(table: &str, verb: &str, elements: &[Element]) -> Vec<String> {
    elements
        .chunk_by(|a, b| a.set == b.set)
        .map(|of_set| {
            let mut out = format!("{verb} element inet {table} {} {{ ", of_set[0].set);
            for (n, element) in of_set.iter().enumerate() {
                let _ = write!(out, "{}{element}", if n > 0 { ", " } else { "" });
            }
            out + " }"
        })
        .collect()
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
