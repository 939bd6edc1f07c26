//! In which order containers start and stop (`dependsOn`, `links`, `volumesFrom`).
//!
//! Called by `plan`. The rules are the ECS agent's: a link or `volumesFrom` is a START dependency; `startTimeout`
//! belongs to the container that is waited for and counts from its start; shutdown goes the other way round, a
//! container is stopped once everything that depends on it has ended.

use super::observed::{Container, Observed, Run};
use neargate_core::Timestamp;
use neargate_link::{Condition, ContainerSpec, Health, TaskSpec};
use std::time::Duration;

/// Whether a container may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// Not yet; a time-out is due at the given moment if nothing happens before.
    Waiting(Option<Timestamp>),
    /// It never can; the reason says why.
    Impossible(String),
}

/// The containers that `container` waits for, links and `volumesFrom` included.
fn dependencies<'a>(spec: &'a TaskSpec, container: &'a ContainerSpec) -> impl Iterator<Item = (usize, Condition)> + 'a {
    let index = move |name: &str| spec.containers.iter().position(|c| c.name == name);
    let declared = container
        .depends_on
        .iter()
        .filter_map(move |d| Some((index(&d.container)?, d.condition)));
    let links = container.links.iter().filter_map(move |link| {
        let (name, _) = super::link_parts(link);
        Some((index(name)?, Condition::Start))
    });
    let volumes = container
        .volumes_from
        .iter()
        .filter_map(move |v| Some((index(&v.container)?, Condition::Start)));
    declared.chain(links).chain(volumes)
}

/// Whether container `index` may start now.
pub fn readiness(spec: &TaskSpec, observed: &Observed, index: usize, now: Timestamp) -> Readiness {
    let mut waiting = false;
    let mut deadline: Option<Timestamp> = None;
    for (on, condition) in dependencies(spec, &spec.containers[index]) {
        let state = &observed.containers[on];
        let name = &spec.containers[on].name;
        let wanted = match condition {
            Condition::Start => "START",
            Condition::Complete => "COMPLETE",
            Condition::Success => "SUCCESS",
            Condition::Healthy => "HEALTHY",
        };
        if met(state, condition) {
            continue;
        }
        if let Run::Stopped { code, .. } = state.run {
            let why = match (condition, code) {
                (_, None) if state.started_at.is_none() => "will never start".to_owned(),
                (Condition::Success, Some(code)) => format!("did not exit successfully (exit code {code})"),
                _ => "exited before that".to_owned(),
            };
            return Readiness::Impossible(format!(
                "the dependency on container {name} ({wanted}) failed: it {why}"
            ));
        }
        waiting = true;
        let timeout = spec.containers[on]
            .start_timeout
            .filter(|t| *t > 0 && condition != Condition::Start);
        if let (Some(started), Some(timeout)) = (state.started_at, timeout) {
            let due = started.plus(Duration::from_secs(timeout.into()));
            if now >= due {
                return Readiness::Impossible(format!(
                    "the dependency on container {name} ({wanted}) has timed out after {timeout} seconds"
                ));
            }
            deadline = Some(deadline.map_or(due, |d| d.min(due)));
        }
    }
    if waiting {
        Readiness::Waiting(deadline)
    } else {
        Readiness::Ready
    }
}

fn met(state: &Container, condition: Condition) -> bool {
    match condition {
        Condition::Start => state.started_at.is_some(),
        Condition::Complete => matches!(state.run, Run::Stopped { code: Some(_), .. }),
        Condition::Success => matches!(state.run, Run::Stopped { code: Some(0), .. }),
        Condition::Healthy => state.health.status == Health::Healthy,
    }
}

/// True when nothing that depends on container `index` still runs, so that it may be stopped.
pub fn may_stop(spec: &TaskSpec, observed: &Observed, index: usize) -> bool {
    spec.containers.iter().enumerate().all(|(i, other)| {
        matches!(observed.containers[i].run, Run::Stopped { .. })
            || !dependencies(spec, other).any(|(on, _)| on == index)
    })
}
