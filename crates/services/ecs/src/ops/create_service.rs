//! CreateService. The reconciler starts the tasks; the reply says what was asked.

use crate::Ecs;
use crate::api::{self, errors};
use crate::records::{
    ClientTokenRecord, ClusterRecord, SchedulingStrategy, ServiceRecord, ServiceStatus, TaskDefinitionRecord,
};
use crate::services::{self, Absent, SpecRequest, configuration, invalid, load_balancers, rollout, shape};
use crate::{resolve, tagging};
use neargate_core::{AwsError, Ids, RequestContext};
use neargate_store::{Snapshot, Txn};
use std::collections::BTreeMap;

/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`, `ClientException`, `PlatformUnknownException`,
/// `PlatformTaskDefinitionIncompatibilityException`, `UnsupportedFeatureException`.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::CreateServiceRequest,
) -> Result<api::CreateServiceResponse, AwsError> {
    let shaped = service
        .store
        .transact(|snapshot| {
            let (txn, record) = admit(snapshot, cx, &input, &*service.ids)?;
            let shaped = shape::service(snapshot, &record, true);
            Ok::<_, AwsError>((txn, shaped))
        })
        .await?;
    Ok(api::CreateServiceResponse { service: Some(shaped) })
}

/// The service, new or as an equal earlier request made it, and the changes that make it so.
pub(crate) fn admit(
    snapshot: &Snapshot,
    cx: &RequestContext,
    input: &api::CreateServiceRequest,
    ids: &dyn Ids,
) -> Result<(Txn, ServiceRecord), AwsError> {
    let cluster = resolve::cluster(snapshot, cx, input.cluster.as_deref())?;
    let name = services::admit_name(input.service_name.as_deref())?;
    let token = admit_token(input.client_token.as_deref())?;
    let fingerprint = fingerprint(input, &cluster.name);
    let mut txn = Txn::new();

    let token_key = token.map(|t| ClientTokenRecord::key(&cx.region, "CreateService", &cluster.name, t));
    if let Some(earlier) = token_key
        .as_deref()
        .and_then(|key| snapshot.get::<ClientTokenRecord>(key))
    {
        let made = earlier.made.first().and_then(|key| snapshot.get::<ServiceRecord>(key));
        match made.filter(|made| made.status == ServiceStatus::Active) {
            Some(made) if earlier.request == fingerprint => return Ok((txn, (*made.record).clone())),
            Some(_) => {
                return Err(invalid(
                    "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
                ));
            }
            // What it made is deleted: the token stands for nothing any more.
            None => {}
        }
    }
    let key = ServiceRecord::key(&cx.region, &cluster.name, &name);
    let existing = snapshot.get::<ServiceRecord>(&key);
    match existing.as_ref().map(|s| s.status) {
        Some(ServiceStatus::Active) if existing.as_ref().is_some_and(|s| s.request_fingerprint == fingerprint) => {
            let same = existing.map(|s| (*s.record).clone());
            return same.map(|s| (txn, s)).ok_or_else(AwsError::internal);
        }
        Some(ServiceStatus::Active) => return Err(invalid("Creation of service was not idempotent.")),
        Some(ServiceStatus::Draining) => {
            return Err(invalid("Unable to Start a service that is still Draining."));
        }
        Some(ServiceStatus::Inactive) | None => {}
    }

    let (mut record, definition) = new_record(snapshot, cx, input, &cluster, name)?;
    record.events_told = existing.as_ref().map_or(0, |s| s.events_told);
    record.events_before = record.events_told;
    record.request_fingerprint.clone_from(&fingerprint);

    txn.unchanged::<ClusterRecord>(snapshot, &cluster.own_key());
    txn.unchanged::<TaskDefinitionRecord>(snapshot, &definition.own_key());
    txn.unchanged::<ServiceRecord>(snapshot, &key);
    let spec = record.spec.clone();
    rollout::begin(snapshot, &mut txn, &mut record, spec, &definition, ids, cx.now);
    if let Some(token_key) = token_key {
        txn.unchanged::<ClientTokenRecord>(snapshot, &token_key);
        let made = vec![key.clone()];
        let remembered = ClientTokenRecord {
            request: fingerprint,
            made,
            failures: Vec::new(),
            created_at: cx.now,
        };
        txn.put(&token_key, remembered);
    }
    txn.put(&key, record.clone());
    Ok((txn, record))
}

fn new_record(
    snapshot: &Snapshot,
    cx: &RequestContext,
    input: &api::CreateServiceRequest,
    cluster: &ClusterRecord,
    name: String,
) -> Result<(ServiceRecord, TaskDefinitionRecord), AwsError> {
    refuse_absent(input)?;
    let scheduling = match input.scheduling_strategy.as_deref() {
        None | Some("REPLICA") => SchedulingStrategy::Replica,
        Some("DAEMON") => SchedulingStrategy::Daemon,
        Some(other) => return Err(invalid(format!("Unknown scheduling strategy: {other}"))),
    };
    let daemon = scheduling == SchedulingStrategy::Daemon;
    let desired_count = admit_desired(input.desired_count, daemon)?;
    let Some(reference) = input.task_definition.as_deref().filter(|t| !t.is_empty()) else {
        return Err(invalid("TaskDefinition can not be blank."));
    };
    let definition = services::admit_definition(snapshot, cx, reference)?;
    let request = SpecRequest {
        launch_type: input.launch_type.as_deref(),
        strategy: input.capacity_provider_strategy.as_deref().unwrap_or_default(),
        platform_version: input.platform_version.as_deref(),
        network: input.network_configuration.as_ref(),
        load_balancers: input.load_balancers.as_deref().unwrap_or_default(),
        load_balancers_kept: false,
        network_kept: false,
    };
    let spec = services::admit_spec(snapshot, cx, cluster, &definition, request)?;
    let fargate = spec.effective_launch_type() == "FARGATE";
    if daemon && fargate {
        return Err(invalid(
            "The DAEMON scheduling strategy is not supported with the FARGATE launch type.",
        ));
    }
    let constraints = input.placement_constraints.clone().unwrap_or_default();
    let strategy = input.placement_strategy.clone().unwrap_or_default();
    services::admit_service_placement(&definition, daemon, fargate, &constraints, &strategy)?;
    let configuration = configuration::admit(input.deployment_configuration.as_ref(), None, daemon)?;
    let asked = input.availability_zone_rebalancing.as_deref();
    let rebalancing = services::admit_rebalancing(asked, "ENABLED", daemon, &configuration, &strategy)?;
    let grace = load_balancers::admit_grace_period(input.health_check_grace_period_seconds)?;
    let record = ServiceRecord {
        region: cx.region.clone(),
        cluster: cluster.name.clone(),
        arn: cx.arn("ecs", format!("service/{}/{name}", cluster.name)),
        name,
        cluster_arn: cluster.arn.clone(),
        status: ServiceStatus::Active,
        scheduling,
        desired_count,
        spec,
        deployment_configuration: configuration,
        placement_constraints: constraints,
        placement_strategy: strategy,
        availability_zone_rebalancing: rebalancing,
        health_check_grace_period: grace.unwrap_or(0),
        tags: tagging::admit(input.tags.clone())?,
        propagate_tags: services::admit_propagation(input.propagate_tags.as_deref())?,
        enable_ecs_managed_tags: input.enable_ecs_managed_tags.unwrap_or(false),
        created_at: cx.now,
        created_by: cx.caller_arn.clone(),
        inactive_at: None,
        request_fingerprint: String::new(),
        deployments: Vec::new(),
        last_completed: None,
        current_service_deployment: String::new(),
        stop_requested: None,
        events_told: 0,
        events_before: 0,
        steady_at: None,
        protection_told: false,
        rebalancing_until: None,
        unannounced: BTreeMap::new(),
    };
    Ok((record, (*definition.record).clone()))
}

fn refuse_absent(input: &api::CreateServiceRequest) -> Result<(), AwsError> {
    if input.role.as_deref().is_some_and(|r| !r.is_empty()) {
        // Target groups need none: AWS uses its service-linked role, and classic load balancers are not served.
        return Err(invalid(match input.load_balancers.as_deref() {
            None | Some([]) => "The role parameter is only permitted for services that use a load balancer.",
            Some(_) => "You cannot specify an IAM role for services that require a service linked role.",
        }));
    }
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

fn admit_desired(given: Option<i32>, daemon: bool) -> Result<u32, AwsError> {
    match (given, daemon) {
        (Some(_), true) => Err(invalid(
            "The daemon scheduling strategy does not support a desired count for services. Remove the desired count value and try again",
        )),
        (None, true) => Ok(0),
        (None, false) => Err(invalid("desiredCount is required for the REPLICA scheduling strategy.")),
        (Some(n), false) => u32::try_from(n).map_err(|_| invalid("desiredCount must be greater than or equal to 0.")),
    }
}

fn admit_token(token: Option<&str>) -> Result<Option<&str>, AwsError> {
    match token {
        None | Some("") => Ok(None),
        Some(t) if t.len() <= 36 && t.bytes().all(|b| (33..=126).contains(&b)) => Ok(Some(t)),
        Some(_) => Err(errors::invalid_parameter_exception(
            "clientToken must be up to 36 ASCII characters in the range of 33-126 (inclusive).",
        )),
    }
}

/// The request without its token, with the cluster's name however it was given.
fn fingerprint(input: &api::CreateServiceRequest, cluster: &str) -> String {
    let plain = api::CreateServiceRequest {
        client_token: None,
        cluster: Some(cluster.to_owned()),
        ..input.clone()
    };
    serde_json::to_string(&plain).unwrap_or_default()
}
