//! UpdateService. A change of what the revision pins, or `forceNewDeployment`, begins a rollout; the rest applies as is.

use crate::Ecs;
use crate::api::{self, errors};
use crate::records::{Backoff, ClusterRecord, ServiceRecord, ServiceSpec, ServiceStatus, TaskDefinitionRecord};
use crate::resolve;
use crate::services::{self, Absent, SpecRequest, configuration, invalid, load_balancers, rollout, shape};
use neargate_core::{AwsError, Ids, RequestContext};
use neargate_store::{Snapshot, Txn, Versioned};

/// # Errors
/// `ClusterNotFoundException`, `ServiceNotFoundException`, `ServiceNotActiveException`, `InvalidParameterException`,
/// `ClientException`, `PlatformUnknownException`, `PlatformTaskDefinitionIncompatibilityException`,
/// `UnsupportedFeatureException`.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::UpdateServiceRequest,
) -> Result<api::UpdateServiceResponse, AwsError> {
    let shaped = service
        .store
        .transact(|snapshot| {
            let (txn, record) = admit(snapshot, cx, &input, &*service.ids)?;
            Ok::<_, AwsError>((txn, shape::service(snapshot, &record, true)))
        })
        .await?;
    Ok(api::UpdateServiceResponse { service: Some(shaped) })
}

/// The service as it becomes, and the changes that make it so.
pub(crate) fn admit(
    snapshot: &Snapshot,
    cx: &RequestContext,
    input: &api::UpdateServiceRequest,
    ids: &dyn Ids,
) -> Result<(Txn, ServiceRecord), AwsError> {
    let reference = input.service.as_deref().unwrap_or_default();
    let cluster = resolve::cluster(snapshot, cx, input.cluster.as_deref())?;
    let current = services::find(snapshot, cx, input.cluster.as_deref(), reference)?;
    if current.status != ServiceStatus::Active {
        return Err(errors::service_not_active_exception("Service was not ACTIVE."));
    }
    refuse_absent(input)?;
    let mut next = (*current.record).clone();
    let (spec, definition) = admit_next_spec(snapshot, cx, input, &cluster, &next)?;
    admit_settings(input, &mut next, &spec, &definition)?;
    admit_scale(input, &mut next)?;

    let mut txn = Txn::new();
    let key = next.own_key();
    txn.unchanged::<ServiceRecord>(snapshot, &key);
    // What the capacity provider strategy says counts from the next task on, without a rollout.
    let pinned = |s: &ServiceSpec| {
        let network = (s.network.clone(), s.load_balancers.clone());
        (s.task_definition.clone(), s.platform_version.clone(), network)
    };
    if pinned(&spec) != pinned(&current.spec) || input.force_new_deployment.unwrap_or(false) {
        txn.unchanged::<ClusterRecord>(snapshot, &cluster.own_key());
        txn.unchanged::<TaskDefinitionRecord>(snapshot, &definition.own_key());
        rollout::begin(snapshot, &mut txn, &mut next, spec, &definition, ids, cx.now);
    } else if let Some(primary) = next.deployments.first_mut() {
        primary.spec = spec.clone();
        primary.backoff = Backoff::default();
        next.spec = spec;
    }
    txn.put(&key, next.clone());
    Ok((txn, next))
}

fn refuse_absent(input: &api::UpdateServiceRequest) -> Result<(), AwsError> {
    Absent {
        service_registries: input.service_registries.as_deref(),
        service_connect: input.service_connect_configuration.as_ref(),
        volumes: input.volume_configurations.as_deref(),
        vpc_lattice: input.vpc_lattice_configurations.as_deref(),
        gateway_connectors: input.gateway_connectors.as_deref(),
        monitoring: input.monitoring.as_ref(),
        enable_execute_command: input.enable_execute_command,
        controller: input.deployment_controller.as_ref(),
    }
    .refuse()
}

/// What the service is to run after the update. A task definition that is not named may be INACTIVE by now.
fn admit_next_spec(
    snapshot: &Snapshot,
    cx: &RequestContext,
    input: &api::UpdateServiceRequest,
    cluster: &ClusterRecord,
    current: &ServiceRecord,
) -> Result<(ServiceSpec, Versioned<TaskDefinitionRecord>), AwsError> {
    let spec = &current.spec;
    let definition = match input.task_definition.as_deref().filter(|t| !t.is_empty()) {
        Some(reference) => services::admit_definition(snapshot, cx, reference)?,
        None => snapshot
            .get(&TaskDefinitionRecord::key(&cx.region, &spec.family, spec.revision))
            .ok_or_else(|| errors::client_exception("Unable to describe task definition."))?,
    };
    // An empty strategy goes back to the launch type that the providers stand for.
    let (launch_type, strategy): (Option<&str>, &[_]) = match input.capacity_provider_strategy.as_deref() {
        Some([]) => (Some(spec.effective_launch_type()), &[]),
        Some(strategy) => (None, strategy),
        None => (spec.launch_type.as_deref(), &spec.capacity_provider_strategy),
    };
    let fargate = !strategy.is_empty() || launch_type == Some("FARGATE");
    let kept_network = spec.network.clone().map(|network| api::NetworkConfiguration {
        awsvpc_configuration: Some(network),
    });
    let awsvpc = definition.definition.network_mode.as_deref() == Some("awsvpc");
    let request = SpecRequest {
        launch_type,
        strategy,
        platform_version: input
            .platform_version
            .as_deref()
            .or(spec.platform_version.as_deref().filter(|_| fargate)),
        // A definition of another network mode drops what the service had; only what is given now must fit.
        network: input
            .network_configuration
            .as_ref()
            .or(kept_network.as_ref().filter(|_| awsvpc)),
        load_balancers: input.load_balancers.as_deref().unwrap_or(&spec.load_balancers),
        load_balancers_kept: input.load_balancers.is_none(),
        network_kept: input.network_configuration.is_none(),
    };
    let next = services::admit_spec(snapshot, cx, cluster, &definition, request)?;
    if current.is_daemon() && next.effective_launch_type() == "FARGATE" {
        return Err(invalid(
            "The DAEMON scheduling strategy is not supported with the FARGATE launch type.",
        ));
    }
    Ok((next, definition))
}

fn admit_settings(
    input: &api::UpdateServiceRequest,
    next: &mut ServiceRecord,
    spec: &ServiceSpec,
    definition: &TaskDefinitionRecord,
) -> Result<(), AwsError> {
    let daemon = next.is_daemon();
    if let Some(constraints) = &input.placement_constraints {
        next.placement_constraints.clone_from(constraints);
    }
    if let Some(strategy) = &input.placement_strategy {
        next.placement_strategy = strategy.iter().filter(|s| s.r#type.is_some()).cloned().collect();
    }
    let fargate = spec.effective_launch_type() == "FARGATE";
    services::admit_service_placement(
        definition,
        daemon,
        fargate,
        &next.placement_constraints,
        &next.placement_strategy,
    )?;
    let given = input.deployment_configuration.as_ref();
    next.deployment_configuration = configuration::admit(given, Some(&next.deployment_configuration), daemon)?;
    next.availability_zone_rebalancing = services::admit_rebalancing(
        input.availability_zone_rebalancing.as_deref(),
        &next.availability_zone_rebalancing,
        daemon,
        &next.deployment_configuration,
        &next.placement_strategy,
    )?;
    if let Some(grace) = load_balancers::admit_grace_period(input.health_check_grace_period_seconds)? {
        next.health_check_grace_period = grace;
    }
    if input.propagate_tags.is_some() {
        next.propagate_tags = services::admit_propagation(input.propagate_tags.as_deref())?;
    }
    if let Some(enable) = input.enable_ecs_managed_tags {
        next.enable_ecs_managed_tags = enable;
    }
    Ok(())
}

fn admit_scale(input: &api::UpdateServiceRequest, next: &mut ServiceRecord) -> Result<(), AwsError> {
    let Some(desired) = input.desired_count else {
        return Ok(());
    };
    if next.is_daemon() {
        return Err(invalid(
            "The daemon scheduling strategy does not support a desired count for services. Remove the desired count value and try again",
        ));
    }
    let desired = u32::try_from(desired).map_err(|_| invalid("desiredCount must be greater than or equal to 0."))?;
    let more = desired.saturating_sub(next.desired_count);
    next.desired_count = desired;
    // During a rollout both revisions scale out.
    for old in next.deployments.iter_mut().skip(1).filter(|d| d.proven && d.target > 0) {
        old.target = old.target.saturating_add(more).min(desired);
    }
    Ok(())
}
