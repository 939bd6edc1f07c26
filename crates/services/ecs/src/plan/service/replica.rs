//! REPLICA: keeping the desired number of tasks, and rolling from old deployments to the PRIMARY.
//!
//! An old deployment keeps a target of its own that falls as the PRIMARY's tasks become healthy. New tasks come before
//! old ones go as long as maximumPercent has room; only without room, minimumHealthyPercent is used to make some.
//!
//! Each deployment replaces its own: what a proven old one lost comes back from its own revision, before the PRIMARY gets
//! more. A PRIMARY that does not come up replaces its tasks within the places it has ("Amazon ECS improves Service
//! Availability during Rolling deployments" of AWS's announcements).

use super::{Draft, ServiceEvent, TaskView, count};
use crate::records::{RolloutState, TaskState};
use neargate_core::Timestamp;
use std::time::Duration;

/// Zones are evened out at most this often, and one task at a time.
const REBALANCE_EVERY: Duration = Duration::from_secs(600);

/// Tasks of a deployment that may wait for a node while nodes refuse it: a count beyond what the machines hold must not
/// fill the store with tasks that cannot run.
const MOST_WAITING: u32 = 100;

/// A deployment's tasks in numbers.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Wanted and not UNHEALTHY.
    good: u32,
    healthy: u32,
    serving: u32,
    unhealthy: u32,
    /// Refused by every node.
    unplaced: u32,
    /// Without a node.
    waiting: u32,
}

/// What a deployment wants and maximumPercent has no place for.
#[derive(Clone, Copy, Debug, Default)]
struct Lack {
    /// Tasks short of the target, UNHEALTHY ones counted as there.
    absent: u32,
    /// Replacements of UNHEALTHY tasks.
    replacements: u32,
}

impl Draft<'_> {
    pub(super) fn scale_replica(&mut self) {
        if self.service.deployments.is_empty() {
            return;
        }
        self.rebalance();
        self.set_targets();
        self.stop_surplus_everywhere();
        let lacks = self.launch_missing();
        self.make_room(&lacks);
    }

    fn tally(&self, deployment: usize) -> Tally {
        let mut out = Tally::default();
        for (_, task) in self.live_of(&self.service.deployments[deployment].id) {
            match task.unhealthy() {
                true => out.unhealthy += 1,
                false => out.good += 1,
            }
            out.healthy += u32::from(self.healthy(task));
            out.serving += u32::from(task.serving());
            out.unplaced += u32::from(task.waiting.is_some());
            out.waiting += u32::from(task.state == TaskState::Provisioning);
        }
        out
    }

    /// How many tasks each deployment is to have.
    fn set_targets(&mut self) {
        let desired = self.limits.desired;
        let failed = self.primary_failed();
        let primary = self.tally(0);
        let extra = u32::from(self.service.rebalancing_until.is_some());
        let target = &mut self.service.deployments[0].target;
        *target = if failed {
            (*target).min(primary.good + primary.unhealthy).min(desired)
        } else {
            desired + extra
        };

        for at in 1..self.service.deployments.len() {
            let tally = self.tally(at);
            let old = &mut self.service.deployments[at];
            if !old.proven {
                old.target = old.target.min(tally.serving);
            }
        }
        // What the PRIMARY has taken over. A stalled one takes over nothing more.
        let mut room = if failed {
            desired
        } else {
            desired - primary.healthy.min(desired)
        };
        let mut order: Vec<usize> = (1..self.service.deployments.len()).collect();
        order.sort_by_key(|at| !self.service.deployments[*at].proven);
        for at in order {
            let old = &mut self.service.deployments[at];
            old.target = old.target.min(room);
            room -= old.target;
        }
    }

    /// Stops what is beyond the targets, and unhealthy tasks whose replacements are healthy.
    fn stop_surplus_everywhere(&mut self) {
        let mut floor = self.floor();
        for at in (0..self.service.deployments.len()).rev() {
            let tally = self.tally(at);
            let d = &self.service.deployments[at];
            let (id, target) = (d.id.clone(), d.target);
            let abandoned = at > 0 && !d.proven || d.rollout == RolloutState::Failed;
            let unhealthy: Vec<usize> = self
                .live_of(&id)
                .filter(|(_, t)| t.unhealthy())
                .map(|(at, _)| at)
                .collect();
            if abandoned || tally.healthy >= target {
                for task in unhealthy {
                    if !self.stop_unhealthy(task) {
                        return;
                    }
                }
            }
            let surplus = tally.good.saturating_sub(target);
            if surplus > 0 {
                let good = self
                    .live_of(&id)
                    .filter(|(_, t)| !t.unhealthy())
                    .map(|(at, _)| at)
                    .collect();
                self.stop_some(good, surplus, &mut floor);
            }
        }
    }

    /// Launches what the targets lack and maximumPercent allows; answers what each deployment found no place for.
    ///
    /// First every deployment gets up to its target, old ones before the PRIMARY: availability comes first. Only what is
    /// left then serves to replace UNHEALTHY tasks before they go, so that no failing revision takes another's places.
    fn launch_missing(&mut self) -> Vec<Lack> {
        let mut lacks = vec![Lack::default(); self.service.deployments.len()];
        // Places of old tasks that come back later.
        let mut kept = 0;
        for (at, lack) in lacks.iter_mut().enumerate() {
            let d = &self.service.deployments[at];
            if d.rollout == RolloutState::Failed || at > 0 && !d.proven {
                continue;
            }
            let tally = self.tally(at);
            let mut wanted = d.target.saturating_sub(tally.good);
            if tally.unplaced > 0 {
                wanted = wanted.min(MOST_WAITING.saturating_sub(tally.waiting));
            }
            let absent = wanted.min(d.target.saturating_sub(tally.good + tally.unhealthy));
            if d.backoff.step == 0 || self.now >= d.backoff.retry_at {
                let replacements = wanted - absent;
                *lack = Lack { absent, replacements };
            } else if wanted > 0 {
                let retry_at = d.backoff.retry_at;
                self.wake(retry_at);
                kept += if at > 0 { absent } else { 0 };
            }
        }
        let mut slots = self.limits.upper.saturating_sub(self.counted());
        let mut granted = vec![0; lacks.len()];
        let mut grant = |at: usize, wanted: &mut u32, slots: &mut u32| {
            let n = (*wanted).min(*slots);
            *wanted -= n;
            *slots -= n;
            granted[at] += n;
        };
        for (at, lack) in lacks.iter_mut().enumerate().rev() {
            grant(at, &mut lack.absent, &mut slots);
        }
        slots = slots.saturating_sub(kept);
        for (at, lack) in lacks.iter_mut().enumerate().rev() {
            grant(at, &mut lack.replacements, &mut slots);
        }
        for (at, wanted) in granted.into_iter().enumerate().rev().filter(|(_, n)| *n > 0) {
            let unhealthy = self.tally(at).unhealthy;
            self.launch(at, wanted, unhealthy, None);
        }
        lacks
    }

    /// When there is no room for what is wanted, takes some from UNHEALTHY tasks and, for the PRIMARY, from old ones as
    /// far as minimumHealthyPercent allows.
    fn make_room(&mut self, lacks: &[Lack]) {
        let primary = self.tally(0);
        let lacking = lacks[0].absent.max(primary.unplaced);
        let absent = lacking + lacks[1..].iter().map(|l| l.absent).sum::<u32>();
        let all_fits = (0..lacks.len()).all(|at| !self.wants_room(at, lacks));
        if all_fits || self.plan.more {
            self.service.deployments[0].blocked_told = false;
            return;
        }
        let leaving = self.leaving();
        if leaving >= absent.max(1) {
            return;
        }
        let stopped = self.stopped.len();
        let mut most = absent.saturating_sub(leaving);
        most -= self.stop_unhealthy_extras(lacks, most);
        // A PRIMARY that fails its health checks first has to do well in the places it has.
        if primary.unhealthy == 0 {
            self.take_from_old(most.min(lacking));
        }
        if self.stopped.len() > stopped || leaving > 0 {
            return;
        }
        let coming = |t: &TaskView<'_>| !t.unhealthy() && !self.healthy(t) && t.waiting.is_none();
        // Without room, one UNHEALTHY task after the other goes before its replacement comes.
        let next = (0..lacks.len()).rev().find_map(|at| {
            let id = &self.service.deployments[at].id;
            // Tasks on their way to healthy will make room by themselves.
            let moving =
                self.live_of(id).any(|(_, t)| coming(t)) || self.plan.launch.iter().any(|l| l.deployment == *id);
            let stuck = self.wants_room(at, lacks) && !moving;
            self.live_of(id).find(|(_, t)| stuck && t.unhealthy()).map(|(at, _)| at)
        });
        if let Some(at) = next {
            self.stop_unhealthy(at);
            return;
        }
        let moving = !self.plan.launch.is_empty() || self.live().any(|(_, t)| coming(t) || t.unhealthy());
        let blocked = !moving && lacks[0].absent > 0 && self.service.deployments.len() > 1;
        if blocked && !self.service.deployments[0].blocked_told {
            self.service.deployments[0].blocked_told = true;
            self.plan.events.push(ServiceEvent::Blocked);
        }
    }

    /// Whether tasks of the deployment find no room under maximumPercent or on the nodes.
    fn wants_room(&self, at: usize, lacks: &[Lack]) -> bool {
        lacks[at].absent + lacks[at].replacements + self.tally(at).unplaced > 0
    }

    /// Stops up to `most` UNHEALTHY tasks that hold places of others: those beyond a target, and of the PRIMARY's as many
    /// as old deployments lack. Answers how many.
    fn stop_unhealthy_extras(&mut self, lacks: &[Lack], most: u32) -> u32 {
        let mut left = most;
        for at in 0..lacks.len() {
            let tally = self.tally(at);
            let d = &self.service.deployments[at];
            let mut extras = (tally.good + tally.unhealthy).saturating_sub(d.target);
            if at == 0 {
                extras = extras.max(lacks[1..].iter().map(|l| l.absent).sum());
            }
            let unhealthy = self.live_of(&d.id).filter(|(_, t)| t.unhealthy());
            let extras: Vec<usize> = unhealthy.map(|(at, _)| at).take(extras.min(left) as usize).collect();
            for task in extras {
                if !self.stop_unhealthy(task) {
                    return most - left;
                }
                left -= 1;
            }
        }
        most - left
    }

    /// Gives up to `most` places of old deployments to the PRIMARY, unproven ones' first.
    fn take_from_old(&mut self, mut most: u32) {
        let mut floor = self.floor();
        let mut order: Vec<usize> = (1..self.service.deployments.len()).rev().collect();
        order.sort_by_key(|at| self.service.deployments[*at].proven);
        for at in order {
            let old = &self.service.deployments[at];
            // What a proven deployment is just getting back is left to arrive.
            let coming = |t: &TaskView<'_>| old.proven && t.state < TaskState::Running && t.waiting.is_none();
            let candidates = self
                .live_of(&old.id)
                .filter(|(_, t)| !coming(t))
                .map(|(at, _)| at)
                .collect();
            let spare = match old.proven {
                true => self.relied_on().saturating_sub(self.limits.lower),
                false => u32::MAX,
            };
            let taken = self.stop_some(candidates, most.min(spare), &mut floor).len();
            let taken = u32::try_from(taken).unwrap_or(u32::MAX);
            let target = &mut self.service.deployments[at].target;
            *target = target.saturating_sub(taken);
            most -= taken;
        }
    }

    /// The tasks that minimumHealthyPercent can count on: healthy ones, and of proven old deployments also those that are
    /// to become it.
    fn relied_on(&self) -> u32 {
        let deployments = self.service.deployments.iter().enumerate();
        let each = deployments.map(|(at, d)| match at > 0 && d.proven {
            true => d.target,
            false => self.tally(at).healthy,
        });
        each.sum()
    }

    /// Decides whether one task more than desired is kept for a while, to move a task to an emptier zone.
    fn rebalance(&mut self) {
        let Some(until) = self.service.rebalancing_until else {
            return self.begin_rebalancing();
        };
        let arrived = self.tally(0).healthy > self.limits.desired;
        let disturbed = self.service.deployments.len() > 1 || self.service.availability_zone_rebalancing != "ENABLED";
        if arrived || disturbed || self.now >= until {
            self.service.rebalancing_until = None;
        } else {
            self.wake(until);
        }
    }

    fn begin_rebalancing(&mut self) {
        let steady = self.service.steady_at;
        let ready = self.service.availability_zone_rebalancing == "ENABLED"
            && self.service.deployments.len() == 1
            && self.limits.upper > self.limits.desired
            && self.view.zones.len() > 1;
        let Some(steady_at) = steady.filter(|_| ready) else {
            return;
        };
        let tasks = |zone: &str| count(self.live().filter(|(_, t)| t.zone == Some(zone)));
        let counts: Vec<u32> = self.view.zones.iter().map(|zone| tasks(zone)).collect();
        let spread = counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0);
        if spread <= 1 {
            return;
        }
        let from: Timestamp = steady_at.plus(REBALANCE_EVERY);
        if self.now < from {
            self.wake(from);
            return;
        }
        self.plan
            .reasons
            .push(format!("zones hold {counts:?} tasks: one moves"));
        self.service.rebalancing_until = Some(self.now.plus(REBALANCE_EVERY));
        self.service.steady_at = None;
    }
}
