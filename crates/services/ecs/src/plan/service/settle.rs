//! Taking note of what happened to tasks: failures, recoveries, image digests, waits for a node. Each end of a task is
//! counted exactly once, in the commit that marks the task settled.

use super::{Checks, Draft, TaskView, count};
use crate::plan::backoff;
use crate::plan::events::ServiceEvent;
use crate::records::{Backoff, BackoffCause, RolloutState, ServiceStatus, TaskState};

/// What the end of a task means for its deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Somebody stopped it, its machine was lost, or it had been healthy.
    Lost,
    Failed(BackoffCause),
}

impl Draft<'_> {
    /// Counts the ends of tasks that were not counted yet, as soon as they begin.
    pub(super) fn settle(&mut self) {
        self.recover();
        for task in self.view.tasks {
            if task.state > TaskState::Running && !task.settled {
                if !self.spend() {
                    break;
                }
                self.plan.settle.push(task.id.to_owned());
                self.count_end(task);
            }
        }
        self.watch_unplaced();
    }

    /// A deployment whose newer tasks do well forgets its failures.
    fn recover(&mut self) {
        for at in 0..self.service.deployments.len() {
            let d = &self.service.deployments[at];
            let healthy = count(self.live_of(&d.id).filter(|(_, t)| self.healthy(t)));
            let since = d.backoff.failed_at;
            let recovered = d.backoff.step > 0
                && self.live_of(&d.id).any(|(_, t)| {
                    t.created_at >= since
                        && match d.backoff.cause {
                            BackoffCause::FailedToStart => t.state == TaskState::Running,
                            BackoffCause::ExitedEarly => self.healthy(t),
                        }
                });
            let d = &mut self.service.deployments[at];
            if recovered {
                d.backoff = Backoff::default();
            }
            if d.rollout == RolloutState::InProgress && d.failures > 0 {
                if healthy > d.healthy_seen && self.breaker.reset_on_healthy_task {
                    d.failures = 0;
                }
                d.healthy_seen = healthy;
            }
        }
    }

    fn count_end(&mut self, task: &TaskView<'_>) {
        let end = self.end_of(task);
        let Some(at) = self.service.deployments.iter().position(|d| d.id == task.deployment) else {
            return;
        };
        let d = &mut self.service.deployments[at];
        if at > 0 && !d.proven {
            d.target = d.target.saturating_sub(1);
        }
        let End::Failed(cause) = end else { return };
        let throttled = backoff::fail(&mut d.backoff, cause, task.created_at, self.now);
        if throttled && self.service.status == ServiceStatus::Active {
            let told = self.plan.events.contains(&ServiceEvent::CannotStartConsistently);
            if !told {
                self.plan.events.push(ServiceEvent::CannotStartConsistently);
            }
        }
        self.count_failures(task.deployment, 1);
    }

    fn end_of(&self, task: &TaskView<'_>) -> End {
        if !matches!(
            task.stop_code,
            None | Some("TaskFailedToStart" | "EssentialContainerExited")
        ) {
            return End::Lost;
        }
        let Some(started) = task.started_at else {
            return End::Failed(BackoffCause::FailedToStart);
        };
        let healthy = match task.checks {
            Checks::None => task.ended_at.unwrap_or(self.now).since(started) >= self.view.healthy_after,
            Checks::Healthy => true,
            Checks::Unknown | Checks::Unhealthy => false,
        };
        if healthy {
            End::Lost
        } else {
            End::Failed(BackoffCause::ExitedEarly)
        }
    }

    /// Adds to the failures that the circuit breaker watches.
    pub(super) fn count_failures(&mut self, deployment: &str, failures: u32) {
        let healthy = count(self.live_of(deployment).filter(|(_, t)| self.healthy(t)));
        let found = self.service.deployments.iter_mut().find(|d| d.id == deployment);
        if let Some(d) = found.filter(|d| d.rollout == RolloutState::InProgress) {
            d.failures = d.failures.saturating_add(failures);
            d.healthy_seen = healthy;
        }
    }

    /// Tells why tasks wait for a node; every round of waiting is a failure to launch.
    fn watch_unplaced(&mut self) {
        for at in 0..self.service.deployments.len() {
            let d = &self.service.deployments[at];
            let waiting = self.live_of(&d.id).find_map(|(_, t)| t.waiting);
            let id = d.id.clone();
            let unplaced = &mut self.service.deployments[at].unplaced;
            let Some(reason) = waiting else {
                *unplaced = None;
                continue;
            };
            let (tell, rounds) = backoff::wait(unplaced, reason, self.now);
            let next_at = unplaced.as_ref().map(|u| u.next_at);
            if tell {
                self.plan.events.push(ServiceEvent::Unplaced {
                    reason: reason.to_owned(),
                });
            }
            if rounds > 0 {
                self.count_failures(&id, rounds);
            }
            if let Some(next_at) = next_at {
                self.wake(next_at);
            }
        }
    }

    /// Pins the image digests that the first pulls of a deployment found.
    pub(super) fn resolve_digests(&mut self) {
        for at in 0..self.service.deployments.len() {
            let d = &self.service.deployments[at];
            if d.unresolved.is_empty() {
                continue;
            }
            let mut digests = d.digests.clone();
            for task in self.view.tasks.iter().filter(|t| t.deployment == d.id) {
                for (container, digest) in &task.digests {
                    if d.unresolved.iter().any(|name| name == container) {
                        digests
                            .entry((*container).to_owned())
                            .or_insert_with(|| (*digest).to_owned());
                    }
                }
            }
            if digests != d.digests {
                let d = &mut self.service.deployments[at];
                d.unresolved.retain(|name| !digests.contains_key(name));
                d.digests = digests;
                self.plan
                    .resolved
                    .push((d.service_revision_arn.clone(), d.digests.clone()));
            }
        }
    }
}
