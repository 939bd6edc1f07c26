//! StartTask: one task on each container instance that is named, or a failure that says why not.

use crate::api::{self, errors};
use crate::launch::request::{self, TaskRequest};
use crate::reconcile::placement::{Choices, Unplaceable};
use crate::records::TaskRecord;
use crate::{Ecs, instances, tasks};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{CommitError, Condition, Snapshot, Txn};
use std::collections::BTreeMap;

/// # Errors
/// `ClientException`, `ClusterNotFoundException`, `InvalidParameterException`, `UnsupportedFeatureException`.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::StartTaskRequest,
) -> Result<api::StartTaskResponse, AwsError> {
    loop {
        let snapshot = service.store.snapshot();
        let mut choices = Choices::default();
        let (txn, made, failures) = match plan(service, cx, &snapshot, &input, &mut choices) {
            Ok(planned) => planned,
            Err(error) => {
                service.placer.settle(&service.store, choices);
                return Err(error);
            }
        };
        match service.placer.commit(&service.store, txn, choices).await {
            Ok(()) => {
                let snapshot = service.store.snapshot();
                return Ok(api::StartTaskResponse {
                    tasks: Some(made.iter().map(|task| tasks::shape(&snapshot, task, true)).collect()),
                    failures: Some(failures),
                });
            }
            Err(CommitError::Conflict { .. }) => tokio::task::yield_now().await,
            Err(error) => return Err(error.into()),
        }
    }
}

type Planned = (Txn, Vec<TaskRecord>, Vec<api::Failure>);

fn plan(
    service: &Ecs,
    cx: &RequestContext,
    snapshot: &Snapshot,
    input: &api::StartTaskRequest,
    choices: &mut Choices,
) -> Result<Planned, AwsError> {
    let named = input.container_instances.as_deref().unwrap_or_default();
    if named.is_empty() {
        return Err(errors::invalid_parameter_exception(
            "Container instances cannot be empty.",
        ));
    }
    if named.len() > 10 {
        return Err(errors::invalid_parameter_exception(
            "Container instances can have at most 10 items.",
        ));
    }
    let admitted = request::admit(snapshot, cx, members(input))?;
    let mut txn = Txn::new();
    admitted.guard(snapshot, &mut txn);
    let (mut made, mut failures) = (Vec::new(), Vec::new());
    for reference in named {
        let fail = |reason: &str| tasks::failure(instances::arn(cx, &admitted.cluster, reference), reason, None);
        let Some(node) = instances::find(snapshot, cx, &admitted.cluster, reference)? else {
            failures.push(fail("MISSING"));
            continue;
        };
        let mut task = admitted.task(cx, &*service.ids, &mut BTreeMap::new())?;
        // Whoever names the machine has done the placing.
        task.placement_constraints.clear();
        let id = node.hello.node_id.as_str();
        match service.placer.place(
            &service.store,
            snapshot,
            &mut txn,
            choices,
            &mut task,
            Some(id),
            &*service.ids,
            cx.now,
        ) {
            Ok(()) => {
                let key = task.own_key();
                txn.expect::<TaskRecord>(&key, Condition::Absent)
                    .put(&key, task.clone());
                made.push(task);
            }
            Err(Unplaceable::Node(miss)) => failures.push(fail(miss.reason())),
            Err(Unplaceable::Refused(why)) => failures.push(fail(&why.reason())),
        }
    }
    Ok((txn, made, failures))
}

fn members(input: &api::StartTaskRequest) -> TaskRequest {
    TaskRequest {
        cluster: input.cluster.clone(),
        task_definition: input.task_definition.clone(),
        launch_type: Some("EC2".to_owned()),
        network_configuration: input.network_configuration.clone(),
        overrides: input.overrides.clone(),
        group: input.group.clone(),
        started_by: input.started_by.clone(),
        started_by_limit: 36,
        reference_id: input.reference_id.clone(),
        tags: input.tags.clone(),
        propagate_tags: input.propagate_tags.clone(),
        enable_ecs_managed_tags: input.enable_ecs_managed_tags.unwrap_or(false),
        enable_execute_command: input.enable_execute_command.unwrap_or(false),
        volume_configurations: input.volume_configurations.as_ref().is_some_and(|v| !v.is_empty()),
        ..TaskRequest::default()
    }
}
