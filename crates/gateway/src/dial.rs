//! Connections to targets, made from the balancer's own address so that the target's security groups see who calls.
//!
//! Called by the proxies and by the probes. Unlike listening sockets these never bind an address that the machine does
//! not have: until the node has put it there, connecting fails here, and no packet for a VPC's address leaves the machine.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

/// Between attempts to connect from an address that the machine does not have yet.
const AGAIN: Duration = Duration::from_millis(20);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// This machine is not ready for it: says nothing of the target.
    #[error("cannot connect from {address}: {cause}")]
    Here { address: String, cause: io::Error },
    #[error("the target does not take the connection: {0}")]
    Refused(io::Error),
    #[error("the target does not answer")]
    Timeout,
}

/// Connects to `target` from `source`, which is ignored for targets on the machine itself.
///
/// # Errors
/// See [`DialError`].
pub async fn connect(target: SocketAddr, source: Option<Ipv4Addr>, within: Duration) -> Result<TcpStream, DialError> {
    let connecting = async {
        let here = |cause| DialError::Here {
            address: source.map_or_else(|| "any address".to_owned(), |s| s.to_string()),
            cause,
        };
        let socket = match target {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }
        .map_err(here)?;
        if let Some(source) = bound(target, source) {
            bind_without_port(&socket).map_err(here)?;
            socket.bind(SocketAddr::from((source, 0))).map_err(here)?;
        }
        let stream = socket.connect(target).await.map_err(|cause| match cause.kind() {
            // Ports or memory have run out.
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse | io::ErrorKind::OutOfMemory => here(cause),
            _ => DialError::Refused(cause),
        })?;
        // A socket that takes no option still carries bytes.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    };
    match tokio::time::timeout(within, connecting).await {
        Ok(done) => done,
        Err(_) => Err(DialError::Timeout),
    }
}

/// Connects by `connect`, which is tried again until this machine is ready for it, as long as `within`.
///
/// # Errors
/// See [`DialError`].
pub async fn in_time<T, C>(within: Duration, mut connect: impl FnMut() -> C) -> Result<T, DialError>
where
    C: Future<Output = Result<T, DialError>>,
{
    let until = tokio::time::Instant::now() + within;
    loop {
        match connect().await {
            Err(DialError::Here { .. }) if tokio::time::Instant::now() < until => tokio::time::sleep(AGAIN).await,
            done => return done,
        }
    }
}

/// A UDP socket that talks to `target` alone, from `source`.
///
/// # Errors
/// `Here` when this machine cannot send from `source`, `Refused` when there is no way to the target.
pub async fn connect_udp(target: SocketAddr, source: Option<Ipv4Addr>) -> Result<UdpSocket, DialError> {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = bound(target, source).map_or(any, IpAddr::from);
    let socket = UdpSocket::bind((from, 0)).await.map_err(|cause| DialError::Here {
        address: from.to_string(),
        cause,
    })?;
    socket.connect(target).await.map_err(DialError::Refused)?;
    Ok(socket)
}

fn bound(target: SocketAddr, source: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
    match target {
        SocketAddr::V4(target) if !target.ip().is_loopback() => source,
        _ => None,
    }
}

/// Lets many connections to different targets share a port: it is chosen when connecting, not when binding.
fn bind_without_port(socket: &TcpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: an open socket, and a value of the size given.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if set == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn an_address_that_the_machine_does_not_have_is_no_verdict_on_the_target() {
        let from = Some(Ipv4Addr::new(192, 0, 2, 77));
        let to = "192.0.2.1:9".parse().unwrap();
        assert!(matches!(connect(to, from, SOON).await, Err(DialError::Here { .. })));
        assert!(matches!(connect_udp(to, from).await, Err(DialError::Here { .. })));
    }

    #[tokio::test]
    async fn loopback_targets_need_no_source_and_refuse_in_their_own_name() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let from = Some(Ipv4Addr::new(192, 0, 2, 77));
        assert!(connect(at, from, SOON).await.is_ok());
        drop(listener);
        assert!(matches!(connect(at, from, SOON).await, Err(DialError::Refused(_))));
    }
}
