//! A target and what is alive in it: health, outstanding requests, when its slow start began.
//!
//! The specification belongs to one table; the living part is shared by every table that has the same registration.

use crate::flow;
use crate::health::Health;
use neargate_core::Timestamp;
use neargate_link::gateway::{TargetSpec, TargetState};
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A registered target as one table has it.
#[derive(Debug)]
pub struct Target {
    pub spec: TargetSpec,
    /// Names it in cookies.
    pub(crate) tag: u64,
    pub(crate) live: Arc<Live>,
}

/// On a cache line of its own: it is written by every request.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Live {
    outstanding: AtomicU32,
    /// A copy of what `health` says, for readers on the hot path.
    state: AtomicU8,
    /// Milliseconds; `NOT_SLOW`: not in slow start.
    slow_since: AtomicI64,
    health: Mutex<Health>,
    /// In the first table of this process: it may have served for long.
    was_there: bool,
}

const NOT_SLOW: i64 = i64::MIN;

impl Target {
    pub(crate) fn new(spec: &TargetSpec, live: Arc<Live>) -> Target {
        Target {
            tag: flow::tag([spec.id.as_bytes(), &spec.port.to_be_bytes()[..]]),
            spec: spec.clone(),
            live,
        }
    }

    /// Where it is reached.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.spec.address, self.spec.port)
    }

    /// Requests and connections that run now.
    pub fn outstanding(&self) -> u32 {
        self.live.outstanding.load(Ordering::Relaxed)
    }

    /// What its checks say, never `Drained`: `Group::report` knows that.
    pub fn state(&self) -> TargetState {
        self.live.state()
    }

    /// Gets no new requests.
    pub fn is_draining(&self) -> bool {
        self.spec.draining_until.is_some()
    }
}

impl Live {
    pub fn new(health: Health, was_there: bool) -> Live {
        Live {
            was_there,
            outstanding: AtomicU32::new(0),
            state: AtomicU8::new(encode(health.state())),
            slow_since: AtomicI64::new(NOT_SLOW),
            health: Mutex::new(health),
        }
    }

    pub fn state(&self) -> TargetState {
        decode(self.state.load(Ordering::Acquire))
    }

    pub fn was_there(&self) -> bool {
        self.was_there
    }

    /// Changes the health and what readers see of it.
    pub fn alter<T>(&self, change: impl FnOnce(&mut Health) -> T) -> T {
        let mut health = self.lock();
        let done = change(&mut health);
        self.state.store(encode(health.state()), Ordering::Release);
        done
    }

    pub fn health(&self) -> Health {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Health> {
        // Health is whole between statements.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begin_slow_start(&self, now: Timestamp) {
        self.slow_since.store(now.millis(), Ordering::Release);
    }

    pub fn end_slow_start(&self) {
        self.slow_since.store(NOT_SLOW, Ordering::Release);
    }

    /// When its slow start ends, if one began.
    pub fn slow_until(&self, duration: Duration) -> Option<Timestamp> {
        let since = self.slow_since.load(Ordering::Acquire);
        (since != NOT_SLOW && !duration.is_zero()).then(|| Timestamp(since).plus(duration))
    }

    /// Its share of a full target's requests, in thousandths, at least one: growing evenly over the slow start.
    pub fn share(&self, now: Timestamp, duration: Duration) -> u64 {
        let since = self.slow_since.load(Ordering::Acquire);
        let (passed, whole) = (now.since(Timestamp(since)).as_millis(), duration.as_millis());
        if since == NOT_SLOW || passed >= whole {
            return FULL_SHARE;
        }
        u64::try_from(passed * u128::from(FULL_SHARE) / whole).map_or(FULL_SHARE, |share| share.max(1))
    }
}

/// The share of a target that is not in slow start.
pub(crate) const FULL_SHARE: u64 = 1000;

fn encode(state: TargetState) -> u8 {
    match state {
        TargetState::Initial => 0,
        TargetState::Healthy => 1,
        TargetState::Unhealthy => 2,
        TargetState::Unavailable => 3,
        TargetState::Drained => 4,
    }
}

fn decode(state: u8) -> TargetState {
    match state {
        1 => TargetState::Healthy,
        2 => TargetState::Unhealthy,
        3 => TargetState::Unavailable,
        4 => TargetState::Drained,
        _ => TargetState::Initial,
    }
}

/// A chosen target with one request or connection counted on it, until this is dropped.
#[derive(Debug)]
pub struct Outstanding(Arc<Target>);

impl Outstanding {
    pub fn new(target: Arc<Target>) -> Outstanding {
        target.live.outstanding.fetch_add(1, Ordering::Relaxed);
        Outstanding(target)
    }

    pub fn target(&self) -> &Arc<Target> {
        &self.0
    }
}

impl Deref for Outstanding {
    type Target = Target;

    fn deref(&self) -> &Target {
        &self.0
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.0.live.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}
