//! UDP: datagrams of one client and port are a flow, which stays with its target until nothing passes for a while.
//!
//! One task reads the listening socket; a small one for each flow carries the answers back. Flows are bounded: beyond
//! that new ones are dropped, as a full table of NLB does. A datagram that cannot be sent at once is lost, as UDP may.

use crate::dial;
use rustix::net::SendFlags;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The largest datagram.
const LARGEST: usize = 65_535;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; LARGEST].into_boxed_slice());
}

/// Where a new flow goes.
pub struct Opened<C> {
    pub target: SocketAddr,
    /// The balancer's own address.
    pub source: Option<Ipv4Addr>,
    /// Sent before the client's first datagram, in the same one.
    pub preface: Vec<u8>,
    /// Ready when the flow has to end, e.g. because its target left.
    pub cut: Pin<Box<dyn Future<Output = ()>>>,
    /// Dropped when the flow ends.
    pub counted: C,
}

/// Where a flow's bytes are counted, both ways.
pub trait Counted: 'static {
    fn bytes(&self) -> Rc<Cell<u64>>;
}

/// What `serve` asks and tells.
pub trait Flows {
    type Counted: Counted;

    /// The target of a new flow; none drops the datagram.
    fn open(&mut self, client: SocketAddr) -> Option<Opened<Self::Counted>>;
    /// A new flow was dropped because there are too many.
    fn refused(&mut self);
}

/// How many flows there may be and how long they stay.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub flows: usize,
    pub idle: Duration,
}

/// Serves the flows of `socket` until it breaks or the future is dropped, within a `LocalSet`.
///
/// # Errors
/// When the listening socket fails.
pub async fn serve(socket: Rc<UdpSocket>, bounds: Bounds, mut flows: impl Flows) -> io::Result<()> {
    let mut known: HashMap<SocketAddr, Flow> = HashMap::new();
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            Some(ended) = running.join_next() => {
                if let Ok(client) = ended {
                    known.remove(&client);
                }
            }
            readable = socket.readable() => {
                readable?;
                let mut first = Vec::new();
                let Some(client) = forward(&socket, &known, &mut first)? else { continue };
                if known.len() >= bounds.flows {
                    flows.refused();
                    continue;
                }
                let Some(opened) = flows.open(client) else { continue };
                let upstream = match dial::connect_udp(opened.target, opened.source).await {
                    Ok(upstream) => Rc::new(upstream),
                    Err(error) => {
                        tracing::debug!(%error, "no UDP flow");
                        continue;
                    }
                };
                let flow = Flow {
                    upstream,
                    used: Rc::new(Cell::new(Instant::now())),
                    bytes: opened.counted.bytes(),
                };
                first.splice(0..0, opened.preface);
                flow.send(&first);
                known.insert(client, flow.clone());
                let answers = flow.answers(client, socket.clone(), bounds.idle);
                let (cut, counted) = (opened.cut, opened.counted);
                running.spawn_local(async move {
                    tokio::select! {
                        () = answers => {}
                        () = cut => {}
                    }
                    drop(counted);
                    client
                });
            }
        }
    }
}

/// Passes on what the socket has for flows that are known. Stops at the first datagram of a new client, which is left in
/// `first`.
fn forward(
    socket: &UdpSocket,
    known: &HashMap<SocketAddr, Flow>,
    first: &mut Vec<u8>,
) -> io::Result<Option<SocketAddr>> {
    SCRATCH.with_borrow_mut(|scratch| {
        // Others on this thread have their turn in between.
        for _ in 0..64 {
            let (length, client) = match socket.try_recv_from(scratch) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                // An answer that found its client gone.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(error) => return Err(error),
            };
            let bytes = &scratch[..length];
            let Some(flow) = known.get(&client) else {
                first.extend_from_slice(bytes);
                return Ok(Some(client));
            };
            flow.used.set(Instant::now());
            flow.send(bytes);
        }
        Ok(None)
    })
}

#[derive(Clone)]
struct Flow {
    upstream: Rc<UdpSocket>,
    /// When something passed last.
    used: Rc<Cell<Instant>>,
    bytes: Rc<Cell<u64>>,
}

impl Flow {
    /// Past the runtime, which does not yet know that a new socket can be written to.
    fn send(&self, bytes: &[u8]) {
        // Lost when the target's queue is full; a target that is gone ends the flow by its answers.
        if rustix::net::send(&*self.upstream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok() {
            self.count(bytes);
        }
    }

    fn count(&self, bytes: &[u8]) {
        self.bytes.set(self.bytes.get() + bytes.len() as u64);
    }

    /// Carries answers to `client` until the flow is idle or the target gone.
    async fn answers(self, client: SocketAddr, socket: Rc<UdpSocket>, idle: Duration) {
        loop {
            let until = self.used.get() + idle;
            tokio::select! {
                readable = self.upstream.readable() => {
                    if readable.is_err() || self.answer(client, &socket).is_err() {
                        return;
                    }
                    self.used.set(Instant::now());
                }
                () = tokio::time::sleep_until(until) => {
                    if self.used.get() + idle <= Instant::now() {
                        return;
                    }
                }
            }
        }
    }

    fn answer(&self, client: SocketAddr, socket: &UdpSocket) -> io::Result<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            match self.upstream.try_recv(scratch) {
                Ok(length) => {
                    let bytes = &scratch[..length];
                    // Lost when the client's way is full.
                    if socket.try_send_to(bytes, client).is_ok() {
                        self.count(bytes);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            Ok(())
        })
    }
}
