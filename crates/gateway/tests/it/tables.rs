//! Tables that come and go under traffic, doors that are shared, and control that is away.

use crate::rig::*;
use neargate_link::gateway::{Action, BalancerKind, Protocol};
use neargate_link::{Peer, Traffic, TrafficRule};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn saying(text: &str) -> Action {
    Action::FixedResponse {
        status: 200,
        content_type: None,
        body: text.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_tables_change() {
    let (one, _) = answering(HELLO).await;
    let (two, _) = answering(HELLO).await;
    let port = free_port();
    let rig = Rig::serving(&simple(port, &[one])).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (served, mut answers) = mpsc::unbounded_channel();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (stop, served) = (stop.clone(), served.clone());
            tokio::spawn(async move {
                let mut stream = connect(port).await;
                let mut buffer = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
                    let response = message(&mut stream, &mut buffer).await.expect("closed");
                    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
                    served.send(()).unwrap();
                }
            })
        })
        .collect();
    drop(served);
    for round in 0..40 {
        // Each of them drains in turn; nobody leaves with something running.
        let mut table = simple(port, &[one, two]);
        let targets = &mut table.target_groups.get_mut("group").unwrap().targets;
        if round % 3 > 0 {
            targets[round % 3 - 1].draining_until = Some(neargate_core::Timestamp(i64::MAX));
        }
        assert_eq!(rig.serve(&table).await, []);
        for _ in 0..8 {
            answers.recv().await.expect("no client is left");
        }
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    rig.end().await;
}

#[tokio::test]
async fn balancers_share_a_port_by_name() {
    let port = free_port();
    let mut table = simple(port, &[]);
    table.balancers = vec![
        balancer("a", port, vec![rule(None, Vec::new(), saying("from a"))]),
        balancer("b", port, vec![rule(None, Vec::new(), saying("from b"))]),
    ];
    let rig = Rig::serving(&table).await;
    assert!(get(port, "a.elb.localhost", "/").await.ends_with("from a"));
    assert!(
        get(port, &format!("B.elb.localhost:{port}"), "/")
            .await
            .ends_with("from b")
    );
    assert!(get(port, "shop.example", "/").await.starts_with("HTTP/1.1 404 "));
    // An absolute URL goes before the header.
    assert!(
        get(port, "a.elb.localhost", "http://b.elb.localhost/")
            .await
            .ends_with("from b")
    );
    table.balancers.pop();
    rig.serve(&table).await;
    assert!(
        get(port, "shop.example", "/").await.ends_with("from a"),
        "the only one gets every name"
    );
    table.balancers.clear();
    rig.serve(&table).await;
    // Each thread closes its own socket, soon.
    let closed = async {
        while tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .is_ok()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), closed)
        .await
        .expect("somebody listens still");
    rig.end().await;
}

#[tokio::test]
async fn security_groups_hold_over_loopback() {
    let port = free_port();
    let mut table = simple(port, &[]);
    table.balancers = vec![balancer("a", port, vec![rule(None, Vec::new(), saying("in"))])];
    table.balancers[0].ingress = Some(vec![TrafficRule {
        traffic: Traffic::Tcp(port, port),
        peer: Peer::Range((Ipv4Addr::new(10, 0, 0, 0), 8)),
    }]);
    let rig = Rig::serving(&table).await;
    let all = conversation(port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(all, "");
    table.balancers[0].ingress = Some(vec![TrafficRule {
        traffic: Traffic::Any,
        peer: Peer::Range((Ipv4Addr::new(127, 0, 0, 0), 8)),
    }]);
    rig.serve(&table).await;
    assert!(get(port, "x", "/").await.ends_with("in"));
    rig.end().await;
}

#[tokio::test]
async fn a_taken_port_is_told_and_the_rest_is_served() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().port();
    let port = free_port();
    let mut table = simple(port, &[]);
    table.balancers = vec![
        balancer("a", taken, vec![rule(None, Vec::new(), saying("a"))]),
        balancer("b", port, vec![rule(None, Vec::new(), saying("b"))]),
    ];
    let rig = Rig::start().await;
    let problems = rig.serve(&table).await;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].listener, format!("arn-a-{taken}"));
    assert!(
        problems[0].message.contains(&format!("127.0.0.1:{taken}")),
        "{problems:?}"
    );
    assert!(get(port, "x", "/").await.ends_with('b'));
    rig.end().await;
}

#[tokio::test]
async fn the_last_table_is_served_while_control_is_away() {
    let (at, _) = answering(HELLO).await;
    let port = free_port();
    let rig = Rig::serving(&simple(port, &[at])).await;
    rig.lose_control();
    for _ in 0..5 {
        assert!(get(port, "x", "/").await.ends_with("hello"));
    }
    rig.end().await;
}

#[tokio::test]
async fn a_deregistered_target_finishes_what_runs_until_its_time_is_over() {
    let at = target(|mut stream| async move {
        message(&mut stream, &mut Vec::new()).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            .await;
        let mut bytes = [0; 16];
        while let Ok(1..) = stream.read(&mut bytes).await {}
    })
    .await;
    let port = free_port();
    let mut table = simple(port, &[at]);
    let rig = Rig::serving(&table).await;
    let mut stream = connect(port).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut buffer = Vec::new();
    while !buffer.ends_with(b"half") {
        assert!(stream.read_buf(&mut buffer).await.unwrap() > 0);
    }
    let targets = &mut table.target_groups.get_mut("group").unwrap().targets;
    targets[0].draining_until = Some(neargate_core::Timestamp(i64::MAX));
    rig.serve(&table).await;
    assert!(get(port, "x", "/").await.starts_with("HTTP/1.1 503 "), "nothing new");
    table.target_groups.get_mut("group").unwrap().targets.clear();
    rig.serve(&table).await;
    let ended = tokio::time::timeout(SOON, stream.read_to_end(&mut buffer)).await;
    assert!(ended.is_ok(), "its time is over");
    assert!(buffer.ends_with(b"half"));
    rig.end().await;
}

#[tokio::test]
async fn tcp_listeners_share_no_port() {
    let (at, _) = answering(HELLO).await;
    let port = free_port();
    let mut table = simple(port, &[at]);
    let mut one = table.balancers.remove(0);
    one.kind = neargate_link::gateway::BalancerKind::Network;
    one.listeners[0].protocol = Protocol::Tcp;
    table.target_groups.get_mut("group").unwrap().protocol = Protocol::Tcp;
    let mut two = one.clone();
    two.arn = "arn-zzz".to_owned();
    two.listeners[0].arn = "arn-zzz-listener".to_owned();
    table.balancers = vec![one, two];
    let rig = Rig::start().await;
    let problems = rig.serve(&table).await;
    assert_eq!(
        problems.iter().map(|p| &*p.listener).collect::<Vec<_>>(),
        ["arn-zzz-listener"]
    );
    assert!(get(port, "x", "/").await.ends_with("hello"));
    rig.end().await;
}

#[tokio::test]
async fn datagram_flows_outlast_a_change_of_security_groups_and_end_with_their_listener() {
    let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = free_port();
    let mut table = simple(port, &[target.local_addr().unwrap()]);
    table.balancers[0].kind = BalancerKind::Network;
    table.balancers[0].listeners[0].protocol = Protocol::Udp;
    table.target_groups.get_mut("group").unwrap().protocol = Protocol::Udp;
    let rig = Rig::serving(&table).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let mut bytes = [0; 8];
    let mut flows = Vec::new();
    let all = TrafficRule {
        traffic: Traffic::Any,
        peer: Peer::Range((Ipv4Addr::new(127, 0, 0, 0), 8)),
    };
    for ingress in [None, Some(vec![all.clone()]), Some(vec![all.clone(), all])] {
        table.balancers[0].ingress = ingress;
        assert_eq!(rig.serve(&table).await, []);
        client.send(b"ping").await.unwrap();
        flows.push(target.recv_from(&mut bytes).await.unwrap().1);
    }
    assert!(flows.iter().all(|flow| *flow == flows[0]), "one flow: {flows:?}");
    table.balancers[0].listeners[0].arn = "another".to_owned();
    assert_eq!(rig.serve(&table).await, []);
    client.send(b"ping").await.unwrap();
    assert_ne!(target.recv_from(&mut bytes).await.unwrap().1, flows[0]);
    rig.end().await;
}

#[tokio::test]
async fn what_runs_when_its_balancer_goes_ends_at_once() {
    let (asked, mut waits) = mpsc::unbounded_channel();
    let hangs = target(move |mut stream| {
        let asked = asked.clone();
        async move {
            message(&mut stream, &mut Vec::new()).await;
            asked.send(()).unwrap();
            let _ = stream.read(&mut [0]).await;
        }
    })
    .await;
    let port = free_port();
    let mut table = simple(port, &[hangs]);
    let rig = Rig::serving(&table).await;
    let client = tokio::spawn(get(port, "x", "/"));
    waits.recv().await.unwrap();
    table.balancers.clear();
    assert_eq!(rig.serve(&table).await, []);
    let answer = tokio::time::timeout(SOON, client).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    rig.end().await;
}
