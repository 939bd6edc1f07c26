//! What packets do under control's network table: real namespaces, real nftables; needs root.

mod support;

use neargate_link::network::{NetworkEntry, Peer, Traffic};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::raw::{passes, pings, send_as};
use support::{
    Bed, SOON, bed, call, call_from, call_soon_from, entry, everyone, group, group_with, inside, of_group, open, pair,
    rule, server, vpc,
};

#[test]
fn every_form_of_rule_admits_what_it_says_and_nothing_else() {
    let bed = bed(20, None);
    let p = pair(&bed);
    let admit = |traffic, peer| bed.upsert(vec![group("sg-web", vec![rule(traffic, peer)])]);
    let client: Peer = Peer::Range((bed.at(10), 32));
    assert!(!p.reached(), "nothing is admitted by default");

    for (traffic, reached) in [
        (Traffic::Tcp(80, 80), true),
        (Traffic::Tcp(79, 81), true),
        (Traffic::Tcp(0, 65535), true),
        (Traffic::Any, true),
        (Traffic::Protocol(6), true),
        (Traffic::Tcp(81, 90), false),
        (Traffic::Udp(80, 80), false),
        (Traffic::Icmp(None, None), false),
    ] {
        admit(traffic, client.clone());
        assert_eq!(p.reached(), reached, "{traffic:?}");
    }
    for (peer, reached) in [
        (everyone(), true),
        (of_group("sg-client"), true),
        (Peer::Range((bed.config.vpc_cidr.base(), 16)), true),
        (of_group("sg-web"), false),
        (of_group("sg-unknown"), false),
        (Peer::Range((Ipv4Addr::new(10, 0, 0, 0), 24)), false),
    ] {
        admit(Traffic::Tcp(80, 80), peer.clone());
        assert_eq!(p.reached(), reached, "{peer:?}");
    }

    admit(Traffic::Icmp(Some(8), None), everyone());
    assert!(pings(&p.client, p.address));
    admit(Traffic::Icmp(Some(8), Some(1)), everyone());
    assert!(!pings(&p.client, p.address));
    admit(Traffic::Protocol(253), everyone());
    assert!(passes(&p.client, &p.web, p.address, 253));
    assert!(!passes(&p.client, &p.web, p.address, 254));

    let listener = inside(&p.web, || UdpSocket::bind("0.0.0.0:9").unwrap());
    listener.set_read_timeout(Some(SOON)).unwrap();
    let to = p.address;
    let send = || {
        inside(&p.client, move || {
            drop(UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"hi", (to, 9)))
        })
    };
    send();
    assert!(listener.recv(&mut [0; 8]).is_err());
    admit(Traffic::Udp(9, 9), everyone());
    send();
    assert!(listener.recv(&mut [0; 8]).is_ok());
}

#[test]
fn egress_rules_hold_and_a_task_without_groups_neither_sends_nor_is_reached() {
    let bed = bed(21, None);
    let p = pair(&bed);
    bed.upsert(vec![open("sg-web")]);
    assert!(p.reached());
    let out = |rules| bed.upsert(vec![group_with("sg-client", Vec::new(), rules)]);
    out(Vec::new());
    assert!(!p.reached());
    out(vec![rule(Traffic::Tcp(443, 443), everyone())]);
    assert!(!p.reached());
    out(vec![rule(Traffic::Tcp(80, 80), of_group("sg-web"))]);
    assert!(p.reached());
    bed.upsert(vec![NetworkEntry::Interface(entry(bed.at(10), "vpc-1", &[]))]);
    assert!(!p.reached());
    bed.upsert(vec![NetworkEntry::Interface(entry(
        bed.at(10),
        "vpc-1",
        &["sg-client", "sg-web"],
    ))]);
    assert!(p.reached(), "rules of all groups add up");
    bed.upsert(vec![NetworkEntry::Interface(entry(p.address, "vpc-1", &[]))]);
    assert!(!p.reached());
}

#[test]
fn rules_between_groups_follow_tasks_as_they_come_and_go() {
    let bed = bed(22, None);
    let p = pair(&bed);
    bed.upsert(vec![group(
        "sg-web",
        vec![rule(Traffic::Tcp(80, 80), of_group("sg-front"))],
    )]);
    assert!(!p.reached());
    let in_groups = |groups: &[&str]| NetworkEntry::Interface(entry(bed.at(10), "vpc-1", groups));
    bed.upsert(vec![in_groups(&["sg-client", "sg-front"])]);
    assert!(p.reached(), "the group has members before it has rules");
    bed.upsert(vec![in_groups(&["sg-client"])]);
    assert!(!p.reached());

    // A task that the table does not have yet is in its groups from the start, and out when it ends.
    bed.upsert(vec![group("sg-front", Vec::new())]);
    let late = bed.task("late", bed.at(12), "vpc-1", &["sg-front"]);
    assert!(call_soon_from(&late, p.address, 80).is_ok());
    bed.network.remove("late").unwrap();
    let stranger = bed.task("stranger", bed.at(12), "vpc-1", &["sg-client"]);
    assert!(call_from(&stranger, p.address, 80).is_err());

    bed.forget(&["group/sg-web"]);
    bed.upsert(vec![in_groups(&["sg-client", "sg-front"])]);
    assert!(!p.reached(), "a group that is gone admits nothing");
}

/// The instance's table as `nft` tells it, with its handle: one that is written anew has another.
fn listed(bed: &Bed) -> (String, String) {
    let table = format!("neargate_{}", bed.config.instance);
    let nft = |args: &[&str]| {
        let out = std::process::Command::new("nft").args(args).output().unwrap();
        assert!(out.status.success());
        String::from_utf8(out.stdout).unwrap()
    };
    let tables = nft(&["-a", "list", "tables", "inet"]);
    let handle = tables.lines().find(|line| line.contains(&table)).unwrap().to_owned();
    (handle, nft(&["list", "table", "inet", &table]))
}

#[test]
fn groups_that_come_and_go_leave_nothing_in_the_kernel() {
    let bed = bed(38, None);
    let p = pair(&bed);
    bed.upsert(vec![group("sg-client", Vec::new())]);
    let of_late = || vec![rule(Traffic::Tcp(80, 80), of_group("sg-late"))];
    let (handle, at_first) = listed(&bed);
    let interface = format!("interface/{}", bed.at(12));
    for order in 0..6 {
        let mut late = of_late();
        late.push(rule(Traffic::Tcp(81, 81), of_group("sg-client")));
        bed.upsert(vec![group_with("sg-late", late, vec![rule(Traffic::Any, everyone())])]);
        bed.upsert(vec![group("sg-web", of_late())]);
        let task = bed.task("late", bed.at(12), "vpc-1", &["sg-late", "sg-client"]);
        if order % 2 == 0 {
            bed.upsert(vec![NetworkEntry::Interface(entry(bed.at(12), "vpc-1", &["sg-late"]))]);
        }
        assert!(call_soon_from(&task, p.address, 80).is_ok());
        // The task, what control says of its interface and of its group, the rule that names the group: in any order.
        let end = || bed.network.remove("late").unwrap();
        let forget = || bed.forget(&[&interface]);
        let delete = || bed.forget(&["group/sg-late"]);
        let unname = || bed.upsert(vec![group("sg-web", Vec::new())]);
        let steps: [&dyn Fn(); 4] = match order {
            0 => [&end, &forget, &unname, &delete],
            1 => [&end, &forget, &delete, &unname],
            2 => [&delete, &end, &forget, &unname],
            3 => [&delete, &unname, &forget, &end],
            4 => [&unname, &delete, &end, &forget],
            _ => [&unname, &end, &delete, &forget],
        };
        let (first, last) = steps.split_at(2);
        first.iter().for_each(|step| step());
        assert!(!p.reached());
        last.iter().for_each(|step| step());
        assert_eq!(listed(&bed), (handle.clone(), at_first.clone()), "order {order}");
    }
    bed.upsert(vec![open("sg-web")]);
    assert!(p.reached());
    bed.whole(Vec::new());
    bed.network.remove("client").unwrap();
    bed.network.remove("web").unwrap();
    let (same, at_last) = listed(&bed);
    assert!(
        same == handle && !at_last.contains("sg-") && !at_last.contains("vpc-1"),
        "{at_last}"
    );
}

#[test]
fn a_removed_rule_stops_new_connections_and_spares_those_that_are() {
    let bed = bed(23, None);
    let p = pair(&bed);
    bed.upsert(vec![open("sg-web")]);
    let listener = inside(&p.web, || TcpListener::bind("0.0.0.0:81").unwrap());
    let address = p.address;
    let mut mine = inside(&p.client, move || {
        TcpStream::connect_timeout(&(address, 81).into(), SOON).unwrap()
    });
    let (mut theirs, _) = listener.accept().unwrap();
    bed.upsert(vec![group("sg-web", Vec::new())]);
    assert!(!p.reached());
    for stream in [&mine, &theirs] {
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    }
    let mut buffer = [0; 4];
    mine.write_all(b"ping").unwrap();
    theirs.read_exact(&mut buffer).unwrap();
    theirs.write_all(b"pong").unwrap();
    mine.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"pong");
}

#[test]
fn who_gets_an_address_next_is_not_reached_by_what_the_last_admitted() {
    let bed = bed(35, None);
    let p = pair(&bed);
    let address = bed.at(12);
    let known = |group: &str| bed.upsert(vec![NetworkEntry::Interface(entry(address, "vpc-1", &[group]))]);
    bed.upsert(vec![open("sg-open")]);
    known("sg-open");
    let listen = |path: &std::path::Path| {
        let socket = inside(path, || UdpSocket::bind("0.0.0.0:9").unwrap());
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket
    };
    let sender = inside(&p.client, || UdpSocket::bind("0.0.0.0:0").unwrap());
    let mut buffer = [0; 8];
    let first = listen(&bed.task("first", address, "vpc-1", &["sg-open"]));
    // Lost while the kernel raises the link.
    let arrived = (0..10).any(|_| sender.send_to(b"one", (address, 9)).is_ok() && first.recv(&mut buffer).is_ok());
    assert!(arrived);
    let client = (bed.at(10), sender.local_addr().unwrap().port());
    first.send_to(b"yes", client).unwrap();
    sender.set_read_timeout(Some(SOON)).unwrap();
    assert!(sender.recv(&mut buffer).is_ok());
    known("sg-web");
    sender.send_to(b"two", (address, 9)).unwrap();
    assert!(first.recv(&mut buffer).is_ok(), "a tracked conversation goes on");
    drop(first);
    bed.network.remove("first").unwrap();
    let second = listen(&bed.task("second", address, "vpc-1", &["sg-web"]));
    let arrived = (0..4).any(|_| sender.send_to(b"three", (address, 9)).is_ok() && second.recv(&mut buffer).is_ok());
    assert!(!arrived);
}

#[test]
fn the_machine_is_a_client_like_any_other() {
    let bed = bed(24, None);
    let p = pair(&bed);
    assert!(call(p.address, 80).is_err());
    bed.upsert(vec![group(
        "sg-web",
        vec![rule(Traffic::Tcp(80, 80), of_group("sg-client"))],
    )]);
    assert!(call(p.address, 80).is_err());
    bed.upsert(vec![group(
        "sg-web",
        vec![rule(Traffic::Tcp(80, 80), Peer::Range((bed.at(0), 16)))],
    )]);
    assert_eq!(call(p.address, 80).unwrap(), bed.at(2).to_string());
}

#[test]
fn a_task_sends_from_its_own_address_only() {
    let bed = bed(25, None);
    let p = pair(&bed);
    bed.upsert(vec![group("sg-web", vec![rule(Traffic::Udp(9, 9), everyone())])]);
    let other = bed.at(12);
    bed.task("other", other, "vpc-1", &["sg-client"]);
    let listener = inside(&p.web, || UdpSocket::bind("0.0.0.0:9").unwrap());
    listener.set_read_timeout(Some(SOON)).unwrap();
    let mut buffer = [0; 8];
    for borrowed in [
        other,
        bed.at(2),
        bed.at(99),
        Ipv4Addr::new(8, 8, 8, 8),
        Ipv4Addr::LOCALHOST,
    ] {
        send_as(&p.client, borrowed, p.address, b"forged");
        assert!(
            listener.recv(&mut buffer).is_err(),
            "a packet as if from {borrowed} arrived"
        );
    }
    send_as(&p.client, bed.at(10), p.address, b"true");
    assert_eq!(listener.recv(&mut buffer).unwrap(), 4);
}

#[test]
fn the_rules_hold_through_a_restart_before_control_is_heard() {
    let bed = bed(30, None);
    let p = pair(&bed);
    bed.upsert(vec![group(
        "sg-web",
        vec![rule(Traffic::Tcp(80, 80), of_group("sg-client"))],
    )]);
    let late = bed.task("late", bed.at(12), "vpc-1", &["sg-client"]);
    let again = neargate_netns::Network::start(bed.config.clone()).unwrap();
    assert!(p.reached() && call_soon_from(&late, p.address, 80).is_ok());
    assert!(call(p.address, 80).is_err());
    again.adopt("late", bed.at(12));
    again.remove("late").unwrap();
    let whole = neargate_netns::NetworkChange {
        whole: true,
        upsert: Vec::new(),
        remove: Vec::new(),
    };
    again.change(whole).unwrap();
    assert!(!p.reached(), "control's whole table replaces what was kept");
}

#[test]
fn a_firewall_that_somebody_took_away_comes_back() {
    let bed = bed(31, None);
    let p = pair(&bed);
    let table = format!("neargate_{}", bed.config.instance);
    let take_away = || {
        let command = ["delete", "table", "inet", &table];
        assert!(
            std::process::Command::new("nft")
                .args(command)
                .status()
                .unwrap()
                .success()
        );
        assert!(p.reached());
    };
    take_away();
    let change = NetworkEntry::Interface(entry(bed.at(13), "vpc-1", &["sg-client"]));
    bed.upsert(vec![change]);
    assert!(!p.reached(), "with the next change");

    take_away();
    let range = bed.config.vpc_cidr.to_string();
    support::ip(&format!("route del unreachable {range} metric 4294967295"));
    assert!(!support::ip("route show type unreachable").contains(&range));
    bed.network.uphold().unwrap();
    assert!(!p.reached(), "without one, once the node looks");
    assert!(support::ip("route show type unreachable").contains(&range));
}

#[test]
fn changes_of_rules_never_stop_what_stays_admitted_and_never_admit_anything_else() {
    let bed = bed(32, None);
    let p = pair(&bed);
    let rules = |n: u16| {
        let mut rules = vec![rule(Traffic::Tcp(80, 80), everyone())];
        rules.extend((0..n % 40).map(|i| rule(Traffic::Udp(1000 + 2 * i, 1000 + 2 * i), of_group("sg-client"))));
        group("sg-web", rules)
    };
    bed.upsert(vec![rules(0)]);
    let _closed = server(&p.web, 81);
    let done = AtomicBool::new(false);
    let (calls, refused) = std::thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let (mut calls, mut refused) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                calls += 1;
                refused += u32::from(call_from(&p.client, p.address, 80).is_err());
            }
            (calls, refused)
        });
        let prober = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert!(
                    call_from(&p.client, p.address, 81).is_err(),
                    "a port that no rule ever named was open"
                );
            }
        });
        for n in 1..120 {
            bed.upsert(vec![
                rules(n),
                NetworkEntry::Interface(entry(bed.at(100 + u32::from(n)), "vpc-1", &["sg-client"])),
            ]);
            let passing = format!("sg-passing-{n}");
            bed.upsert(vec![
                group(&passing, vec![rule(Traffic::Tcp(81, 81), of_group(&passing))]),
                NetworkEntry::Interface(entry(bed.at(12), "vpc-1", &["sg-client", &passing])),
            ]);
            bed.forget(&[&format!("group/{passing}"), &format!("interface/{}", bed.at(12))]);
            if n % 20 == 0 {
                bed.upsert(vec![
                    vpc("vpc-1", &[&bed.config.vpc_cidr.to_string()]),
                    vpc("vpc-2", &["10.74.64.0/24"]),
                ]);
                bed.forget(&["vpc/vpc-2"]);
            }
        }
        done.store(true, Ordering::Relaxed);
        prober.join().unwrap();
        caller.join().unwrap()
    });
    assert!(calls > 50 && refused == 0, "{refused} of {calls} calls were refused");
}

#[test]
fn a_thousand_interfaces_with_fifty_rules_change_in_milliseconds() {
    let bed = bed(33, None);
    let range = bed.config.vpc_cidr.to_string();
    let fifty = |odd: u16| {
        let rules = (0..50).map(|n| {
            rule(
                Traffic::Tcp(1000 + 2 * n + odd, 1000 + 2 * n + odd),
                Peer::Range((bed.at(256 * u32::from(n)), 24)),
            )
        });
        rules.collect::<Vec<_>>()
    };
    let mut entries = vec![vpc("vpc-1", &[&range])];
    entries.extend((0..20).map(|n| group(&format!("sg-{n}"), fifty(0))));
    let interface = |n: u32| {
        let (a, b) = (format!("sg-{}", n % 20), format!("sg-{}", n % 7));
        NetworkEntry::Interface(entry(bed.at(300 + n), "vpc-1", &[&a, &b]))
    };
    entries.extend((0..1000).map(interface));
    let timed = |what: &str, work: &dyn Fn()| {
        let begun = Instant::now();
        work();
        println!("{what}: {:.2} ms", begun.elapsed().as_secs_f64() * 1e3);
    };
    timed("whole table, 1000 interfaces, 20 groups of 50 rules", &|| {
        bed.whole(entries.clone())
    });
    timed("one interface more", &|| bed.upsert(vec![interface(1400)]));
    timed("another", &|| bed.upsert(vec![interface(1401)]));
    timed("one less", &|| bed.forget(&[&format!("interface/{}", bed.at(300))]));
    timed("a group's 50 rules", &|| bed.upsert(vec![group("sg-3", fifty(1))]));
    timed("a rule more", &|| {
        let mut rules = fifty(1);
        rules.push(rule(Traffic::Tcp(80, 80), everyone()));
        bed.upsert(vec![group("sg-3", rules)]);
    });
    timed("a new group", &|| bed.upsert(vec![group("sg-new", fifty(0))]));
    timed("it goes", &|| bed.forget(&["group/sg-new"]));
    timed("a task made and connected", &|| {
        drop(bed.task("task", bed.at(9), "vpc-1", &["sg-1", "sg-2"]))
    });
    timed("it is removed", &|| bed.network.remove("task").unwrap());
    bed.task("task", bed.at(9), "vpc-1", &["sg-1", "sg-2"]);
    let task = bed.network.path("task");
    let _server = server(&task, 80);
    bed.upsert(vec![open("sg-1")]);
    assert!(call(bed.at(9), 80).is_ok());
}
