//! A running front door and a client that speaks HTTP by hand, so that it can also speak it wrongly.

use crate::service::{Trial, trial};
use neargate_control::front_door::{FrontDoor, Limits, RootCredentials};
use neargate_core::clock::ManualClock;
use neargate_core::ids::CountingIds;
use neargate_core::{Clock as _, Timestamp};
use neargate_sts::Sts;
use neargate_wire::Request;
use neargate_wire::sigv4::{Signer, sign};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub const ACCESS_KEY: &str = "AKIAROOT";
pub const SECRET: &str = "root-secret";

/// Nothing here may take longer than this.
const PATIENCE: Duration = Duration::from_secs(20);

/// A front door on loopback with STS and the trial service.
pub struct Running {
    pub address: SocketAddr,
    pub clock: Arc<ManualClock>,
    pub trial: Arc<Trial>,
    pub stop: Option<oneshot::Sender<()>>,
    pub task: JoinHandle<()>,
}

pub async fn start() -> Running {
    start_with(Limits::default()).await
}

pub async fn start_with(limits: Limits) -> Running {
    let clock = Arc::new(ManualClock::at(
        Timestamp::parse_iso8601("2026-11-21T08:40:00Z").unwrap(),
    ));
    let trial = trial();
    let mut door = FrontDoor::new(
        vec![
            Arc::new(Sts {
                account: "000000000000".into(),
            }),
            trial.clone(),
        ],
        Arc::new(RootCredentials::new("000000000000", ACCESS_KEY, SECRET)),
        clock.clone(),
        Arc::new(CountingIds::default()),
        "000000000000",
    );
    door.limits = limits;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(door.serve(listener, async {
        let _ = stopped.await;
    }));
    Running {
        address,
        clock,
        trial,
        stop: Some(stop),
        task,
    }
}

/// A reply, read whole.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The code of an awsJson error.
    pub fn code(&self) -> String {
        assert_eq!(self.header("x-amzn-errortype"), self.json()["__type"].as_str());
        self.json()["__type"].as_str().unwrap_or("").to_owned()
    }
}

/// A call before it is signed.
pub struct Call {
    pub method: &'static str,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub service: &'static str,
    pub secret: &'static str,
    pub access_key: &'static str,
}

impl Call {
    pub fn json(operation: &str, body: &str) -> Call {
        Call {
            method: "POST",
            target: "/".into(),
            headers: vec![
                ("content-type".into(), "application/x-amz-json-1.1".into()),
                ("x-amz-target".into(), format!("Trial_2020.{operation}")),
            ],
            body: body.as_bytes().to_vec(),
            service: "trial",
            secret: SECRET,
            access_key: ACCESS_KEY,
        }
    }

    pub fn form(service: &'static str, body: &str) -> Call {
        Call {
            headers: vec![(
                "content-type".into(),
                "application/x-www-form-urlencoded; charset=utf-8".into(),
            )],
            body: body.as_bytes().to_vec(),
            service,
            ..Call::json("", "")
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Call {
        self.headers.retain(|(n, _)| n != name);
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The request as bytes, signed at `now`.
    pub fn signed(&self, now: Timestamp) -> Vec<u8> {
        let mut headers = self.headers.clone();
        headers.push(("host".into(), "127.0.0.1".into()));
        let borrowed: Vec<(&str, &[u8])> = headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let request = Request {
            method: self.method,
            path,
            query,
            headers: &borrowed,
            body: &self.body,
        };
        let signer = Signer {
            access_key: self.access_key,
            secret: self.secret,
            region: "mars-north-1",
            service: self.service,
            now,
        };
        let added = sign(&request, &signer);
        headers.extend(added.map(|(name, value)| (name.to_owned(), value)));
        self.raw(&headers)
    }

    /// The request as bytes, without a signature.
    pub fn unsigned(&self) -> Vec<u8> {
        let mut headers = self.headers.clone();
        headers.push(("host".into(), "127.0.0.1".into()));
        self.raw(&headers)
    }

    fn raw(&self, headers: &[(String, String)]) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in headers {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        out.push_str(&format!("content-length: {}\r\n\r\n", self.body.len()));
        let mut out = out.into_bytes();
        out.extend_from_slice(&self.body);
        out
    }
}

impl Running {
    pub async fn call(&self, call: Call) -> Reply {
        self.send(&call.signed(self.clock.now())).await
    }

    /// Sends bytes on a fresh connection and reads one reply.
    pub async fn send(&self, bytes: &[u8]) -> Reply {
        let mut stream = self.connect().await;
        // A server that refuses early may close before everything is written; the reply is what counts.
        let _ = stream.write_all(bytes).await;
        read_reply(&mut stream).await
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// Reads one reply by its content length.
pub async fn read_reply(stream: &mut TcpStream) -> Reply {
    tokio::time::timeout(PATIENCE, async {
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        let head_end = loop {
            if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            let n = stream.read(&mut chunk).await.unwrap();
            assert!(n > 0, "closed before a reply: {:?}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&chunk[..n]);
        };
        let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
        let mut reply = Reply {
            status: head[9..12].parse().unwrap(),
            head,
            body: bytes[head_end..].to_vec(),
        };
        let length: usize = reply.header("content-length").map_or(0, |n| n.parse().unwrap());
        while reply.body.len() < length {
            let n = stream.read(&mut chunk).await.unwrap();
            assert!(n > 0, "closed within a body");
            reply.body.extend_from_slice(&chunk[..n]);
        }
        assert_eq!(reply.body.len(), length, "more than one reply");
        reply
    })
    .await
    .expect("a reply in time")
}

/// Reads until the server closes.
pub async fn read_to_close(stream: &mut TcpStream) -> String {
    tokio::time::timeout(PATIENCE, async {
        let mut bytes = Vec::new();
        // A reset is a close as well.
        let _ = stream.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).into_owned()
    })
    .await
    .expect("a close in time")
}
