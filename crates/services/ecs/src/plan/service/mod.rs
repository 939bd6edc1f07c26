//! The service planner: what to launch, what to stop, what to tell, and when to look again.
//!
//! `reconcile::service` calls `plan` with everything observed and commits what it answers; the scenarios call it on a
//! virtual clock. Invariants: launches never lift RUNNING and PENDING tasks above maximumPercent, stops never take
//! healthy tasks below minimumHealthyPercent, and planning again on an unchanged world at the same time changes nothing.
//! Everything remembered between two looks is in the `ServiceRecord` that a plan carries.

mod daemon;
mod replica;
mod select;
mod settle;
mod steady;
mod view;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod simulator;

pub use view::{Checks, History, Launch, NodeView, Plan, ServiceView, Stop, TaskView, UnhealthyTarget};

use super::circuit_breaker::{self, Breaker};
use super::deployment::{self, Cause, Limits};
use super::events::ServiceEvent;
use crate::records::{RolloutState, ServiceRecord, ServiceStatus, StopRequest, TaskState, Told};
use neargate_core::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Decides the next step.
pub fn plan(view: &ServiceView<'_>, now: Timestamp) -> Plan {
    if view.service.status == ServiceStatus::Inactive {
        return Plan::default();
    }
    let mut draft = Draft::new(view, now);
    draft.settle();
    draft.tell_targets();
    draft.resolve_digests();
    if draft.service.status == ServiceStatus::Draining {
        draft.drain();
    } else {
        draft.watch_rollout();
        match draft.service.is_daemon() {
            true => draft.scale_daemon(),
            false => draft.scale_replica(),
        }
        draft.conclude();
    }
    draft.finish()
}

/// A plan in the making.
struct Draft<'a> {
    view: &'a ServiceView<'a>,
    now: Timestamp,
    service: ServiceRecord,
    plan: Plan,
    limits: Limits,
    breaker: Breaker,
    /// Task changes still allowed.
    budget: usize,
    /// Positions in `view.tasks` of the tasks that this plan stops.
    stopped: BTreeSet<usize>,
}

impl<'a> Draft<'a> {
    fn new(view: &'a ServiceView<'a>, now: Timestamp) -> Draft<'a> {
        let mut service = view.service.clone();
        if service.is_daemon() && service.status == ServiceStatus::Active {
            service.desired_count = u32::try_from(view.nodes.len()).unwrap_or(u32::MAX);
        }
        let limits = Limits::of(&service.deployment_configuration, service.desired_count);
        let breaker = circuit_breaker::of(&service.deployment_configuration, service.desired_count);
        let budget = view.budget;
        Draft {
            view,
            now,
            service,
            plan: Plan::default(),
            limits,
            breaker,
            budget,
            stopped: BTreeSet::new(),
        }
    }

    /// Healthy as deployments count it.
    fn healthy(&self, task: &TaskView<'_>) -> bool {
        task.serving()
            && match task.checks {
                Checks::Healthy => true,
                Checks::None => task
                    .started_at
                    .is_some_and(|at| self.now >= at.plus(self.view.healthy_after)),
                Checks::Unknown | Checks::Unhealthy => false,
            }
    }

    /// Positions and tasks that are wanted still: not asked to stop before or by this plan.
    fn live(&self) -> impl Iterator<Item = (usize, &'a TaskView<'a>)> + '_ {
        self.view
            .tasks
            .iter()
            .enumerate()
            .filter(|(at, task)| task.live() && !self.stopped.contains(at))
    }

    fn live_of<'s>(&'s self, deployment: &'s str) -> impl Iterator<Item = (usize, &'a TaskView<'a>)> + 's {
        self.live().filter(move |(_, task)| task.deployment == deployment)
    }

    /// Tasks that maximumPercent counts.
    fn counted(&self) -> u32 {
        count(self.view.tasks.iter().filter(|t| t.counted()))
    }

    /// Tasks asked to stop that maximumPercent still counts.
    fn leaving(&self) -> u32 {
        let before = self.view.tasks.iter().filter(|t| t.stopping && t.counted());
        count(before) + u32::try_from(self.stopped.len()).unwrap_or(u32::MAX)
    }

    fn primary_failed(&self) -> bool {
        self.service
            .primary()
            .is_some_and(|p| p.rollout == RolloutState::Failed)
    }

    fn wake(&mut self, at: Timestamp) {
        let at = at.max(self.now.plus(Duration::from_millis(1)));
        self.plan.wake_at = Some(self.plan.wake_at.map_or(at, |old| old.min(at)));
    }

    /// Takes one task change from the budget.
    fn spend(&mut self) -> bool {
        match self.budget.checked_sub(1) {
            Some(rest) => {
                self.budget = rest;
                true
            }
            None => {
                self.plan.more = true;
                false
            }
        }
    }

    /// Asks the task at `at` to stop, unless the budget is spent.
    fn stop(&mut self, at: usize, reason: String) -> bool {
        if !self.spend() {
            return false;
        }
        self.stopped.insert(at);
        self.plan.stop.push(Stop {
            task: self.view.tasks[at].id.to_owned(),
            reason,
        });
        true
    }

    /// Stops the task at `at` because it is one too many.
    fn stop_surplus(&mut self, at: usize) -> bool {
        let by = self.service.primary().map_or("", |p| p.id.as_str());
        let reason = format!("Scaling activity initiated by (deployment {by})");
        self.stop(at, reason)
    }

    /// Stops the task at `at` because it failed its health checks, which is a failure of its deployment.
    fn stop_unhealthy(&mut self, at: usize) -> bool {
        let task = &self.view.tasks[at];
        // Its event is a change of its own.
        let reason = match &task.unhealthy_in {
            Some(target) => format!("Task failed ELB health checks in (target-group {})", target.group),
            None => "Task failed container health checks".to_owned(),
        };
        if !self.spend() || !self.stop(at, reason) {
            return false;
        }
        self.plan.events.push(match &task.unhealthy_in {
            Some(target) => ServiceEvent::UnhealthyTarget {
                task: task.id.to_owned(),
                port: target.port,
                group: target.group.to_owned(),
                reason: target.reason.to_owned(),
            },
            None => ServiceEvent::FailedHealthChecks {
                task: task.id.to_owned(),
            },
        });
        self.count_failures(task.deployment, 1);
        true
    }

    /// Launches up to `wanted` tasks of a deployment as the budget allows; answers how many.
    fn launch(&mut self, deployment: usize, wanted: u32, for_unhealthy: u32, node: Option<&str>) -> u32 {
        let n = wanted.min(u32::try_from(self.budget).unwrap_or(u32::MAX));
        self.plan.more |= n < wanted;
        if n > 0 {
            self.budget -= n as usize;
            let node = node.map(str::to_owned);
            let deployment = self.service.deployments[deployment].id.clone();
            self.plan.launch.push(Launch {
                deployment,
                count: n,
                for_unhealthy: for_unhealthy.min(n),
                node,
            });
        }
        n
    }

    /// Starts a new rollout, and gives it up when the circuit breaker or the user says so.
    fn watch_rollout(&mut self) {
        if let Some(primary) = self.service.deployments.first_mut().filter(|p| !p.started) {
            primary.started = true;
            let id = primary.service_deployment.clone();
            self.plan.history.push(History {
                id,
                status: "IN_PROGRESS",
                ..History::default()
            });
        }
        let Some(primary) = self.service.deployments.first() else {
            return;
        };
        let ongoing = primary.rollout == RolloutState::InProgress;
        let tripped = ongoing && self.breaker.enabled && primary.failures >= self.breaker.threshold;
        let (cause, rollback) = match self.service.stop_requested.take() {
            Some(request) if ongoing => (Cause::User, request == StopRequest::Rollback),
            _ if tripped => (Cause::CircuitBreaker, self.breaker.rollback),
            _ => return,
        };
        let (failures, threshold) = (primary.failures, self.breaker.threshold);
        self.plan.reasons.push(format!(
            "{} given up by {cause:?} at {failures} of {threshold} failures",
            primary.id
        ));
        let live = count(self.live_of(&primary.id));
        let outcome = deployment::give_up(&mut self.service, cause, rollback, live, self.now);
        self.plan.events.extend(outcome.events);
        self.plan.history.extend(outcome.history);
    }

    /// Tells which tasks joined target groups and which began to leave them: on AWS they drain first, then they are
    /// deregistered.
    fn tell_targets(&mut self) {
        let (mut joined, mut leaving, mut failed) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut draining = 0;
        for task in self.view.tasks.iter().filter(|t| !t.untold.is_empty()) {
            if !self.spend() {
                break;
            }
            self.plan.told.push(task.id.to_owned());
            for (group, told) in &task.untold {
                let counts = match told {
                    Told::Deregistered => &mut leaving,
                    Told::FailedToRegister => &mut failed,
                    Told::Nothing | Told::Registered => &mut joined,
                };
                *counts.entry((*group).to_owned()).or_insert(0) += 1;
            }
            draining += u32::from(task.untold.iter().any(|(_, told)| *told == Told::Deregistered));
        }
        let registered = joined.into_iter();
        let events = registered.map(|(group, targets)| ServiceEvent::Registered { targets, group });
        self.plan.events.extend(events);
        if draining > 0 {
            self.plan.events.push(ServiceEvent::Draining { tasks: draining });
        }
        let deregistered = leaving.into_iter();
        let events = deregistered.map(|(group, targets)| ServiceEvent::Deregistered { targets, group });
        self.plan.events.extend(events);
        let failed = failed.into_keys();
        let events = failed.map(|group| ServiceEvent::FailedToRegister { group });
        self.plan.events.extend(events);
    }

    /// Tells of the tasks that a node has taken since the last time. What none ever took is never told of.
    fn announce(&mut self) {
        if self.service.unannounced.is_empty() {
            return;
        }
        let (mut tasks, mut for_unhealthy) = (Vec::new(), 0);
        let mut waiting = BTreeMap::new();
        for task in self.view.tasks {
            let Some((id, replaces)) = self.service.unannounced.remove_entry(task.id) else {
                continue;
            };
            if task.placed {
                tasks.push(id);
                for_unhealthy += u32::from(replaces);
            } else if task.state < TaskState::Stopped {
                waiting.insert(id, replaces);
            }
        }
        self.service.unannounced = waiting;
        if !tasks.is_empty() {
            self.plan.events.push(ServiceEvent::Started { tasks, for_unhealthy });
        }
    }

    fn finish(mut self) -> Plan {
        if let Some(at) = self.view.grace_ends {
            self.wake(at);
        }
        self.announce();
        let ran = self.stopped.iter().map(|at| &self.view.tasks[*at]).filter(|t| t.placed);
        let ran: BTreeSet<&str> = ran.map(|t| t.id).collect();
        let stopped = self.plan.stop.iter().map(|s| &s.task);
        let stopped: Vec<String> = stopped.filter(|task| ran.contains(task.as_str())).cloned().collect();
        if !stopped.is_empty() {
            self.plan.events.push(ServiceEvent::Stopped { tasks: stopped });
        }
        self.plan.events.sort_by_key(ServiceEvent::order);
        if let Some(primary) = self.service.primary() {
            let ongoing = primary.rollout == RolloutState::InProgress;
            // A failure counted while scaling.
            self.plan.more |= ongoing && self.breaker.enabled && primary.failures >= self.breaker.threshold;
        }
        if self.service != *self.view.service {
            self.plan.service = Some(self.service);
        }
        self.plan
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
