//! Connections to targets that speak HTTP/1.1, kept by each thread for the next request.
//!
//! Called by the HTTP/1.1 engine and by `http2` for targets that speak HTTP/1.1. Invariant: a kept connection has no
//! response, or part of one, left to read.

use crate::dial::{self, DialError};
use crate::nlb::tunnel::Wire;
use crate::outbox::Stream;
use crate::unverified;
use foldhash::fast::RandomState;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(50);
const MOST_IDLE_PER_PLACE: usize = 256;
/// How long a target may take to accept, as ALB waits.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Where a connection goes and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub target: SocketAddr,
    pub source: Option<Ipv4Addr>,
    pub tls: bool,
}

/// A connection to a target.
#[derive(Debug)]
pub enum Upstream {
    Plain(Stream),
    Tls(Box<TlsStream<Stream>>),
}

/// With when they became idle.
type Idle = HashMap<Place, Vec<(Upstream, Instant)>, RandomState>;

thread_local! {
    static IDLE_ONES: RefCell<Idle> = RefCell::default();
    static TLS: Arc<rustls::ClientConfig> = unverified::settings(&[b"http/1.1"]);
}

/// A kept connection to the place, the one used last. `surely`: it was open at this moment; else as far as has been heard,
/// which costs nothing and does for what can be sent a second time.
pub fn kept(place: &Place, surely: bool) -> Option<Upstream> {
    IDLE_ONES.with_borrow_mut(|all| {
        let idle = all.get_mut(place)?;
        while let Some((upstream, since)) = idle.pop() {
            if since.elapsed() < IDLE && upstream.is_quiet(surely) {
                return Some(upstream);
            }
        }
        None
    })
}

/// Keeps a connection for the next request.
pub fn keep(place: Place, upstream: Upstream) {
    IDLE_ONES.with_borrow_mut(|all| {
        let idle = all.entry(place).or_default();
        if idle.len() < MOST_IDLE_PER_PLACE {
            idle.push((upstream, Instant::now()));
        }
    });
}

/// Closes what has been idle too long, what its target closed, and what goes nowhere that `wanted` knows.
pub fn sweep(wanted: impl Fn(&Place) -> bool) {
    IDLE_ONES.with_borrow_mut(|all| {
        all.retain(|place, idle| {
            idle.retain(|(upstream, since)| since.elapsed() < IDLE && upstream.is_quiet(true));
            !idle.is_empty() && wanted(place)
        });
    });
}

/// A new connection to the place.
///
/// # Errors
/// See [`DialError`]; a failed handshake is `Refused`.
pub async fn connect(place: &Place) -> Result<Upstream, DialError> {
    let started = Instant::now();
    let stream = dial::connect(place.target, place.source, CONNECT_WITHIN).await?;
    let stream = Stream::new(stream);
    if !place.tls {
        return Ok(Upstream::Plain(stream));
    }
    let connector = TlsConnector::from(TLS.with(Arc::clone));
    let handshake = connector.connect(unverified::name(place.target.ip()), stream);
    let left = CONNECT_WITHIN.saturating_sub(started.elapsed());
    match tokio::time::timeout(left, handshake).await {
        Ok(Ok(stream)) => Ok(Upstream::Tls(Box::new(stream))),
        Ok(Err(error)) => Err(DialError::Refused(error)),
        Err(_) => Err(DialError::Timeout),
    }
}

/// The same, once this machine is ready for it.
///
/// # Errors
/// See [`connect`].
pub async fn connect_in_time(place: &Place) -> Result<Upstream, DialError> {
    dial::in_time(CONNECT_WITHIN, || connect(place)).await
}

/// Doing it twice is as doing it once. Source: RFC 9110 section 9.2.2.
pub fn is_repeatable(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE")
}

impl Upstream {
    fn stream(&self) -> &Stream {
        match self {
            Upstream::Plain(stream) => stream,
            Upstream::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Open, and nothing to read: what a target says unasked, its farewell included, makes a connection useless.
    fn is_quiet(&self, surely: bool) -> bool {
        let peeked = self.stream().peek(surely);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Upstream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Upstream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Upstream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Upstream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Upstream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Upstream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Upstream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Upstream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Upstream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Upstream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl Wire for Upstream {
    fn reset_on_close(&self) {
        self.stream().reset_on_close();
    }
}
