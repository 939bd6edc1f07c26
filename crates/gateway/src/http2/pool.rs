//! Connections to targets for streams of HTTP/2 clients: HTTP/1.1 ones of the engine's pool, for one request at a time, and
//! HTTP/2 ones that each thread keeps here, shared by many.

use super::body::{Failure, ToTarget};
use super::plain;
use crate::dial::{self, DialError};
use crate::http1::upstream::{self, CONNECT_WITHIN, Place};
use crate::outbox::Stream;
use crate::unverified;
use foldhash::fast::RandomState;
use hyper::body::Incoming;
use hyper::client::conn::http2;
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

/// Runs hyper's futures on the thread that they are made on.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

type Many = http2::SendRequest<ToTarget>;

#[derive(Default)]
struct Pool {
    many: HashMap<Place, Vec<Shared>, RandomState>,
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
    /// It may be sent again: the kept connection was closed before anything was sent, or said, and then the request has no
    /// body and changes nothing when it is repeated.
    Returned(ToTarget),
    Broken(Failure),
}

/// A connection while a request runs on it.
pub enum Lease {
    One(plain::Connection),
    Many(Running),
}

/// One of the streams of a shared connection.
pub struct Running(Shared);

impl Lease {
    /// A kept connection. `surely`: see `upstream::kept`.
    pub fn kept(place: Place, http2: bool, surely: bool) -> Option<Lease> {
        Some(match http2 {
            true => Lease::Many(Running::new(free(&place)?)),
            false => Lease::One(plain::Connection {
                upstream: upstream::kept(&place, surely)?,
                place,
                reused: true,
            }),
        })
    }

    /// A new connection, or one that another request has made meanwhile.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn new(place: Place, http2: bool) -> Result<Lease, DialError> {
        Ok(match http2 {
            true => Lease::Many(Running::new(dial::in_time(CONNECT_WITHIN, || shared(&place)).await?)),
            false => Lease::One(plain::Connection {
                upstream: upstream::connect_in_time(&place).await?,
                place,
                reused: false,
            }),
        })
    }
}

impl Running {
    fn new(shared: Shared) -> Running {
        shared.running.set(shared.running.get() + 1);
        Running(shared)
    }

    /// Sends the request and waits for the head of the response.
    ///
    /// # Errors
    /// See [`Unsent`].
    pub async fn send(&mut self, request: http::Request<ToTarget>) -> Result<http::Response<Incoming>, Unsent> {
        let sent = self.0.sender.try_send_request(request).await;
        sent.map_err(|mut error| match error.take_message() {
            Some(request) => Unsent::Returned(request.into_body()),
            None => Unsent::Broken(error.into_error().into()),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        self.0.used.set(Instant::now());
    }
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
    let stream = Stream::new(stream);
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
        self.many.retain(|_, all| {
            all.retain(|shared| {
                let idle = shared.running.get() == 0 && shared.used.get().elapsed() >= IDLE;
                !shared.sender.is_closed() && !idle
            });
            !all.is_empty()
        });
        self.making.retain(|_, making| Rc::strong_count(making) > 1);
        self.sweeping = !self.many.is_empty();
        self.sweeping
    }
}
