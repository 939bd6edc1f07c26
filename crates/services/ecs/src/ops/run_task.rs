//! RunTask: makes the tasks and places them in one commit, so that a task that cannot run is a failure in the answer.

use crate::api::{self, errors};
use crate::launch::request::{self, TaskRequest};
use crate::plan::placement::{Miss, NO_INSTANCES, Refused};
use crate::reconcile::placement::{Choices, Unplaceable};
use crate::records::{ClientTokenRecord, ClusterRecord, TaskRecord};
use crate::{Ecs, instances, resolve, tasks};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{CommitError, Condition, Snapshot, Txn};
use std::collections::BTreeMap;

const OPERATION: &str = "run-task";

/// # Errors
/// `ClientException`, `ClusterNotFoundException`, `ConflictException`, `InvalidParameterException`,
/// `PlatformTaskDefinitionIncompatibilityException`, `PlatformUnknownException`, `UnsupportedFeatureException`.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::RunTaskRequest,
) -> Result<api::RunTaskResponse, AwsError> {
    loop {
        let snapshot = service.store.snapshot();
        let mut choices = Choices::default();
        let planned = match plan(service, cx, &snapshot, &input, &mut choices) {
            Ok(planned) => planned,
            Err(error) => {
                service.placer.settle(&service.store, choices);
                return Err(error);
            }
        };
        match service.placer.commit(&service.store, planned.txn, choices).await {
            Ok(()) => {
                let snapshot = service.store.snapshot();
                return Ok(answer(&snapshot, &planned.tasks, planned.failures));
            }
            Err(CommitError::Conflict { .. }) => tokio::task::yield_now().await,
            Err(error) => return Err(error.into()),
        }
    }
}

struct Planned {
    txn: Txn,
    tasks: Vec<TaskRecord>,
    failures: Vec<api::Failure>,
}

fn plan(
    service: &Ecs,
    cx: &RequestContext,
    snapshot: &Snapshot,
    input: &api::RunTaskRequest,
    choices: &mut Choices,
) -> Result<Planned, AwsError> {
    let count = input.count.unwrap_or(1);
    if !(1..=10).contains(&count) {
        return Err(errors::invalid_parameter_exception("count should be between 1 and 10"));
    }
    // A request made before is answered again even if its task definition is gone by now.
    let cluster = resolve::cluster(snapshot, cx, input.cluster.as_deref())?;
    let token = token(cx, &cluster.name, input)?;
    if let Some((key, request)) = &token
        && let Some(known) = snapshot.get::<ClientTokenRecord>(key)
        && cx.now.since(known.created_at) < ClientTokenRecord::LIFETIME
    {
        return repeat(snapshot, &known, request);
    }
    let admitted = request::admit(snapshot, cx, members(input))?;

    let mut txn = Txn::new();
    admitted.guard(snapshot, &mut txn);
    let (mut made, mut failures) = (Vec::new(), Vec::new());
    let mut counts = BTreeMap::new();
    for _ in 0..count {
        let mut task = admitted.task(cx, &*service.ids, &mut counts)?;
        match service.placer.place(
            &service.store,
            snapshot,
            &mut txn,
            choices,
            &mut task,
            None,
            &*service.ids,
            cx.now,
        ) {
            Ok(()) => made.push(task),
            // The next one is like it.
            Err(Unplaceable::Refused(why)) => {
                failures = refusals(cx, &admitted.cluster, &why)?;
                break;
            }
            Err(Unplaceable::Node(_)) => {}
        }
    }
    for task in &made {
        let key = task.own_key();
        txn.expect::<TaskRecord>(&key, Condition::Absent)
            .put(&key, task.clone());
    }
    if let (Some((key, request)), false) = (token, made.is_empty()) {
        let record = ClientTokenRecord {
            request,
            made: made.iter().map(TaskRecord::own_key).collect(),
            failures: failures.clone(),
            created_at: cx.now,
        };
        txn.unchanged::<ClientTokenRecord>(snapshot, &key).put(&key, record);
    }
    Ok(Planned {
        txn,
        tasks: made,
        failures,
    })
}

fn members(input: &api::RunTaskRequest) -> TaskRequest {
    TaskRequest {
        cluster: input.cluster.clone(),
        task_definition: input.task_definition.clone(),
        launch_type: input.launch_type.clone(),
        capacity_provider_strategy: input.capacity_provider_strategy.clone().unwrap_or_default(),
        platform_version: input.platform_version.clone(),
        network_configuration: input.network_configuration.clone(),
        overrides: input.overrides.clone(),
        placement_constraints: input.placement_constraints.clone().unwrap_or_default(),
        placement_strategy: input.placement_strategy.clone().unwrap_or_default(),
        group: input.group.clone(),
        started_by: input.started_by.clone(),
        started_by_limit: 128,
        reference_id: input.reference_id.clone(),
        tags: input.tags.clone(),
        propagate_tags: input.propagate_tags.clone(),
        enable_ecs_managed_tags: input.enable_ecs_managed_tags.unwrap_or(false),
        enable_execute_command: input.enable_execute_command.unwrap_or(false),
        volume_configurations: input.volume_configurations.as_ref().is_some_and(|v| !v.is_empty()),
    }
}

/// The token's key, and the request without it as text.
fn token(
    cx: &RequestContext,
    cluster: &str,
    input: &api::RunTaskRequest,
) -> Result<Option<(String, String)>, AwsError> {
    let Some(token) = input.client_token.as_deref() else {
        return Ok(None);
    };
    if token.is_empty() || token.len() > 64 || !token.bytes().all(|b| (33..=126).contains(&b)) {
        return Err(errors::invalid_parameter_exception(
            "clientToken must have 1 to 64 characters in the range 33 to 126.",
        ));
    }
    let plain = api::RunTaskRequest {
        client_token: None,
        cluster: Some(cluster.to_owned()),
        ..input.clone()
    };
    let text = serde_json::to_string(&plain).map_err(|_| AwsError::internal())?;
    Ok(Some((
        ClientTokenRecord::key(&cx.region, OPERATION, cluster, token),
        text,
    )))
}

/// The answer to a request made before under the same token.
fn repeat(snapshot: &Snapshot, known: &ClientTokenRecord, request: &str) -> Result<Planned, AwsError> {
    let tasks: Vec<TaskRecord> = known
        .made
        .iter()
        .filter_map(|key| snapshot.get::<TaskRecord>(key))
        .map(|t| TaskRecord::clone(&t))
        .collect();
    if known.request != request {
        let arns: Vec<&str> = tasks.iter().map(|t| t.arn.as_str()).collect();
        return Err(errors::conflict_exception(
            "The provided clientToken is already in use with a different RunTask request.",
        )
        .with("resourceIds", serde_json::json!(arns)));
    }
    Ok(Planned {
        txn: Txn::new(),
        tasks,
        failures: known.failures.clone(),
    })
}

/// Why no (further) task runs, as AWS lists it: one entry a machine, or one for Fargate.
fn refusals(cx: &RequestContext, cluster: &ClusterRecord, why: &Refused) -> Result<Vec<api::Failure>, AwsError> {
    if why.fargate || why.network.is_some() {
        return Ok(vec![api::Failure {
            arn: None,
            reason: Some(why.reason()),
            detail: why.detail(),
        }]);
    }
    if why.misses.is_empty() {
        return Err(errors::invalid_parameter_exception(NO_INSTANCES));
    }
    let entry = |(node, miss): &(String, Miss)| tasks::failure(instances::arn(cx, cluster, node), miss.reason(), None);
    Ok(why.misses.iter().map(entry).collect())
}

fn answer(snapshot: &Snapshot, made: &[TaskRecord], failures: Vec<api::Failure>) -> api::RunTaskResponse {
    // As stored now: its node may have reported it already, but a reply to RunTask shows the task as it was made.
    api::RunTaskResponse {
        tasks: Some(made.iter().map(|task| tasks::shape(snapshot, task, true)).collect()),
        failures: Some(failures),
    }
}
