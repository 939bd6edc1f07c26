//! Any steps, taken by a firewall that refuses what the kernel refuses: it has what the whole table says, and nothing else.

use super::*;
use crate::elements::{group_set, ingress_chain, vpc_set};
use crate::made::IDLE;
use neargate_link::network::{Peer, Traffic, TrafficRule};
use proptest::prelude::*;
use proptest::sample::subsequence;

const GROUPS: [&str; 4] = ["sg-0", "sg-1", "sg-2", "sg-3"];
const VPCS: [&str; 2] = ["vpc-0", "vpc-1"];

/// Chains with their lines and sets with their elements.
#[derive(Clone, Debug, Default, PartialEq)]
struct Firewall {
    chains: BTreeMap<String, Vec<String>>,
    sets: BTreeMap<String, BTreeSet<String>>,
}

impl Firewall {
    /// The frame's sets, empty.
    fn framed() -> Firewall {
        let sets = ["public", "vpc_of", "ingress", "egress", "vpc_ranges", "resolvers"];
        Firewall {
            chains: BTreeMap::new(),
            sets: sets.map(|set| (set.to_owned(), BTreeSet::new())).into(),
        }
    }

    fn take(&mut self, script: &str) {
        for line in script.lines().filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.splitn(6, ' ').collect();
            let (verb, kind, name) = (words[0], words[1], words[4]);
            let rest = words.get(5).copied().unwrap_or_default();
            match (verb, kind) {
                ("add", "chain") => assert_eq!(self.chains.insert(name.to_owned(), Vec::new()), None, "{line}"),
                ("add", "set") => assert_eq!(self.sets.insert(name.to_owned(), BTreeSet::new()), None, "{line}"),
                ("add", "rule") => {
                    for word in rest.split(' ') {
                        let set = word.strip_prefix('@').filter(|set| !set.starts_with("outbound"));
                        assert!(set.is_none_or(|set| self.sets.contains_key(set)), "{line}");
                    }
                    let jump = rest.strip_prefix("jump ");
                    assert!(jump.is_none_or(|chain| self.chains.contains_key(chain)), "{line}");
                    self.chains.get_mut(name).expect(line).push(rest.to_owned());
                }
                ("flush", "chain") => self.chains.get_mut(name).expect(line).clear(),
                ("delete", "chain") => {
                    let lines = self.chains.remove(name).expect(line);
                    assert!(lines.is_empty() && !self.led_to(&format!("jump {name}")), "{line}");
                }
                ("delete", "set") => {
                    self.sets.remove(name).expect(line);
                    assert!(!self.led_to(&format!("@{name}")), "{line}");
                }
                (verb, "element") => {
                    for element in rest.trim_matches(['{', '}', ' ']).split(", ") {
                        let jump = element.split_once("jump ").map(|(_, chain)| chain);
                        assert!(jump.is_none_or(|chain| self.chains.contains_key(chain)), "{line}");
                        let set = self.sets.get_mut(name).expect(line);
                        match verb {
                            "add" => assert!(set.insert(element.to_owned()), "{line}"),
                            _ => assert!(set.remove(element), "{line}"),
                        }
                    }
                }
                _ => panic!("{line}"),
            }
        }
    }

    /// True when a rule or an element leads to what `word` ends with.
    fn led_to(&self, word: &str) -> bool {
        let mut texts = self.chains.values().flatten().chain(self.sets.values().flatten());
        texts.any(|text| text.ends_with(word) || text.contains(&format!("{word} ")))
    }

    /// Chains' names; sets without those that `follow_ranges` fills.
    fn shape(&self) -> (BTreeSet<String>, BTreeMap<String, BTreeSet<String>>) {
        let mut sets = self.sets.clone();
        sets.retain(|set, _| set != "vpc_ranges" && set != "resolvers");
        (self.chains.keys().cloned().collect(), sets)
    }

    /// Takes away what control's VPCs and combinations of groups have though no interface does; true when these
    /// combinations are of control's groups alone.
    fn drop_idle(&mut self, table: &Table) -> bool {
        let prefixes = ["of_", "to_", "from_"];
        let names = self
            .chains
            .keys()
            .filter(|name| prefixes.iter().any(|p| name.starts_with(p)));
        let idle: Vec<String> = names
            .filter(|name| !self.led_to(&format!("jump {name}")))
            .cloned()
            .collect();
        idle.iter().all(|name| {
            let lines = self.chains.remove(name).unwrap_or_default();
            match name.strip_prefix("of_") {
                Some(id) => self.sets.remove(&vpc_set(id)).is_some() && table.vpcs.contains_key(id),
                None => lines
                    .iter()
                    .all(|line| table.groups.keys().any(|id| line.ends_with(&format!("_{id}")))),
            }
        })
    }
}

fn group() -> impl Strategy<Value = NetworkEntry> {
    let peers = || subsequence(GROUPS.to_vec(), 0..=3);
    (0..GROUPS.len(), peers(), peers(), 0u16..3).prop_map(|(id, ingress, egress, port)| {
        let rules = |peers: Vec<&str>| {
            let rule = |peer: &str| TrafficRule {
                traffic: Traffic::Tcp(port, port),
                peer: Peer::Group(peer.to_owned()),
            };
            peers.into_iter().map(rule).collect()
        };
        NetworkEntry::Group(GroupEntry {
            id: GROUPS[id].to_owned(),
            ingress: rules(ingress),
            egress: rules(egress),
        })
    })
}

fn interface() -> impl Strategy<Value = InterfaceEntry> {
    let groups = subsequence(GROUPS.to_vec(), 0..=2);
    (9u8..12, 0..VPCS.len(), groups).prop_map(|(last, vpc, groups)| interface_at(last, VPCS[vpc], &groups))
}

fn interface_at(last: u8, vpc: &str, groups: &[&str]) -> InterfaceEntry {
    let groups = groups.iter().map(|g| (*g).to_owned()).collect();
    InterfaceEntry::of_task([10, 0, 0, last].into(), vpc.to_owned(), groups)
}

fn vpc(id: &str) -> NetworkEntry {
    NetworkEntry::Vpc(VpcEntry {
        id: id.to_owned(),
        ranges: Vec::new(),
        dns: true,
        domain: "ec2.internal".to_owned(),
    })
}

fn entry() -> impl Strategy<Value = NetworkEntry> {
    let vpc = (0..VPCS.len()).prop_map(|n| vpc(VPCS[n]));
    prop_oneof![3 => group(), 3 => interface().prop_map(NetworkEntry::Interface), 1 => vpc]
}

fn step() -> impl Strategy<Value = Step> {
    let entries = || proptest::collection::vec(entry(), 0..3);
    let change = (proptest::bool::weighted(0.1), entries(), entries()).prop_map(|(whole, upsert, remove)| {
        Step::Control(NetworkChange {
            whole,
            upsert,
            remove: remove.iter().map(NetworkEntry::key).collect(),
        })
    });
    prop_oneof![
        6 => change,
        1 => interface().prop_map(Step::Take),
        1 => (9u8..12).prop_map(|last| Step::Give([10, 0, 0, last].into())),
    ]
}

fn table() -> Table {
    Table::new(
        "t".to_owned(),
        "10.0.0.0/16".parse().unwrap(),
        "198.19.0.0/16".parse().unwrap(),
    )
}

proptest! {
    #[test]
    fn changes_one_by_one_leave_what_the_whole_table_makes(steps in proptest::collection::vec(step(), 0..30)) {
        let (mut table, mut firewall) = (table(), Firewall::framed());
        for step in steps {
            firewall.take(&table.step(step).script("t"));
        }
        prop_assert!(firewall.drop_idle(&table), "{firewall:?}");
        let mut anew = Firewall::framed();
        anew.take(&table.script());
        prop_assert_eq!(firewall.shape(), anew.shape());
    }
}

fn control(upsert: Vec<NetworkEntry>, remove: &[&str]) -> Step {
    Step::Control(NetworkChange {
        whole: false,
        upsert,
        remove: remove.iter().map(|key| (*key).to_owned()).collect(),
    })
}

fn group_naming(id: &str, peer: &str) -> NetworkEntry {
    let rule = TrafficRule {
        traffic: Traffic::Any,
        peer: Peer::Group(peer.to_owned()),
    };
    NetworkEntry::Group(GroupEntry {
        id: id.to_owned(),
        ingress: vec![rule],
        egress: Vec::new(),
    })
}

fn member(last: u8, groups: &[&str]) -> NetworkEntry {
    NetworkEntry::Interface(interface_at(last, "vpc-1", groups))
}

#[test]
fn a_deleted_group_stays_while_an_interface_or_a_rule_leads_to_it_and_no_longer() {
    let (mut table, mut firewall) = (table(), Firewall::framed());
    let mut take = |step| {
        firewall.take(&table.step(step).script("t"));
        firewall.clone()
    };
    take(control(
        vec![group_naming("sg-1", "sg-1"), group_naming("sg-2", "sg-1")],
        &[],
    ));
    take(control(vec![member(9, &["sg-1", "sg-2"])], &[]));
    let held = take(control(Vec::new(), &["group/sg-1"]));
    assert!(held.chains[&ingress_chain("sg-1")].is_empty(), "it admits nothing");
    let named = take(control(Vec::new(), &["interface/10.0.0.9"]));
    assert!(named.sets.contains_key(&group_set("sg-1")), "a rule names it");
    assert!(!named.led_to(&format!("jump {}", ingress_chain("sg-1"))));
    let gone = take(control(vec![group_naming("sg-2", "sg-2")], &[]));
    assert!(!format!("{gone:?}").contains("sg-1"));
    let none = take(control(Vec::new(), &["group/sg-2"]));
    assert_eq!(none, Firewall::framed());
}

#[test]
fn a_combination_of_groups_that_are_there_keeps_its_chains_until_there_are_too_many() {
    let mut table = table();
    table.step(control(vec![vpc("vpc-1"), group_naming("sg-1", "sg-1")], &[]));
    let came = |table: &mut Table, other: &str| {
        let groups = [group_naming(other, "sg-1"), member(9, &["sg-1", other])];
        table.step(control(groups.into(), &[]))
    };
    let went = |table: &mut Table| table.step(control(Vec::new(), &["interface/10.0.0.9"]));
    came(&mut table, "sg-2");
    assert!(!went(&mut table).needs_program());
    let again = table.step(control(vec![member(9, &["sg-2", "sg-1"])], &[]));
    assert!(
        !again.needs_program(),
        "an interface that comes again is elements alone"
    );
    for n in 0..IDLE {
        went(&mut table);
        came(&mut table, &format!("sg-more-{n}"));
    }
    let swept = went(&mut table).sweep;
    let deleted = swept
        .iter()
        .filter(|command| command.starts_with("delete chain inet t to_"));
    assert_eq!(deleted.count(), IDLE + 1);
    assert!(
        swept.iter().all(|command| !command.contains("gress_")),
        "the groups are there"
    );
}
