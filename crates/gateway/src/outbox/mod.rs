//! What a thread's connections have to say, sent together once everything that is ready has been read and decided.
//!
//! A send wakes its receiver, who takes the processor: with one after each decision the last in line waits longest, and
//! every send is a call of its own into the kernel. So short writes are kept until the thread's other tasks have had their
//! turn; `run`, one task a thread, hands all of them over with one call where io_uring is to be had, else one by one.
//! Invariants: bytes of one connection stay in order; what was taken is sent even if its connection has been dropped
//! meanwhile; nothing is in flight outside `Outbox::send_all`.

use crate::buffers;
use crate::nlb::tunnel::Wire;
use io_uring::{IoUring, opcode, types};
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

/// More than this is not worth a copy, and is sent at once.
const SHORT: usize = 8 * 1024;
/// How many are handed over at most with one call.
const TOGETHER: u32 = 64;
/// How long the receiver of a connection that is over may take for what it was still to get, or twice that.
const FAREWELL: Duration = Duration::from_secs(60);

thread_local! {
    static OUTBOX: RefCell<Option<Outbox>> = const { RefCell::new(None) };
}

/// A connection whose short writes wait for those of others.
#[derive(Debug)]
pub struct Stream(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    tcp: RefCell<TcpStream>,
    out: RefCell<Out>,
}

/// What was taken and not sent yet.
#[derive(Debug, Default)]
struct Out {
    bytes: Vec<u8>,
    state: State,
    failed: Option<io::ErrorKind>,
    /// Who waits until `Stuck` is over.
    waiting: Option<Waker>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Empty,
    Queued,
    /// The receiver does not take it; a task of its own sends it on.
    Stuck,
}

struct Outbox {
    queue: Vec<Rc<Shared>>,
    /// The thread's `run`, when it sleeps.
    sender: Option<Waker>,
    ring: Option<IoUring>,
}

/// Sends what this thread's connections have written, from now on together. Ends with its thread.
pub async fn run() {
    // Containers are often denied it, as by Docker's seccomp profile.
    let ring = IoUring::new(TOGETHER).inspect_err(|error| tracing::debug!(%error, "no io_uring: sending one by one"));
    run_with(ring.ok()).await;
}

async fn run_with(ring: Option<IoUring>) {
    let outbox = Outbox {
        queue: Vec::new(),
        sender: None,
        ring,
    };
    OUTBOX.set(Some(outbox));
    std::future::poll_fn(|cx| {
        send_all();
        OUTBOX.with_borrow_mut(|outbox| {
            if let Some(outbox) = outbox {
                outbox.sender = Some(cx.waker().clone());
            }
        });
        Poll::Pending
    })
    .await
}

/// Sends what waits on this thread.
pub fn send_all() {
    OUTBOX.with_borrow_mut(|outbox| {
        if let Some(outbox) = outbox {
            outbox.send_all();
        }
    });
}

impl Outbox {
    fn send_all(&mut self) {
        let mut queue = std::mem::take(&mut self.queue);
        for some in queue.chunks(TOGETHER as usize) {
            let sent = match (&mut self.ring, some) {
                (Some(ring), [_, _, ..]) => together(ring, some),
                _ => Ok(()),
            };
            if let Err(error) = sent {
                tracing::warn!(%error, "io_uring failed: sending one by one");
                self.ring = None;
            }
            for shared in some {
                // Those that the ring has sent are not queued any more.
                if shared.out.borrow().state == State::Queued {
                    shared.settle(shared.send());
                }
            }
        }
        queue.clear();
        self.queue = queue;
    }
}

/// Sends what each of them has with one call. After an error those not sent are still queued.
fn together(ring: &mut IoUring, some: &[Rc<Shared>]) -> io::Result<()> {
    for (n, shared) in some.iter().enumerate() {
        let out = shared.out.borrow();
        let (at, length) = (out.bytes.as_ptr(), u32::try_from(out.bytes.len()).unwrap_or(u32::MAX));
        let entry = opcode::Send::new(types::Fd(shared.tcp.borrow().as_raw_fd()), at, length)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
            .build()
            .user_data(n as u64);
        // SAFETY: bytes and descriptor live, untouched, as long as this function runs. As no send waits (MSG_DONTWAIT), each
        // is over when the call that submits it returns; those never submitted end with the ring.
        unsafe { ring.submission().push(&entry) }.map_err(io::Error::other)?;
    }
    let mut left = some.len();
    let mut asked = ring.submit();
    loop {
        for done in ring.completion() {
            left -= 1;
            let result = usize::try_from(done.result()).map_err(|_| io::Error::from_raw_os_error(-done.result()));
            if let Some(shared) = some.get(done.user_data() as usize) {
                shared.settle(result);
            }
        }
        if left == 0 {
            return Ok(());
        }
        // All end within the call that submits them, as none waits; what the kernel had no room for is submitted again.
        match asked {
            Ok(_) => asked = ring.submit_and_wait(1),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => asked = ring.submit_and_wait(1),
            Err(error) => return Err(error),
        }
    }
}

impl Shared {
    fn send(&self) -> io::Result<usize> {
        let flags = rustix::net::SendFlags::NOSIGNAL | rustix::net::SendFlags::DONTWAIT;
        Ok(rustix::net::send(&*self.tcp.borrow(), &self.out.borrow().bytes, flags)?)
    }

    /// What became of what was queued.
    fn settle(self: &Rc<Shared>, sent: io::Result<usize>) {
        let mut out = self.out.borrow_mut();
        let sent = match sent {
            Ok(sent) => sent,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
            Err(error) => return out.fail(&error),
        };
        if sent >= out.bytes.len() {
            return out.empty();
        }
        out.bytes.drain(..sent);
        out.state = State::Stuck;
        spawn_local(self.clone().send_on());
    }

    /// Sends the rest as fast as the receiver takes it.
    async fn send_on(self: Rc<Shared>) {
        loop {
            let sent = tokio::time::timeout(FAREWELL, std::future::poll_fn(|cx| self.poll_send(cx)));
            // While the connection lives, how long it waits is its own affair.
            if sent.await.is_ok() || Rc::strong_count(&self) == 1 {
                return;
            }
        }
    }

    fn poll_send(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut out = self.out.borrow_mut();
        while !out.bytes.is_empty() {
            match ready!(Pin::new(&mut *self.tcp.borrow_mut()).poll_write(cx, &out.bytes)) {
                Ok(sent) => drop(out.bytes.drain(..sent)),
                Err(error) => {
                    out.fail(&error);
                    return Poll::Ready(());
                }
            }
        }
        out.empty();
        Poll::Ready(())
    }

    /// Ready once nothing is left to send; `cx` hears of it.
    fn poll_empty(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.out.borrow().state == State::Queued {
            send_all();
        }
        let mut out = self.out.borrow_mut();
        if let Some(kind) = out.failed {
            return Poll::Ready(Err(kind.into()));
        }
        match out.state {
            State::Empty => Poll::Ready(Ok(())),
            State::Queued | State::Stuck => {
                out.waiting = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Takes `pieces` for later; none when they are too long, the receiver has had enough, or this thread has no outbox.
    fn take(self: &Rc<Shared>, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Option<usize> {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut out = self.out.borrow_mut();
        if out.state == State::Stuck || out.failed.is_some() || out.bytes.len() + length > SHORT {
            return None;
        }
        if self.tcp.borrow().poll_write_ready(cx).is_pending() {
            return None;
        }
        if out.state == State::Empty {
            let queued = OUTBOX.with_borrow_mut(|outbox| {
                let outbox = outbox.as_mut()?;
                outbox.queue.push(self.clone());
                if let Some(sender) = outbox.sender.take() {
                    sender.wake();
                }
                Some(())
            });
            queued?;
            out.state = State::Queued;
            out.bytes = buffers::lend();
        }
        for piece in pieces {
            out.bytes.extend_from_slice(piece);
        }
        Some(length)
    }
}

impl Out {
    fn empty(&mut self) {
        buffers::give_back(std::mem::take(&mut self.bytes));
        self.state = State::Empty;
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.failed = Some(error.kind());
        self.empty();
    }
}

impl Stream {
    pub fn new(tcp: TcpStream) -> Stream {
        Stream(Rc::new(Shared {
            tcp: RefCell::new(tcp),
            out: RefCell::default(),
        }))
    }

    /// Looks at what has come without taking it; `surely`: asks the kernel even where nothing has been heard.
    pub fn peek(&self, surely: bool) -> io::Result<usize> {
        let tcp = self.0.tcp.borrow();
        let peek = || {
            let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
            let (read, _) = rustix::net::recv(&*tcp, &mut [0_u8; 1], flags)?;
            Ok(read)
        };
        match surely {
            true => peek(),
            false => tcp.try_io(Interest::READABLE, peek),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.tcp.borrow_mut()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(taken) = self.0.take(cx, pieces) {
            return Poll::Ready(Ok(taken));
        }
        ready!(self.0.poll_empty(cx))?;
        Pin::new(&mut *self.0.tcp.borrow_mut()).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What was taken is sent without being asked for.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.out.borrow().failed {
            Some(kind) => Poll::Ready(Err(kind.into())),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_empty(cx))?;
        Pin::new(&mut *self.0.tcp.borrow_mut()).poll_shutdown(cx)
    }
}

impl Wire for Stream {
    fn reset_on_close(&self) {
        // A socket that is gone needs no reset.
        let _ = rustix::net::sockopt::set_socket_linger(&*self.0.tcp.borrow(), Some(Duration::ZERO));
    }
}

#[cfg(test)]
mod tests;
