//! Who reaches whom between VPCs, out of them and into them, and by which names: real packets; needs root.

mod support;

use neargate_link::network::{Holder, NetworkEntry, Peer, Traffic};
use neargate_netns::{Publish, Transport};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use support::raw::pings;
use support::{
    EVERYWHERE, SOON, bed, call, call_from, entry, everyone, group, group_with, inside, of_group, open, pair, rule,
    server, vpc,
};

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
    let (home, address) = (Ipv4Addr::new(10, 74, 27, 9), bed.config.public_cidr.nth(9));
    let mut outside = entry(home, "vpc-2", &["sg-open"]);
    outside.public_address = Some(address);
    let with = |ranges: Vec<(Ipv4Addr, u8)>| {
        let mut interface = entry(bed.at(10), "vpc-1", &["sg-open"]);
        interface.outbound = ranges;
        NetworkEntry::Interface(interface)
    };
    bed.whole(vec![
        vpc("vpc-1", &[&range]),
        vpc("vpc-2", &["10.74.27.0/24"]),
        open("sg-open"),
        with(Vec::new()),
        NetworkEntry::Interface(outside),
    ]);
    let outside = bed.task("outside", home, "vpc-2", &["sg-open"]);
    let _server = server(&outside, 80);
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
    let (bridged, _) = bed.network.create_bridged("bridged").unwrap();
    let task = bed.task("web", bed.at(11), "vpc-1", &["sg-web"]);
    let _server = server(&task, 80);
    assert_eq!(call(public, 80).unwrap(), bed.at(2).to_string(), "from the machine");
    assert_eq!(
        call_from(&elsewhere, public, 80).unwrap(),
        "10.74.28.9",
        "from another VPC"
    );
    assert_eq!(
        call_from(&bridged, public, 80).unwrap(),
        bed.at(2).to_string(),
        "from a container of the machine's"
    );
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
fn bridged_containers_call_as_the_machine_and_are_called_at_published_ports() {
    let bed = bed(41, None);
    let range = bed.config.vpc_cidr.to_string();
    let elsewhere = Ipv4Addr::new(10, 74, 41, 9);
    let mut out = entry(bed.at(10), "vpc-1", &["sg-vpc"]);
    out.outbound = vec![EVERYWHERE];
    bed.whole(vec![
        vpc("vpc-1", &[&range]),
        vpc("vpc-2", &["10.74.41.0/24"]),
        group("sg-vpc", vec![rule(Traffic::Any, Peer::Range((bed.at(0), 24)))]),
        open("sg-open"),
        NetworkEntry::Interface(out),
        NetworkEntry::Interface(entry(elsewhere, "vpc-2", &["sg-open"])),
    ]);
    let task = bed.task("task", bed.at(10), "vpc-1", &["sg-vpc"]);
    let stranger = bed.task("stranger", elsewhere, "vpc-2", &["sg-open"]);
    let (bridged, address) = bed.network.create_bridged("bridged").unwrap();
    let (neighbour, _) = bed.network.create_bridged("neighbour").unwrap();
    let _servers = [server(&task, 80), server(&stranger, 80), server(&bridged, 80)];
    assert_eq!(call_from(&bridged, bed.at(10), 80).unwrap(), bed.at(2).to_string());
    assert!(
        call_from(&bridged, elsewhere, 80).is_err(),
        "the machine is in its own VPC"
    );
    assert!(call_from(&neighbour, address, 80).is_ok() && call(address, 80).is_ok());
    assert!(call_from(&task, address, 80).is_err(), "not published");
    let asked = [Publish {
        container_port: 80,
        host_port: 0,
        further: 0,
        transport: Transport::Tcp,
    }];
    let port = bed.network.publish("bridged", address, &asked).unwrap()[0].host_port;
    assert!(call(Ipv4Addr::LOCALHOST, port).is_ok());
}

#[test]
fn who_is_seen_goes_by_the_public_address_that_is_called() {
    let bed = bed(42, None);
    let range = bed.config.vpc_cidr.to_string();
    let (home, other) = (Ipv4Addr::new(10, 74, 42, 9), Ipv4Addr::new(10, 74, 42, 10));
    let public = |n: u32| bed.config.public_cidr.nth(n);
    let held = |address: Ipv4Addr, n: u32| {
        let mut interface = entry(address, "vpc-2", &["sg-open"]);
        interface.public_address = Some(public(n));
        NetworkEntry::Interface(interface)
    };
    let mut caller = entry(bed.at(10), "vpc-1", &["sg-open"]);
    caller.outbound = vec![(public(9), 32), (public(10), 32)];
    caller.seen_parts = vec![((public(9), 32), public(20)), ((public(10), 32), public(21))];
    bed.whole(vec![
        vpc("vpc-1", &[&range]),
        vpc("vpc-2", &["10.74.42.0/24"]),
        open("sg-open"),
        held(home, 9),
        held(other, 10),
        NetworkEntry::Interface(caller),
    ]);
    let task = bed.task("task", bed.at(10), "vpc-1", &["sg-open"]);
    let homes = [("home", home), ("other", other)].map(|(n, a)| bed.task(n, a, "vpc-2", &["sg-open"]));
    let _servers = homes.each_ref().map(|path| server(path, 80));
    assert_eq!(call_from(&task, public(9), 80).unwrap(), public(20).to_string());
    assert_eq!(call_from(&task, public(10), 80).unwrap(), public(21).to_string());
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
