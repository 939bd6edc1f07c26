//! A gateway, a control that it connects to, targets and clients.

use neargate_gateway::handover::Sockets;
use neargate_gateway::{GatewayConfig, GatewayError};
use neargate_link::connection::Timing;
use neargate_link::gateway::*;
use neargate_link::{Connection, FromGateway, LinkListener, ToGateway};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Longer than anything here takes.
pub const SOON: Duration = Duration::from_secs(20);

type Answered = oneshot::Sender<Vec<Problem>>;

pub struct Rig {
    pub directory: TempDir,
    tables: mpsc::UnboundedSender<(GatewayTable, Answered)>,
    stop: Option<oneshot::Sender<()>>,
    gateway: JoinHandle<Result<(), GatewayError>>,
    control: JoinHandle<()>,
}

impl Rig {
    pub async fn start() -> Rig {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("gateway.sock");
        let listener = LinkListener::bind_unix(&socket, Timing::default()).unwrap();
        let (tables, asked) = mpsc::unbounded_channel();
        let control = tokio::spawn(control(listener, asked));
        let config = GatewayConfig {
            link_socket: socket,
            state_dir: directory.path().join("state"),
            logs_dir: directory.path().join("logs"),
            loopback: Ipv4Addr::LOCALHOST.into(),
            account: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
            threads: 2,
            sockets: Sockets::default(),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let gateway = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            neargate_gateway::run(config, || {}, shutdown).await
        });
        Rig {
            directory,
            tables,
            stop: Some(stop),
            gateway,
            control,
        }
    }

    pub async fn serving(table: &GatewayTable) -> Rig {
        let rig = Rig::start().await;
        assert_eq!(rig.serve(table).await, []);
        rig
    }

    /// Sends a table and waits until it is served.
    pub async fn serve(&self, table: &GatewayTable) -> Vec<Problem> {
        let (answer, answered) = oneshot::channel();
        self.tables.send((table.clone(), answer)).unwrap();
        tokio::time::timeout(SOON, answered)
            .await
            .expect("never applied")
            .unwrap()
    }

    /// Takes control away.
    pub fn lose_control(&self) {
        self.control.abort();
    }

    pub async fn end(mut self) -> TempDir {
        drop(self.stop.take());
        let ended = tokio::time::timeout(SOON, &mut self.gateway).await;
        ended.expect("the gateway does not end").unwrap().unwrap();
        self.control.abort();
        self.directory
    }

    pub async fn metrics(&self) -> String {
        let path: PathBuf = self.directory.path().join("state/gateway-metrics.sock");
        let mut stream = tokio::net::UnixStream::connect(path).await.unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }
}

async fn control(listener: LinkListener, mut asked: mpsc::UnboundedReceiver<(GatewayTable, Answered)>) {
    let mut generation = 0;
    let accepted = listener.accept().await.unwrap();
    let mut link: Connection<ToGateway, FromGateway> = accepted.establish_as().await.unwrap();
    let mut waiting: BTreeMap<u64, Answered> = BTreeMap::new();
    loop {
        tokio::select! {
            table = asked.recv() => {
                let Some((table, answer)) = table else { return };
                generation += 1;
                waiting.insert(generation, answer);
                let table = Arc::new(table);
                link.send("test", &ToGateway::Table { generation, table }).await.unwrap();
            }
            heard = link.recv() => match heard.unwrap() {
                None => return,
                Some(frame) => match frame.message {
                    FromGateway::Hello { .. } => {}
                    FromGateway::Applied { generation, problems } => {
                        if let Some(answer) = waiting.remove(&generation) {
                            let _ = answer.send(problems);
                        }
                    }
                    FromGateway::Targets { sequence, .. } => {
                        link.send("test", &ToGateway::Stored { sequence }).await.unwrap();
                    }
                },
            }
        }
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

pub fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

pub fn group(arn: &str, targets: &[SocketAddr]) -> TargetGroup {
    TargetGroup {
        arn: arn.to_owned(),
        id: format!("targetgroup/{arn}/0"),
        protocol: Protocol::Http,
        protocol_version: ProtocolVersion::Http1,
        health_check: HealthCheckSpec {
            enabled: false,
            protocol: Protocol::Http,
            port: None,
            path: "/".to_owned(),
            interval: 30,
            timeout: 5,
            healthy_threshold: 5,
            unhealthy_threshold: 2,
            matcher: "200".to_owned(),
        },
        attributes: BTreeMap::new(),
        targets: targets
            .iter()
            .map(|at| TargetSpec {
                id: at.ip().to_string(),
                port: at.port(),
                address: at.ip(),
                zone: None,
                registered_at: neargate_core::Timestamp(1),
                draining_until: None,
            })
            .collect(),
    }
}

pub fn rule(priority: Option<u32>, conditions: Vec<Condition>, action: Action) -> Rule {
    Rule {
        arn: format!("rule-{priority:?}"),
        priority,
        conditions,
        transforms: Vec::new(),
        action,
    }
}

pub fn forward(group: &str) -> Action {
    Action::Forward {
        groups: vec![(group.to_owned(), 1)],
        stickiness: None,
    }
}

pub fn balancer(name: &str, port: u16, rules: Vec<Rule>) -> Balancer {
    Balancer {
        arn: format!("arn-{name}"),
        id: format!("app/{name}/0123456789abcdef"),
        kind: BalancerKind::Application,
        dns_name: format!("{name}.elb.localhost"),
        on_loopback: true,
        addresses: Vec::new(),
        ingress: None,
        attributes: BTreeMap::new(),
        listeners: vec![Listener {
            arn: format!("arn-{name}-{port}"),
            port,
            protocol: Protocol::Http,
            ssl_policy: None,
            certificates: Vec::new(),
            alpn_policy: None,
            attributes: BTreeMap::new(),
            rules,
        }],
    }
}

/// One balancer at `port` in front of one group.
pub fn simple(port: u16, targets: &[SocketAddr]) -> GatewayTable {
    GatewayTable {
        balancers: vec![balancer("web", port, vec![rule(None, Vec::new(), forward("group"))])],
        target_groups: BTreeMap::from([("group".to_owned(), group("group", targets))]),
        certificates: BTreeMap::new(),
    }
}

/// A target that does with each connection what the test says.
pub async fn target<F, Fut>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    at
}

/// A target that keeps its connections, notes every request (head and body) and answers each with `answer`.
pub async fn answering(answer: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = seen.clone();
    let at = target(move |mut stream| {
        let notes = notes.clone();
        async move {
            let mut buffer = Vec::new();
            while let Some(request) = message(&mut stream, &mut buffer).await {
                notes.lock().unwrap().push(request);
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (at, seen)
}

/// The next message of a stream: its head, and its body as its framing says.
pub async fn message<S: tokio::io::AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = whole(buffer) {
            let rest = buffer.split_off(end);
            let message = std::mem::replace(buffer, rest);
            return Some(String::from_utf8_lossy(&message).into_owned());
        }
        let read = tokio::time::timeout(SOON, stream.read_buf(buffer))
            .await
            .expect("nothing comes");
        if matches!(read, Ok(0) | Err(_)) {
            return None;
        }
    }
}

fn whole(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    if text.contains("transfer-encoding: chunked") {
        let end = buffer[head..].windows(5).position(|w| w == b"0\r\n\r\n")?;
        return Some(head + end + 5);
    }
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let status = text.strip_prefix("http/1.1 ").map(|rest| &rest[..3]);
    let length = match status {
        Some("204" | "304" | "100") => 0,
        _ => length.map_or(0, |length| length.trim().parse().unwrap()),
    };
    (buffer.len() >= head + length).then_some(head + length)
}

pub async fn connect(port: u16) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap()
}

/// Sends bytes over a new connection and reads one response.
pub async fn exchange(port: u16, bytes: &str) -> String {
    let mut stream = connect(port).await;
    stream.write_all(bytes.as_bytes()).await.unwrap();
    message(&mut stream, &mut Vec::new()).await.expect("no response")
}

pub async fn get(port: u16, host: &str, path: &str) -> String {
    exchange(port, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await
}

/// Sends bytes over a new connection and reads until it is closed.
pub async fn conversation(port: u16, bytes: &str) -> String {
    let mut stream = connect(port).await;
    // The other side may close before it has read everything.
    let _ = stream.write_all(bytes.as_bytes()).await;
    let mut text = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut text)).await;
    let _ = read.expect("the connection stays open");
    String::from_utf8_lossy(&text).into_owned()
}
