//! The VPC's resolver: forwards what tasks ask to the machine's DNS servers, over UDP and TCP.
//!
//! A query that no server answers in time gets SERVFAIL, so that programs fail at once instead of hanging.

use crate::resolv::name_servers;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

const ANSWER_WITHIN: Duration = Duration::from_secs(3);
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Queries under way at once; more are dropped and asked again by their resolvers.
const CONCURRENT: usize = 512;

/// Where queries go.
#[derive(Clone)]
pub struct Upstreams(Arc<Vec<SocketAddr>>);

impl Upstreams {
    pub fn new(fixed: Vec<SocketAddr>) -> Upstreams {
        Upstreams(Arc::new(fixed))
    }

    /// The configured servers, or the machine's as they are now.
    fn now(&self) -> Vec<SocketAddr> {
        if !self.0.is_empty() {
            return self.0.to_vec();
        }
        name_servers(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
    }
}

/// Answers on `address`:53 until dropped.
pub async fn serve(address: Ipv4Addr, upstreams: Upstreams) -> io::Result<()> {
    let udp = Arc::new(UdpSocket::bind((address, 53)).await?);
    let tcp = TcpListener::bind((address, 53)).await?;
    tokio::try_join!(serve_udp(udp, upstreams.clone()), serve_tcp(tcp, upstreams)).map(|_| ())
}

async fn serve_udp(socket: Arc<UdpSocket>, upstreams: Upstreams) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(CONCURRENT));
    let mut query = vec![0; 4096];
    loop {
        let Ok((size, client)) = socket.recv_from(&mut query).await else {
            continue;
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            continue;
        };
        let (socket, upstreams, query) = (socket.clone(), upstreams.clone(), query[..size].to_vec());
        tokio::spawn(async move {
            let _slot = slot;
            let reply = match ask(&upstreams.now(), &query).await {
                Some(reply) => Some(reply),
                None => server_failure(&query),
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

/// The query turned into a SERVFAIL answer; none when it is no query.
fn server_failure(query: &[u8]) -> Option<Vec<u8>> {
    if query.len() < 12 || query[2] & 0x80 != 0 {
        return None;
    }
    let mut reply = query.to_vec();
    reply[2] |= 0x80;
    reply[3] = 0x80 | 2;
    Some(reply)
}

async fn serve_tcp(listener: TcpListener, upstreams: Upstreams) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(CONCURRENT / 4));
    loop {
        let Ok((mut client, _)) = listener.accept().await else {
            continue;
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            continue;
        };
        let upstreams = upstreams.clone();
        tokio::spawn(async move {
            let _slot = slot;
            for server in upstreams.now() {
                if let Ok(Ok(mut upstream)) = timeout(ANSWER_WITHIN, TcpStream::connect(server)).await {
                    let _ = timeout(TCP_IDLE, tokio::io::copy_bidirectional(&mut client, &mut upstream)).await;
                    return;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_nobody_answers_becomes_a_server_failure() {
        let mut query = vec![0xab, 0xcd, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1];
        let reply = server_failure(&query).unwrap();
        assert_eq!(reply[..2], [0xab, 0xcd]);
        assert_eq!(reply[2] & 0x80, 0x80);
        assert_eq!(reply[3] & 0x0f, 2);
        query[2] |= 0x80;
        assert!(server_failure(&query).is_none());
    }
}
