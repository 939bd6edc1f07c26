//! Real namespaces, routes and nftables on this machine; needs root. Everything is removed afterwards, also on failure.

mod support;

use neargate_netns::{Network, NetworkConfig, Publish, Transport};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;
use support::{bed, greeter, greeting, inside, interface, ip, membership, open};

#[test]
fn tasks_are_reached_from_the_host_and_from_each_other() {
    let bed = bed(1, None);
    bed.upsert(vec![open("sg-open")]);
    let (a, b) = (interface(&bed, 10), interface(&bed, 11));
    let path_a = bed
        .network
        .create("task-a", a, &membership("vpc-1", &["sg-open"]))
        .unwrap();
    let path_b = bed
        .network
        .create("task-b", b, &membership("vpc-1", &["sg-open"]))
        .unwrap();
    assert_eq!(bed.network.names().unwrap(), ["task-a", "task-b"]);

    let server = greeter(&path_a, 80);
    assert_eq!(greeting((a.address, 80).into()).unwrap(), "hello");
    server.join().unwrap();

    let server = greeter(&path_a, 80);
    let address = SocketAddr::from((a.address, 80));
    assert_eq!(inside(&path_b, move || greeting(address).unwrap()), "hello");
    server.join().unwrap();

    bed.network.remove("task-a").unwrap();
    bed.network.remove("task-a").unwrap();
    assert_eq!(bed.network.names().unwrap(), ["task-b"]);
}

#[test]
fn an_address_no_task_holds_is_unreachable_and_a_freed_one_can_be_taken_again() {
    let bed = bed(2, None);
    bed.upsert(vec![open("sg-open")]);
    let taken = interface(&bed, 20);
    let refused = greeting((taken.address, 80).into()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::HostUnreachable);
    for _ in 0..3 {
        let path = bed
            .network
            .create("task", taken, &membership("vpc-1", &["sg-open"]))
            .unwrap();
        let server = greeter(&path, 80);
        assert_eq!(greeting((taken.address, 80).into()).unwrap(), "hello");
        server.join().unwrap();
        bed.network.remove("task").unwrap();
    }
}

#[test]
fn a_task_asks_the_resolver_and_reaches_nothing_else_on_the_host() {
    let upstream = UdpSocket::bind("127.0.0.1:0").unwrap();
    let upstream_address = upstream.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((size, from)) = upstream.recv_from(&mut query) {
            let mut reply = query[..size].to_vec();
            reply[2] |= 0x80;
            let _ = upstream.send_to(&reply, from);
        }
    });
    let bed = bed(3, Some(upstream_address));
    bed.upsert(vec![open("sg-open")]);
    let path = bed
        .network
        .create("task", interface(&bed, 30), &membership("vpc-1", &["sg-open"]))
        .unwrap();
    let resolver = bed.network.resolver();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let answered = runtime.block_on(async {
        tokio::select! {
            served = bed.network.serve_dns() => panic!("{served:?}"),
            answered = tokio::task::spawn_blocking(move || inside(&path, move || {
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
                let query = [7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1];
                let mut reply = [0; 64];
                // The resolver may still be binding: ask until it answers.
                for _ in 0..10 {
                    let _ = socket.send_to(&query, (resolver, 53));
                    if let Ok(size) = socket.recv(&mut reply) {
                        return reply[..size].to_vec();
                    }
                }
                Vec::new()
            })) => answered.unwrap(),
        }
    });
    assert_eq!(answered[..3], [7, 7, 0x81]);

    let host = TcpListener::bind((resolver, 0)).unwrap();
    let port = host.local_addr().unwrap().port();
    let path = bed.network.path("task");
    let refused = inside(&path, move || {
        TcpStream::connect_timeout(&(resolver, port).into(), Duration::from_secs(2))
    });
    assert!(refused.is_err(), "a task reached a host service");
}

fn on_any_ports(container_port: u16, further: u16) -> [Publish; 1] {
    [Publish {
        container_port,
        host_port: 0,
        further,
        transport: Transport::Tcp,
    }]
}

#[test]
fn bridged_containers_publish_ports_on_the_host() {
    let bed = bed(4, None);
    bed.upsert(vec![open("sg-open")]);
    let (path, address) = bed.network.create_bridged("c1").unwrap();
    let asked = on_any_ports(80, 0);
    let published = bed.network.publish("c1", address, &asked).unwrap();
    assert!((32768..=60999).contains(&published[0].host_port));
    let server = greeter(&path, 80);
    assert_eq!(
        greeting((Ipv4Addr::LOCALHOST, published[0].host_port).into()).unwrap(),
        "hello"
    );
    server.join().unwrap();

    let fixed = [Publish {
        container_port: 80,
        host_port: published[0].host_port,
        further: 0,
        transport: Transport::Tcp,
    }];
    let (_, other) = bed.network.create_bridged("c2").unwrap();
    assert_ne!(other, address);
    let clash = bed.network.publish("c2", other, &fixed).unwrap_err().to_string();
    assert!(clash.contains("already in use"), "{clash}");
    bed.network.remove("c1").unwrap();
    assert_eq!(
        bed.network.publish("c2", other, &fixed).unwrap()[0].host_port,
        fixed[0].host_port
    );
}

#[test]
fn a_range_of_ports_is_published_on_as_many_in_a_row() {
    let bed = bed(11, None);
    bed.upsert(vec![open("sg-open")]);
    let (path, address) = bed.network.create_bridged("c1").unwrap();
    let range = on_any_ports(90, 2);
    let first = bed.network.publish("c1", address, &range).unwrap()[0];
    assert_eq!((first.container_port, first.further), (90, 2));
    let server = greeter(&path, 92);
    let last = *first.host_ports().end();
    assert_eq!(greeting((Ipv4Addr::LOCALHOST, last).into()).unwrap(), "hello");
    server.join().unwrap();
    let (_, other) = bed.network.create_bridged("c2").unwrap();
    let inside = [Publish {
        host_port: last,
        further: 0,
        ..range[0]
    }];
    assert!(bed.network.publish("c2", other, &inside).is_err(), "the run is held");
    bed.network.remove("c1").unwrap();
    assert!(bed.network.publish("c2", other, &inside).is_ok(), "and given back");
}

#[test]
fn a_second_instance_on_the_same_range_is_told_and_tear_down_leaves_nothing() {
    let bed = bed(5, None);
    bed.upsert(vec![open("sg-open")]);
    bed.network
        .create("task", interface(&bed, 50), &membership("vpc-1", &["sg-open"]))
        .unwrap();
    let second = NetworkConfig {
        instance: "ffff".into(),
        ..bed.config.clone()
    };
    let told = Network::start(second).err().expect("the range is taken").to_string();
    assert!(told.contains("another Neargate instance"), "{told}");

    let vpc = bed.config.vpc_cidr.to_string();
    assert!(ip("route show table main").contains(&vpc));
    Network::tear_down(&bed.config).unwrap();
    Network::tear_down(&bed.config).unwrap();
    assert!(!ip("route show table main").contains(&vpc));
    assert!(!ip("addr show lo").contains(&bed.config.resolver().to_string()));
    let tables = Command::new("nft").args(["list", "tables"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&tables.stdout).contains(&format!("neargate_{}", bed.config.instance)));
}

/// The machine's ends of tasks' pairs.
fn host_ends(bed: &support::Bed) -> usize {
    let prefix = format!("ng{}", bed.config.instance);
    ip("-o link").lines().filter(|line| line.contains(&prefix)).count()
}

#[test]
fn tear_down_takes_interfaces_whose_namespaces_the_kernel_keeps() {
    let bed = bed(10, None);
    bed.upsert(vec![open("sg-open")]);
    let (task, member) = (interface(&bed, 10), membership("vpc-1", &["sg-open"]));
    let path = bed.network.create("task", task, &member).unwrap();
    // As a connection that nobody closed.
    let kept = std::fs::File::open(&path).unwrap();
    assert_eq!(host_ends(&bed), 1);
    bed.network.remove("task").unwrap();
    // The name is free all the same.
    let path = bed.network.create("task", task, &member).unwrap();
    let server = greeter(&path, 80);
    assert_eq!(greeting((task.address, 80).into()).unwrap(), "hello");
    server.join().unwrap();

    // One whose handle was lost as well.
    let also_kept = std::fs::File::open(&path).unwrap();
    rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(host_ends(&bed), 1);
    Network::tear_down(&bed.config).unwrap();
    assert_eq!(host_ends(&bed), 0);
    drop((kept, also_kept));
}

#[test]
fn a_restart_takes_over_what_runs() {
    let bed = bed(6, None);
    bed.upsert(vec![open("sg-open")]);
    let task = interface(&bed, 60);
    let path = bed
        .network
        .create("task", task, &membership("vpc-1", &["sg-open"]))
        .unwrap();
    let again = Network::start(bed.config.clone()).unwrap();
    assert_eq!(again.names().unwrap(), ["task"]);
    let server = greeter(&path, 80);
    assert_eq!(greeting((task.address, 80).into()).unwrap(), "hello");
    server.join().unwrap();
}

#[test]
fn a_resolver_address_that_somebody_removed_comes_back_with_the_next_task() {
    let bed = bed(7, None);
    bed.upsert(vec![open("sg-open")]);
    let resolver = bed.config.resolver().to_string();
    ip(&format!("addr del {resolver}/32 dev lo"));
    assert!(!ip("addr show lo").contains(&resolver));
    let task = interface(&bed, 70);
    let path = bed
        .network
        .create("task", task, &membership("vpc-1", &["sg-open"]))
        .unwrap();
    assert!(ip("addr show lo").contains(&resolver));
    let server = greeter(&path, 80);
    assert_eq!(greeting((task.address, 80).into()).unwrap(), "hello");
    server.join().unwrap();
}

#[test]
fn an_instance_that_goes_leaves_forwarding_to_one_that_stays() {
    let staying = bed(8, None);
    let going = bed(9, None);
    staying.upsert(vec![open("sg-open")]);
    let (a, b) = (interface(&staying, 10), interface(&staying, 11));
    let member = membership("vpc-1", &["sg-open"]);
    let path_a = staying.network.create("task-a", a, &member).unwrap();
    let path_b = staying.network.create("task-b", b, &member).unwrap();
    drop(going);
    let server = greeter(&path_a, 80);
    let address = SocketAddr::from((a.address, 80));
    assert_eq!(inside(&path_b, move || greeting(address).unwrap()), "hello");
    server.join().unwrap();
}
