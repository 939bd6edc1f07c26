//! The VPCs' resolver, over UDP and TCP: answers the names it knows, forwards the rest to the machine's DNS servers.
//!
//! `Network::serve_dns` runs it; the firewall leads every VPC's base + 2 here. A query that no server answers in time gets
//! SERVFAIL, so that programs fail at once instead of hanging.

use crate::names::Names;
use crate::question;
use crate::resolv::name_servers;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

const ANSWER_WITHIN: Duration = Duration::from_secs(3);
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Queries under way at once; more are dropped and asked again by their resolvers.
const CONCURRENT: usize = 512;

/// Answers the names it knows and forwards the rest.
#[derive(Clone)]
pub struct Resolver {
    names: Arc<RwLock<Names>>,
    /// Empty follows the machine's resolv.conf.
    upstreams: Arc<Vec<SocketAddr>>,
}

impl Resolver {
    pub fn new(names: Arc<RwLock<Names>>, upstreams: Vec<SocketAddr>) -> Resolver {
        Resolver {
            names,
            upstreams: Arc::new(upstreams),
        }
    }

    /// The configured servers, or the machine's as they are now.
    fn upstreams(&self) -> Vec<SocketAddr> {
        if !self.upstreams.is_empty() {
            return self.upstreams.to_vec();
        }
        name_servers(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
    }

    /// The answer to what is known here.
    fn answer(&self, client: SocketAddr, query: &[u8], udp: bool) -> Option<Vec<u8>> {
        let IpAddr::V4(client) = client.ip() else { return None };
        let question = question::read(query)?;
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let answer = names.answer(client, &question.name, question.kind)?;
        Some(question::write(query, &question, &answer, udp))
    }
}

/// Answers on `address`:53 until dropped.
pub async fn serve(address: Ipv4Addr, resolver: Resolver) -> io::Result<()> {
    let udp = Arc::new(UdpSocket::bind((address, 53)).await?);
    let tcp = TcpListener::bind((address, 53)).await?;
    tokio::try_join!(serve_udp(udp, resolver.clone()), serve_tcp(tcp, resolver)).map(|_| ())
}

async fn serve_udp(socket: Arc<UdpSocket>, resolver: Resolver) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(CONCURRENT));
    let mut query = vec![0; 4096];
    loop {
        let Ok((size, client)) = socket.recv_from(&mut query).await else {
            continue;
        };
        if let Some(reply) = resolver.answer(client, &query[..size], true) {
            let _ = socket.send_to(&reply, client).await;
            continue;
        }
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            continue;
        };
        let (socket, upstreams, query) = (socket.clone(), resolver.upstreams(), query[..size].to_vec());
        tokio::spawn(async move {
            let _slot = slot;
            let reply = match ask(&upstreams, &query).await {
                Some(reply) => Some(reply),
                None => question::server_failure(&query),
            };
            if let Some(reply) = reply {
                let _ = socket.send_to(&reply, client).await;
            }
        });
    }
}

async fn ask(servers: &[SocketAddr], query: &[u8]) -> Option<Vec<u8>> {
    for server in servers {
        if let Ok(Ok(reply)) = timeout(ANSWER_WITHIN, ask_one(*server, query)).await {
            return Some(reply);
        }
    }
    None
}

async fn ask_one(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let local: SocketAddr = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        "[::]:0".parse().expect("an address")
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut reply = vec![0; 4096];
    loop {
        let size = socket.recv(&mut reply).await?;
        // Only the answer to this very question: same id.
        if size >= 12 && query.len() >= 2 && reply[..2] == query[..2] {
            reply.truncate(size);
            return Ok(reply);
        }
    }
}

async fn serve_tcp(listener: TcpListener, resolver: Resolver) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(CONCURRENT / 4));
    loop {
        let Ok((stream, client)) = listener.accept().await else {
            continue;
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            continue;
        };
        let resolver = resolver.clone();
        tokio::spawn(async move {
            let _slot = slot;
            // A client that goes away, or says nothing for long, ends its connection: nobody else is concerned.
            let _ = converse(stream, client, &resolver).await;
        });
    }
}

/// Answers one client's queries, one after the other.
async fn converse(mut stream: TcpStream, client: SocketAddr, resolver: &Resolver) -> io::Result<()> {
    loop {
        let query = timeout(TCP_IDLE, read_framed(&mut stream)).await??;
        let reply = match resolver.answer(client, &query, false) {
            Some(reply) => Some(reply),
            None => match ask_by_tcp(&resolver.upstreams(), &query).await {
                Some(reply) => Some(reply),
                None => question::server_failure(&query),
            },
        };
        match reply {
            Some(reply) => timeout(TCP_IDLE, write_framed(&mut stream, &reply)).await??,
            None => return Ok(()),
        }
    }
}

async fn ask_by_tcp(servers: &[SocketAddr], query: &[u8]) -> Option<Vec<u8>> {
    for server in servers {
        let asking = async {
            let mut stream = TcpStream::connect(server).await?;
            write_framed(&mut stream, query).await?;
            read_framed(&mut stream).await
        };
        if let Ok(Ok(reply)) = timeout(ANSWER_WITHIN, asking).await {
            return Some(reply);
        }
    }
    None
}

/// A message behind its length in two bytes (RFC 1035, 4.2.2).
async fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}
