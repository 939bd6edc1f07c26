//! One target out of a group's, by its algorithm.
//!
//! Only healthy targets; when none is, all of them (fail open); none when the group, or the zone that counts, is empty.

use crate::flow;
use crate::group::{Group, Pickable};
use crate::settings::Algorithm;
use crate::target::{FULL_SHARE, Target};
use neargate_core::Timestamp;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Those of a group's targets that count for one choice.
pub struct Candidates<'g, 'z> {
    group: &'g Group,
    pickable: Arc<Pickable>,
    zone: Option<&'z str>,
    /// Take those that are not healthy too: a zone without a healthy one fails open by itself.
    all: bool,
    count: usize,
}

impl<'g, 'z> Candidates<'g, 'z> {
    /// `zone`: the zone of the balancer's address when only its targets count.
    pub fn new(group: &'g Group, zone: Option<&'z str>) -> Candidates<'g, 'z> {
        let pickable = group.pickable();
        let mut candidates = Candidates {
            group,
            zone,
            all: false,
            count: pickable.places.len(),
            pickable,
        };
        if zone.is_some() {
            candidates.count = candidates.iter().count();
            if candidates.count == 0 {
                candidates.all = true;
                candidates.count = candidates.iter().count();
            }
        }
        candidates
    }

    pub fn fail_open(&self) -> bool {
        self.pickable.fail_open || self.all
    }

    fn iter(&self) -> impl Iterator<Item = &'g Arc<Target>> + '_ {
        let targets = self.group.targets();
        let (known, every) = if self.all {
            (&[][..], targets)
        } else {
            (self.pickable.places.as_slice(), &[][..])
        };
        known
            .iter()
            .filter_map(move |place| targets.get(*place as usize))
            .chain(every.iter().filter(|target| !target.is_draining()))
            .filter(move |target| match (self.zone, target.spec.zone.as_deref()) {
                // Machines of container instances, and addresses outside the VPC, are in every zone.
                (None, _) | (_, None | Some("all")) => true,
                (Some(zone), Some(own)) => zone == own,
            })
    }

    /// Target number `place` of `count`.
    fn nth(&self, place: usize) -> Option<&'g Arc<Target>> {
        if self.zone.is_some() {
            return self.iter().nth(place);
        }
        self.group.targets().get(*self.pickable.places.get(place)? as usize)
    }

    /// The one that a cookie names, if it may be picked.
    pub fn tagged(&self, tag: u64) -> Option<&'g Arc<Target>> {
        self.iter().find(|target| target.tag == tag)
    }

    /// By the group's algorithm.
    pub fn pick(&self, now: Timestamp, random: u64) -> Option<&'g Arc<Target>> {
        if self.count <= 1 {
            return self.nth(0);
        }
        let warming = self.pickable.slow_until.is_some_and(|until| until > now);
        match self.group.settings.algorithm {
            Algorithm::LeastOutstandingRequests => self.least(now, random),
            // Shares are only met by chance: turns would give a starting target too much or nothing.
            _ if warming => self.by_share(now, random),
            Algorithm::RoundRobin => {
                let turn = self.group.cursor().fetch_add(1, Ordering::Relaxed);
                self.nth(turn % self.count)
            }
            Algorithm::WeightedRandom => self.nth(below(random, self.count as u64) as usize),
        }
    }

    /// Fewest outstanding requests for its share; among equals whoever comes first from a random place on.
    fn least(&self, now: Timestamp, random: u64) -> Option<&'g Arc<Target>> {
        let start = below(random, self.count as u64) as usize;
        let slow_start = self.group.settings.slow_start;
        let load = |target: &Arc<Target>| {
            (u64::from(target.outstanding()) + 1) * FULL_SHARE / target.live.share(now, slow_start)
        };
        let late = self.iter().skip(start);
        late.chain(self.iter().take(start)).min_by_key(|target| load(target))
    }

    fn by_share(&self, now: Timestamp, random: u64) -> Option<&'g Arc<Target>> {
        let slow_start = self.group.settings.slow_start;
        let total = self.iter().map(|target| target.live.share(now, slow_start)).sum();
        let mut left = below(random, total);
        self.iter().find(|target| {
            let share = target.live.share(now, slow_start);
            let here = left < share;
            left = left.saturating_sub(share);
            here
        })
    }

    /// The same for the same hash; a target that comes or goes only moves the flows that it gets or had.
    pub fn by_hash(&self, hash: u64) -> Option<&'g Arc<Target>> {
        self.iter().max_by_key(|target| flow::mix(hash, target.tag))
    }
}

/// A number below `limit` (0 for 0), from a random one.
pub fn below(random: u64, limit: u64) -> u64 {
    ((u128::from(random) * u128::from(limit)) >> 64) as u64
}
