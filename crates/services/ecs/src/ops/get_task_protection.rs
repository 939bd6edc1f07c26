//! GetTaskProtection.

use crate::api::{self, errors};
use crate::records::{TaskRecord, TaskState};
use crate::{Ecs, resolve, tasks};
use neargate_core::{AwsError, RequestContext, Timestamp};

/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`; a task that cannot be protected is a failure.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::GetTaskProtectionRequest,
) -> Result<api::GetTaskProtectionResponse, AwsError> {
    let asked = input.tasks.unwrap_or_default();
    if asked.len() > 100 {
        return Err(errors::invalid_parameter_exception("Tasks can have at most 100 items."));
    }
    let snapshot = service.store.snapshot();
    let cluster = resolve::cluster(&snapshot, cx, input.cluster.as_deref())?;
    let (mut protected, mut failures) = (Vec::new(), Vec::new());
    if asked.is_empty() {
        // None named: every task of a service that is protected now.
        let all = snapshot.range::<TaskRecord>(&format!("{}/{}/", cluster.region, cluster.name));
        let shown = all
            .map(|(_, t)| shape(&t, cx.now))
            .filter(|p| p.protection_enabled == Some(true));
        return Ok(api::GetTaskProtectionResponse {
            protected_tasks: Some(shown.collect()),
            failures: Some(failures),
        });
    }
    for reference in &asked {
        match tasks::find(&snapshot, cx, &cluster, reference)? {
            None => failures.push(tasks::missing(cx, &cluster, reference)),
            Some(task) => match refusal(&task) {
                Some(failure) => failures.push(failure),
                None => protected.push(shape(&task, cx.now)),
            },
        }
    }
    Ok(api::GetTaskProtectionResponse {
        protected_tasks: Some(protected),
        failures: Some(failures),
    })
}

/// Why the task cannot be protected; none for a running task of a service.
pub fn refusal(task: &TaskRecord) -> Option<api::Failure> {
    if task.service.is_none() {
        let detail = "The task is not part of a service: only tasks of services can be protected.";
        return Some(tasks::failure(
            task.arn.clone(),
            "TASK_NOT_VALID",
            Some(detail.to_owned()),
        ));
    }
    if task.state == TaskState::Stopped {
        return Some(tasks::failure(
            task.arn.clone(),
            "TASK_NOT_VALID",
            Some("The task is stopped.".to_owned()),
        ));
    }
    None
}

/// The task's protection at `now`.
pub fn shape(task: &TaskRecord, now: Timestamp) -> api::ProtectedTask {
    let until = task.protected_until.filter(|until| *until > now);
    api::ProtectedTask {
        task_arn: Some(task.arn.clone()),
        protection_enabled: Some(until.is_some()),
        expiration_date: until,
    }
}
