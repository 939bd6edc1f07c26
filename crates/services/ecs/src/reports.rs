//! What nodes report of their tasks, taken over into the store.
//!
//! Control calls `Ecs::apply_reports` with everything one node said since the last time. The invariant: a report moves a
//! task only forward, and applying it twice changes nothing the second time. When the last process of a task is gone its
//! interface is given back in the same commit.

use crate::Ecs;
use crate::plan::transition::advance;
use crate::records::{DesiredStatus, TaskContainer, TaskRecord, TaskState};
use crate::targets;
use neargate_core::Timestamp;
use neargate_ec2::interface;
use neargate_link::{ContainerReport, Health, Phase, TaskReport};
use neargate_store::{CommitError, Snapshot, Txn};

/// Reports taken over in one commit, of the 128 changes that it may have: each is a task with its interface and public
/// address, and of tasks behind load balancers their targets, for which a batch is made smaller.
const BATCH: usize = 40;

impl Ecs {
    /// Takes over what `node` reports. Tasks that are not this node's are left alone.
    ///
    /// # Errors
    /// When the store could not write; reports of earlier batches stay applied.
    pub async fn apply_reports(&self, node: &str, reports: Vec<TaskReport>) -> Result<(), CommitError> {
        let mut rest = reports.as_slice();
        let mut size = BATCH;
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(size.min(rest.len()));
            let done = self
                .store
                .transact(|snapshot| Ok::<_, CommitError>((plan(snapshot, node, batch, self.clock.now()), ())))
                .await;
            match done {
                Ok(()) => rest = later,
                Err(CommitError::TooManyOps { .. } | CommitError::TooLarge { .. }) if batch.len() > 1 => {
                    size = batch.len() / 2;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The changes that `reports` make. Several reports of one task are applied in their order.
fn plan(snapshot: &Snapshot, node: &str, reports: &[TaskReport], now: Timestamp) -> Txn {
    let mut txn = Txn::new();
    let mut changed: Vec<(String, TaskRecord)> = Vec::new();
    for report in reports {
        if let Some((_, task)) = changed.iter_mut().find(|(_, t)| t.id == report.task_id) {
            if let Some(next) = apply(task, report, now) {
                *task = next;
            }
            continue;
        }
        let found = snapshot
            .indexed::<TaskRecord>(TaskRecord::BY_ID, &report.task_id)
            .find(|(_, task)| task.node.as_deref() == Some(node));
        let Some((key, task)) = found else {
            tracing::debug!(
                node,
                task = report.task_id,
                "a report of a task that is over or not this node's"
            );
            continue;
        };
        if let Some(next) = apply(&task, report, now) {
            changed.push((key.to_owned(), next));
        }
    }
    for (key, mut task) in changed {
        match task.state {
            TaskState::Running if task.desired == DesiredStatus::Running => {
                targets::enter(snapshot, &mut txn, &mut task, now);
            }
            state if state >= TaskState::Stopping && task.takes_traffic() => {
                targets::left(snapshot, &mut txn, &mut task, now);
            }
            _ => {}
        }
        if task.state == TaskState::Stopped
            && let Some(held) = task.interface.as_mut().filter(|i| !i.released)
        {
            held.released = true;
            interface::release(snapshot, &mut txn, &task.region, &held.interface_id);
        }
        txn.unchanged::<TaskRecord>(snapshot, &key).put(&key, task);
    }
    txn
}

/// The task after the report; none when it says nothing new.
pub fn apply(task: &TaskRecord, report: &TaskReport, now: Timestamp) -> Option<TaskRecord> {
    if task.state == TaskState::Stopped {
        return None;
    }
    let mut next = task.clone();
    next.state = advance(task.state, report.phase);
    // A report that was overtaken may still fill in what was not known, but says nothing of how things are now.
    let late = phase_of(task.state).is_some_and(|p| report.phase < p);
    if !late {
        for container in &mut next.containers {
            if let Some(seen) = report.containers.iter().find(|c| c.name == container.name) {
                apply_container(container, seen);
            }
        }
    }
    first(&mut next.connectivity_at, Some(now));
    first(&mut next.pull_started_at, report.pull_started_at);
    first(&mut next.pull_stopped_at, report.pull_stopped_at);
    first(&mut next.started_at, report.started_at);
    if next.state >= TaskState::Running && report.phase == Phase::Running {
        first(&mut next.started_at, Some(now));
    }
    first(&mut next.stopping_at, report.stopping_at);
    first(&mut next.execution_stopped_at, report.execution_stopped_at);
    if next.state >= TaskState::Stopping {
        first(&mut next.stopping_at, report.execution_stopped_at.or(Some(now)));
        // Whoever asked first gave the reason; a task that ends by itself takes its node's.
        first(&mut next.stop_code, report.stop_code.clone());
        first(&mut next.stopped_reason, report.stopped_reason.clone());
        next.desired = DesiredStatus::Stopped;
    }
    if next.state == TaskState::Stopped {
        first(&mut next.execution_stopped_at, Some(now));
        first(&mut next.stopped_at, report.stopped_at.or(Some(now)));
        let (code, reason) = match next.started_at {
            Some(_) => ("EssentialContainerExited", "Essential container in task exited"),
            None => ("TaskFailedToStart", "Task failed to start"),
        };
        first(&mut next.stop_code, Some(code.to_owned()));
        first(&mut next.stopped_reason, Some(reason.to_owned()));
        for container in &mut next.containers {
            container.last_status = "STOPPED".to_owned();
        }
    }
    next.health = task_health(&next.containers);
    if next == *task {
        return None;
    }
    next.version += 1;
    Some(next)
}

fn first<T>(known: &mut Option<T>, told: Option<T>) {
    if known.is_none() {
        *known = told;
    }
}

fn phase_of(state: TaskState) -> Option<Phase> {
    match state {
        TaskState::Provisioning => None,
        TaskState::Pending | TaskState::Activating => Some(Phase::Pending),
        TaskState::Running | TaskState::Deactivating => Some(Phase::Running),
        TaskState::Stopping => Some(Phase::Stopping),
        TaskState::Deprovisioning | TaskState::Stopped => Some(Phase::Stopped),
    }
}

fn apply_container(container: &mut TaskContainer, seen: &ContainerReport) {
    if !seen.last_status.is_empty() {
        container.last_status.clone_from(&seen.last_status);
    }
    container.restart_count = container.restart_count.max(seen.restart_count);
    // A container that its restart policy started again has no exit code while it runs.
    let stopped = container.last_status == "STOPPED";
    container.exit_code = seen.exit_code.or(container.exit_code.filter(|_| stopped));
    container.reason = seen.reason.as_deref().map(shorten).or(container.reason.take());
    if seen.runtime_id.is_some() {
        container.runtime_id.clone_from(&seen.runtime_id);
    }
    if seen.image_digest.is_some() {
        container.image_digest.clone_from(&seen.image_digest);
    }
    container.health = seen.health;
    container.network_bindings.clone_from(&seen.network_bindings);
}

/// At most 1024 characters, AWS's limit of a container's reason.
fn shorten(text: &str) -> String {
    text.chars().take(1024).collect()
}

/// UNHEALTHY when an essential container with a health check is; HEALTHY when all of them are.
fn task_health(containers: &[TaskContainer]) -> Health {
    let mut checked = containers
        .iter()
        .filter(|c| c.essential && c.has_health_check)
        .map(|c| c.health)
        .peekable();
    if checked.peek().is_none() {
        return Health::Unknown;
    }
    let all: Vec<Health> = checked.collect();
    if all.contains(&Health::Unhealthy) {
        Health::Unhealthy
    } else if all.contains(&Health::Unknown) {
        Health::Unknown
    } else {
        Health::Healthy
    }
}

#[cfg(test)]
mod tests;
