//! UpdateTaskProtection: keeps tasks of a service from being stopped by scale-in and deployments, for a while.

use super::get_task_protection::{refusal, shape};
use crate::api::{self, errors};
use crate::records::{RolloutState, ServiceRecord, TaskRecord};
use crate::{Ecs, resolve, tasks};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{Snapshot, Txn};
use std::time::Duration;

const DEFAULT_MINUTES: i32 = 120;
const MAX_MINUTES: i32 = 2880;

/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`; a task that cannot be protected is a failure.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::UpdateTaskProtectionRequest,
) -> Result<api::UpdateTaskProtectionResponse, AwsError> {
    let bad = |message: &str| Err(errors::invalid_parameter_exception(message));
    let asked = input.tasks.unwrap_or_default();
    if asked.is_empty() {
        return bad("Tasks cannot be empty.");
    }
    if asked.len() > 10 {
        return bad("Tasks can have at most 10 items.");
    }
    let Some(enabled) = input.protection_enabled else {
        return bad("protectionEnabled must be specified.");
    };
    let minutes = input.expires_in_minutes.unwrap_or(DEFAULT_MINUTES);
    if !(1..=MAX_MINUTES).contains(&minutes) {
        return bad("expiresInMinutes must be between 1 and 2880.");
    }
    let length = Duration::from_secs(60 * u64::from(minutes.unsigned_abs()));
    let until = enabled.then(|| cx.now.plus(length));

    let (protected_tasks, failures) = service
        .store
        .transact(|snapshot| {
            let cluster = resolve::cluster(snapshot, cx, input.cluster.as_deref())?;
            let mut txn = Txn::new();
            let (mut done, mut failures, mut seen) = (Vec::new(), Vec::new(), Vec::new());
            for reference in &asked {
                let Some(task) = tasks::find(snapshot, cx, &cluster, reference)? else {
                    failures.push(tasks::missing(cx, &cluster, reference));
                    continue;
                };
                if let Some(failure) = refusal(&task) {
                    failures.push(failure);
                    continue;
                }
                if enabled && blocks_deployment(snapshot, &task) {
                    let detail = "The task's deployment is being replaced, and protected tasks keep the new one from completing.";
                    failures.push(tasks::failure(task.arn.clone(), "DEPLOYMENT_BLOCKED", Some(detail.to_owned())));
                    continue;
                }
                let mut next = TaskRecord::clone(&task);
                next.protected_until = until;
                done.push(shape(&next, cx.now));
                let key = next.own_key();
                if !seen.contains(&key) {
                    txn.unchanged::<TaskRecord>(snapshot, &key).put(&key, next);
                    seen.push(key);
                }
            }
            Ok::<_, AwsError>((txn, (done, failures)))
        })
        .await?;
    Ok(api::UpdateTaskProtectionResponse {
        protected_tasks: Some(protected_tasks),
        failures: Some(failures),
    })
}

/// True when a newer deployment already waits for protected tasks of this task's deployment.
fn blocks_deployment(snapshot: &Snapshot, task: &TaskRecord) -> bool {
    let Some(link) = &task.service else { return false };
    let key = ServiceRecord::key(&task.region, &task.cluster, &link.name);
    let Some(service) = snapshot.get::<ServiceRecord>(&key) else {
        return false;
    };
    service.primary().is_some_and(|primary| {
        primary.id != link.deployment_id && primary.rollout == RolloutState::InProgress && primary.blocked_told
    })
}
