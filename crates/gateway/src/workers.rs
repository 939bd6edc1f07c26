//! The threads that serve: each has a runtime of its own, and all accept on the same sockets.
//!
//! Started by `run`, which tells them what is served and which doors are open. Nothing of a connection leaves its thread.

use crate::arrival::{Arrival, LocalDoor};
use crate::config::GatewayError;
use crate::doors::{Behind, Door, Names, Transport};
use crate::http1::{connection, upstream};
use crate::open::Listening;
use crate::outbox::{self, Stream};
use crate::serving::{Serving, Supplies, Worker};
use crate::{http2, nlb, tls};
use neargate_link::gateway::Protocol;
use neargate_routing::BalancerCounter;
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, LocalSet, spawn_local};
use tokio_rustls::LazyConfigAcceptor;

pub type Key = (Transport, SocketAddr);

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Between looks at connections that idle, and after a failed accept.
const SWEEP: Duration = Duration::from_secs(10);
/// How long a line of an access log may wait for others.
const HAND_OVER: Duration = Duration::from_secs(1);
const ACCEPT_AGAIN: Duration = Duration::from_millis(20);

/// What a thread is told.
#[derive(Debug)]
pub enum Order {
    Serve(Arc<Serving>),
    Open(Key, Listening, Door),
    Change(Key, Door),
    Close(Key),
    /// To be answered once all before it are carried out.
    Tell(oneshot::Sender<()>),
}

/// A serving thread.
#[derive(Debug)]
pub struct Thread {
    orders: UnboundedSender<Order>,
    handle: JoinHandle<()>,
}

impl Thread {
    /// Starts it. `limit`: connections of clients, of all threads.
    ///
    /// # Errors
    /// `Thread`
    pub fn start(shard: usize, supplies: Supplies, limit: usize) -> Result<Thread, GatewayError> {
        let (orders, inbox) = unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // Look at sockets often: most tasks here do little at a time.
            .event_interval(31)
            .build()
            .map_err(GatewayError::Thread)?;
        let work = move || {
            let local = LocalSet::new();
            local.block_on(&runtime, serve(shard, supplies, limit, inbox));
            // What still runs is dropped with the set.
            drop(local);
        };
        let handle = std::thread::Builder::new()
            .name(format!("serve-{shard}"))
            .spawn(work)
            .map_err(GatewayError::Thread)?;
        Ok(Thread { orders, handle })
    }

    pub fn tell(&self, order: Order) {
        // A thread that is gone has panicked, which `end` tells.
        let _ = self.orders.send(order);
    }

    /// Answers once everything that it was told is carried out, or it is gone.
    pub fn obeyed(&self) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        self.tell(Order::Tell(tell));
        told
    }

    /// Ends it with everything that it serves.
    pub fn end(self) {
        drop(self.orders);
        if self.handle.join().is_err() {
            tracing::error!("a serving thread panicked");
        }
    }
}

struct Opened {
    door: Rc<LocalDoor>,
    accepting: AbortHandle,
}

async fn serve(shard: usize, supplies: Supplies, limit: usize, mut inbox: UnboundedReceiver<Order>) {
    let worker = Rc::new(Worker::new(shard, supplies));
    spawn_local(outbox::run());
    let mut doors: HashMap<Key, Opened> = HashMap::new();
    let mut sweep = tokio::time::interval(SWEEP);
    let mut hand_over = tokio::time::interval(HAND_OVER);
    loop {
        let order = tokio::select! {
            order = inbox.recv() => order,
            _ = sweep.tick() => {
                sweep_upstreams(&worker);
                continue;
            }
            _ = hand_over.tick() => {
                worker.log.hand_over();
                continue;
            }
        };
        match order {
            None => return outbox::send_all(),
            Some(Order::Serve(serving)) => {
                worker.serve(serving);
                worker.wake_all();
            }
            Some(Order::Open(key, socket, door)) => {
                let door = Rc::new(LocalDoor::new(door));
                match accepting(socket, door.clone(), worker.clone(), limit) {
                    Ok(accepting) => drop(doors.insert(key, Opened { door, accepting })),
                    Err(error) => tracing::error!(%error, at = %key.1, "cannot accept"),
                }
            }
            Some(Order::Change(key, door)) => {
                if let Some(opened) = doors.get(&key) {
                    opened.door.change(door);
                }
            }
            // Whoever asked may be gone.
            Some(Order::Tell(tell)) => drop(tell.send(())),
            Some(Order::Close(key)) => {
                if let Some(opened) = doors.remove(&key) {
                    opened.accepting.abort();
                    opened.door.close();
                    worker.wake_all();
                }
            }
        }
    }
}

fn sweep_upstreams(worker: &Worker) {
    let serving = worker.now_serving();
    let targets: HashSet<SocketAddr> = serving
        .routes
        .used_groups()
        .flat_map(|group| group.targets())
        .map(|target| target.address())
        .collect();
    upstream::sweep(|place| targets.contains(&place.target));
}

fn accepting(socket: Listening, door: Rc<LocalDoor>, worker: Rc<Worker>, limit: usize) -> io::Result<AbortHandle> {
    let task = match socket {
        Listening::Tcp(listener) => {
            let listener = TcpListener::from_std(listener)?;
            spawn_local(accept(listener, door, worker, limit))
        }
        Listening::Udp(socket) => {
            let socket = Rc::new(UdpSocket::from_std(socket)?);
            spawn_local(async move {
                if let Err(error) = nlb::serve_udp(worker, socket, door).await {
                    tracing::error!(%error, "a UDP listener broke");
                }
            })
        }
    };
    Ok(task.abort_handle())
}

async fn accept(listener: TcpListener, door: Rc<LocalDoor>, worker: Rc<Worker>, limit: usize) {
    loop {
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Descriptors have run out, or the client was gone already.
                tracing::debug!(%error, "cannot accept");
                if !matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) {
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
                continue;
            }
        };
        let Ok(local) = stream.local_addr() else { continue };
        let behind = door.behind();
        let admitted = behind.iter().any(|one| one.admits(client.ip(), local.port()));
        if !admitted || worker.connections.open() >= limit {
            reject(&worker, &behind);
            continue;
        }
        // A socket that takes no option still carries bytes.
        let _ = stream.set_nodelay(true);
        let arrival = Arrival {
            client,
            local,
            tls: None,
            at: Instant::now(),
            id: u128::from(worker.random.draw()) << 64 | u128::from(worker.random.draw()),
            door: door.clone(),
            settled: None,
        };
        spawn_local(connected(stream, arrival, worker.clone()));
    }
}

fn reject(worker: &Worker, behind: &[Rc<Behind>]) {
    let serving = worker.now_serving();
    if let Some(served) = behind.first().and_then(|one| serving.listener(&one.listener)) {
        let counter = match served.listener.protocol {
            Protocol::Http | Protocol::Https => BalancerCounter::RejectedConnectionCount,
            _ => BalancerCounter::RejectedFlowCount,
        };
        served.balancer.metrics.add(worker.shard, counter, 1);
    }
}

async fn connected(stream: TcpStream, mut arrival: Arrival, worker: Rc<Worker>) {
    let _member = worker.clone().join().await;
    // Each in a box of its own, so that the most frequent one does not take the room of the largest.
    match arrival.door.names() {
        Names::Host => Box::pin(connection::serve(Stream::new(stream), arrival, worker)).await,
        Names::Nothing => {
            arrival.settled = arrival.door.behind().first().cloned();
            Box::pin(nlb::serve_tcp(worker, stream, arrival)).await;
        }
        Names::Tls => Box::pin(secure(stream, arrival, worker)).await,
    }
}

async fn secure(stream: TcpStream, mut arrival: Arrival, worker: Rc<Worker>) {
    let until = tokio::time::Instant::now() + HANDSHAKE;
    if speaks_plainly(&stream, &arrival, until).await {
        return Box::pin(connection::serve(Stream::new(stream), arrival, worker)).await;
    }
    let acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), Stream::new(stream));
    let hello = match tokio::time::timeout_at(until, acceptor).await {
        Ok(Ok(hello)) => hello,
        _ => return failed(&worker, arrival.door.behind().first()),
    };
    let serving = worker.now_serving();
    let name = hello.client_hello().server_name().map(str::to_owned);
    let Some((behind, settled)) = named(&serving, &arrival, name.as_deref()) else {
        return;
    };
    if settled && !behind.admits(arrival.client.ip(), arrival.local.port()) {
        return reject(&worker, &[behind]);
    }
    let Some(terminator) = serving.terminators.of(&behind.listener) else {
        return failed(&worker, Some(&behind));
    };
    let handshake = hello.into_stream(terminator.config.clone());
    let stream = match tokio::time::timeout_at(until, handshake).await {
        Ok(Ok(stream)) => stream,
        _ => return failed(&worker, Some(&behind)),
    };
    arrival.tls = Some(tls::facts(stream.get_ref().1, terminator));
    arrival.settled = settled.then(|| behind.clone());
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    drop(serving);
    match behind.protocol {
        Protocol::Https if http2 => Box::pin(http2::serve(stream, Vec::new(), arrival, worker)).await,
        Protocol::Https => Box::pin(connection::serve(stream, arrival, worker)).await,
        _ => Box::pin(nlb::serve_tls(worker, stream, arrival)).await,
    }
}

/// Whether a client of HTTPS listeners begins with letters, as a request's method is, and not with TLS.
async fn speaks_plainly(stream: &TcpStream, arrival: &Arrival, until: tokio::time::Instant) -> bool {
    if !arrival.door.behind().iter().all(|one| one.protocol == Protocol::Https) {
        return false;
    }
    let mut first = [0];
    let peeked = tokio::time::timeout_at(until, stream.peek(&mut first)).await;
    matches!(peeked, Ok(Ok(1))) && first[0].is_ascii_alphabetic()
}

/// The listener that a name in TLS asks for, and whether that settles it: by the balancer's name, else by the names of its
/// certificates. Where all speak HTTPS, the Host header of each request can still tell.
fn named(serving: &Serving, arrival: &Arrival, name: Option<&str>) -> Option<(Rc<Behind>, bool)> {
    if let Some(behind) = arrival.door.named(name.unwrap_or_default().as_bytes()) {
        return Some((behind, true));
    }
    let all = arrival.door.behind();
    let by_certificate = name.and_then(|name| {
        let is_for = |one: &&Rc<Behind>| serving.terminators.of(&one.listener).is_some_and(|t| t.is_for(name));
        all.iter().find(is_for)
    });
    if let Some(behind) = by_certificate {
        return Some((behind.clone(), true));
    }
    let web = all.iter().all(|one| one.protocol == Protocol::Https);
    Some((all.first()?.clone(), !web))
}

fn failed(worker: &Worker, behind: Option<&Rc<Behind>>) {
    let serving = worker.now_serving();
    if let Some(served) = behind.and_then(|one| serving.listener(&one.listener)) {
        let counter = BalancerCounter::ClientTlsNegotiationErrorCount;
        served.balancer.metrics.add(worker.shard, counter, 1);
    }
}
