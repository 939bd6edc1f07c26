//! One client's connection, never waited for: what it sends is collected until whole, what it does not take is kept up to a
//! bound.

use crate::protocol::{self, Call, Event, Failure, Message, Reply};
use crate::sys;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

/// A client that lets this much pile up is cut off; it can attach again and read the states.
const MAX_UNSENT: usize = 1 << 20;

pub struct Connection {
    pub number: u64,
    pub subscribed: bool,
    stream: UnixStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    closed: bool,
}

impl Connection {
    pub fn new(number: u64, stream: UnixStream) -> io::Result<Connection> {
        stream.set_nonblocking(true)?;
        let (incoming, outgoing) = (Vec::new(), Vec::new());
        Ok(Connection {
            number,
            subscribed: false,
            stream,
            incoming,
            outgoing,
            closed: false,
        })
    }

    /// The socket, to write to it and wait.
    pub fn into_stream(self) -> io::Result<UnixStream> {
        self.stream.set_nonblocking(false)?;
        Ok(self.stream)
    }

    /// Whether the other side is the user this process runs as.
    pub fn is_from_owner(&self) -> bool {
        let mut peer = libc::ucred {
            pid: 0,
            uid: libc::uid_t::MAX,
            gid: 0,
        };
        let mut size = size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: block and size live through the call; geteuid cannot fail.
        unsafe {
            let fd = self.stream.as_raw_fd();
            let got = libc::getsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut peer).cast(),
                &raw mut size,
            );
            got == 0 && peer.uid == libc::geteuid()
        }
    }

    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    pub fn has_unsent(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Bytes that came before this connection was one.
    pub fn received(&mut self, bytes: Vec<u8>) {
        self.incoming = bytes;
    }

    /// Reads what is there.
    pub fn read(&mut self, chunk: &mut [u8]) {
        match sys::recv(self.fd(), chunk, libc::MSG_DONTWAIT) {
            Ok(0) => self.closed = true,
            Ok(count) => self.incoming.extend_from_slice(&chunk[..count]),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.closed = true,
        }
    }

    /// The next whole request.
    pub fn next_call(&mut self) -> Option<Call> {
        match protocol::decode(&self.incoming) {
            Ok(Some((call, length))) => {
                self.incoming.drain(..length);
                if self.incoming.is_empty() {
                    // Launches are large and rare: their memory goes back.
                    self.incoming = Vec::new();
                }
                Some(call)
            }
            Ok(None) => None,
            Err(_) => {
                self.closed = true;
                None
            }
        }
    }

    pub fn reply(&mut self, id: u64, result: Result<Reply, Failure>) {
        protocol::encode(&Message::Reply { id, result }, &mut self.outgoing);
    }

    pub fn event(&mut self, event: &Event) {
        protocol::encode(&Message::Event(event.clone()), &mut self.outgoing);
    }

    /// Sends what it takes now.
    pub fn flush(&mut self) {
        while !self.closed && !self.outgoing.is_empty() {
            match sys::send(self.fd(), &self.outgoing) {
                Ok(count) => {
                    self.outgoing.drain(..count);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.closed = true,
            }
        }
        self.closed |= self.outgoing.len() > MAX_UNSENT;
    }
}
