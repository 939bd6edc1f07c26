//! The gateway's side: takes what was kept before it opens a socket, and says what it opened and closed.

use super::wire::{self, Key, Message};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, unix::TryIoError};

/// The sockets that survive this process.
#[derive(Clone, Debug, Default)]
pub struct Sockets(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// None: nobody keeps them, as for a gateway started by hand.
    channel: Option<OwnedFd>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Kept and not taken yet.
    rest: HashMap<Key, OwnedFd>,
    superseded: bool,
    keeper_gone: bool,
}

impl Sockets {
    /// Receives everything kept over `channel`, the inherited end of `Keeper::attach`. Waits for it.
    ///
    /// # Errors
    /// When the channel breaks or does not speak the protocol.
    pub fn inherited(channel: OwnedFd) -> io::Result<Sockets> {
        // Children of this process have no business with it.
        rustix::io::fcntl_setfd(&channel, rustix::io::FdFlags::CLOEXEC)?;
        let mut state = State::default();
        loop {
            match wire::receive(&channel, true)? {
                Some(Message::Complete) => break,
                Some(message) => state.hear(message),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(Sockets(Arc::new(Inner {
            channel: Some(channel),
            state: Mutex::new(state),
        })))
    }

    /// The TCP socket that was kept for `address`, listening already.
    pub fn take(&self, address: SocketAddr) -> Option<TcpListener> {
        self.take_key(Key::Tcp(address)).map(TcpListener::from)
    }

    pub fn take_udp(&self, address: SocketAddr) -> Option<UdpSocket> {
        self.take_key(Key::Udp(address)).map(UdpSocket::from)
    }

    /// The table that was served last, as given to `keep_table`.
    pub fn take_table(&self) -> Option<Vec<u8>> {
        let file = File::from(self.take_key(Key::Table)?);
        let read = || {
            let length = file.metadata()?.len();
            let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            file.read_exact_at(&mut bytes, 0)?;
            io::Result::Ok(bytes)
        };
        read()
            .inspect_err(|error| tracing::warn!(%error, "the kept table cannot be read"))
            .ok()
    }

    /// Has a socket kept that was just opened for `address`.
    pub fn keep(&self, address: SocketAddr, listener: &TcpListener) {
        self.say("keep", Key::Tcp(address), Some(listener));
    }

    pub fn keep_udp(&self, address: SocketAddr, socket: &UdpSocket) {
        self.say("keep", Key::Udp(address), Some(socket));
    }

    /// Has `bytes` kept as the table served last, in memory only: they hold private keys.
    pub fn keep_table(&self, bytes: &[u8]) {
        if self.0.channel.is_none() {
            return;
        }
        let write = || {
            let file = rustix::fs::memfd_create("neargate-table", rustix::fs::MemfdFlags::CLOEXEC)?;
            let mut file = File::from(file);
            file.write_all(bytes)?;
            io::Result::Ok(file)
        };
        match write() {
            Ok(file) => self.say("keep", Key::Table, Some(&file)),
            Err(error) => tracing::warn!(%error, "the table is not kept"),
        }
    }

    /// The TCP socket for `address` is not to be listened on any more; the caller closes its own.
    pub fn forget(&self, address: SocketAddr) {
        self.forget_key(Key::Tcp(address));
    }

    pub fn forget_udp(&self, address: SocketAddr) {
        self.forget_key(Key::Udp(address));
    }

    /// Closes every socket that was kept and not taken: called once the first table is served, because nobody would ever
    /// accept what waits there.
    pub fn forget_rest(&self) {
        let rest: Vec<Key> = {
            let mut state = self.lock();
            self.hear_pending(&mut state);
            state.rest.keys().copied().filter(|key| *key != Key::Table).collect()
        };
        for key in rest {
            self.forget_key(key);
        }
    }

    /// Waits until another gateway has taken over. For ever when nobody keeps the sockets, or who did is gone.
    pub async fn superseded(&self) {
        let waits = self.wait_superseded().await;
        if let Err(error) = waits {
            tracing::warn!(%error, "cannot hear who keeps the sockets");
        }
        if !self.lock().superseded {
            std::future::pending().await
        }
    }

    async fn wait_superseded(&self) -> io::Result<()> {
        let Some(channel) = &self.0.channel else { return Ok(()) };
        // SAFETY: the descriptor is owned by what is registered, and so open for as long.
        let channel = unsafe { AsyncFd::register_with_interest(channel.try_clone()?, Interest::READABLE)? };
        loop {
            let mut ready = channel.readable().await?;
            let done: Result<io::Result<bool>, TryIoError> = ready.try_io(|_| {
                let mut state = self.lock();
                self.hear_pending(&mut state);
                match state.superseded || state.keeper_gone {
                    true => Ok(true),
                    false => Err(io::ErrorKind::WouldBlock.into()),
                }
            });
            if let Ok(done) = done {
                return done.map(drop);
            }
        }
    }

    fn take_key(&self, key: Key) -> Option<OwnedFd> {
        let mut state = self.lock();
        self.hear_pending(&mut state);
        state.rest.remove(&key)
    }

    fn forget_key(&self, key: Key) {
        self.lock().rest.remove(&key);
        self.say("forget", key, None::<&OwnedFd>);
    }

    fn say(&self, verb: &str, key: Key, fd: Option<&impl AsFd>) {
        let Some(channel) = &self.0.channel else { return };
        if let Err(error) = wire::send(channel, &wire::words(verb, key), fd.map(AsFd::as_fd)) {
            // Without its keeper this process is about to end.
            tracing::debug!(%error, ?key, "cannot {verb}");
        }
    }

    fn hear_pending(&self, state: &mut State) {
        let Some(channel) = &self.0.channel else { return };
        while !state.keeper_gone {
            match wire::receive(channel, false) {
                Ok(Some(message)) => state.hear(message),
                Ok(None) => state.keeper_gone = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => tracing::warn!(%error, "who keeps the sockets is not understood"),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn hear(&mut self, message: Message) {
        match message {
            Message::Keep(key, fd) => drop(self.rest.insert(key, fd)),
            Message::Superseded => self.superseded = true,
            Message::Complete | Message::Forget(_) => {}
        }
    }
}
