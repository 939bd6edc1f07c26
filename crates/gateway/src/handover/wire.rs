//! The messages between a gateway and who keeps its sockets: one datagram each over a Unix socket pair, a word or three
//! of text and at most one descriptor.

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The longest message: `forget tcp ` and an IPv6 address.
const LONGEST: usize = 128;

/// What a kept descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    /// The last table served, in a memory file.
    Table,
}

#[derive(Debug)]
pub enum Message {
    /// Both ways: keep this; here is one that was kept.
    Keep(Key, OwnedFd),
    /// A gateway closed it.
    Forget(Key),
    /// To a gateway: all that was kept has been sent.
    Complete,
    /// To a gateway: another one has taken over.
    Superseded,
}

/// Sends `text` and perhaps a descriptor.
pub fn send(channel: impl AsFd, text: &str, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fd.as_slice();
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    loop {
        match rustix::net::sendmsg(
            &channel,
            &[IoSlice::new(text.as_bytes())],
            &mut control,
            SendFlags::NOSIGNAL,
        ) {
            Err(Errno::INTR) => {}
            sent => return sent.map(drop).map_err(io::Error::from),
        }
    }
}

/// What `Key` and verb are on the wire.
pub fn words(verb: &str, key: Key) -> String {
    match key {
        Key::Tcp(address) => format!("{verb} tcp {address}"),
        Key::Udp(address) => format!("{verb} udp {address}"),
        Key::Table => format!("{verb} table"),
    }
}

/// The next message; none when the peer is gone.
///
/// # Errors
/// `WouldBlock` with `wait` false and nothing there; `InvalidData` for what is no message.
pub fn receive(channel: impl AsFd, wait: bool) -> io::Result<Option<Message>> {
    let mut bytes = [0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut flags = RecvFlags::CMSG_CLOEXEC;
    flags.set(RecvFlags::DONTWAIT, !wait);
    let length = loop {
        match rustix::net::recvmsg(&channel, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
            Err(Errno::INTR) => {}
            // Sequenced packets tell a peer that died with unread messages this way.
            Err(Errno::CONNRESET) => return Ok(None),
            received => break received?.bytes,
        }
    };
    if length == 0 {
        return Ok(None);
    }
    let mut fd = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            fd = fds.last();
        }
    }
    let text = std::str::from_utf8(&bytes[..length]).unwrap_or_default();
    match parse(text, fd) {
        Some(message) => Ok(Some(message)),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("not a message: {text:?}"),
        )),
    }
}

fn parse(text: &str, fd: Option<OwnedFd>) -> Option<Message> {
    let mut words = text.split(' ');
    let verb = words.next()?;
    let message = match verb {
        "complete" => Message::Complete,
        "superseded" => Message::Superseded,
        "keep" => Message::Keep(key(&mut words)?, fd?),
        "forget" => Message::Forget(key(&mut words)?),
        _ => return None,
    };
    words.next().is_none().then_some(message)
}

fn key<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Key> {
    match words.next()? {
        "tcp" => words.next()?.parse().ok().map(Key::Tcp),
        "udp" => words.next()?.parse().ok().map(Key::Udp),
        "table" => Some(Key::Table),
        _ => None,
    }
}
