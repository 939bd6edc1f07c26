//! REPLICA: keeping the desired number of tasks, and rolling from old deployments to the PRIMARY.
//!
//! An old deployment keeps a target of its own that falls as the PRIMARY's tasks become healthy. New tasks come before
//! old ones go as long as maximumPercent has room; only without room, minimumHealthyPercent is used to make some.

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

impl Draft<'_> {
    pub(super) fn scale_replica(&mut self) {
        if self.service.deployments.is_empty() {
            return;
        }
        self.rebalance();
        self.set_targets();
        self.stop_surplus_everywhere();
        let missing = self.launch_missing();
        self.make_room(missing);
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

    /// Launches what the targets lack and maximumPercent allows; answers how many of the PRIMARY found no room.
    fn launch_missing(&mut self) -> u32 {
        let mut slots = self.limits.upper.saturating_sub(self.counted());
        let mut missing = 0;
        // Availability first: a proven old deployment gets back what it lost before the rollout goes on.
        for at in (0..self.service.deployments.len()).rev() {
            let d = &self.service.deployments[at];
            if d.rollout == RolloutState::Failed || at > 0 && !d.proven {
                continue;
            }
            let tally = self.tally(at);
            let mut wanted = d.target.saturating_sub(tally.good);
            if tally.unplaced > 0 {
                wanted = wanted.min(MOST_WAITING.saturating_sub(tally.waiting));
            }
            if wanted == 0 {
                continue;
            }
            let retry_at = d.backoff.retry_at;
            if d.backoff.step > 0 && self.now < retry_at {
                self.wake(retry_at);
                continue;
            }
            let launched = self.launch(at, wanted.min(slots), tally.unhealthy, None);
            slots -= launched;
            if at == 0 {
                missing = wanted.saturating_sub(launched);
            }
        }
        // With slots left, only the budget was short.
        if slots > 0 { 0 } else { missing }
    }

    /// When the PRIMARY lacks room, takes it from old tasks as far as minimumHealthyPercent allows, or from an
    /// unhealthy task.
    fn make_room(&mut self, missing: u32) {
        let primary = self.tally(0);
        let lacking = missing.max(primary.unplaced);
        let leaving = self.leaving();
        if lacking == 0 || self.plan.more {
            self.service.deployments[0].blocked_told = false;
            return;
        }
        if leaving >= lacking {
            return;
        }
        let mut most = lacking - leaving;
        let mut floor = self.floor();
        let mut stopped = 0;
        for at in (1..self.service.deployments.len()).rev() {
            let old = &self.service.deployments[at];
            // What a proven deployment is just getting back is left to arrive.
            let coming = |t: &TaskView<'_>| old.proven && t.state < TaskState::Running && t.waiting.is_none();
            let candidates = self
                .live_of(&old.id)
                .filter(|(_, t)| !coming(t))
                .map(|(at, _)| at)
                .collect();
            let taken = u32::try_from(self.stop_some(candidates, most, &mut floor).len()).unwrap_or(u32::MAX);
            let target = &mut self.service.deployments[at].target;
            *target = target.saturating_sub(taken);
            most -= taken;
            stopped += taken;
        }
        if stopped > 0 || leaving > 0 {
            return;
        }
        // Tasks on their way to healthy will make room by themselves.
        let coming = self
            .live()
            .any(|(_, t)| !t.unhealthy() && !self.healthy(t) && t.waiting.is_none());
        if coming || !self.plan.launch.is_empty() {
            return;
        }
        let unhealthy = self.live().find(|(_, t)| t.unhealthy()).map(|(at, _)| at);
        if let Some(at) = unhealthy {
            self.stop_unhealthy(at);
        } else if missing > 0 && self.service.deployments.len() > 1 && !self.service.deployments[0].blocked_told {
            self.service.deployments[0].blocked_told = true;
            self.plan.events.push(ServiceEvent::Blocked);
        }
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
