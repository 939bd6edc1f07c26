//! What a task's own programs ask about its protection from scale-in, by way of their node.
//!
//! Control calls `Ecs::task_protection`. The invariant: a node asks only for tasks that are placed on it; which of its tasks
//! asks, the node knows. Everything else is what GetTaskProtection and UpdateTaskProtection say.

use crate::Ecs;
use crate::api;
use crate::ops::{get_task_protection, update_task_protection};
use crate::records::TaskRecord;
use neargate_core::{AwsError, RequestContext};
use neargate_link::{ProtectionAnswer, ProtectionRequest};

impl Ecs {
    /// Asks or changes the protection of one task of `node`.
    pub async fn task_protection(&self, node: &str, request: ProtectionRequest) -> ProtectionAnswer {
        let found = self
            .store
            .snapshot()
            .indexed::<TaskRecord>(TaskRecord::BY_ID, &request.task_id)
            .map(|(_, task)| task)
            .find(|task| task.node.as_deref() == Some(node));
        let Some(task) = found else {
            return failure(api::Failure {
                reason: Some("MISSING".to_owned()),
                ..api::Failure::default()
            });
        };
        let cx = self.as_task(&task);
        let (cluster, tasks) = (Some(task.cluster.clone()), vec![task.arn.clone()]);
        let answered = match request.change {
            None => {
                let input = api::GetTaskProtectionRequest {
                    cluster,
                    tasks: Some(tasks),
                };
                let answered = get_task_protection::handle(self, &cx, input).await;
                answered.map(|a| (a.protected_tasks, a.failures))
            }
            Some(change) => {
                let input = api::UpdateTaskProtectionRequest {
                    cluster,
                    tasks: Some(tasks),
                    protection_enabled: Some(change.enabled),
                    expires_in_minutes: change.expires_in_minutes,
                };
                let answered = update_task_protection::handle(self, &cx, input).await;
                answered.map(|a| (a.protected_tasks, a.failures))
            }
        };
        match answered {
            Ok((protected, failures)) => match failures.unwrap_or_default().pop() {
                Some(refused) => failure(refused),
                None => {
                    let shown = protected.unwrap_or_default().pop();
                    ProtectionAnswer::Protection {
                        until: shown.and_then(|task| task.expiration_date),
                    }
                }
            },
            Err(error) => refused(error, cx.request_id),
        }
    }

    /// The task as the caller of an operation.
    fn as_task(&self, task: &TaskRecord) -> RequestContext {
        RequestContext {
            request_id: self.ids.uuid(),
            region: task.region.clone(),
            account: self.account.clone(),
            caller_arn: task.arn.clone(),
            caller_id: task.id.clone(),
            access_key: String::new(),
            now: self.clock.now(),
        }
    }
}

fn failure(failure: api::Failure) -> ProtectionAnswer {
    ProtectionAnswer::Failure {
        reason: failure.reason.unwrap_or_default(),
        detail: failure.detail,
    }
}

/// What is internal leaves the process without its text, as from the front door.
fn refused(error: AwsError, request_id: String) -> ProtectionAnswer {
    let shown = if error.is_client_fault() {
        error
    } else {
        tracing::error!(%error, request_id, "a task's question about its protection failed");
        AwsError::new("ServerException", 500, "Unexpected error occurred")
    };
    ProtectionAnswer::Error {
        status: shown.status,
        code: shown.code.into_owned(),
        message: shown.message,
        request_id,
    }
}
