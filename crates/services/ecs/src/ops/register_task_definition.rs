//! RegisterTaskDefinition: the next revision of a family, in normal form.

use crate::api;
use crate::records::{FamilyRecord, TaskDefinitionRecord};
use crate::{Ecs, tagging, task_definition};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;

/// # Errors
/// `ClientException` with the rule broken, `InvalidParameterException` for tags.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    mut input: api::RegisterTaskDefinitionRequest,
) -> Result<api::RegisterTaskDefinitionResponse, AwsError> {
    let tags = tagging::admit(input.tags.take())?;
    let admitted = task_definition::admit(input)?;
    let family = admitted.family.clone().unwrap_or_default();
    let definition = service
        .store
        .transact(|snapshot| {
            let family_key = FamilyRecord::key(&cx.region, &family);
            let known = snapshot.get::<FamilyRecord>(&family_key);
            let revision = known.as_ref().map_or(0, |f| f.last_revision) + 1;
            let mut definition = admitted.clone();
            definition.task_definition_arn = Some(cx.arn("ecs", format!("task-definition/{family}:{revision}")));
            definition.revision = i32::try_from(revision).ok();
            definition.status = Some("ACTIVE".to_owned());
            definition.registered_at = Some(cx.now);
            definition.registered_by = Some(cx.caller_arn.clone());
            let record = TaskDefinitionRecord {
                region: cx.region.clone(),
                family: family.clone(),
                revision,
                definition: definition.clone(),
                tags: tags.clone(),
            };
            let mut txn = Txn::new();
            txn.unchanged::<FamilyRecord>(snapshot, &family_key)
                .put(
                    &family_key,
                    FamilyRecord {
                        region: cx.region.clone(),
                        family: family.clone(),
                        last_revision: revision,
                        latest_active: Some(revision),
                        stored: known.as_ref().map_or(0, |f| f.stored) + 1,
                    },
                )
                .put(&record.own_key(), record);
            Ok::<_, AwsError>((txn, definition))
        })
        .await?;
    Ok(api::RegisterTaskDefinitionResponse {
        task_definition: Some(definition),
        tags: (!tags.is_empty()).then(|| tagging::shape(&tags)),
    })
}
