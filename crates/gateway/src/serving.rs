//! What is served now, compiled from one table, and what every connection of a thread shares.
//!
//! A `Serving` is immutable and swapped whole; connections look at the newest one with each request. What must outlive it
//! (health, counts, tickets) is carried over by `Routes::compile` and `Terminators::compile`.

use crate::config::GatewayConfig;
use crate::log_files::{Log, Pages};
use crate::tls::Terminators;
use foldhash::fast::RandomState;
use neargate_core::Timestamp;
use neargate_link::gateway::{GatewayTable, Problem};
use neargate_routing::{Balancer, CookieKey, Group, Listener, Routes, Target};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, watch};

#[derive(Debug, Default)]
pub struct Serving {
    pub generation: u64,
    pub routes: Arc<Routes>,
    pub terminators: Terminators,
    /// By the listener's ARN.
    listeners: HashMap<String, Arc<Served>, RandomState>,
}

/// A listener and the balancer that it is of.
#[derive(Debug)]
pub struct Served {
    pub balancer: Arc<Balancer>,
    pub listener: Arc<Listener>,
}

impl Serving {
    /// False once the balancer, or the target's registration with the group, is gone.
    pub fn holds(&self, balancer: &Balancer, group: &Group, target: &Target) -> bool {
        let spec = &target.spec;
        let there = self.routes.group(&group.arn);
        let there = there.and_then(|group| group.target(&spec.id, spec.port));
        there.is_some_and(|there| there.spec.registered_at == spec.registered_at)
            && self.routes.balancers().iter().any(|other| other.arn == balancer.arn)
    }

    /// `previous`: what is served now; none at the start of the process.
    pub fn compile(generation: u64, table: &GatewayTable, previous: Option<&Serving>) -> (Serving, Vec<Problem>) {
        let routes = Routes::compile(table, previous.map(|p| &*p.routes));
        let none = Terminators::default();
        let (terminators, problems) = Terminators::compile(table, previous.map_or(&none, |p| &p.terminators));
        let mut listeners = HashMap::default();
        for balancer in routes.balancers() {
            for listener in &balancer.listeners {
                let served = Served {
                    balancer: balancer.clone(),
                    listener: listener.clone(),
                };
                listeners.insert(listener.arn.clone(), Arc::new(served));
            }
        }
        let serving = Serving {
            generation,
            routes: Arc::new(routes),
            terminators,
            listeners,
        };
        (serving, problems)
    }

    pub fn listener(&self, arn: &str) -> Option<&Arc<Served>> {
        self.listeners.get(arn)
    }
}

impl Served {
    /// The zone of the balancer's address that was connected to; none on loopback.
    pub fn zone(&self, local: SocketAddr) -> Option<&str> {
        let IpAddr::V4(local) = local.ip().to_canonical() else {
            return None;
        };
        let own = self.balancer.addresses.iter().find(|own| own.address == local)?;
        Some(&own.zone)
    }
}

/// What the connections of one thread share. In an `Rc`: nothing of it leaves the thread.
#[derive(Debug)]
pub struct Worker {
    pub config: Arc<GatewayConfig>,
    /// Which part of the counters is this thread's.
    pub shard: usize,
    current: RefCell<Arc<Serving>>,
    /// Grows with every change of `current`.
    epoch: Cell<u64>,
    /// Wakes every connection of this thread, so that those that wait see that something was closed.
    members: RefCell<HashMap<u64, Waker>>,
    joined: Cell<u64>,
    pub cookies: CookieKey,
    pub log: Pages,
    /// True once this process is about to end: finish what runs, take nothing new.
    pub ending: watch::Receiver<bool>,
    /// Connections of clients, of all threads.
    pub connections: Arc<Connections>,
    pub random: Random,
}

/// Counts the connections of clients, of all threads.
#[derive(Debug, Default)]
pub struct Connections {
    open: AtomicUsize,
    emptied: Notify,
}

impl Connections {
    fn begin(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    fn end(&self) {
        if self.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.emptied.notify_one();
        }
    }

    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Waits until none is open. For one waiter.
    pub async fn emptied(&self) {
        while self.open() > 0 {
            self.emptied.notified().await;
        }
    }
}

/// Has a connection woken when doors close; until dropped.
#[derive(Debug)]
pub struct Membership {
    worker: Rc<Worker>,
    id: u64,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.worker.members.borrow_mut().remove(&self.id);
        self.worker.connections.end();
    }
}

/// What a worker is made of.
#[derive(Clone, Debug)]
pub struct Supplies {
    pub config: Arc<GatewayConfig>,
    pub serving: Arc<Serving>,
    pub cookies: [u8; 32],
    pub log: Log,
    pub ending: watch::Receiver<bool>,
    pub connections: Arc<Connections>,
}

impl Worker {
    pub fn new(shard: usize, supplies: Supplies) -> Worker {
        Worker {
            config: supplies.config,
            shard,
            current: RefCell::new(supplies.serving),
            epoch: Cell::new(0),
            members: RefCell::default(),
            joined: Cell::new(0),
            cookies: CookieKey::new(&supplies.cookies),
            log: Pages::new(supplies.log),
            ending: supplies.ending,
            connections: supplies.connections,
            random: Random::new(),
        }
    }

    /// What is served now.
    pub fn now_serving(&self) -> Arc<Serving> {
        self.current.borrow().clone()
    }

    /// A number that changes with what is served.
    pub fn epoch(&self) -> u64 {
        self.epoch.get()
    }

    pub fn serve(&self, serving: Arc<Serving>) {
        *self.current.borrow_mut() = serving;
        self.epoch.set(self.epoch.get() + 1);
    }

    pub fn is_ending(&self) -> bool {
        *self.ending.borrow()
    }

    /// Counts a connection and has its task woken by `wake_all`.
    pub async fn join(self: Rc<Worker>) -> Membership {
        let waker = std::future::poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let id = self.joined.get();
        self.joined.set(id + 1);
        self.members.borrow_mut().insert(id, waker);
        self.connections.begin();
        Membership { worker: self, id }
    }

    pub fn wake_all(&self) {
        for waker in self.members.borrow().values() {
            waker.wake_by_ref();
        }
    }
}

/// Wall-clock time.
pub fn now() -> Timestamp {
    timestamp(SystemTime::now())
}

pub fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Numbers that spread requests; secrets need better ones. Source: SplitMix64.
#[derive(Debug)]
pub struct Random(Cell<u64>);

impl Random {
    /// Seeded by the kernel.
    pub fn new() -> Random {
        let mut seed = [0; 8];
        if getrandom::fill(&mut seed).is_err() {
            // Only before the kernel's pool is ready: the clock is as good for spreading.
            seed = now().0.to_ne_bytes();
        }
        Random(Cell::new(u64::from_ne_bytes(seed)))
    }

    pub fn draw(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Default for Random {
    fn default() -> Random {
        Random::new()
    }
}
