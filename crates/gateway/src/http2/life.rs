//! What the streams of one connection tell of its client: whether it idles, and whether it floods.

use crate::serving::Served;
use neargate_routing::BalancerCounter;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Streams that a client may reset before their response begins, at once and each second: far more than deadlines that
/// pass, far less than a flood (CVE-2023-44487).
const RESETS: f64 = 1000.0;
const RESETS_PER_SECOND: f64 = 100.0;

/// How often a connection, and what waits on it, sees whether its time is over.
pub const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Life {
    open: Cell<usize>,
    used: Cell<Instant>,
    resets_left: Cell<f64>,
    counted: Cell<Instant>,
    cut: Cell<bool>,
    looks: Cell<u64>,
    /// Whose connection it counts as.
    counted_as: RefCell<Option<Arc<Served>>>,
}

impl Life {
    pub fn new() -> Life {
        let now = Instant::now();
        Life {
            open: Cell::new(0),
            used: Cell::new(now),
            resets_left: Cell::new(RESETS),
            counted: Cell::new(now),
            cut: Cell::new(false),
            looks: Cell::new(0),
            counted_as: RefCell::default(),
        }
    }

    /// Counts a stream until the guard is dropped.
    pub fn begin(self: &Rc<Life>, now: Instant) -> Stream {
        self.open.set(self.open.get() + 1);
        self.touch_at(now);
        Stream {
            life: self.clone(),
            answered: false,
            ended: false,
        }
    }

    /// True once there was a stream for a balancer.
    pub fn has_begun(&self) -> bool {
        self.counted_as.borrow().is_some()
    }

    /// How long there has been no stream; none when there is one.
    pub fn idle(&self) -> Option<Duration> {
        (self.open.get() == 0).then(|| self.used.get().elapsed())
    }

    /// How long nothing passed over any stream.
    pub fn silent(&self) -> Duration {
        self.used.get().elapsed()
    }

    /// Something passed.
    pub fn touch_at(&self, now: Instant) {
        self.used.set(now);
    }

    /// Has the connection closed at once.
    pub fn cut(&self) {
        self.cut.set(true);
    }

    pub fn is_cut(&self) -> bool {
        self.cut.get()
    }

    /// Makes what waits look, the next time that it runs.
    pub fn look(&self) {
        self.looks.set(self.looks.get() + 1);
    }

    /// Counts the connection for the balancer of its first stream.
    pub fn count(&self, served: &Arc<Served>, shard: usize) {
        let mut counted = self.counted_as.borrow_mut();
        if counted.is_none() {
            let metrics = &served.balancer.metrics;
            metrics.add(shard, BalancerCounter::NewConnectionCount, 1);
            metrics.add(shard, BalancerCounter::ActiveConnectionCount, 1);
            *counted = Some(served.clone());
        }
    }

    /// The connection is over.
    pub fn end(&self, shard: usize) {
        if let Some(served) = self.counted_as.take() {
            served
                .balancer
                .metrics
                .less(shard, BalancerCounter::ActiveConnectionCount, 1);
        }
    }

    fn reset(&self, now: Instant) {
        let earned = now.duration_since(self.counted.get()).as_secs_f64() * RESETS_PER_SECOND;
        let left = (self.resets_left.get() + earned).min(RESETS) - 1.0;
        self.counted.set(now);
        self.resets_left.set(left);
        if left < 0.0 {
            self.cut();
        }
    }
}

/// A stream that is open.
#[derive(Debug)]
pub struct Stream {
    life: Rc<Life>,
    answered: bool,
    ended: bool,
}

impl Stream {
    pub fn life(&self) -> Rc<Life> {
        self.life.clone()
    }

    /// It is over, as it is when it is dropped.
    pub fn end(&mut self, now: Instant) {
        self.ended = true;
        self.life.open.set(self.life.open.get() - 1);
        self.life.used.set(now);
        if !self.answered {
            self.life.reset(now);
        }
    }

    pub fn looks(&self) -> Looks {
        Looks {
            seen: self.life.looks.get(),
            life: self.life.clone(),
        }
    }

    /// Its response begins: what the client resets from here on is its right.
    pub fn answered(&mut self) {
        self.answered = true;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Instant::now());
        }
    }
}

/// Tells one that waits when to see whether it waits for nothing.
#[derive(Debug)]
pub struct Looks {
    life: Rc<Life>,
    seen: u64,
}

impl Looks {
    /// True once after each look of the connection.
    pub fn is_due(&mut self) -> bool {
        let looks = self.life.looks.get();
        std::mem::replace(&mut self.seen, looks) != looks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_forgiven_at_the_rate_of_deadlines_and_not_at_that_of_a_flood() {
        let life = Life::new();
        let begin = life.counted.get();
        for second in 1..=60 {
            for _ in 0..100 {
                life.reset(begin + Duration::from_secs(second));
            }
        }
        assert!(!life.is_cut());
        for _ in 0..1001 {
            life.reset(begin + Duration::from_secs(61));
        }
        assert!(life.is_cut());
    }

    #[test]
    fn a_connection_idles_when_its_last_stream_ends() {
        let life = Rc::new(Life::new());
        let stream = life.begin(Instant::now());
        assert!(life.idle().is_none());
        drop(stream);
        assert!(life.idle().is_some());
    }
}
