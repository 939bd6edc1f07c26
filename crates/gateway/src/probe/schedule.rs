//! When each target is due and what its check asks. No IO.

use super::LOOK;
use super::check::{Check, Speech};
use crate::serving::now as timestamp;
use neargate_core::Timestamp;
use neargate_link::gateway::{Protocol, ProtocolVersion, TargetReport, TargetState};
use neargate_routing::{Finding, Group, Routes, Target};
use std::cmp::Reverse;
use std::collections::hash_map::{Entry, HashMap};
use std::collections::{BinaryHeap, HashSet};
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The longest pause after a check that could not be tried.
const NOT_TRIED: Duration = Duration::from_secs(1);

/// Names a registration while this process lives.
pub type Id = u64;

/// A registration: group, target, port, since when.
type Key = (String, String, u16, Timestamp);

/// What is due next.
pub enum Due {
    Now(Id, Check),
    At(Instant),
    Never,
}

#[derive(Default)]
pub struct Schedule {
    ids: HashMap<Key, Id>,
    targets: HashMap<Id, Watched>,
    /// By time; entries that do not agree with their target's `due` are stale.
    heap: BinaryHeap<Reverse<(Instant, Id)>>,
    draining: HashMap<Key, Draining>,
    last: Id,
}

struct Watched {
    group: Arc<Group>,
    target: Arc<Target>,
    /// None while a check runs.
    due: Option<Instant>,
    started: Instant,
    attempts: u32,
    not_tried: u32,
}

struct Draining {
    group: Arc<Group>,
    target: Arc<Target>,
    quiet_since: Option<Instant>,
    reported: bool,
}

impl Schedule {
    /// Takes in new routes; answers with what is to be said at once.
    pub fn follow(&mut self, routes: &Routes, now: Instant) -> Vec<TargetReport> {
        let mut news = Vec::new();
        let mut seen = HashSet::new();
        let mut draining = HashMap::new();
        for group in routes.groups() {
            let used = group.is_used();
            for target in group.targets() {
                let key = key(group, target);
                if target.is_draining() {
                    let before = self.draining.remove(&key);
                    let drain = Draining {
                        group: group.clone(),
                        target: target.clone(),
                        quiet_since: before.as_ref().and_then(|before| before.quiet_since),
                        reported: before.is_some_and(|before| before.reported),
                    };
                    draining.insert(key, drain);
                } else if used && group.health_check.spec.enabled {
                    seen.insert(self.watch(key, group, target, now));
                } else if used {
                    news.push(group.report(target, timestamp()));
                }
            }
        }
        self.draining = draining;
        self.targets.retain(|id, _| seen.contains(id));
        self.ids.retain(|_, id| seen.contains(id));
        news
    }

    fn watch(&mut self, key: Key, group: &Arc<Group>, target: &Arc<Target>, now: Instant) -> Id {
        let id = match self.ids.entry(key) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                self.last += 1;
                *new.insert(self.last)
            }
        };
        let watched = match self.targets.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                self.heap.push(Reverse((now, id)));
                new.insert(Watched {
                    group: group.clone(),
                    target: target.clone(),
                    due: Some(now),
                    started: now,
                    attempts: 0,
                    not_tried: 0,
                })
            }
        };
        let changed = watched.group.health_check != group.health_check;
        watched.group = group.clone();
        watched.target = target.clone();
        if let Some(due) = watched.due.filter(|_| changed) {
            // Nobody waits out the old interval.
            let sooner = due.min(now + watched.pause());
            watched.due = Some(sooner);
            self.heap.push(Reverse((sooner, id)));
        }
        id
    }

    /// The next target that is due; it is not again before its check is `found`.
    pub fn due(&mut self, now: Instant) -> Due {
        while let Some(Reverse((at, id))) = self.heap.peek().copied() {
            let Some(watched) = self.targets.get_mut(&id).filter(|watched| watched.due == Some(at)) else {
                self.heap.pop();
                continue;
            };
            if at > now {
                return Due::At(at);
            }
            self.heap.pop();
            watched.due = None;
            watched.started = now;
            return Due::Now(id, watched.check());
        }
        Due::Never
    }

    /// Takes in what a check found; none: it could not be tried.
    pub fn found(&mut self, id: Id, finding: Option<Finding>, now: Instant) -> Option<TargetReport> {
        // Gone meanwhile.
        let watched = self.targets.get_mut(&id)?;
        let report = finding.and_then(|finding| watched.group.observe(&watched.target, finding, timestamp()));
        let pause = match finding {
            Some(_) => {
                watched.attempts = watched.attempts.saturating_add(1);
                watched.not_tried = 0;
                watched.pause()
            }
            None => {
                watched.not_tried = watched.not_tried.saturating_add(1);
                let check = &watched.group.health_check;
                check.delay(TargetState::Initial, watched.not_tried, 0).min(NOT_TRIED)
            }
        };
        // An interval runs from one check's begin to the next one's.
        let due = (watched.started + pause).max(now);
        watched.due = Some(due);
        self.heap.push(Reverse((due, id)));
        report
    }

    pub fn has_draining(&self) -> bool {
        self.draining.values().any(|draining| !draining.reported)
    }

    /// The draining targets that nothing is left on.
    pub fn drained(&mut self, now: Instant) -> Vec<TargetReport> {
        let mut news = Vec::new();
        for draining in self.draining.values_mut().filter(|draining| !draining.reported) {
            let report = draining.group.report(&draining.target, timestamp());
            if report.state != TargetState::Drained {
                draining.quiet_since = None;
                continue;
            }
            let since = *draining.quiet_since.get_or_insert(now);
            if now.duration_since(since) >= LOOK {
                draining.reported = true;
                news.push(report);
            }
        }
        news
    }
}

impl Watched {
    fn pause(&self) -> Duration {
        let check = &self.group.health_check;
        check.delay(self.target.state(), self.attempts, random())
    }

    fn check(&self) -> Check {
        let check = &self.group.health_check;
        let speech = match (check.spec.protocol, self.group.version) {
            (Protocol::Http | Protocol::Https, ProtocolVersion::Http1) => Speech::Http1,
            (Protocol::Http | Protocol::Https, ProtocolVersion::Http2) => Speech::Http2,
            (Protocol::Http | Protocol::Https, ProtocolVersion::Grpc) => Speech::Grpc,
            _ => Speech::Tcp,
        };
        Check {
            target: SocketAddr::new(self.target.spec.address, check.port(&self.target)),
            source: self.group.source(),
            speech,
            tls: check.spec.protocol == Protocol::Https,
            path: check.spec.path.clone(),
            timeout: check.timeout(),
        }
    }
}

fn key(group: &Group, target: &Target) -> Key {
    let spec = &target.spec;
    (group.arn.clone(), spec.id.clone(), spec.port, spec.registered_at)
}

/// Spreads checks; nobody need be unable to guess it.
fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
