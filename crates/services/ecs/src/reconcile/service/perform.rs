//! Turning a plan into one commit.

use super::observe::{Observed, capacity};
use crate::Ecs;
use crate::launch::{LaunchRequest, StopAsk, ask_stop, new_task};
use crate::plan::backoff;
use crate::plan::events::ServiceEvent;
use crate::plan::service::{Launch, Plan};
use crate::records::{
    BackoffCause, ClusterRecord, ServiceEventRecord, ServiceLink, ServiceRecord, ServiceRevisionRecord,
    TaskDefinitionRecord, TaskRecord,
};
use crate::services::rollout;
use neargate_core::{AwsError, Tags, Timestamp};
use neargate_store::{Snapshot, Txn};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The transaction that makes `plan` so, valid only while the service and every task it touches are as observed.
pub fn transaction(ecs: &Ecs, observed: &Observed, plan: Plan, now: Timestamp) -> Txn {
    let snapshot = &observed.snapshot;
    let key = observed.service.own_key();
    let mut txn = Txn::new();
    txn.unchanged::<ServiceRecord>(snapshot, &key);
    let changed = plan.service.is_some();
    let mut service = plan.service.unwrap_or_else(|| (*observed.service).clone());

    let tasks: BTreeMap<&str, &Arc<TaskRecord>> = observed.tasks.iter().map(|t| (t.id.as_str(), t)).collect();
    let mut next: BTreeMap<&str, TaskRecord> = BTreeMap::new();
    let changed_tasks = plan.told.iter().chain(&plan.settle).map(String::as_str);
    for id in changed_tasks.chain(plan.stop.iter().map(|s| s.task.as_str())) {
        if let Some(task) = tasks.get(id) {
            next.entry(id).or_insert_with(|| (***task).clone());
        }
    }
    for id in &plan.told {
        for target in next.get_mut(id.as_str()).into_iter().flat_map(|t| &mut t.targets) {
            target.told = target.untold().unwrap_or(target.told);
        }
    }
    for stop in &plan.stop {
        let ask = StopAsk::new("ServiceSchedulerInitiated", stop.reason.clone());
        if let Some(task) = next.get_mut(stop.task.as_str()) {
            *task = ask_stop(task, &ask, now).unwrap_or_else(|| task.clone());
        }
    }
    let ends = plan.settle.iter().chain(plan.stop.iter().map(|s| &s.task));
    for id in ends {
        if let Some(link) = next.get_mut(id.as_str()).and_then(|t| t.service.as_mut()) {
            link.settled = true;
        }
    }
    for task in next.into_values() {
        let key = task.own_key();
        txn.unchanged::<TaskRecord>(snapshot, &key).put(&key, task);
    }
    let mut events = plan.events;
    events.extend(launch_all(ecs, observed, &mut txn, &mut service, &plan.launch, now));
    rollout::record_all(snapshot, &mut txn, &service, &plan.history, now);
    for (revision, digests) in &plan.resolved {
        put_digests(snapshot, &mut txn, &service, revision, digests);
    }
    let changed = changed || !events.is_empty() || !plan.launch.is_empty();
    for event in events {
        let number = service.events_told;
        service.events_told += 1;
        let record = ServiceEventRecord {
            number,
            id: ecs.ids.uuid(),
            created_at: now,
            message: event.text(&service.name),
        };
        txn.put(&ServiceEventRecord::key(&key, number), record);
    }
    if changed {
        txn.put(&key, service);
    }
    txn
}

/// Makes the tasks; answers what kept others from being made.
fn launch_all(
    ecs: &Ecs,
    observed: &Observed,
    txn: &mut Txn,
    service: &mut ServiceRecord,
    launches: &[Launch],
    now: Timestamp,
) -> Vec<ServiceEvent> {
    let mut failed = Vec::new();
    for launch in launches {
        match launch_some(ecs, observed, service, launch, now) {
            Ok(tasks) => {
                for (replaces_unhealthy, task) in (0..).map(|at| at < launch.for_unhealthy).zip(tasks) {
                    service.unannounced.insert(task.id.clone(), replaces_unhealthy);
                    txn.put(&task.own_key(), task);
                }
            }
            // Admission checked all of it; still, a task that cannot be made is told and tried again later.
            Err(error) => {
                tracing::error!(service = %service.arn, %error, "a task of the service could not be made");
                if let Some(d) = service.deployments.iter_mut().find(|d| d.id == launch.deployment) {
                    backoff::fail(&mut d.backoff, BackoffCause::FailedToStart, now, now);
                }
                failed.push(ServiceEvent::CannotLaunch { reason: error.message });
            }
        }
    }
    failed
}

fn launch_some(
    ecs: &Ecs,
    observed: &Observed,
    service: &ServiceRecord,
    launch: &Launch,
    now: Timestamp,
) -> Result<Vec<TaskRecord>, AwsError> {
    let snapshot = &observed.snapshot;
    let missing = |what: &str| AwsError::new("ClientException", 400, format!("The {what} of the service is gone."));
    let deployment = service
        .deployments
        .iter()
        .find(|d| d.id == launch.deployment)
        .ok_or_else(|| missing("deployment"))?;
    let spec = &deployment.spec;
    let definition = snapshot
        .get::<TaskDefinitionRecord>(&TaskDefinitionRecord::key(&service.region, &spec.family, spec.revision))
        .ok_or_else(|| missing("task definition"))?;
    let cluster = snapshot
        .get::<ClusterRecord>(&ClusterRecord::key(&service.region, &service.cluster))
        .ok_or_else(|| missing("cluster"))?;
    let tags = match service.propagate_tags.as_str() {
        "SERVICE" => service.tags.clone(),
        "TASK_DEFINITION" => definition.tags.clone(),
        _ => Tags::default(),
    };
    let (capacity, mut counts) = capacity(spec, &observed.tasks);
    let one = |_| {
        let mut task = new_task(LaunchRequest {
            cluster: &cluster,
            definition: &definition,
            overrides: Default::default(),
            capacity: capacity.next(&mut counts),
            network: spec.network.clone(),
            group: None,
            started_by: Some(deployment.id.clone()),
            service: Some(ServiceLink {
                name: service.name.clone(),
                deployment_id: deployment.id.clone(),
                service_revision_arn: deployment.service_revision_arn.clone(),
                settled: false,
            }),
            placement_constraints: service.placement_constraints.clone(),
            placement_strategy: service.placement_strategy.clone(),
            tags: tags.clone(),
            enable_ecs_managed_tags: service.enable_ecs_managed_tags,
            reference_id: None,
            load_balancers: &spec.load_balancers,
            pinned_digests: deployment.digests.clone(),
            now,
            ids: &*ecs.ids,
        })?;
        if let Some(node) = &launch.node {
            task.placement_constraints
                .push(observed.pin(node).ok_or_else(|| missing("node"))?);
        }
        Ok(task)
    };
    (0..launch.count).map(one).collect()
}

fn put_digests(
    snapshot: &Snapshot,
    txn: &mut Txn,
    service: &ServiceRecord,
    revision: &str,
    digests: &BTreeMap<String, String>,
) {
    let id = revision.rsplit('/').next().unwrap_or_default();
    let key = ServiceRevisionRecord::key(&service.region, &service.cluster, &service.name, id);
    let Some(current) = snapshot.get::<ServiceRevisionRecord>(&key) else {
        return;
    };
    let mut record = (*current.record).clone();
    for image in record.detail.container_images.iter_mut().flatten() {
        let found = image.container_name.as_ref().and_then(|name| digests.get(name));
        if let Some(digest) = found {
            image.image_digest = Some(digest.clone());
        }
    }
    txn.unchanged::<ServiceRevisionRecord>(snapshot, &key).put(&key, record);
}
