//! DeregisterTaskDefinition: the revision turns INACTIVE; what runs on it goes on.

use crate::api::{self, errors};
use crate::records::{FamilyRecord, TaskDefinitionRecord};
use crate::{Ecs, resolve};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{Snapshot, Txn};

/// # Errors
/// `ClientException` when there is no such revision or it is not ACTIVE.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::DeregisterTaskDefinitionRequest,
) -> Result<api::DeregisterTaskDefinitionResponse, AwsError> {
    let reference = input.task_definition.unwrap_or_default();
    let definition = service
        .store
        .transact(|snapshot| {
            let named = resolve::task_definition_name(cx, &reference)?;
            if named.is_some_and(|name| name.revision.is_none()) {
                return Err(errors::client_exception(format!(
                    "Missing revision number. Identifier: {reference}"
                )));
            }
            let found = resolve::task_definition(snapshot, cx, &reference)?;
            if found.status() != "ACTIVE" {
                return Err(errors::client_exception(
                    "The specified task definition is inactive. Specify an active task definition and try again.",
                ));
            }
            let mut record = (*found.record).clone();
            record.definition.status = Some("INACTIVE".to_owned());
            record.definition.deregistered_at = Some(cx.now);
            let mut txn = Txn::new();
            let family_key = FamilyRecord::key(&cx.region, &record.family);
            txn.unchanged::<FamilyRecord>(snapshot, &family_key);
            if let Some(family) = snapshot.get::<FamilyRecord>(&family_key)
                && family.latest_active == Some(record.revision)
            {
                let mut family = (*family.record).clone();
                family.latest_active = newest_active_below(snapshot, &record);
                txn.put(&family_key, family);
            }
            let key = record.own_key();
            let definition = record.definition.clone();
            txn.unchanged::<TaskDefinitionRecord>(snapshot, &key).put(&key, record);
            Ok::<_, AwsError>((txn, definition))
        })
        .await?;
    Ok(api::DeregisterTaskDefinitionResponse {
        task_definition: Some(definition),
    })
}

fn newest_active_below(snapshot: &Snapshot, record: &TaskDefinitionRecord) -> Option<u32> {
    let family = format!("{}/{}/", record.region, record.family);
    snapshot
        .range::<TaskDefinitionRecord>(&family)
        .map(|(_, r)| r)
        .filter(|r| r.revision < record.revision && r.status() == "ACTIVE")
        .map(|r| r.revision)
        .max()
}
