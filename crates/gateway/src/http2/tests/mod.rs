//! Real connections on 127.0.0.1: an HTTP/2 client, `serve`, and scripted targets.

mod floods;
mod grpc;
mod requests;
mod to_http1;

use super::serve;
use crate::arrival::{Arrival, LocalDoor};
use crate::config::GatewayConfig;
use crate::doors::{self, Doors, Transport};
use crate::handover::Sockets;
use crate::log_files::Writer;
use crate::serving::{Serving, Supplies, Worker};
use bytes::Bytes;
use h2::client::SendRequest;
use neargate_core::Timestamp;
use neargate_link::gateway::{
    Action, Balancer, BalancerKind, GatewayTable, HealthCheckSpec, Listener, Protocol, ProtocolVersion, Rule,
    TargetGroup, TargetSpec,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PORT: u16 = 80;

/// A balancer with one listener and one target group.
struct Setup {
    version: ProtocolVersion,
    targets: Vec<SocketAddr>,
    attributes: Vec<(&'static str, &'static str)>,
    group: Vec<(&'static str, &'static str)>,
    fixed: Option<(u16, &'static str)>,
}

impl Setup {
    fn of(version: ProtocolVersion, targets: &[SocketAddr]) -> Setup {
        Setup {
            version,
            targets: targets.to_vec(),
            attributes: Vec::new(),
            group: Vec::new(),
            fixed: None,
        }
    }

    fn table(&self) -> GatewayTable {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let target = |at: &SocketAddr| TargetSpec {
            id: at.ip().to_string(),
            port: at.port(),
            address: at.ip(),
            zone: None,
            registered_at: Timestamp(1),
            draining_until: None,
        };
        let group = TargetGroup {
            arn: "group".to_owned(),
            id: "targetgroup/group/1".to_owned(),
            protocol: Protocol::Http,
            protocol_version: self.version,
            health_check: HealthCheckSpec {
                enabled: true,
                protocol: Protocol::Http,
                port: None,
                path: "/".to_owned(),
                interval: 30,
                timeout: 5,
                healthy_threshold: 5,
                unhealthy_threshold: 2,
                matcher: "200".to_owned(),
            },
            attributes: map(&self.group),
            targets: self.targets.iter().map(target).collect(),
        };
        let action = match self.fixed {
            Some((status, body)) => Action::FixedResponse {
                status,
                content_type: Some("text/plain".to_owned()),
                body: body.to_owned(),
            },
            None => Action::Forward {
                groups: vec![("group".to_owned(), 1)],
                stickiness: None,
            },
        };
        let rule = Rule {
            arn: "rule".to_owned(),
            priority: None,
            conditions: Vec::new(),
            transforms: Vec::new(),
            action,
        };
        let listener = Listener {
            arn: "listener".to_owned(),
            port: PORT,
            protocol: Protocol::Http,
            ssl_policy: None,
            certificates: Vec::new(),
            alpn_policy: None,
            attributes: BTreeMap::new(),
            rules: vec![rule],
        };
        let balancer = Balancer {
            arn: "balancer".to_owned(),
            id: "app/balancer/1".to_owned(),
            kind: BalancerKind::Application,
            dns_name: "balancer.elb.localhost".to_owned(),
            on_loopback: true,
            addresses: Vec::new(),
            ingress: None,
            attributes: map(&self.attributes),
            listeners: vec![listener],
        };
        GatewayTable {
            balancers: vec![balancer],
            target_groups: BTreeMap::from([("group".to_owned(), group)]),
            certificates: BTreeMap::new(),
        }
    }
}

/// A gateway's thread that serves HTTP/2 connections.
struct Served {
    at: SocketAddr,
    worker: Rc<Worker>,
    door: Rc<LocalDoor>,
    _ending: watch::Sender<bool>,
    _logs: tempfile::TempDir,
}

impl Served {
    async fn start(setup: &Setup) -> Served {
        let table = setup.table();
        let (serving, problems) = Serving::compile(1, &table, None);
        assert_eq!(problems, []);
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
        let worker = Rc::new(Worker::new(0, supplies));
        let (mut planned, _) = doors::plan(&table, LOOPBACK, &Doors::new());
        let door = planned
            .remove(&(Transport::Tcp, SocketAddr::new(LOOPBACK, PORT)))
            .unwrap();
        let door = Rc::new(LocalDoor::new(door));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let accepting = (worker.clone(), door.clone());
        spawn_local(async move {
            let (worker, door) = accepting;
            while let Ok((stream, client)) = listener.accept().await {
                let arrival = Arrival {
                    client,
                    local: at,
                    tls: None,
                    at: Instant::now(),
                    id: 1,
                    door: door.clone(),
                    settled: None,
                };
                spawn_local(serve(stream, Vec::new(), arrival, worker.clone()));
            }
        });
        Served {
            at,
            worker,
            door,
            _ending: tell,
            _logs: logs,
        }
    }

    async fn client(&self) -> SendRequest<Bytes> {
        self.connect().await.0
    }

    /// A client, and how its connection ends.
    async fn connect(&self) -> (SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
        let stream = TcpStream::connect(self.at).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        (client, spawn_local(connection))
    }
}

fn get(path: &str) -> http::Request<()> {
    http::Request::builder()
        .uri(format!("http://shop.example{path}"))
        .body(())
        .unwrap()
}

/// Status, headers, body and trailers of a response.
struct Whole {
    status: u16,
    headers: http::HeaderMap,
    body: Vec<u8>,
    trailers: Option<http::HeaderMap>,
}

async fn read(response: h2::client::ResponseFuture) -> Result<Whole, h2::Error> {
    let (parts, mut stream) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok(Whole {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
        trailers: stream.trailers().await?,
    })
}

async fn ask(client: &SendRequest<Bytes>, request: http::Request<()>) -> Whole {
    let mut client = client.clone().ready().await.unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    read(response).await.unwrap()
}

/// Sends far more than fits the windows.
async fn upload(body: &mut h2::SendStream<Bytes>) {
    let mut left = 3_000_000;
    while left > 0 {
        body.reserve_capacity(left);
        let room = std::future::poll_fn(|cx| body.poll_capacity(cx)).await;
        let room = room.unwrap().unwrap();
        body.send_data(Bytes::from(vec![b'x'; room]), false).unwrap();
        left -= room;
    }
    body.send_data(Bytes::new(), true).unwrap();
}

async fn local(test: impl Future<Output = ()>) {
    let set = LocalSet::new();
    tokio::time::timeout(Duration::from_secs(60), set.run_until(test))
        .await
        .expect("in time");
}
