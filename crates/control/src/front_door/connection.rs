//! Sockets: accepting them, bounding them, and letting them go at the end.

use super::FrontDoor;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// What a client may use of us.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a body, also after unpacking.
    pub body: usize,
    /// Bytes of a request's head.
    pub head: usize,
    /// Time for a head to arrive; also how long a connection may idle.
    pub head_time: Duration,
    /// Time for a body to arrive whole.
    pub body_time: Duration,
    /// Connections at once; more wait in the kernel's queue.
    pub connections: usize,
    /// Time that running requests have after shutdown was asked.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            body: 10 << 20,
            head: 64 << 10,
            head_time: Duration::from_secs(60),
            body_time: Duration::from_secs(60),
            connections: 4096,
            drain: Duration::from_secs(10),
        }
    }
}

/// Pause after a failed accept: out of descriptors is not mended by trying at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub async fn serve(door: Arc<FrontDoor>, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) {
    let slots = Arc::new(Semaphore::new(door.limits.connections));
    let (closing, closed) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, slot)) => {
                let (door, closed) = (door.clone(), closed.clone());
                connections.spawn(async move {
                    converse(door, stream, closed).await;
                    drop(slot);
                });
            }
            Err(e) => {
                tracing::warn!(error = %e, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    // Nobody listening means every connection has ended.
    let _ = closing.send(true);
    let drained = tokio::time::timeout(door.limits.drain, async {
        while connections.join_next().await.is_some() {}
    });
    if drained.await.is_err() {
        tracing::warn!(open = connections.len(), "connections were cut at shutdown");
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

/// Answers one connection's requests until either side ends it.
async fn converse(door: Arc<FrontDoor>, stream: TcpStream, mut closed: watch::Receiver<bool>) {
    // Small replies must not wait for the kernel to gather more.
    if let Err(e) = stream.set_nodelay(true) {
        tracing::debug!(error = %e, "TCP_NODELAY was refused");
    }
    let (head, head_time) = (door.limits.head, door.limits.head_time);
    let service = service_fn(move |request| {
        let door = door.clone();
        async move { Ok::<_, Infallible>(door.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .max_buf_size(head.max(8192) * 2)
        .max_header_size(head)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        // The sender's end means the same as its word.
        () = async { closed.wait_for(|closed| *closed).await.map_or((), drop) } => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!(error = %e, "connection ended");
    }
}
