//! The chains and sets that the firewall has for groups, VPCs and combinations of groups: made before the first user, gone
//! after the last.
//!
//! Pure; `table` is the caller. The kernel refuses to delete what a rule or an element still leads to, so users are counted:
//! elements of interfaces lead to VPCs' and combinations' chains, these to groups' chains, rules to peers' sets. The
//! invariant: what is deleted is led to by nothing, and what nothing leads to and control does not tell of is deleted,
//! within the step that took the last user.

use crate::elements::{combination, combination_chains, egress_chain, group_set, ingress_chain, vpc_chain, vpc_set};
use crate::rules::{Direction, lines};
use neargate_link::network::{GroupEntry, InterfaceEntry, Peer, TrafficRule, VpcEntry};
use std::collections::{BTreeMap, BTreeSet};

/// A combination of groups that control tells of keeps its chains when its last interface goes, since the next one often
/// comes soon; when there are more such combinations, all go.
pub const IDLE: usize = 256;

/// Lines added to a group's chain beside folded ones, before it is folded again.
const UNFOLDED: usize = 64;

#[derive(Default)]
pub struct Made {
    /// Name of the nftables table.
    table: String,
    /// With the number of combinations they are in and of groups whose rules name them.
    groups: BTreeMap<String, usize>,
    /// With the number of their interfaces, as the combinations.
    vpcs: BTreeMap<String, usize>,
    combinations: BTreeMap<Vec<String>, usize>,
    /// Combinations that no interface has.
    idle: BTreeSet<Vec<String>>,
    /// What may have lost its last user since `sweep`.
    left: Left,
    /// Lines that were added to a group's chain since it was folded, by the chain's name.
    unfolded: BTreeMap<String, usize>,
}

#[derive(Default)]
struct Left {
    groups: BTreeSet<String>,
    vpcs: BTreeSet<String>,
}

impl Made {
    pub fn new(table: String) -> Made {
        Made {
            table,
            ..Made::default()
        }
    }

    /// Follows an interface's VPC and combination of groups, made when they are new.
    pub fn follow_interface(
        &mut self,
        before: Option<&InterfaceEntry>,
        after: Option<&InterfaceEntry>,
        commands: &mut Vec<String>,
    ) {
        let vpc = |entry: Option<&InterfaceEntry>| entry.map(|e| e.vpc_id.clone());
        let (was, is) = (vpc(before), vpc(after));
        if was != is {
            if let Some(id) = is {
                *self.make_vpc(&id, commands) += 1;
            }
            if let Some(id) = was {
                release(&mut self.vpcs, &id);
                self.left.vpcs.insert(id);
            }
        }
        let groups = |entry: Option<&InterfaceEntry>| entry.and_then(|e| combination(&e.groups));
        let (was, is) = (groups(before), groups(after));
        if was == is {
            return;
        }
        if let Some(groups) = is {
            self.make_combination(&groups, commands);
            self.idle.remove(&groups);
            *self.combinations.entry(groups).or_default() += 1;
        }
        if let Some(groups) = was
            && release(&mut self.combinations, &groups) == 0
        {
            self.left.groups.extend(groups.iter().cloned());
            self.idle.insert(groups);
        }
    }

    /// Writes what a group's rules are `now` and were not `before`; one that control does not tell of has none, and its
    /// chains are empty.
    pub fn follow_group(
        &mut self,
        id: &str,
        before: Option<&GroupEntry>,
        now: Option<&GroupEntry>,
        commands: &mut Vec<String>,
    ) {
        match now {
            Some(_) => drop(self.make_group(id, commands)),
            None => drop(self.left.groups.insert(id.to_owned())),
        }
        let (were, are) = (peers(before), peers(now));
        for peer in are.difference(&were) {
            *self.make_group(peer, commands) += 1;
        }
        for peer in were.difference(&are) {
            release(&mut self.groups, *peer);
            self.left.groups.insert((*peer).to_owned());
        }
        let directions = [
            (ingress_chain(id), Direction::Ingress),
            (egress_chain(id), Direction::Egress),
        ];
        for (chain, direction) in directions {
            let (was, is) = (rules(before, direction), rules(now, direction));
            self.fill_chain(&chain, direction, &was, &is, commands);
        }
    }

    /// Control does not tell of the VPC any more.
    pub fn forget_vpc(&mut self, id: &str) {
        self.left.vpcs.insert(id.to_owned());
    }

    /// The commands that delete what lost its last user since the last time and is not among what control tells of. They
    /// come after all others of the step: what led there is gone then.
    pub fn sweep(&mut self, groups: &BTreeMap<String, GroupEntry>, vpcs: &BTreeMap<String, VpcEntry>) -> Vec<String> {
        let mut out = Vec::new();
        let mut left = std::mem::take(&mut self.left);
        if !left.groups.is_empty() {
            let all = self.idle.len() > IDLE;
            let goes = |of: &[String]| all || of.iter().any(|group| !groups.contains_key(group));
            let gone: Vec<Vec<String>> = self.idle.iter().filter(|of| goes(of)).cloned().collect();
            for gone in gone {
                self.idle.remove(&gone);
                self.combinations.remove(&gone);
                let (to, from) = combination_chains(&gone);
                out.extend([to, from].iter().flat_map(|chain| delete_chain(&self.table, chain)));
                for group in gone {
                    release(&mut self.groups, &group);
                    left.groups.insert(group);
                }
            }
        }
        for id in left.groups {
            if self.groups.get(&id) == Some(&0) && !groups.contains_key(&id) {
                self.groups.remove(&id);
                for chain in [ingress_chain(&id), egress_chain(&id)] {
                    self.unfolded.remove(&chain);
                    out.extend(delete_chain(&self.table, &chain));
                }
                out.push(format!("delete set inet {} {}", self.table, group_set(&id)));
            }
        }
        for id in left.vpcs {
            if self.vpcs.get(&id) == Some(&0) && !vpcs.contains_key(&id) {
                self.vpcs.remove(&id);
                out.extend(delete_chain(&self.table, &vpc_chain(&id)));
                out.push(format!("delete set inet {} {}", self.table, vpc_set(&id)));
            }
        }
        out
    }

    /// Answers the number of its users.
    fn make_vpc(&mut self, id: &str, commands: &mut Vec<String>) -> &mut usize {
        self.vpcs.entry(id.to_owned()).or_insert_with(|| {
            commands.extend(vpc_commands(&self.table, id));
            0
        })
    }

    /// As `make_vpc`.
    fn make_group(&mut self, id: &str, commands: &mut Vec<String>) -> &mut usize {
        self.groups.entry(id.to_owned()).or_insert_with(|| {
            let table = &self.table;
            commands.push(format!("add set inet {table} {} {{ type ipv4_addr; }}", group_set(id)));
            commands.push(format!("add chain inet {table} {}", ingress_chain(id)));
            commands.push(format!("add chain inet {table} {}", egress_chain(id)));
            0
        })
    }

    fn make_combination(&mut self, groups: &[String], commands: &mut Vec<String>) {
        if self.combinations.contains_key(groups) {
            return;
        }
        for group in groups {
            *self.make_group(group, commands) += 1;
        }
        let table = &self.table;
        let (to, from) = combination_chains(groups);
        commands.push(format!("add chain inet {table} {to}"));
        commands.push(format!("add chain inet {table} {from}"));
        for group in groups {
            commands.push(format!("add rule inet {table} {to} jump {}", ingress_chain(group)));
            commands.push(format!("add rule inet {table} {from} jump {}", egress_chain(group)));
        }
        self.combinations.insert(groups.to_vec(), 0);
    }

    /// Rules that are added are lines that are added, since the order of what admits means nothing: to take lines away, the
    /// kernel waits for all readers.
    fn fill_chain(
        &mut self,
        chain: &str,
        direction: Direction,
        was: &BTreeSet<TrafficRule>,
        is: &BTreeSet<TrafficRule>,
        commands: &mut Vec<String>,
    ) {
        let table = &self.table;
        let folded = |rules: &mut dyn Iterator<Item = &TrafficRule>| {
            let rules: Vec<TrafficRule> = rules.cloned().collect();
            lines(direction, &rules)
        };
        let mut added = folded(&mut is.difference(was));
        let unfolded = self.unfolded.get(chain).copied().unwrap_or(0) + added.len();
        let anew = !was.is_subset(is) || (!was.is_empty() && unfolded > UNFOLDED);
        if anew {
            commands.push(format!("flush chain inet {table} {chain}"));
            added = folded(&mut is.iter());
        }
        let unfolded = if anew || was.is_empty() { 0 } else { unfolded };
        self.unfolded.insert(chain.to_owned(), unfolded);
        commands.extend(added.iter().map(|line| format!("add rule inet {table} {chain} {line}")));
    }
}

/// One user less; answers how many are left.
fn release<K: Ord + ?Sized, O: Ord + std::borrow::Borrow<K>>(users: &mut BTreeMap<O, usize>, of: &K) -> usize {
    users.get_mut(of).map_or(0, |users| {
        *users = users.saturating_sub(1);
        *users
    })
}

fn rules(group: Option<&GroupEntry>, direction: Direction) -> BTreeSet<TrafficRule> {
    let rules = group.map(|g| match direction {
        Direction::Ingress => &g.ingress,
        Direction::Egress => &g.egress,
    });
    rules.into_iter().flatten().cloned().collect()
}

/// The groups that a group's rules name.
fn peers(group: Option<&GroupEntry>) -> BTreeSet<&str> {
    let rules = group.into_iter().flat_map(|g| g.ingress.iter().chain(&g.egress));
    rules
        .filter_map(|rule| match &rule.peer {
            Peer::Group(id) => Some(id.as_str()),
            Peer::Range(_) => None,
        })
        .collect()
}

fn delete_chain(table: &str, chain: &str) -> [String; 2] {
    ["flush", "delete"].map(|verb| format!("{verb} chain inet {table} {chain}"))
}

/// The set and the chain of a VPC: its own addresses pass on, other VPCs' never, the rest where the subnet's routes lead.
fn vpc_commands(table: &str, id: &str) -> Vec<String> {
    let (set, chain) = (vpc_set(id), vpc_chain(id));
    let rules = [
        format!("ip daddr @{set} return"),
        "ip daddr @vpc_ranges reject with icmpx admin-prohibited".to_owned(),
        // The machine's own link: on a rented machine its owner's credentials are there.
        "ip daddr 169.254.0.0/16 reject with icmpx admin-prohibited".to_owned(),
        "ip saddr @outbound return".to_owned(),
        "ip saddr . ip daddr @outbound_ranges return".to_owned(),
        "reject with icmpx admin-prohibited".to_owned(),
    ];
    let mut out = vec![
        format!("add set inet {table} {set} {{ type ipv4_addr; }}"),
        format!("add chain inet {table} {chain}"),
    ];
    out.extend(rules.iter().map(|rule| format!("add rule inet {table} {chain} {rule}")));
    out
}
