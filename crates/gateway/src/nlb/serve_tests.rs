//! Flows of a whole network load balancer, from a client to targets that `routing` picks.

use super::*;
use crate::arrival::LocalDoor;
use crate::config::GatewayConfig;
use crate::doors::{self, Doors};
use crate::handover::Sockets;
use crate::log_files::Writer;
use crate::serving::{Serving, Supplies};
use neargate_core::Timestamp;
use neargate_link::gateway::{
    Action as TableAction, Balancer, BalancerKind, GatewayTable, HealthCheckSpec, Listener, ProtocolVersion, Rule,
    TargetGroup, TargetSpec,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

type Attributes = &'static [(&'static str, &'static str)];

fn table(protocol: Protocol, targets: &[SocketAddr], attributes: Attributes, draining: bool) -> GatewayTable {
    let target = |at: &SocketAddr| TargetSpec {
        id: at.ip().to_string(),
        port: at.port(),
        address: at.ip(),
        zone: None,
        registered_at: Timestamp(1),
        draining_until: draining.then_some(Timestamp(2)),
    };
    let group = TargetGroup {
        arn: "group".to_owned(),
        id: "targetgroup/group/1".to_owned(),
        protocol,
        protocol_version: ProtocolVersion::Http1,
        health_check: HealthCheckSpec {
            enabled: true,
            protocol: Protocol::Tcp,
            port: None,
            path: String::new(),
            interval: 30,
            timeout: 5,
            healthy_threshold: 5,
            unhealthy_threshold: 1,
            matcher: String::new(),
        },
        attributes: attributes
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        targets: targets.iter().map(target).collect(),
    };
    let rule = Rule {
        arn: "rule".to_owned(),
        priority: None,
        conditions: Vec::new(),
        transforms: Vec::new(),
        action: TableAction::Forward {
            groups: vec![("group".to_owned(), 1)],
            stickiness: None,
        },
    };
    let listener = Listener {
        arn: "listener".to_owned(),
        port: 7,
        protocol,
        ssl_policy: None,
        certificates: Vec::new(),
        alpn_policy: None,
        attributes: BTreeMap::new(),
        rules: vec![rule],
    };
    let balancer = Balancer {
        arn: "balancer".to_owned(),
        id: "net/balancer/1".to_owned(),
        kind: BalancerKind::Network,
        dns_name: "balancer.elb.localhost".to_owned(),
        on_loopback: true,
        addresses: Vec::new(),
        ingress: None,
        attributes: BTreeMap::new(),
        listeners: vec![listener],
    };
    GatewayTable {
        balancers: vec![balancer],
        target_groups: BTreeMap::from([("group".to_owned(), group)]),
        certificates: BTreeMap::new(),
    }
}

struct Thread {
    worker: Rc<Worker>,
    door: Rc<LocalDoor>,
    _ending: watch::Sender<bool>,
    _logs: tempfile::TempDir,
}

impl Thread {
    fn new(table: &GatewayTable) -> Thread {
        let (serving, _) = Serving::compile(1, table, None);
        let logs = tempfile::tempdir().unwrap();
        let (log, _writer) = Writer::start(logs.path().to_owned(), Duration::from_secs(300), |_| None).unwrap();
        let (tell, ending) = watch::channel(false);
        let config = GatewayConfig {
            link_socket: logs.path().join("link"),
            state_dir: logs.path().to_owned(),
            logs_dir: logs.path().to_owned(),
            loopback: LOOPBACK,
            account: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
            threads: 1,
            sockets: Sockets::default(),
        };
        let supplies = Supplies {
            config: Arc::new(config),
            serving: Arc::new(serving),
            cookies: [7; 32],
            log,
            ending,
            connections: Arc::default(),
        };
        let (planned, _) = doors::plan(table, LOOPBACK, &Doors::new());
        let door = planned.into_values().next().unwrap();
        Thread {
            worker: Rc::new(Worker::new(0, supplies)),
            door: Rc::new(LocalDoor::new(door)),
            _ending: tell,
            _logs: logs,
        }
    }

    fn change(&self, table: &GatewayTable) {
        let before = self.worker.now_serving();
        let (serving, _) = Serving::compile(before.generation + 1, table, Some(&before));
        self.worker.serve(Arc::new(serving));
    }

    /// Accepts clients at the address.
    async fn open(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local = listener.local_addr().unwrap();
        let (worker, door) = (self.worker.clone(), self.door.clone());
        spawn_local(async move {
            while let Ok((stream, client)) = listener.accept().await {
                let arrival = Arrival {
                    client,
                    local,
                    tls: None,
                    at: Instant::now(),
                    id: 1,
                    door: door.clone(),
                    settled: None,
                };
                spawn_local(serve_tcp(worker.clone(), stream, arrival));
            }
        });
        local
    }

    fn counted(&self, counter: BalancerCounter) -> u64 {
        self.worker
            .now_serving()
            .listener("listener")
            .unwrap()
            .balancer
            .metrics
            .get(counter)
    }

    fn outstanding(&self) -> u32 {
        let serving = self.worker.now_serving();
        serving.routes.group("group").unwrap().targets()[0].outstanding()
    }
}

async fn local(test: impl Future<Output = ()>) {
    let set = LocalSet::new();
    tokio::time::timeout(Duration::from_secs(60), set.run_until(test))
        .await
        .expect("in time");
}

#[tokio::test]
async fn a_flow_is_counted_while_it_lasts_and_its_target_may_hear_who_calls() {
    local(async {
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = target.local_addr().unwrap();
        let thread = Thread::new(&table(
            Protocol::Tcp,
            &[at],
            &[("proxy_protocol_v2.enabled", "true")],
            false,
        ));
        let mut client = TcpStream::connect(thread.open().await).await.unwrap();
        let (mut served, _) = target.accept().await.unwrap();
        client.write_all(b"ping").await.unwrap();
        let mut header = [0; 28 + 4];
        served.read_exact(&mut header).await.unwrap();
        assert_eq!(&header[..12], b"\r\n\r\n\0\r\nQUIT\n");
        let port = client.local_addr().unwrap().port();
        assert_eq!(
            (&header[16..20], &header[24..26]),
            (&[127, 0, 0, 1][..], &port.to_be_bytes()[..])
        );
        assert_eq!(&header[28..], b"ping");
        assert_eq!(
            (
                thread.outstanding(),
                thread.counted(BalancerCounter::ActiveFlowCountTcp)
            ),
            (1, 1)
        );
        drop((client, served));
        while thread.outstanding() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(thread.counted(BalancerCounter::ActiveFlowCount), 0);
        assert_eq!(thread.counted(BalancerCounter::NewFlowCountTcp), 1);
        assert_eq!(thread.counted(BalancerCounter::ProcessedBytesTcp), 4);
    })
    .await;
}

#[tokio::test]
async fn without_a_target_that_takes_it_a_connection_is_reset() {
    local(async {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        for targets in [&[][..], &[nobody]] {
            let thread = Thread::new(&table(Protocol::Tcp, targets, &[], false));
            let mut client = TcpStream::connect(thread.open().await).await.unwrap();
            assert!(client.read(&mut [0]).await.is_err());
            let rejected = thread.counted(BalancerCounter::RejectedFlowCountTcp);
            assert_eq!(rejected, u64::from(targets.is_empty()));
        }
    })
    .await;
}

#[tokio::test]
async fn a_deregistered_target_keeps_its_flows_or_loses_them_as_the_group_says() {
    const CUTS: Attributes = &[("deregistration_delay.connection_termination.enabled", "true")];
    local(async {
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = target.local_addr().unwrap();
        let open = async |attributes| {
            let thread = Thread::new(&table(Protocol::Tcp, &[at], attributes, false));
            let client = TcpStream::connect(thread.open().await).await.unwrap();
            let served = target.accept().await.unwrap().0;
            thread.change(&table(Protocol::Tcp, &[at], attributes, true));
            (thread, client, served)
        };
        let (_keeps, mut kept, mut served) = open(&[]).await;
        let (_cuts, mut cut, _served) = open(CUTS).await;
        assert!(cut.read(&mut [0]).await.is_err(), "reset");
        served.write_all(b"still here").await.unwrap();
        let mut bytes = [0; 10];
        kept.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"still here");
    })
    .await;
}

#[tokio::test]
async fn flows_end_when_their_target_turns_unhealthy() {
    local(async {
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let thread = Thread::new(&table(Protocol::Tcp, &[target.local_addr().unwrap()], &[], false));
        let mut client = TcpStream::connect(thread.open().await).await.unwrap();
        let _served = target.accept().await.unwrap();
        let serving = thread.worker.now_serving();
        let group = serving.routes.group("group").unwrap();
        group.observe(&group.targets()[0], neargate_routing::Finding::Timeout, now());
        assert!(client.read(&mut [0]).await.is_err(), "reset");
        while thread.counted(BalancerCounter::TcpElbResetCount) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn datagrams_reach_the_target_and_answers_the_client() {
    local(async {
        let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let thread = Thread::new(&table(Protocol::Udp, &[target.local_addr().unwrap()], &[], false));
        let socket = Rc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let at = socket.local_addr().unwrap();
        let serving = spawn_local(serve_udp(thread.worker.clone(), socket, thread.door.clone()));
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(at).await.unwrap();
        client.send(b"ping").await.unwrap();
        let mut bytes = [0; 16];
        let (length, from) = target.recv_from(&mut bytes).await.unwrap();
        assert_eq!(&bytes[..length], b"ping");
        target.send_to(b"pong", from).await.unwrap();
        let length = client.recv(&mut bytes).await.unwrap();
        assert_eq!(&bytes[..length], b"pong");
        assert_eq!(
            (
                thread.outstanding(),
                thread.counted(BalancerCounter::ActiveFlowCountUdp)
            ),
            (1, 1)
        );
        serving.abort();
        while thread.outstanding() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(thread.counted(BalancerCounter::ProcessedBytesUdp), 8);
    })
    .await;
}

#[tokio::test]
async fn a_tls_target_is_spoken_to_in_tls() {
    local(async {
        let made = rcgen::generate_simple_self_signed(["elsewhere.example".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let settings = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(settings));
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = target.local_addr().unwrap();
        spawn_local(async move {
            let mut stream = acceptor.accept(target.accept().await.unwrap().0).await.unwrap();
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let thread = Thread::new(&table(Protocol::Tls, &[at], &[], false));
        let mut client = TcpStream::connect(thread.open().await).await.unwrap();
        client.write_all(b"ping").await.unwrap();
        let mut bytes = [0; 4];
        client.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"ping");
    })
    .await;
}
