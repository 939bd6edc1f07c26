//! One client's connection: frames in and out (h2), and the streams that run for it, all in one task.
//!
//! Invariants: what streams have to say goes out with the connection's next write; a connection that leaves takes no new
//! stream, and one whose client takes nothing is cut.

use super::bell::{Bell, Task};
use super::exchange;
use super::life::{LOOK, Life};
use super::prefixed::Prefixed;
use super::reply;
use super::{CONNECTION_WINDOW, HEADERS, RESET_UNSEEN, SEND_BUFFER, STREAM_WINDOW, STREAMS};
use crate::arrival::Arrival;
use crate::serving::Worker;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::server::{Connection, Handshake};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// How often each part runs before other connections have a turn.
const TURNS: usize = 8;

/// Serves a connection, of which `read` has been read already, until its client is done, is idle, or has to leave. Within
/// a `LocalSet`.
pub async fn serve<S>(stream: S, read: Vec<u8>, arrival: Arrival, worker: Rc<Worker>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    // Woken when doors close.
    let _member = worker.clone().join().await;
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let opening = h2::server::Builder::new()
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESET_UNSEEN)
        .max_header_list_size(HEADERS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .handshake(Prefixed::new(read, stream));
    let task = Task::new();
    let mut client = Client {
        link: Link::Opening(opening),
        streams: FuturesUnordered::new(),
        frames_bell: task.bell(),
        streams_bell: task.bell(),
        task,
        worker,
        arrival: Rc::new(arrival),
        life: Rc::new(Life::new()),
        looks,
        began: Instant::now(),
        leaving: false,
    };
    let ended = std::future::poll_fn(|cx| client.poll(cx)).await;
    if let Err(error) = ended {
        tracing::debug!(%error, client = %client.arrival.client, "an HTTP/2 connection broke");
    }
    client.life.end(client.worker.shard);
}

struct Client<S> {
    link: Link<S>,
    streams: FuturesUnordered<Stream>,
    task: Arc<Task>,
    frames_bell: Arc<Bell>,
    streams_bell: Arc<Bell>,
    worker: Rc<Worker>,
    arrival: Rc<Arrival>,
    life: Rc<Life>,
    looks: Interval,
    began: Instant,
    leaving: bool,
}

enum Link<S> {
    /// Its preface is awaited.
    Opening(Handshake<Prefixed<S>, Bytes>),
    Open(Connection<Prefixed<S>, Bytes>),
}

/// How a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Stays,
    /// No new stream is taken.
    Leaves,
    /// Its client takes nothing of what its streams have for it.
    Stuck,
}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Client<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let standing = self.standing(cx);
        if self.life.is_cut() || standing == Standing::Stuck {
            return Poll::Ready(Ok(()));
        }
        if !self.leaving && standing == Standing::Leaves {
            self.leaving = true;
            match &mut self.link {
                Link::Opening(_) => return Poll::Ready(Ok(())),
                // Streams that run go on; no new ones are taken.
                Link::Open(connection) => connection.graceful_shutdown(),
            }
            self.frames_bell.ring();
        }
        self.task.run(cx.waker());
        let ended = self.turns();
        self.task.rest(&[&self.frames_bell, &self.streams_bell]);
        ended
    }

    fn turns(&mut self) -> Poll<Result<(), h2::Error>> {
        for _ in 0..TURNS {
            if self.streams_bell.hear() {
                self.run_streams();
                if self.life.is_cut() {
                    return Poll::Ready(Ok(()));
                }
            }
            // What streams had to say is told in one go.
            if self.frames_bell.hear()
                && let Poll::Ready(ended) = self.exchange_frames()
            {
                return Poll::Ready(ended);
            }
            if !self.streams_bell.rang() && !self.frames_bell.rang() {
                break;
            }
        }
        Poll::Pending
    }

    fn run_streams(&mut self) {
        let waker = Waker::from(self.streams_bell.clone());
        let mut cx = Context::from_waker(&waker);
        while let Poll::Ready(Some(())) = self.streams.poll_next_unpin(&mut cx) {}
    }

    /// Frames go both ways, and new streams begin.
    fn exchange_frames(&mut self) -> Poll<Result<(), h2::Error>> {
        let waker = Waker::from(self.frames_bell.clone());
        let mut cx = Context::from_waker(&waker);
        loop {
            match &mut self.link {
                Link::Opening(opening) => self.link = Link::Open(ready!(Pin::new(opening).poll(&mut cx))?),
                Link::Open(connection) => match ready!(connection.poll_accept(&mut cx)) {
                    Some(asked) => {
                        let (request, respond) = asked?;
                        let Some(begun) = exchange::begin(&self.worker, &self.arrival, &self.life, request) else {
                            return Poll::Ready(Ok(()));
                        };
                        self.streams.push(Stream {
                            runs: Box::pin(reply::give(begun, respond, self.life.clone())),
                            waker: None,
                        });
                        self.streams_bell.ring();
                    }
                    None => return Poll::Ready(Ok(())),
                },
            }
        }
    }

    fn standing(&mut self, cx: &mut Context<'_>) -> Standing {
        let mut standing = Standing::Stays;
        while self.looks.poll_tick(cx).is_ready() {
            standing = self.look();
        }
        // A new connection's first stream may be on its way.
        let begun = self.life.has_begun() || self.began.elapsed() >= LOOK;
        if standing == Standing::Stays && begun && (self.worker.is_ending() || !self.arrival.door.is_open()) {
            standing = Standing::Leaves;
        }
        standing
    }

    fn look(&mut self) -> Standing {
        self.life.look();
        for stream in &self.streams {
            stream.waker.as_ref().map(Waker::wake_by_ref);
        }
        let behind = match &self.arrival.settled {
            Some(settled) => Some(settled.clone()),
            None => self.arrival.door.behind().first().cloned(),
        };
        let serving = self.worker.now_serving();
        let Some(served) = behind.and_then(|behind| serving.listener(&behind.listener)) else {
            return Standing::Leaves;
        };
        let settings = &served.balancer.settings;
        match self.life.idle() {
            // Nor does it take that the connection ends.
            Some(idle) if idle >= settings.idle_timeout + 3 * LOOK => Standing::Stuck,
            Some(idle) if idle >= settings.idle_timeout => Standing::Leaves,
            // A target that says nothing is answered for sooner.
            None if self.life.silent() > settings.idle_timeout + 3 * LOOK => Standing::Stuck,
            _ if self.began.elapsed() >= settings.client_keep_alive => Standing::Leaves,
            _ => Standing::Stays,
        }
    }
}

/// A stream that runs.
struct Stream {
    runs: Pin<Box<dyn Future<Output = ()>>>,
    /// Has it look whether it waits for nothing.
    waker: Option<Waker>,
}

impl Future for Stream {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.waker.is_none() {
            self.waker = Some(cx.waker().clone());
        }
        self.runs.as_mut().poll(cx)
    }
}
