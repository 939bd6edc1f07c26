//! What a step changes, and what it leaves alone.

use super::*;
use neargate_link::network::{Peer, Traffic, TrafficRule};

fn table() -> Table {
    let range = |text: &str| text.parse().unwrap();
    Table::new("t".to_owned(), range("10.0.0.0/16"), range("198.19.0.0/16"))
}

fn upsert(entry: NetworkEntry) -> Step {
    Step::Control(NetworkChange {
        upsert: vec![entry],
        ..NetworkChange::default()
    })
}

fn group(ports: &[u16]) -> Step {
    let rule = |port: &u16| TrafficRule {
        traffic: Traffic::Tcp(*port, *port),
        peer: Peer::Range((Ipv4Addr::UNSPECIFIED, 0)),
    };
    upsert(NetworkEntry::Group(GroupEntry {
        id: "sg-1".to_owned(),
        ingress: ports.iter().map(rule).collect(),
        egress: Vec::new(),
    }))
}

fn interface(groups: &[&str]) -> InterfaceEntry {
    let groups = groups.iter().map(|g| (*g).to_owned()).collect();
    InterfaceEntry::of_task([10, 0, 0, 9].into(), "vpc-1".to_owned(), groups)
}

#[test]
fn an_added_rule_is_an_added_line_and_a_removed_one_folds_the_chain_anew() {
    let mut table = table();
    table.step(group(&[80]));
    let added = table.step(group(&[80, 90])).commands;
    assert_eq!(added, ["add rule inet t ingress_sg-1 tcp dport { 90 } accept"]);
    let removed = table.step(group(&[90])).commands;
    let anew = [
        "flush chain inet t ingress_sg-1",
        "add rule inet t ingress_sg-1 tcp dport { 90 } accept",
    ];
    assert_eq!(removed, anew);
    assert_eq!(
        table.step(group(&[90])),
        Delta::default(),
        "what is there already changes nothing"
    );
    let mut ports = vec![90];
    let mut folded = false;
    for port in (1000..1200).step_by(2) {
        ports.push(port);
        folded |= table.step(group(&ports)).commands[0].starts_with("flush");
    }
    assert!(folded, "a chain does not grow line by line forever");
}

#[test]
fn an_interface_of_known_groups_changes_elements_alone() {
    let mut table = table();
    for id in ["sg-1", "sg-2"] {
        table.step(upsert(NetworkEntry::Group(GroupEntry {
            id: id.to_owned(),
            ingress: Vec::new(),
            egress: Vec::new(),
        })));
    }
    table.step(upsert(NetworkEntry::Interface(interface(&["sg-1", "sg-2"]))));
    let fewer = table.step(upsert(NetworkEntry::Interface(interface(&["sg-1"]))));
    assert!(
        !fewer.commands.is_empty(),
        "a combination that is new has chains to be made"
    );
    let more = table.step(upsert(NetworkEntry::Interface(interface(&["sg-2", "sg-1"]))));
    assert!(more.commands.is_empty());
    let sets = |elements: &[Element]| elements.iter().map(|e| e.set.clone()).collect::<Vec<_>>();
    assert_eq!(sets(&more.delete), ["egress", "ingress"]);
    assert_eq!(sets(&more.add), ["egress", "group_sg-2", "ingress"]);
}

#[test]
fn a_whole_table_takes_away_what_it_does_not_have_and_leaves_the_rest_alone() {
    let mut table = table();
    let kept = NetworkEntry::Interface(interface(&["sg-1"]));
    table.step(upsert(kept.clone()));
    let mut other = interface(&["sg-1"]);
    other.address = [10, 0, 0, 10].into();
    table.step(upsert(NetworkEntry::Interface(other)));
    let whole = Step::Control(NetworkChange {
        whole: true,
        upsert: vec![kept],
        remove: Vec::new(),
    });
    let delta = table.step(whole);
    assert!(delta.add.is_empty() && delta.commands.is_empty() && delta.sweep.is_empty());
    assert!(
        delta
            .delete
            .iter()
            .all(|e| e.key == Key::Address([10, 0, 0, 10].into()))
    );
    assert_eq!(delta.delete.len(), 5);
}

#[test]
fn a_tasks_own_entry_holds_until_control_has_one_and_goes_with_it() {
    let mut table = table();
    let own = table.taking(interface(&["sg-1"])).expect("nobody told of the address");
    table.step(own);
    assert!(table.taking(interface(&["sg-1"])).is_none(), "it is there");
    table.step(upsert(NetworkEntry::Interface(interface(&["sg-2"]))));
    assert!(table.taking(interface(&["sg-1"])).is_none() && table.giving([10, 0, 0, 9].into()).is_none());
    let gone = Step::Control(NetworkChange {
        remove: vec!["interface/10.0.0.9".to_owned()],
        ..NetworkChange::default()
    });
    table.step(gone);
    assert!(table.interface([10, 0, 0, 9].into()).is_none(), "control decides");
}

#[test]
fn who_got_a_public_address_last_has_it() {
    let mut table = table();
    let holder = |last: u8, public: bool| {
        let mut entry = interface(&["sg-1"]);
        entry.address = [10, 0, 0, last].into();
        entry.public_address = public.then(|| [198, 19, 0, 7].into());
        upsert(NetworkEntry::Interface(entry))
    };
    table.step(holder(1, true));
    let moved = table.step(holder(2, true));
    let of_public = |elements: &[Element]| {
        elements
            .iter()
            .filter(|e| e.set == "public")
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(of_public(&moved.delete)[0].data, Data::Address([10, 0, 0, 1].into()));
    assert_eq!(of_public(&moved.add)[0].data, Data::Address([10, 0, 0, 2].into()));
    let late = table.step(holder(1, false));
    assert!(of_public(&late.delete).is_empty() && of_public(&late.add).is_empty());
}
