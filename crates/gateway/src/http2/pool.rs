//! Connections to targets for streams of HTTP/2 clients, kept by each thread: HTTP/1.1 ones for one request at a time,
//! HTTP/2 ones shared by many.

use super::Local;
use super::body::{Failure, ToTarget};
use crate::dial::{self, DialError};
use crate::http1::upstream::{self, CONNECT_WITHIN, Place};
use crate::unverified;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

/// How long an idle connection is kept, and how often that is looked at.
const IDLE: Duration = Duration::from_secs(50);
const SWEEP: Duration = Duration::from_secs(10);
/// Streams of one connection, beyond which another one is opened.
const STREAMS: usize = 100;
/// A response's head, as for HTTP/1.1.
const HEADERS: u32 = 64 * 1024;

type One = http1::SendRequest<ToTarget>;
type Many = http2::SendRequest<ToTarget>;

#[derive(Default)]
struct Pool {
    ones: HashMap<Place, Vec<(One, Instant)>>,
    many: HashMap<Place, Vec<Shared>>,
    /// Held while a shared connection is made, so that a burst of requests makes one.
    making: HashMap<Place, Rc<tokio::sync::Mutex<()>>>,
    sweeping: bool,
}

#[derive(Clone)]
struct Shared {
    sender: Many,
    running: Rc<Cell<usize>>,
    used: Rc<Cell<Instant>>,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// Why a request got no response.
pub enum Unsent {
    /// Not a byte of it was sent.
    Returned(Box<http::Request<ToTarget>>),
    Broken(Failure),
}

/// A connection while a request runs on it.
pub struct Lease {
    place: Place,
    kind: Kind,
}

enum Kind {
    One(One),
    Many(Running),
}

/// One of the streams of a shared connection.
struct Running(Shared);

impl Lease {
    /// A kept connection for one request.
    pub fn kept(place: Place, http2: bool) -> Option<Lease> {
        let kind = match http2 {
            true => Kind::Many(Running::new(free(&place)?)),
            false => Kind::One(kept(&place)?),
        };
        Some(Lease { place, kind })
    }

    /// A new connection, or one that another request has made meanwhile.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn new(place: Place, http2: bool) -> Result<Lease, DialError> {
        let kind = match http2 {
            true => Kind::Many(Running::new(shared(&place).await?)),
            false => Kind::One(one(&place).await?),
        };
        Ok(Lease { place, kind })
    }

    /// Sends the request and waits for the head of the response.
    ///
    /// # Errors
    /// See [`Unsent`].
    pub async fn send(&mut self, request: http::Request<ToTarget>) -> Result<http::Response<Incoming>, Unsent> {
        let sent = match &mut self.kind {
            Kind::One(sender) => sender.try_send_request(request).await,
            Kind::Many(running) => running.0.sender.try_send_request(request).await,
        };
        sent.map_err(|mut error| match error.take_message() {
            Some(request) => Unsent::Returned(Box::new(request)),
            None => Unsent::Broken(error.into_error().into()),
        })
    }

    /// The response is over: the connection is free for another request.
    pub fn done(self) {
        if let Lease {
            place,
            kind: Kind::One(sender),
        } = self
        {
            keep(place, sender);
        }
    }
}

impl Running {
    fn new(shared: Shared) -> Running {
        shared.running.set(shared.running.get() + 1);
        Running(shared)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        self.0.used.set(Instant::now());
    }
}

fn kept(place: &Place) -> Option<One> {
    POOL.with_borrow_mut(|pool| {
        let all = pool.ones.get_mut(place)?;
        let now = Instant::now();
        // One whose request is still being sent is not ready.
        let usable = |(sender, since): &(One, Instant)| sender.is_ready() && now.duration_since(*since) < IDLE;
        let at = all.iter().rposition(usable)?;
        Some(all.swap_remove(at).0)
    })
}

fn keep(place: Place, sender: One) {
    if !sender.is_closed() {
        POOL.with_borrow_mut(|pool| {
            pool.ones.entry(place).or_default().push((sender, Instant::now()));
            pool.sweep();
        });
    }
}

async fn one(place: &Place) -> Result<One, DialError> {
    let stream = upstream::connect(place).await?;
    let (sender, connection) = http1::Builder::new()
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a target broke");
        }
    });
    Ok(sender)
}

async fn shared(place: &Place) -> Result<Shared, DialError> {
    let making = POOL.with_borrow_mut(|pool| pool.making.entry(*place).or_default().clone());
    let _turn = making.lock().await;
    if let Some(shared) = free(place) {
        return Ok(shared);
    }
    let shared = Shared {
        sender: many(place).await?,
        running: Rc::default(),
        used: Rc::new(Cell::new(Instant::now())),
    };
    POOL.with_borrow_mut(|pool| {
        pool.many.entry(*place).or_default().push(shared.clone());
        pool.sweep();
    });
    Ok(shared)
}

fn free(place: &Place) -> Option<Shared> {
    POOL.with_borrow_mut(|pool| {
        let all = pool.many.get_mut(place)?;
        all.retain(|shared| !shared.sender.is_closed());
        all.iter().find(|shared| shared.running.get() < STREAMS).cloned()
    })
}

async fn many(place: &Place) -> Result<Many, DialError> {
    let started = Instant::now();
    let stream = dial::connect(place.target, place.source, CONNECT_WITHIN).await?;
    if !place.tls {
        return handshake(stream).await;
    }
    static SETTINGS: LazyLock<Arc<rustls::ClientConfig>> = LazyLock::new(|| unverified::settings(&[b"h2"]));
    let connector = TlsConnector::from(SETTINGS.clone());
    let connecting = connector.connect(unverified::name(place.target.ip()), stream);
    let left = CONNECT_WITHIN.saturating_sub(started.elapsed());
    match tokio::time::timeout(left, connecting).await {
        Ok(stream) => handshake(stream.map_err(DialError::Refused)?).await,
        Err(_) => Err(DialError::Timeout),
    }
}

async fn handshake(stream: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Result<Many, DialError> {
    let (sender, connection) = http2::Builder::new(Local)
        .max_header_list_size(HEADERS)
        .initial_stream_window_size(super::STREAM_WINDOW)
        .initial_connection_window_size(super::CONNECTION_WINDOW)
        .max_send_buf_size(super::SEND_BUFFER)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a target broke");
        }
    });
    Ok(sender)
}

fn broken(error: hyper::Error) -> DialError {
    DialError::Refused(std::io::Error::other(error))
}

impl Pool {
    /// Has idle connections closed in time, as long as there are any.
    fn sweep(&mut self) {
        if std::mem::replace(&mut self.sweeping, true) {
            return;
        }
        tokio::task::spawn_local(async {
            let mut goes_on = true;
            while goes_on {
                tokio::time::sleep(SWEEP).await;
                goes_on = POOL.with_borrow_mut(Pool::close_idle);
            }
        });
    }

    fn close_idle(&mut self) -> bool {
        self.ones.retain(|_, all| {
            all.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE);
            !all.is_empty()
        });
        self.many.retain(|_, all| {
            all.retain(|shared| {
                let idle = shared.running.get() == 0 && shared.used.get().elapsed() >= IDLE;
                !shared.sender.is_closed() && !idle
            });
            !all.is_empty()
        });
        self.making.retain(|_, making| Rc::strong_count(making) > 1);
        self.sweeping = !(self.ones.is_empty() && self.many.is_empty());
        self.sweeping
    }
}
