//! Services and their deployments as the API answers them.

use crate::api;
use crate::launch::capacity::PLATFORM_VERSION;
use crate::records::{
    Deployment, RolloutState, ServiceDeploymentRecord, ServiceEventRecord, ServiceRecord, ServiceSpec, counters,
};
use crate::tagging;
use neargate_store::Snapshot;

/// A service; tags only when asked for.
pub fn service(snapshot: &Snapshot, s: &ServiceRecord, tags: bool) -> api::Service {
    let deployments: Vec<api::Deployment> = s
        .deployments
        .iter()
        .enumerate()
        .map(|(at, d)| deployment(snapshot, s, d, at == 0))
        .collect();
    let sum = |of: fn(&api::Deployment) -> Option<i32>| deployments.iter().filter_map(of).sum();
    let strategy = &s.spec.capacity_provider_strategy;
    api::Service {
        service_arn: Some(s.arn.clone()),
        service_name: Some(s.name.clone()),
        cluster_arn: Some(s.cluster_arn.clone()),
        load_balancers: Some(s.spec.load_balancers.clone()),
        service_registries: Some(Vec::new()),
        status: Some(s.status.as_str().to_owned()),
        desired_count: Some(int(s.desired_count)),
        running_count: Some(sum(|d| d.running_count)),
        pending_count: Some(sum(|d| d.pending_count)),
        launch_type: s.spec.launch_type.clone(),
        capacity_provider_strategy: (!strategy.is_empty()).then(|| strategy.clone()),
        platform_version: s.spec.platform_version.clone(),
        platform_family: s.spec.platform_family.clone(),
        task_definition: Some(s.spec.task_definition.clone()),
        deployment_configuration: Some(s.deployment_configuration.clone()),
        current_service_deployment: (!s.deployments.is_empty())
            .then(|| super::rollout::child_arn(s, "service-deployment", &s.current_service_deployment)),
        current_service_revisions: Some(s.deployments.iter().zip(&deployments).map(current_revision).collect()),
        deployments: Some(deployments),
        events: Some(events(snapshot, s)),
        created_at: Some(s.created_at),
        placement_constraints: Some(s.placement_constraints.clone()),
        placement_strategy: Some(s.placement_strategy.clone()),
        network_configuration: network(&s.spec),
        health_check_grace_period_seconds: i32::try_from(s.health_check_grace_period).ok(),
        scheduling_strategy: Some(s.scheduling.as_str().to_owned()),
        deployment_controller: Some(api::DeploymentController {
            r#type: Some("ECS".to_owned()),
        }),
        tags: tags.then(|| tagging::shape(&s.tags)),
        created_by: Some(s.created_by.clone()),
        enable_ecs_managed_tags: Some(s.enable_ecs_managed_tags),
        propagate_tags: Some(s.propagate_tags.clone()),
        enable_execute_command: Some(false),
        availability_zone_rebalancing: Some(s.availability_zone_rebalancing.clone()),
        resource_management_type: Some("CUSTOMER".to_owned()),
        role_arn: role(s),
        task_sets: None,
    }
}

fn deployment(snapshot: &Snapshot, s: &ServiceRecord, d: &Deployment, primary: bool) -> api::Deployment {
    let (running, pending) = counts(snapshot, s, &d.id);
    let strategy = &d.spec.capacity_provider_strategy;
    let desired = if primary && d.rollout != RolloutState::Failed {
        s.desired_count
    } else {
        d.target
    };
    api::Deployment {
        id: Some(d.id.clone()),
        status: Some(if primary { "PRIMARY" } else { "ACTIVE" }.to_owned()),
        task_definition: Some(d.spec.task_definition.clone()),
        desired_count: Some(int(desired)),
        running_count: Some(running),
        pending_count: Some(pending),
        failed_tasks: Some(int(d.failures)),
        created_at: Some(d.created_at),
        updated_at: Some(d.updated_at),
        launch_type: d.spec.launch_type.clone(),
        capacity_provider_strategy: (!strategy.is_empty()).then(|| strategy.clone()),
        platform_version: d.spec.platform_version.as_ref().map(|_| PLATFORM_VERSION.to_owned()),
        platform_family: d.spec.platform_family.clone(),
        network_configuration: network(&d.spec),
        rollout_state: Some(d.rollout.as_str().to_owned()),
        rollout_state_reason: Some(d.reason.clone()),
        ..api::Deployment::default()
    }
}

/// The service-linked role, named where a service uses target groups.
fn role(s: &ServiceRecord) -> Option<String> {
    let account = s.arn.split(':').nth(4).filter(|_| !s.spec.load_balancers.is_empty())?;
    Some(format!(
        "arn:aws:iam::{account}:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"
    ))
}

fn current_revision((d, shaped): (&Deployment, &api::Deployment)) -> api::ServiceCurrentRevisionSummary {
    api::ServiceCurrentRevisionSummary {
        arn: Some(d.service_revision_arn.clone()),
        requested_task_count: shaped.desired_count,
        running_task_count: shaped.running_count,
        pending_task_count: shaped.pending_count,
    }
}

fn network(spec: &ServiceSpec) -> Option<api::NetworkConfiguration> {
    let network = spec.network.clone()?;
    Some(api::NetworkConfiguration {
        awsvpc_configuration: Some(network),
    })
}

/// RUNNING and pending tasks of a deployment.
pub fn counts(snapshot: &Snapshot, s: &ServiceRecord, deployment: &str) -> (i32, i32) {
    let of = |name: fn(&str, &str, &str, &str) -> String| {
        i32::try_from(snapshot.count(&name(&s.region, &s.cluster, &s.name, deployment))).unwrap_or(i32::MAX)
    };
    (of(counters::deployment_running), of(counters::deployment_pending))
}

/// The last hundred events, newest first.
fn events(snapshot: &Snapshot, s: &ServiceRecord) -> Vec<api::ServiceEvent> {
    let mut found: Vec<_> = snapshot
        .range::<ServiceEventRecord>(&format!("{}/", s.own_key()))
        .map(|(_, e)| e.record)
        .filter(|e| e.number >= s.events_before)
        .collect();
    found.sort_by_key(|e| std::cmp::Reverse(e.number));
    let shaped = found.into_iter().map(|e| api::ServiceEvent {
        id: Some(e.id.clone()),
        created_at: Some(e.created_at),
        message: Some(e.message.clone()),
    });
    shaped.collect()
}

/// A service deployment with the counts of now while it is ongoing.
pub fn service_deployment(
    snapshot: &Snapshot,
    s: Option<&ServiceRecord>,
    record: &ServiceDeploymentRecord,
) -> api::ServiceDeployment {
    let mut detail = record.detail.clone();
    let Some(s) = s.filter(|_| detail.finished_at.is_none()) else {
        return detail;
    };
    count_revisions(snapshot, s, &mut detail);
    let working = s.deployments.iter().find(|d| d.id == record.deployment_id);
    if let (Some(breaker), Some(d)) = (&mut detail.deployment_circuit_breaker, working)
        && breaker.status.as_deref() == Some("MONITORING")
    {
        breaker.failure_count = Some(int(d.failures));
    }
    detail
}

/// Fills in how many tasks the revisions of a service deployment have now.
pub fn count_revisions(snapshot: &Snapshot, s: &ServiceRecord, detail: &mut api::ServiceDeployment) {
    let revisions = detail
        .source_service_revisions
        .iter_mut()
        .flatten()
        .chain(&mut detail.target_service_revision);
    for revision in revisions {
        let found = s
            .deployments
            .iter()
            .find(|d| Some(&d.service_revision_arn) == revision.arn.as_ref());
        let (requested, (running, pending)) = match found {
            Some(d) => (int(d.target), counts(snapshot, s, &d.id)),
            None => (0, (0, 0)),
        };
        revision.requested_task_count = Some(requested);
        revision.running_task_count = Some(running);
        revision.pending_task_count = Some(pending);
    }
}

fn int(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
