//! A target group: its targets, their health, and which of them may be picked.

use crate::flow;
use crate::health::{Finding, Health, HealthCheck};
use crate::metrics::GroupMetrics;
use crate::settings::GroupSettings;
use crate::target::{Live, Target};
use neargate_core::Timestamp;
use neargate_link::gateway::{Protocol, ProtocolVersion, TargetGroup, TargetReport, TargetState};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// A target group as one table has it.
#[derive(Debug)]
pub struct Group {
    pub arn: String,
    /// `targetgroup/NAME/0123456789abcdef`.
    pub id: String,
    pub protocol: Protocol,
    pub version: ProtocolVersion,
    pub health_check: HealthCheck,
    pub settings: GroupSettings,
    /// Names it in cookies.
    pub(crate) tag: u64,
    /// Id of the balancer whose listeners forward to it: AWS admits one only.
    pub(crate) balancer: Option<String>,
    /// That balancer's first address.
    pub(crate) source: Option<Ipv4Addr>,
    targets: Vec<Arc<Target>>,
    live: Arc<GroupLive>,
    pickable: RwLock<Arc<Pickable>>,
}

/// What outlives a table.
#[derive(Debug, Default)]
pub(crate) struct GroupLive {
    /// Grows with every change of a target's state.
    version: AtomicU64,
    pub cursor: AtomicUsize,
    metrics: GroupMetrics,
}

/// Places in `Group::targets`.
#[derive(Debug)]
pub(crate) struct Pickable {
    version: u64,
    /// Those that get requests: the healthy ones, or all that do not drain when none is healthy.
    pub places: Vec<u32>,
    pub fail_open: bool,
    /// When the last slow start among them ends.
    pub slow_until: Option<Timestamp>,
}

impl Group {
    pub(crate) fn new(table: &TargetGroup, previous: Option<&Group>, first_table: bool) -> Group {
        let before: BTreeMap<_, _> = previous
            .iter()
            .flat_map(|group| &group.targets)
            .map(|target| ((&*target.spec.id, target.spec.port, target.spec.registered_at), target))
            .collect();
        let enabled = table.health_check.enabled;
        let targets: Vec<_> = table
            .targets
            .iter()
            .map(|spec| {
                let live = match before.get(&(&*spec.id, spec.port, spec.registered_at)) {
                    Some(target) => {
                        target.live.alter(|health| health.enable(enabled));
                        target.live.clone()
                    }
                    None => Arc::new(Live::new(Health::new(enabled), first_table)),
                };
                Arc::new(Target::new(spec, live))
            })
            .collect();
        let live = previous.map_or_else(Arc::default, |group| group.live.clone());
        let settings = GroupSettings::new(&table.attributes);
        let version = live.version.load(Ordering::Acquire);
        Group {
            arn: table.arn.clone(),
            id: table.id.clone(),
            protocol: table.protocol,
            version: table.protocol_version,
            health_check: HealthCheck::new(&table.health_check, table.protocol_version),
            tag: flow::tag([table.arn.as_bytes()]),
            balancer: None,
            source: None,
            pickable: RwLock::new(Arc::new(Pickable::new(&targets, &settings, version))),
            settings,
            targets,
            live,
        }
    }

    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    pub fn target(&self, id: &str, port: u16) -> Option<&Arc<Target>> {
        self.targets
            .iter()
            .find(|target| target.spec.id == id && target.spec.port == port)
    }

    pub fn metrics(&self) -> &GroupMetrics {
        &self.live.metrics
    }

    /// True when some listener forwards to it.
    pub fn is_used(&self) -> bool {
        self.balancer.is_some()
    }

    /// From where its targets are checked and called: an address of the balancer that uses it.
    pub fn source(&self) -> Option<Ipv4Addr> {
        self.source
    }

    /// Takes in what a check of the target found; answers with a report when something changed.
    pub fn observe(&self, target: &Target, finding: Finding, now: Timestamp) -> Option<TargetReport> {
        let before = target.live.state();
        let changed = target
            .live
            .alter(|health| health.observe(&self.health_check, finding, now));
        if !changed {
            return None;
        }
        let state = target.live.state();
        if state != before {
            if state == TargetState::Healthy {
                self.consider_slow_start(target, before, now);
            } else {
                target.live.end_slow_start();
            }
            self.live.version.fetch_add(1, Ordering::Release);
        }
        Some(self.report(target, now))
    }

    /// A target starts slowly when there is a healthy one, registered before it, that can take the load meanwhile.
    fn consider_slow_start(&self, target: &Target, before: TargetState, now: Timestamp) {
        let duration = self.settings.slow_start;
        if duration.is_zero() || (before == TargetState::Initial && target.live.was_there()) {
            return;
        }
        let takes_load = |other: &Arc<Target>| {
            !Arc::ptr_eq(&other.live, &target.live)
                && !other.is_draining()
                && other.state() == TargetState::Healthy
                && other.live.slow_until(duration).is_none_or(|until| until <= now)
                && (before != TargetState::Initial || other.spec.registered_at < target.spec.registered_at)
        };
        if self.targets.iter().any(takes_load) {
            target.live.begin_slow_start(now);
        }
    }

    /// The target as it stands; `Drained` when it drains and nothing is left on it or its time is over.
    pub fn report(&self, target: &Target, now: Timestamp) -> TargetReport {
        let drained = target
            .spec
            .draining_until
            .is_some_and(|until| until <= now || target.outstanding() == 0);
        let health = target.live.health();
        let (state, why) = if drained {
            (TargetState::Drained, None)
        } else {
            (health.state(), health.why())
        };
        TargetReport {
            target_group: self.arn.clone(),
            id: target.spec.id.clone(),
            port: target.spec.port,
            registered_at: target.spec.registered_at,
            state,
            reason: why.map(|why| why.reason.to_owned()),
            description: why.map(|why| why.description.clone()),
        }
    }

    /// Healthy and unhealthy targets, as CloudWatch counts them.
    pub(crate) fn host_counts(&self) -> (u64, u64) {
        let in_service = || self.targets.iter().filter(|target| !target.is_draining());
        let count = |state| in_service().filter(|target| target.state() == state).count() as u64;
        (count(TargetState::Healthy), count(TargetState::Unhealthy))
    }

    pub(crate) fn cursor(&self) -> &AtomicUsize {
        &self.live.cursor
    }

    /// What may be picked now. The change of a target's state through an older table is seen here too.
    pub(crate) fn pickable(&self) -> Arc<Pickable> {
        let version = self.live.version.load(Ordering::Acquire);
        let known = self.pickable.read().unwrap_or_else(PoisonError::into_inner);
        if known.version == version {
            return known.clone();
        }
        drop(known);
        let new = Arc::new(Pickable::new(&self.targets, &self.settings, version));
        let mut known = self.pickable.write().unwrap_or_else(PoisonError::into_inner);
        if known.version < version {
            known.clone_from(&new);
        }
        new
    }
}

impl Pickable {
    fn new(targets: &[Arc<Target>], settings: &GroupSettings, version: u64) -> Pickable {
        let places = |admits: fn(&Target) -> bool| -> Vec<u32> {
            (0..)
                .zip(targets)
                .filter(|(_, target)| !target.is_draining() && admits(target))
                .map(|(place, _)| place)
                .collect()
        };
        let healthy = places(|target| matches!(target.state(), TargetState::Healthy | TargetState::Unavailable));
        let fail_open = healthy.is_empty();
        let places = if fail_open { places(|_| true) } else { healthy };
        let slow_until = places
            .iter()
            .filter_map(|place| targets[*place as usize].live.slow_until(settings.slow_start))
            .max();
        Pickable {
            version,
            fail_open: fail_open && !places.is_empty(),
            places,
            slow_until,
        }
    }
}
