//! DeleteTaskDefinitions: INACTIVE revisions turn DELETE_IN_PROGRESS; `task_definition::deletion` ends them.

use crate::api::{self, errors};
use crate::records::TaskDefinitionRecord;
use crate::{Ecs, resolve};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{Snapshot, Txn};

const AT_ONCE: usize = 10;

/// # Errors
/// `InvalidParameterException`; a revision that cannot be deleted is a failure, not an error.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::DeleteTaskDefinitionsRequest,
) -> Result<api::DeleteTaskDefinitionsResponse, AwsError> {
    let mut asked = input.task_definitions.unwrap_or_default();
    if asked.is_empty() || asked.len() > AT_ONCE {
        return Err(errors::invalid_parameter_exception(format!(
            "taskDefinitions must have between 1 and {AT_ONCE} entries."
        )));
    }
    let mut seen: Vec<String> = Vec::new();
    asked.retain(|reference| {
        let fresh = !seen.contains(reference);
        seen.push(reference.clone());
        fresh
    });
    service
        .store
        .transact(|snapshot| {
            let mut txn = Txn::new();
            let (mut deleted, mut failures) = (Vec::new(), Vec::new());
            for reference in &asked {
                match mark(snapshot, cx, reference) {
                    Ok(record) => {
                        deleted.push(record.definition.clone());
                        let key = record.own_key();
                        txn.unchanged::<TaskDefinitionRecord>(snapshot, &key).put(&key, record);
                    }
                    Err(reason) => failures.push(api::Failure {
                        arn: Some(reference.clone()),
                        reason: Some(reason.to_owned()),
                        detail: None,
                    }),
                }
            }
            let reply = api::DeleteTaskDefinitionsResponse {
                task_definitions: Some(deleted),
                failures: Some(failures),
            };
            Ok::<_, AwsError>((txn, reply))
        })
        .await
}

/// The revision as it is once its deletion is asked; or why it cannot be.
fn mark(snapshot: &Snapshot, cx: &RequestContext, reference: &str) -> Result<TaskDefinitionRecord, &'static str> {
    const MISSING: &str =
        "The specified task definition does not exist. Specify a valid account, family, revision and try again.";
    let name = resolve::task_definition_name(cx, reference)
        .ok()
        .flatten()
        .ok_or(MISSING)?;
    if name.revision.is_none() {
        return Err("The specified task definition identifier is invalid. Specify a valid name or ARN and try again.");
    }
    let found = resolve::task_definition(snapshot, cx, reference).map_err(|_| MISSING)?;
    match found.status() {
        "ACTIVE" => {
            Err("The specified task definition is still in ACTIVE status. Please deregister the target and try again.")
        }
        _ => {
            let mut record = (*found.record).clone();
            record.definition.status = Some("DELETE_IN_PROGRESS".to_owned());
            record.definition.delete_requested_at.get_or_insert(cx.now);
            Ok(record)
        }
    }
}
