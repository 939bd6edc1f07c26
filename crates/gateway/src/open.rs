//! Opens listening sockets, also on addresses that the machine gets a moment later.

use crate::doors::Transport;
use crate::handover::Sockets;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

/// Connections that wait to be accepted, as many as the kernel admits.
const BACKLOG: i32 = 4096;

/// A listening socket.
#[derive(Debug)]
pub enum Listening {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// The socket that a predecessor listened on, or a new one, which is kept for a successor.
///
/// # Errors
/// `AddrInUse` when another program has the port.
pub fn listening(transport: Transport, at: SocketAddr, sockets: &Sockets) -> io::Result<Listening> {
    match transport {
        Transport::Tcp => {
            let listener = match sockets.take(at) {
                Some(kept) => kept,
                None => {
                    let listener = tcp(at)?;
                    sockets.keep(at, &listener);
                    listener
                }
            };
            listener.set_nonblocking(true)?;
            Ok(Listening::Tcp(listener))
        }
        Transport::Udp => {
            let socket = match sockets.take_udp(at) {
                Some(kept) => kept,
                None => {
                    let socket = udp(at)?;
                    sockets.keep_udp(at, &socket);
                    socket
                }
            };
            socket.set_nonblocking(true)?;
            Ok(Listening::Udp(socket))
        }
    }
}

impl Listening {
    /// Another descriptor of the same socket.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn duplicate(&self) -> io::Result<Listening> {
        Ok(match self {
            Listening::Tcp(listener) => Listening::Tcp(listener.try_clone()?),
            Listening::Udp(socket) => Listening::Udp(socket.try_clone()?),
        })
    }
}

fn tcp(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket_with(family(at), SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP))?;
    // Over connections of the past that still time out; two that listen are refused all the same.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    freebind(&socket, at)?;
    bind(&socket, &at)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

fn udp(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket_with(family(at), SocketType::DGRAM, SocketFlags::CLOEXEC, Some(ipproto::UDP))?;
    freebind(&socket, at)?;
    bind(&socket, &at)?;
    Ok(socket.into())
}

/// The node puts a balancer's address on the machine in its own time.
fn freebind(socket: &std::os::fd::OwnedFd, at: SocketAddr) -> io::Result<()> {
    if at.is_ipv4() && !at.ip().is_loopback() {
        sockopt::set_ip_freebind(socket, true)?;
    }
    Ok(())
}

fn family(at: SocketAddr) -> AddressFamily {
    match at {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_held_by_one_and_an_address_may_come_later() {
        let none = Sockets::default();
        let first = tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let at = first.local_addr().unwrap();
        let second = listening(Transport::Tcp, at, &none).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        assert!(listening(Transport::Tcp, "192.0.2.1:0".parse().unwrap(), &none).is_ok());
        assert!(listening(Transport::Udp, "192.0.2.1:0".parse().unwrap(), &none).is_ok());
    }
}
