//! StopTask: asks a task to stop; its node sees the wish in its desired set. Asking again changes nothing.

use crate::api::{self, errors};
use crate::launch::{StopAsk, ask_stop};
use crate::records::TaskRecord;
use crate::{Ecs, resolve, tasks};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;

/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::StopTaskRequest,
) -> Result<api::StopTaskResponse, AwsError> {
    let reference = input.task.as_deref().unwrap_or_default();
    if reference.is_empty() {
        return Err(errors::invalid_parameter_exception("Task cannot be empty."));
    }
    let reason = input
        .reason
        .as_deref()
        .filter(|r| !r.is_empty())
        .unwrap_or("Task stopped by user");
    if reason.chars().count() > 1024 {
        return Err(errors::invalid_parameter_exception(
            "reason can have at most 1024 characters.",
        ));
    }
    let ask = StopAsk::new("UserInitiated", reason);
    let stopped = service
        .store
        .transact(|snapshot| {
            let cluster = resolve::cluster(snapshot, cx, input.cluster.as_deref())?;
            let Some(task) = tasks::find(snapshot, cx, &cluster, reference)? else {
                return Err(errors::invalid_parameter_exception(
                    "The referenced task was not found.",
                ));
            };
            let mut txn = Txn::new();
            let Some(next) = ask_stop(&task, &ask, cx.now) else {
                return Ok((txn, TaskRecord::clone(&task)));
            };
            let key = next.own_key();
            txn.unchanged::<TaskRecord>(snapshot, &key).put(&key, next.clone());
            Ok((txn, next))
        })
        .await?;
    let snapshot = service.store.snapshot();
    Ok(api::StopTaskResponse {
        task: Some(tasks::shape(&snapshot, &stopped, true)),
    })
}
