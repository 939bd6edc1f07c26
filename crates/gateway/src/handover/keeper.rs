//! The keeping side, in `neargate up`: duplicates of what gateways listen on.
//!
//! Each gateway process has a channel, served by a small thread that ends with it. A gateway that was superseded has no
//! say any more: what it closes while it drains is the other's by then.

use super::wire::{self, Key, Message};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const STACK: usize = 64 * 1024;

/// Keeps the sockets of one gateway after the other.
#[derive(Clone, Debug, Default)]
pub struct Keeper(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    fds: BTreeMap<Key, Arc<OwnedFd>>,
    /// Of gateways that have a say, the newest last.
    channels: Vec<(u64, Arc<OwnedFd>)>,
    attached: u64,
}

/// The channel to one gateway process, as long as it has a say.
#[derive(Debug)]
pub struct Attached {
    id: u64,
    channel: Arc<OwnedFd>,
    keeper: Keeper,
}

impl Keeper {
    /// Makes a channel for a gateway about to start, which inherits the returned descriptor.
    ///
    /// # Errors
    /// When the machine has no descriptor or thread left.
    pub fn attach(&self) -> io::Result<(Attached, OwnedFd)> {
        let kinds = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (ours, theirs) = rustix::net::socketpair(kinds.0, kinds.1, kinds.2, None)?;
        let channel = Arc::new(ours);
        let mut kept = self.lock();
        kept.attached += 1;
        let id = kept.attached;
        kept.channels.push((id, channel.clone()));
        let all = kept.fds.iter().map(|(key, fd)| (*key, fd.clone())).collect();
        drop(kept);
        let attached = Attached {
            id,
            channel: channel.clone(),
            keeper: self.clone(),
        };
        let keeper = self.clone();
        std::thread::Builder::new()
            .name("sockets".into())
            .stack_size(STACK)
            .spawn(move || keeper.serve(id, &channel, all))?;
        Ok((attached, theirs))
    }

    /// How many descriptors are kept.
    pub fn count(&self) -> usize {
        self.lock().fds.len()
    }

    fn serve(&self, id: u64, channel: &OwnedFd, all: Vec<(Key, Arc<OwnedFd>)>) {
        let sent = all
            .into_iter()
            .try_for_each(|(key, fd)| wire::send(channel, &wire::words("keep", key), Some(fd.as_fd())));
        if sent.and_then(|()| wire::send(channel, "complete", None)).is_err() {
            return;
        }
        loop {
            match wire::receive(channel, true) {
                Ok(Some(Message::Keep(key, fd))) => self.kept(id, key, fd),
                Ok(Some(Message::Forget(key))) => self.forgotten(id, key),
                Ok(Some(Message::Complete | Message::Superseded)) => {}
                Ok(None) => return,
                Err(error) => tracing::warn!(%error, "a gateway's socket is not kept"),
            }
        }
    }

    fn kept(&self, id: u64, key: Key, fd: OwnedFd) {
        let fd = Arc::new(fd);
        let mut kept = self.lock();
        if !kept.has_a_say(id) {
            return;
        }
        kept.fds.insert(key, fd.clone());
        // One that is starting meanwhile would find the address in use.
        let newer: Vec<_> = kept.channels.iter().filter(|(other, _)| *other > id).cloned().collect();
        drop(kept);
        for (_, channel) in newer {
            // A gateway that is gone needs no socket.
            let _ = wire::send(&channel, &wire::words("keep", key), Some(fd.as_fd()));
        }
    }

    fn forgotten(&self, id: u64, key: Key) {
        let mut kept = self.lock();
        if kept.has_a_say(id) {
            kept.fds.remove(&key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn has_a_say(&self, id: u64) -> bool {
        self.channels.iter().any(|(other, _)| *other == id)
    }
}

impl Attached {
    /// Tells the gateway that another one serves now: it stops accepting, ends what it runs, and is not listened to.
    pub fn supersede(&self) {
        self.detach();
        // A gateway that is gone has nothing left to end.
        let _ = wire::send(&self.channel, "superseded", None);
    }

    fn detach(&self) {
        self.keeper.lock().channels.retain(|(id, _)| *id != self.id);
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.detach();
    }
}
