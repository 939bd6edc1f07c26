//! What is to be done next for one task. Pure: the executor carries it out and decides nothing.
//!
//! `plan(spec, observed, now)` gives every step that can be taken now, the decisions that only time or other containers
//! force, and the moment to look again. Steps that begin are noted in `Observed` (`Step::begins`), so that planning
//! twice asks for nothing twice.

pub mod depends;
pub mod health;
pub mod observed;
pub mod reason;
pub mod report;
pub mod restart;

#[cfg(test)]
mod tests;

use depends::Readiness;
use neargate_core::Timestamp;
use neargate_link::{LogSpec, NetworkSpec, TaskSpec};
use observed::{Event, Image, Observed, Piece, Run};
use reason::Failure;
use std::time::Duration;

/// Seconds between the stop signal and SIGKILL unless `stopTimeout` says otherwise.
const DEFAULT_STOP_TIMEOUT: u32 = 30;

/// Something to do for a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    StartShim,
    MakeNetwork {
        network: usize,
    },
    Pull {
        container: usize,
    },
    /// A writable layer and a place for the log: whatever needs neither image nor network.
    Prepare {
        container: usize,
    },
    /// Control makes sure of the place its log goes to: also a container that writes nothing has a stream, and one
    /// that could not have it does not start.
    OpenLog {
        container: usize,
    },
    Start {
        container: usize,
    },
    Probe {
        container: usize,
    },
    /// The stop signal.
    Signal {
        container: usize,
    },
    Kill {
        container: usize,
    },
    /// Everything that was made for the task goes.
    CleanUp,
}

impl Step {
    /// What is noted before the step is carried out.
    pub fn begins(self) -> Event {
        match self {
            Step::StartShim => Event::ShimStarting,
            Step::MakeNetwork { network } => Event::NetworkStarting { network },
            Step::Pull { container } => Event::PullStarted { container },
            Step::Prepare { container } => Event::Preparing { container },
            Step::OpenLog { container } => Event::LogOpening { container },
            Step::Start { container } => Event::Starting { container },
            Step::Probe { container } => Event::ProbeStarted { container },
            Step::Signal { container } => Event::StopSignalled { container },
            Step::Kill { container } => Event::Killed { container },
            Step::CleanUp => Event::CleanupStarted,
        }
    }
}

/// What to do for a task now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Decided now: apply them and plan again before taking steps.
    pub decisions: Vec<Event>,
    pub steps: Vec<Step>,
    /// Look again then, if nothing happens before.
    pub wake_at: Option<Timestamp>,
}

impl Plan {
    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |w| w.min(at)));
    }
}

/// How many network namespaces a task has: one, except in bridge mode where each container has its own.
pub fn networks(spec: &TaskSpec) -> usize {
    if spec.network == NetworkSpec::Bridge {
        spec.containers.len()
    } else {
        1
    }
}

/// The network of container `index`.
pub fn network_of(spec: &TaskSpec, index: usize) -> usize {
    if spec.network == NetworkSpec::Bridge { index } else { 0 }
}

/// `name:alias` of a `links` entry; the name is its own alias when none is given.
pub fn link_parts(link: &str) -> (&str, &str) {
    link.split_once(':').unwrap_or((link, link))
}

/// What to do for a task, given what is known of it.
pub fn plan(spec: &TaskSpec, observed: &Observed, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if observed.cleanup != Piece::Absent {
        return plan;
    }
    if observed.stop.is_some() {
        plan_stop(spec, observed, now, &mut plan);
    } else {
        plan_run(spec, observed, now, &mut plan);
    }
    plan
}

fn plan_run(spec: &TaskSpec, observed: &Observed, now: Timestamp, plan: &mut Plan) {
    for (index, network) in observed.networks.iter().enumerate() {
        if network.state == Piece::Absent {
            plan.steps.push(Step::MakeNetwork { network: index });
        }
    }
    if observed.shim == Piece::Absent {
        plan.steps.push(Step::StartShim);
    }
    for (index, c) in observed.containers.iter().enumerate() {
        if c.image == Image::Wanted && !c.stopped() {
            plan.steps.push(Step::Pull { container: index });
        }
        match c.run {
            Run::Waiting => plan_start(spec, observed, index, now, plan),
            Run::Running => match c.health.next_at {
                Some(due) if !c.health.probing && due <= now => plan.steps.push(Step::Probe { container: index }),
                Some(due) if !c.health.probing => plan.wake(due),
                _ => {}
            },
            Run::Starting | Run::Stopped { .. } => {}
        }
    }
}

fn plan_start(spec: &TaskSpec, observed: &Observed, index: usize, now: Timestamp, plan: &mut Plan) {
    let c = &observed.containers[index];
    if c.rootfs == Piece::Absent {
        plan.steps.push(Step::Prepare { container: index });
    }
    let ships_log = matches!(spec.containers[index].log, LogSpec::Awslogs(_));
    if ships_log && c.log == Piece::Absent {
        plan.steps.push(Step::OpenLog { container: index });
    }
    // A container that restarts within its task met its dependencies when the task began.
    let readiness = if c.restarts > 0 {
        Readiness::Ready
    } else {
        depends::readiness(spec, observed, index, now)
    };
    match readiness {
        Readiness::Impossible(why) => {
            let reason = Failure::CannotStartContainer.because(why);
            plan.decisions.push(Event::DependencyFailed {
                container: index,
                reason,
            });
        }
        Readiness::Waiting(deadline) => {
            if let Some(at) = deadline {
                plan.wake(at);
            }
        }
        Readiness::Ready => {
            let network = observed.networks[network_of(spec, index)].state;
            let all_there = c.image == Image::Ready
                && (c.log == Piece::Ready || !ships_log)
                && [c.rootfs, network, observed.shim]
                    .iter()
                    .all(|piece| *piece == Piece::Ready);
            if all_there {
                plan.steps.push(Step::Start { container: index });
            }
        }
    }
}

fn plan_stop(spec: &TaskSpec, observed: &Observed, now: Timestamp, plan: &mut Plan) {
    for (index, c) in observed.containers.iter().enumerate() {
        if c.run != Run::Running {
            continue;
        }
        match c.stopping {
            None if depends::may_stop(spec, observed, index) => plan.steps.push(Step::Signal { container: index }),
            None => {}
            Some(stopping) if !stopping.killed => {
                let timeout = spec.containers[index].stop_timeout.unwrap_or(DEFAULT_STOP_TIMEOUT);
                let due = stopping.since.plus(Duration::from_secs(timeout.into()));
                if due <= now {
                    plan.steps.push(Step::Kill { container: index });
                } else {
                    plan.wake(due);
                }
            }
            Some(_) => {}
        }
    }
    let being_made = observed.shim == Piece::Making
        || observed.networks.iter().any(|n| n.state == Piece::Making)
        || observed
            .containers
            .iter()
            .any(|c| !c.stopped() || c.rootfs == Piece::Making);
    if !being_made {
        plan.steps.push(Step::CleanUp);
    }
}
