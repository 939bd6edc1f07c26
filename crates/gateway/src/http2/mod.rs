//! Clients that speak HTTP/2, and targets that do.
//!
//! Called by the accept loops with connections that settled on HTTP/2, by ALPN or by their first bytes. Each stream is
//! decided like a request (`decide`) and goes to a target over HTTP/1.1 or HTTP/2, by its group's version. WebSockets over
//! HTTP/2 are refused, as ALB refuses them. Invariant: a client may have 128 streams, and one that keeps opening and
//! resetting them loses its connection.

mod account;
mod body;
mod exchange;
mod headers;
mod life;
mod plain;
mod pool;
mod prefixed;

#[cfg(test)]
mod tests;

use crate::arrival::Arrival;
use crate::serving::Worker;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use life::Life;
use prefixed::Prefixed;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior};

/// As ALB's.
const STREAMS: u32 = 128;
/// Streams that a client reset before they were looked at.
const RESET_UNSEEN: usize = 20;
/// As for HTTP/1.1.
const HEADERS: u32 = 64 * 1024;
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const SEND_BUFFER: usize = 64 * 1024;
/// How often a connection sees whether its time is over.
const LOOK: Duration = Duration::from_secs(1);

/// Runs hyper's futures on the thread that they are made on.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Serves a connection, of which `read` has been read already, until its client is done, is idle, or has to leave. Within
/// a `LocalSet`.
pub async fn serve<S>(stream: S, read: Vec<u8>, arrival: Arrival, worker: Rc<Worker>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    // Woken when doors close.
    let _member = worker.clone().join().await;
    let arrival = Rc::new(arrival);
    let life = Rc::new(Life::new());
    let service = {
        let (worker, arrival, life) = (worker.clone(), arrival.clone(), life.clone());
        // In a box: what hyper moves from hand to hand is thousands of bytes otherwise.
        service_fn(move |request| Box::pin(exchange::answer(worker.clone(), arrival.clone(), life.clone(), request)))
    };
    let connection = hyper::server::conn::http2::Builder::new(Local)
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESET_UNSEEN)
        .max_header_list_size(HEADERS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .serve_connection(TokioIo::new(Prefixed::new(read, stream)), service);
    tokio::pin!(connection);
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let began = Instant::now();
    let mut leaving = false;
    std::future::poll_fn(|cx| {
        let mut standing = Standing::Stays;
        while looks.poll_tick(cx).is_ready() {
            standing = look(&worker, &arrival, &life, began);
        }
        // A new connection's first stream may be on its way.
        let begun = life.has_begun() || began.elapsed() >= LOOK;
        if begun && (worker.is_ending() || !arrival.door.is_open()) {
            standing = Standing::Leaves;
        }
        if life.is_cut() || standing == Standing::Stuck {
            return Poll::Ready(());
        }
        if !leaving && standing == Standing::Leaves {
            leaving = true;
            // Streams that run go on; no new ones are taken.
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx).map(|ended| {
            if let Err(error) = ended {
                tracing::debug!(%error, client = %arrival.client, "an HTTP/2 connection broke");
            }
        })
    })
    .await;
    life.end(worker.shard);
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

fn look(worker: &Worker, arrival: &Arrival, life: &Life, began: Instant) -> Standing {
    let behind = match &arrival.settled {
        Some(settled) => Some(settled.clone()),
        None => arrival.door.behind().first().cloned(),
    };
    let serving = worker.now_serving();
    let Some(served) = behind.and_then(|behind| serving.listener(&behind.listener)) else {
        return Standing::Leaves;
    };
    let settings = &served.balancer.settings;
    match life.idle() {
        Some(idle) if idle >= settings.idle_timeout => Standing::Leaves,
        // A target that says nothing is answered for sooner.
        None if life.silent() > settings.idle_timeout + 3 * LOOK => Standing::Stuck,
        _ if began.elapsed() >= settings.client_keep_alive => Standing::Leaves,
        _ => Standing::Stays,
    }
}
