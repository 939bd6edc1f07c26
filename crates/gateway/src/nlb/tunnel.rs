//! Bytes both ways between two connections, until both have said their last.
//!
//! One buffer a thread serves all connections: only what the other side does not take at once is kept with a connection,
//! so an idle one holds no buffer. A side that is done sending closes that direction alone.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

const BUFFER: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into_boxed_slice());
}

/// A connection that can be cut, so that its peer sees a reset instead of an orderly end.
pub trait Wire: AsyncRead + AsyncWrite + Unpin {
    /// Makes closing a reset.
    fn reset_on_close(&self);
}

impl<W: Wire> Wire for &mut W {
    fn reset_on_close(&self) {
        (**self).reset_on_close();
    }
}

impl Wire for TcpStream {
    fn reset_on_close(&self) {
        // A socket that is gone needs no reset.
        let _ = rustix::net::sockopt::set_socket_linger(self, Some(Duration::ZERO));
    }
}

impl<S: Wire> Wire for tokio_rustls::server::TlsStream<S> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }
}

impl<S: Wire> Wire for tokio_rustls::client::TlsStream<S> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides said their last.
    Closed,
    /// The client broke off.
    Client,
    /// The target broke off.
    Target,
    /// Nothing passed for too long.
    Idle,
    /// `cut` said so.
    Cut,
}

/// What passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// From client to target.
    pub sent: u64,
    /// From target to client.
    pub received: u64,
}

/// Carries bytes until both sides are done, nothing passes for `idle`, or `cut` is ready. Broken and cut connections are
/// reset on both sides.
pub async fn run<C: Wire, T: Wire>(
    mut client: C,
    mut target: T,
    idle: Duration,
    cut: impl Future<Output = ()>,
) -> (End, Passed) {
    let (mut there, mut back) = (Direction::default(), Direction::default());
    let mut heard = Instant::now();
    tokio::pin!(cut);
    let timer = tokio::time::sleep_until(heard + idle);
    tokio::pin!(timer);
    let end = std::future::poll_fn(|cx| {
        let before = there.passed + back.passed;
        let sent = there.poll(cx, &mut client, &mut target);
        let received = back.poll(cx, &mut target, &mut client);
        let broken = match (sent, received) {
            (Poll::Ready(Err(Broken::Reading)), _) | (_, Poll::Ready(Err(Broken::Writing))) => Some(End::Client),
            (Poll::Ready(Err(Broken::Writing)), _) | (_, Poll::Ready(Err(Broken::Reading))) => Some(End::Target),
            _ => None,
        };
        if let Some(end) = broken {
            return Poll::Ready(end);
        }
        if sent.is_ready() && received.is_ready() {
            return Poll::Ready(End::Closed);
        }
        if cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(End::Cut);
        }
        if there.passed + back.passed != before {
            heard = Instant::now();
        }
        // Set again only when it fires: most connections end first.
        while timer.as_mut().poll(cx).is_ready() {
            if heard + idle <= Instant::now() {
                return Poll::Ready(End::Idle);
            }
            timer.as_mut().reset(heard + idle);
        }
        Poll::Pending
    })
    .await;
    if end != End::Closed {
        client.reset_on_close();
        target.reset_on_close();
    }
    let passed = Passed {
        sent: there.passed,
        received: back.passed,
    };
    (end, passed)
}

/// Which side of a direction failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Reading,
    Writing,
}

#[derive(Debug, Default)]
struct Direction {
    /// Read and not taken yet, from `taken` on.
    left: Vec<u8>,
    taken: usize,
    passed: u64,
    flush: bool,
    ended: bool,
    done: bool,
}

impl Direction {
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        let (mut from, mut to) = (Pin::new(from), Pin::new(to));
        loop {
            while self.taken < self.left.len() {
                let took = ready!(written(to.as_mut().poll_write(cx, &self.left[self.taken..])))?;
                self.taken += took;
                self.passed += took as u64;
                self.flush = true;
            }
            self.left = Vec::new();
            self.taken = 0;
            if self.ended {
                ready!(to.as_mut().poll_shutdown(cx)).map_err(|_| Broken::Writing)?;
                self.done = true;
                return Poll::Ready(Ok(()));
            }
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                ready!(from.as_mut().poll_read(cx, &mut buffer)).map_err(|_| Broken::Reading)?;
                let bytes = buffer.filled();
                let took = match bytes {
                    [] => 0,
                    _ => match written(to.as_mut().poll_write(cx, bytes)) {
                        Poll::Ready(took) => took?,
                        Poll::Pending => 0,
                    },
                };
                self.left.extend_from_slice(&bytes[took..]);
                self.passed += took as u64;
                self.flush |= took > 0;
                Poll::Ready(Ok(bytes.is_empty()))
            });
            match read {
                Poll::Ready(ended) => self.ended = ended?,
                Poll::Pending => {
                    if self.flush {
                        ready!(to.as_mut().poll_flush(cx)).map_err(|_| Broken::Writing)?;
                        self.flush = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

fn written(polled: Poll<io::Result<usize>>) -> Poll<Result<usize, Broken>> {
    polled.map(|took| match took {
        Ok(0) | Err(_) => Err(Broken::Writing),
        Ok(took) => Ok(took),
    })
}
