//! What packets do under control's network table: real namespaces, real nftables; needs root.

mod support;

use neargate_link::network::{Holder, NetworkEntry, Peer, Traffic};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::raw::{passes, pings, send_as};
use support::{
    Bed, EVERYWHERE, SOON, bed, call, call_from, call_soon_from, entry, everyone, group, group_with, inside, of_group,
    open, rule, server, vpc,
};

/// Two tasks of one VPC: the first in `sg-client`, which lets everything out, the second in `sg-web` with port 80 served.
struct Pair {
    client: PathBuf,
    web: PathBuf,
    address: Ipv4Addr,
    _server: support::Server,
}

fn pair(bed: &Bed) -> Pair {
    let range = bed.config.vpc_cidr.to_string();
    bed.whole(vec![
        vpc("vpc-1", &[&range]),
        group("sg-client", Vec::new()),
        group("sg-web", Vec::new()),
        NetworkEntry::Interface(entry(bed.at(10), "vpc-1", &["sg-client"])),
        NetworkEntry::Interface(entry(bed.at(11), "vpc-1", &["sg-web"])),
    ]);
    let client = bed.task("client", bed.at(10), "vpc-1", &["sg-client"]);
    let web = bed.task("web", bed.at(11), "vpc-1", &["sg-web"]);
    let server = server(&web, 80);
    Pair {
        client,
        web,
        address: bed.at(11),
        _server: server,
    }
}

impl Pair {
    fn reached(&self) -> bool {
        call_from(&self.client, self.address, 80).is_ok()
    }
}

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
fn published_ports_take_nothing_from_a_load_balancer() {
    let bed = bed(36, None);
    let balancer_address = bed.at(50);
    let mut balancer = entry(balancer_address, "vpc-1", &[]);
    balancer.holder = Holder::LoadBalancer;
    bed.whole(vec![
        vpc("vpc-1", &[&bed.config.vpc_cidr.to_string()]),
        NetworkEntry::Interface(balancer),
    ]);
    // Bound before: a program that publishes holds the port on every address.
    let listener = TcpListener::bind((balancer_address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (path, address) = bed.network.create_bridged("bridged").unwrap();
    let _server = server(&path, 80);
    let script = format!(
        "add element inet neargate_{} tcp_ports {{ {port} : {address} . 80 }}",
        bed.config.instance
    );
    assert!(
        std::process::Command::new("nft")
            .arg(script)
            .status()
            .unwrap()
            .success()
    );
    let mut knock = TcpStream::connect_timeout(&(balancer_address, port).into(), SOON).unwrap();
    let (mut theirs, _) = listener.accept().unwrap();
    theirs.write_all(b"balancer").unwrap();
    let mut text = [0; 8];
    knock.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"balancer");
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
fn two_vpcs_never_talk_though_their_ranges_are_the_same() {
    let bed = bed(26, None);
    let range = bed.config.vpc_cidr.to_string();
    bed.whole(vec![
        vpc("vpc-a", &[&range]),
        vpc("vpc-b", &[&range, "10.74.32.0/24"]),
        open("sg-open"),
        NetworkEntry::Interface(entry(bed.at(10), "vpc-a", &["sg-open"])),
        NetworkEntry::Interface(entry(bed.at(11), "vpc-b", &["sg-open"])),
        NetworkEntry::Interface(entry(bed.at(12), "vpc-a", &["sg-open"])),
    ]);
    let a = bed.task("a", bed.at(10), "vpc-a", &["sg-open"]);
    let b = bed.task("b", bed.at(11), "vpc-b", &["sg-open"]);
    let c = bed.task("c", bed.at(12), "vpc-a", &["sg-open"]);
    let _servers = [server(&b, 80), server(&c, 80)];
    assert!(call_from(&a, bed.at(12), 80).is_ok());
    let begun = Instant::now();
    assert_eq!(
        call_from(&a, bed.at(11), 80).unwrap_err().kind(),
        ErrorKind::HostUnreachable
    );
    assert_eq!(
        call_from(&b, bed.at(12), 80).unwrap_err().kind(),
        ErrorKind::HostUnreachable
    );
    assert_eq!(
        call_from(&a, Ipv4Addr::new(10, 74, 32, 9), 80).unwrap_err().kind(),
        ErrorKind::HostUnreachable
    );
    assert!(begun.elapsed() < SOON, "refused at once, not in silence");
    assert!(!pings(&a, bed.at(11)));
}

#[test]
fn a_subnet_without_a_route_out_has_no_way_out() {
    let bed = bed(27, None);
    let range = bed.config.vpc_cidr.to_string();
    let (outside, address) = bed.network.create_bridged("outside").unwrap();
    let _server = server(&outside, 80);
    let with = |ranges: Vec<(Ipv4Addr, u8)>| {
        let mut interface = entry(bed.at(10), "vpc-1", &["sg-open"]);
        interface.outbound = ranges;
        NetworkEntry::Interface(interface)
    };
    bed.whole(vec![vpc("vpc-1", &[&range]), open("sg-open"), with(Vec::new())]);
    let task = bed.task("task", bed.at(10), "vpc-1", &["sg-open"]);
    let begun = Instant::now();
    assert_eq!(
        call_from(&task, address, 80).unwrap_err().kind(),
        ErrorKind::HostUnreachable
    );
    assert!(begun.elapsed() < SOON, "refused at once, not in silence");
    bed.upsert(vec![with(vec![EVERYWHERE])]);
    assert!(call_from(&task, address, 80).is_ok());
    let own = [169, 254, 169, 254].into();
    assert_eq!(
        call_from(&task, own, 80).unwrap_err().kind(),
        ErrorKind::HostUnreachable,
        "the machine's own link"
    );
    bed.upsert(vec![with(vec![([192, 0, 2, 0].into(), 24)])]);
    assert!(call_from(&task, address, 80).is_err());
    bed.upsert(vec![with(vec![(address, 32), ([192, 0, 2, 0].into(), 24)])]);
    assert!(call_from(&task, address, 80).is_ok());
}

#[test]
fn a_public_address_leads_to_its_task_and_rules_see_who_calls() {
    let bed = bed(28, None);
    let range = bed.config.vpc_cidr.to_string();
    let public = bed.config.public_cidr.nth(7);
    let mut web = entry(bed.at(11), "vpc-1", &["sg-web"]);
    web.public_address = Some(public);
    bed.whole(vec![
        vpc("vpc-1", &[&range]),
        vpc("vpc-2", &["10.74.28.0/24"]),
        group("sg-client", Vec::new()),
        open("sg-web"),
        NetworkEntry::Interface(entry([10, 74, 28, 9].into(), "vpc-2", &["sg-client"])),
        NetworkEntry::Interface(web.clone()),
    ]);
    let elsewhere = bed.task("elsewhere", [10, 74, 28, 9].into(), "vpc-2", &["sg-client"]);
    let (bridged, bridged_address) = bed.network.create_bridged("bridged").unwrap();
    let task = bed.task("web", bed.at(11), "vpc-1", &["sg-web"]);
    let _server = server(&task, 80);
    assert_eq!(call(public, 80).unwrap(), bed.at(2).to_string(), "from the machine");
    assert_eq!(
        call_from(&elsewhere, public, 80).unwrap(),
        "10.74.28.9",
        "from another VPC"
    );
    assert_eq!(call_from(&bridged, public, 80).unwrap(), bridged_address.to_string());
    assert!(call_from(&task, public, 80).is_ok(), "from itself");
    assert!(
        call_from(&elsewhere, bed.at(11), 80).is_err(),
        "its private address stays in its VPC"
    );

    bed.upsert(vec![group(
        "sg-web",
        vec![rule(Traffic::Any, Peer::Range(([10, 74, 28, 0].into(), 24)))],
    )]);
    assert!(call_from(&elsewhere, public, 80).is_ok());
    assert!(call(public, 80).is_err());
    web.public_address = None;
    bed.upsert(vec![open("sg-web"), NetworkEntry::Interface(web)]);
    assert_eq!(call(public, 80).unwrap_err().kind(), ErrorKind::HostUnreachable);
    assert!(call_from(&elsewhere, public, 80).is_err());
}

#[test]
fn a_load_balancers_address_is_the_machines_and_its_groups_hold_both_ways() {
    let bed = bed(29, None);
    let p = pair(&bed);
    let (address, public) = (bed.at(50), bed.config.public_cidr.nth(50));
    let mut balancer = entry(address, "vpc-1", &["sg-lb"]);
    balancer.holder = Holder::LoadBalancer;
    balancer.public_address = Some(public);
    balancer.outbound = Vec::new();
    bed.upsert(vec![
        group("sg-lb", vec![rule(Traffic::Tcp(8080, 8080), everyone())]),
        group("sg-web", vec![rule(Traffic::Tcp(80, 80), of_group("sg-lb"))]),
        NetworkEntry::Interface(balancer.clone()),
    ]);
    let listeners = [8080, 8081].map(|port| TcpListener::bind((address, port)).unwrap());
    let knocks = |from: Option<&PathBuf>, address: Ipv4Addr, port: u16| {
        let knock = move || TcpStream::connect_timeout(&(address, port).into(), SOON).is_ok();
        from.map_or_else(knock, |path| inside(path, knock))
    };
    assert!(knocks(Some(&p.client), address, 8080));
    assert!(!knocks(Some(&p.client), address, 8081));
    assert!(knocks(Some(&p.client), public, 8080), "by its public address");
    assert!(knocks(None, address, 8080) && knocks(None, public, 8080));
    assert!(!knocks(None, address, 8081));

    // From the balancer's own address to a target, as the gateway connects.
    let to_target = || {
        let socket =
            rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &std::net::SocketAddrV4::new(address, 0)).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_nonblocking(true).unwrap();
        let _ = rustix::net::connect(&stream, &std::net::SocketAddrV4::new(p.address, 80));
        let mut fds = [rustix::event::PollFd::new(&stream, rustix::event::PollFlags::IN)];
        let wait = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(SOON.subsec_nanos()),
        };
        rustix::event::poll(&mut fds, Some(&wait)).unwrap() == 1 && stream.take_error().unwrap().is_none()
    };
    assert!(to_target());
    assert!(
        !p.reached() && call(p.address, 80).is_err(),
        "only the balancer gets to the target"
    );
    bed.upsert(vec![group_with(
        "sg-lb",
        Vec::new(),
        vec![rule(Traffic::Tcp(81, 81), everyone())],
    )]);
    assert!(!to_target());
    balancer.groups.clear();
    bed.upsert(vec![NetworkEntry::Interface(balancer), open("sg-web")]);
    assert!(
        to_target() && knocks(Some(&p.client), address, 8081),
        "without groups everything passes"
    );
    drop(listeners);
    bed.forget(&[&format!("interface/{address}")]);
    assert!(TcpListener::bind((address, 8080)).is_err(), "the address is gone");
    assert!(call(public, 8080).is_err());
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
    timed("a task made and connected", &|| {
        drop(bed.task("task", bed.at(9), "vpc-1", &["sg-1", "sg-2"]))
    });
    let task = bed.network.path("task");
    let _server = server(&task, 80);
    bed.upsert(vec![open("sg-1")]);
    assert!(call(bed.at(9), 80).is_ok());
}

/// Whether the resolver answers `name` to the namespace at `path`: code and addresses.
fn resolve(path: &std::path::Path, resolver: Ipv4Addr, name: &str, tcp: bool) -> (u8, Vec<Ipv4Addr>) {
    let mut query = vec![9, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    let asked = query.len();
    let mut reply = vec![0; 512];
    let size = inside(path, move || {
        if tcp {
            let mut stream = TcpStream::connect_timeout(&(resolver, 53).into(), Duration::from_secs(2)).unwrap();
            stream.write_all(&(asked as u16).to_be_bytes()).unwrap();
            stream.write_all(&query).unwrap();
            let mut size = [0; 2];
            stream.read_exact(&mut size).unwrap();
            reply.truncate(u16::from_be_bytes(size).into());
            stream.read_exact(&mut reply).unwrap();
            return reply;
        }
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        // The resolver may still be binding: ask until it answers.
        for _ in 0..20 {
            let _ = socket.send_to(&query, (resolver, 53));
            if let Ok(size) = socket.recv(&mut reply) {
                reply.truncate(size);
                return reply;
            }
        }
        Vec::new()
    });
    let records = size[asked..].chunks_exact(16);
    (
        size[3] & 0x0f,
        records.map(|r| Ipv4Addr::new(r[12], r[13], r[14], r[15])).collect(),
    )
}

#[test]
fn names_are_answered_in_every_vpc_whatever_the_groups_say() {
    let bed = bed(34, Some("127.0.0.1:9".parse().unwrap()));
    let range = bed.config.vpc_cidr.to_string();
    let mut dark = vpc("vpc-dark", &["10.74.36.0/24"]);
    if let NetworkEntry::Vpc(vpc) = &mut dark {
        vpc.dns = false;
    }
    let name = |name: &str, vpc: Option<&str>, last: u8| {
        NetworkEntry::Name(neargate_link::network::NameEntry {
            name: name.to_owned(),
            vpc_id: vpc.map(str::to_owned),
            addresses: vec![Ipv4Addr::new(10, 0, 0, last)],
        })
    };
    bed.whole(vec![
        vpc("vpc-1", &[&range]),
        vpc("vpc-2", &["10.74.34.0/24"]),
        dark,
        name("web.elb.localhost", None, 1),
        name("db.local", Some("vpc-2"), 2),
        NetworkEntry::Interface(entry([10, 74, 34, 9].into(), "vpc-2", &[])),
        NetworkEntry::Interface(entry([10, 74, 36, 9].into(), "vpc-dark", &[])),
    ]);
    let first = bed.task("first", bed.at(10), "vpc-1", &[]);
    let second = bed.task("second", [10, 74, 34, 9].into(), "vpc-2", &[]);
    let third = bed.task("third", [10, 74, 36, 9].into(), "vpc-dark", &[]);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let asked = async {
        tokio::task::spawn_blocking({
            let own = bed.network.resolver();
            move || {
                let (link_local, of_second) = ([169, 254, 169, 253].into(), [10, 74, 34, 2].into());
                let known = (0, vec![Ipv4Addr::new(10, 0, 0, 1)]);
                assert_eq!(resolve(&first, own, "web.elb.localhost", false), known);
                assert_eq!(resolve(&first, link_local, "WEB.elb.localhost", false), known);
                assert_eq!(resolve(&second, of_second, "web.elb.localhost", true), known);
                assert_eq!(
                    resolve(&second, of_second, "db.local", false),
                    (0, vec![Ipv4Addr::new(10, 0, 0, 2)])
                );
                assert_eq!(
                    resolve(&first, own, "db.local", false).0,
                    2,
                    "another VPC's name is asked elsewhere"
                );
                let private = (0, vec![Ipv4Addr::new(10, 74, 34, 77)]);
                assert_eq!(
                    resolve(&second, of_second, "ip-10-74-34-77.ec2.internal", true),
                    private
                );
                assert_eq!(
                    resolve(&third, [10, 74, 36, 2].into(), "web.elb.localhost", false).0,
                    5,
                    "DNS support is off"
                );
            }
        })
        .await
        .unwrap();
    };
    runtime.block_on(async {
        tokio::select! {
            served = bed.network.serve_dns() => panic!("{served:?}"),
            () = asked => {}
        }
    });
}
