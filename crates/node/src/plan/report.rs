//! A task's report to control, from what is known of it.

use super::observed::{Observed, Piece, Run};
use neargate_link::{ContainerReport, Phase, TaskReport, TaskSpec};

/// How far the task is. Phases only move forward, since a stop is never taken back.
pub fn phase(observed: &Observed) -> Phase {
    if observed.cleanup == Piece::Ready {
        Phase::Stopped
    } else if observed.stop.is_some() {
        Phase::Stopping
    } else if observed.started_at.is_some() {
        Phase::Running
    } else {
        Phase::Pending
    }
}

/// What control is told.
pub fn report(spec: &TaskSpec, observed: &Observed) -> TaskReport {
    let containers = spec.containers.iter().zip(&observed.containers).map(|(spec, c)| {
        let (last_status, exit_code) = match c.run {
            // A restart within the task is no step back.
            Run::Waiting | Run::Starting if c.restarts > 0 => ("RUNNING", None),
            Run::Waiting | Run::Starting => ("PENDING", None),
            Run::Running => ("RUNNING", None),
            Run::Stopped { code, .. } => ("STOPPED", code),
        };
        ContainerReport {
            name: spec.name.clone(),
            last_status: last_status.to_owned(),
            exit_code,
            reason: c.reason.clone(),
            runtime_id: c.runtime_id.clone(),
            image_digest: c.digest.clone(),
            health: c.health.status,
            restart_count: c.restarts,
            network_bindings: c.bindings.clone(),
        }
    });
    let phase = phase(observed);
    TaskReport {
        task_id: spec.id.clone(),
        phase,
        containers: containers.collect(),
        pull_started_at: observed.pull_started_at,
        pull_stopped_at: observed.pull_stopped_at,
        started_at: observed.started_at,
        stopping_at: observed.stopping_at,
        execution_stopped_at: observed.execution_stopped_at,
        stopped_at: observed.stopped_at,
        stop_code: observed.stop.as_ref().and_then(|s| s.code.clone()),
        stopped_reason: observed.stop.as_ref().map(|s| s.reason.clone()),
    }
}
