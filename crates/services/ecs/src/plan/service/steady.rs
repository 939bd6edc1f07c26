//! The ends: a rollout that is done, a service that is steady, a service that is gone.

use super::{Checks, Draft, ServiceEvent, ServiceStatus};
use crate::plan::deployment;
use crate::records::{RolloutState, TaskState};
use neargate_core::Timestamp;
use std::time::Duration;

/// AWS tells a steady state again from time to time.
const TELL_AGAIN: Duration = Duration::from_secs(6 * 3600);
/// Tasks started about together are looked at together.
const GRAIN_MS: i64 = 250;

impl Draft<'_> {
    /// Completes the rollout, forgets replaced deployments, tells the steady state, and sets the alarm clock.
    pub(super) fn conclude(&mut self) {
        let present: Vec<bool> = self
            .service
            .deployments
            .iter()
            .map(|d| self.view.tasks.iter().any(|t| t.present() && t.deployment == d.id))
            .collect();
        let mut at = 0;
        self.service.deployments.retain(|d| {
            let keep = at == 0 || d.target > 0 || present[at];
            at += 1;
            keep
        });
        let Some(primary) = self.service.deployments.first() else {
            return;
        };
        let settled = self.plan.launch.is_empty() && self.plan.stop.is_empty() && !self.plan.more;
        let done = settled && self.service.deployments.len() == 1 && self.at_rest(&primary.id.clone());
        if done && self.service.deployments[0].rollout == RolloutState::InProgress {
            let outcome = deployment::complete(&mut self.service, self.breaker.enabled, self.now);
            self.plan.events.extend(outcome.events);
            self.plan.history.extend(outcome.history);
        }
        let steady = done && self.service.deployments[0].rollout == RolloutState::Completed;
        self.tell_steady(steady);
        if !steady {
            self.wake_for_health();
        }
    }

    /// Every wanted task of the PRIMARY is there and healthy, and no other is.
    fn at_rest(&self, primary: &str) -> bool {
        let healthy = super::count(self.live_of(primary).filter(|(_, t)| self.healthy(t)));
        let present = super::count(self.view.tasks.iter().filter(|t| t.present()));
        let open = match self.service.is_daemon() {
            true => super::count(self.view.nodes.iter().filter(|n| n.open)),
            false => self.limits.desired,
        };
        healthy == present && present >= open && present <= self.limits.desired
    }

    fn tell_steady(&mut self, steady: bool) {
        if !steady {
            self.service.steady_at = None;
            return;
        }
        self.service.protection_told = false;
        let due = self.service.steady_at.is_none_or(|at| self.now >= at.plus(TELL_AGAIN));
        if due {
            self.service.steady_at = Some(self.now);
            self.plan.events.push(ServiceEvent::SteadyState);
        }
        if let Some(at) = self.service.steady_at {
            self.wake(at.plus(TELL_AGAIN));
        }
    }

    /// Looks again when tasks without health check have run long enough. While anything hangs on the first of them,
    /// that is when the first has; otherwise when the last has.
    fn wake_for_health(&mut self) {
        let moments = self
            .live()
            .filter(|(_, t)| t.checks == Checks::None && t.state == TaskState::Running && !self.healthy(t))
            .filter_map(|(_, t)| t.started_at)
            .map(|at| at.plus(self.view.healthy_after));
        let urgent = self.service.deployments.len() > 1
            || self.service.rebalancing_until.is_some()
            || self
                .service
                .deployments
                .iter()
                .any(|d| d.failures > 0 || d.backoff.step > 0)
            || self.live().any(|(_, t)| t.unhealthy());
        let at = if urgent { moments.min() } else { moments.max() };
        if let Some(at) = at {
            let rounded = at
                .millis()
                .saturating_add(GRAIN_MS - 1)
                .div_euclid(GRAIN_MS)
                .saturating_mul(GRAIN_MS);
            self.wake(Timestamp(rounded));
        }
    }

    /// A deleted service: every task stops, then it is INACTIVE.
    pub(super) fn drain(&mut self) {
        self.service.desired_count = 0;
        let live: Vec<usize> = self.live().map(|(at, _)| at).collect();
        for at in live {
            if !self.stop_surplus(at) {
                return;
            }
        }
        if self.view.tasks.iter().any(super::TaskView::present) {
            return;
        }
        self.service.status = ServiceStatus::Inactive;
        self.service.inactive_at = Some(self.now);
        self.service.deployments.clear();
        self.service.last_completed = None;
        self.service.steady_at = None;
        self.service.stop_requested = None;
        self.plan.reasons.push("no task is left: INACTIVE".to_owned());
    }
}
