//! What the service operations share: finding services, and the rules that creating and updating have in common.

pub mod configuration;
pub mod load_balancers;
pub mod rollout;
pub mod shape;

use crate::api::{self, errors};
use crate::launch::capacity::CapacityPlan;
use crate::launch::{admit_capacity, admit_network, admit_placement};
use crate::records::{ClusterRecord, ServiceRecord, ServiceSpec, TaskDefinitionRecord};
use crate::resolve;
use neargate_core::{Arn, AwsError, RequestContext};
use neargate_store::{Snapshot, Versioned};

/// `UnsupportedFeatureException` naming the field.
pub fn unsupported(field: impl std::fmt::Display) -> AwsError {
    errors::unsupported_feature_exception(format!("{field} is not supported by Neargate yet."))
}

pub fn invalid(message: impl Into<String>) -> AwsError {
    errors::invalid_parameter_exception(message)
}

pub fn service_not_found() -> AwsError {
    errors::service_not_found_exception("Service not found.")
}

/// The service's short name.
///
/// # Errors
/// `InvalidParameterException` for an ARN of something else, or of another cluster than `cluster`.
pub fn service_name(cx: &RequestContext, cluster: &str, reference: &str) -> Result<String, AwsError> {
    if !reference.starts_with("arn:") {
        return Ok(reference.to_owned());
    }
    let wrong = || {
        invalid(format!(
            "Invalid identifier: Identifier is for service. Your service is {reference}"
        ))
    };
    let arn: Arn = reference.parse().map_err(|_| wrong())?;
    let rest = arn.resource.strip_prefix("service/").ok_or_else(wrong)?;
    if arn.service != "ecs" || arn.region != cx.region || arn.account != cx.account {
        return Err(wrong());
    }
    match rest.split_once('/') {
        None => Ok(rest.to_owned()),
        Some((of, name)) if of == cluster => Ok(name.to_owned()),
        Some(_) => Err(invalid(format!("Identifier {reference} is not in cluster {cluster}."))),
    }
}

/// The service, whatever its status.
///
/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`, `ServiceNotFoundException`.
pub fn find(
    snapshot: &Snapshot,
    cx: &RequestContext,
    cluster: Option<&str>,
    reference: &str,
) -> Result<Versioned<ServiceRecord>, AwsError> {
    let cluster = resolve::cluster(snapshot, cx, cluster)?;
    let name = service_name(cx, &cluster.name, reference)?;
    snapshot
        .get(&ServiceRecord::key(&cx.region, &cluster.name, &name))
        .ok_or_else(service_not_found)
}

/// Cluster, service and id that the ARN of a service deployment or revision names; none for any other text.
pub fn parse_child(cx: &RequestContext, kind: &str, reference: &str) -> Option<(String, String, String)> {
    let arn: Arn = reference.parse().ok()?;
    if arn.service != "ecs" || arn.region != cx.region || arn.account != cx.account {
        return None;
    }
    let mut parts = arn.resource.strip_prefix(kind)?.strip_prefix('/')?.splitn(3, '/');
    Some((
        parts.next()?.to_owned(),
        parts.next()?.to_owned(),
        parts.next()?.to_owned(),
    ))
}

/// Checks a new service's name.
///
/// # Errors
/// `InvalidParameterException`.
pub fn admit_name(name: Option<&str>) -> Result<String, AwsError> {
    let name = name.unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match name {
        "" => Err(invalid("serviceName can not be blank.")),
        _ if name.len() > 255 || !name.chars().all(allowed) => Err(invalid(
            "Invalid service name. The service name must be 255 characters or less, and may contain letters, numbers, underscores and hyphens.",
        )),
        _ => Ok(name.to_owned()),
    }
}

/// Members that creating and updating refuse while what they ask for is not there. Empty lists ask for nothing.
#[derive(Clone, Debug, Default)]
pub struct Absent<'a> {
    pub service_registries: Option<&'a [api::ServiceRegistry]>,
    pub service_connect: Option<&'a api::ServiceConnectConfiguration>,
    pub volumes: Option<&'a [api::ServiceVolumeConfiguration]>,
    pub vpc_lattice: Option<&'a [api::VpcLatticeConfiguration]>,
    pub gateway_connectors: Option<&'a [api::GatewayConnector]>,
    pub monitoring: Option<&'a api::MonitoringConfiguration>,
    pub enable_execute_command: Option<bool>,
    pub controller: Option<&'a api::DeploymentController>,
}

impl Absent<'_> {
    /// # Errors
    /// `UnsupportedFeatureException`, `InvalidParameterException`; the first member that asks for something.
    pub fn refuse(&self) -> Result<(), AwsError> {
        let asked = |list: Option<usize>| list.is_some_and(|n| n > 0);
        let lists = [
            ("serviceRegistries", self.service_registries.map(<[_]>::len)),
            ("volumeConfigurations", self.volumes.map(<[_]>::len)),
            ("vpcLatticeConfigurations", self.vpc_lattice.map(<[_]>::len)),
            ("gatewayConnectors", self.gateway_connectors.map(<[_]>::len)),
        ];
        if let Some((name, _)) = lists.into_iter().find(|(_, n)| asked(*n)) {
            return Err(unsupported(name));
        }
        if self.service_connect.is_some_and(|c| c.enabled.unwrap_or(false)) {
            return Err(unsupported("serviceConnectConfiguration"));
        }
        if self
            .monitoring
            .is_some_and(|m| asked(m.metric_configurations.as_ref().map(Vec::len)))
        {
            return Err(unsupported("monitoring"));
        }
        if self.enable_execute_command == Some(true) {
            return Err(unsupported("enableExecuteCommand"));
        }
        match self.controller.and_then(|c| c.r#type.as_deref()) {
            None | Some("ECS") => Ok(()),
            Some(other) => Err(unsupported(format!("deploymentController type {other}"))),
        }
    }
}

/// What a request asks of the service's revision.
#[derive(Clone, Copy, Debug)]
pub struct SpecRequest<'a> {
    pub launch_type: Option<&'a str>,
    pub strategy: &'a [api::CapacityProviderStrategyItem],
    pub platform_version: Option<&'a str>,
    pub network: Option<&'a api::NetworkConfiguration>,
    pub load_balancers: &'a [api::LoadBalancer],
    /// They are those that the service has.
    pub load_balancers_kept: bool,
    /// It is what the service has.
    pub network_kept: bool,
}

/// The revision that `request` and `definition` make.
///
/// # Errors
/// What `launch::admit_capacity`, `launch::admit_network`, `load_balancers::admit` and `admit_vpc` refuse.
pub fn admit_spec(
    snapshot: &Snapshot,
    cx: &RequestContext,
    cluster: &ClusterRecord,
    definition: &TaskDefinitionRecord,
    request: SpecRequest<'_>,
) -> Result<ServiceSpec, AwsError> {
    let SpecRequest {
        launch_type,
        strategy,
        platform_version,
        network,
        load_balancers,
        load_balancers_kept,
        network_kept,
    } = request;
    let capacity = admit_capacity(cluster, definition, launch_type, strategy, platform_version)?;
    let fargate = capacity.is_fargate();
    let network = admit_network(snapshot, cx, &definition.definition, fargate, network)?;
    let load_balancers = load_balancers::admit(snapshot, cx, definition, load_balancers, load_balancers_kept)?;
    if !(load_balancers_kept && network_kept) {
        load_balancers::admit_vpc(snapshot, cx, &load_balancers, network.as_ref())?;
    }
    let (launch_type, capacity_provider_strategy) = match capacity {
        CapacityPlan::LaunchType(name) => (Some(name), Vec::new()),
        CapacityPlan::Strategy(items) => (None, items),
    };
    let version = platform_version.filter(|v| !v.is_empty()).unwrap_or("LATEST");
    Ok(ServiceSpec {
        task_definition: definition.arn().to_owned(),
        family: definition.family.clone(),
        revision: definition.revision,
        launch_type,
        capacity_provider_strategy,
        platform_version: fargate.then(|| version.to_owned()),
        platform_family: fargate.then(|| "Linux".to_owned()),
        network,
        load_balancers,
    })
}

/// Placement constraints and strategy of a service.
///
/// # Errors
/// `InvalidParameterException`.
pub fn admit_service_placement(
    definition: &TaskDefinitionRecord,
    daemon: bool,
    fargate: bool,
    constraints: &[api::PlacementConstraint],
    strategy: &[api::PlacementStrategy],
) -> Result<(), AwsError> {
    admit_placement(fargate, constraints, strategy)?;
    let inherited = definition.definition.placement_constraints.as_ref().map_or(0, Vec::len);
    if inherited + constraints.len() > 10 {
        return Err(invalid(
            "placementConstraints can have at most 10 items, those of the task definition included.",
        ));
    }
    if daemon && !strategy.is_empty() {
        return Err(invalid(
            "Placement strategies are not supported with the DAEMON scheduling strategy.",
        ));
    }
    if daemon
        && constraints
            .iter()
            .any(|c| c.r#type.as_deref() == Some("distinctInstance"))
    {
        return Err(invalid(
            "The distinctInstance placement constraint is not supported with the DAEMON scheduling strategy.",
        ));
    }
    Ok(())
}

/// An ACTIVE task definition.
///
/// # Errors
/// `ClientException`.
pub fn admit_definition(
    snapshot: &Snapshot,
    cx: &RequestContext,
    reference: &str,
) -> Result<Versioned<TaskDefinitionRecord>, AwsError> {
    let definition = resolve::task_definition(snapshot, cx, reference)?;
    match definition.status() {
        "ACTIVE" => Ok(definition),
        _ => Err(errors::client_exception("TaskDefinition is inactive")),
    }
}

/// `propagateTags` of a service; `NONE` when not given.
///
/// # Errors
/// `InvalidParameterException`.
pub fn admit_propagation(given: Option<&str>) -> Result<String, AwsError> {
    match given.unwrap_or("NONE") {
        known @ ("TASK_DEFINITION" | "SERVICE" | "NONE") => Ok(known.to_owned()),
        other => Err(invalid(format!("Unknown value for propagateTags: {other}"))),
    }
}

/// `availabilityZoneRebalancing`: as asked, when the service can be rebalanced. Source: "Balancing an Amazon ECS service
/// across Availability Zones" of the developer guide.
///
/// # Errors
/// `InvalidParameterException` when it is asked for where it cannot be.
pub fn admit_rebalancing(
    asked: Option<&str>,
    default: &str,
    daemon: bool,
    configuration: &api::DeploymentConfiguration,
    strategy: &[api::PlacementStrategy],
) -> Result<String, AwsError> {
    let zone_first = strategy.first().is_none_or(|s| {
        s.r#type.as_deref() == Some("spread") && s.field.as_deref() == Some("attribute:ecs.availability-zone")
    });
    let obstacle = match () {
        () if daemon => Some("the DAEMON scheduling strategy"),
        () if configuration.maximum_percent.unwrap_or(200) <= 100 => Some("a maximumPercent of 100"),
        () if !zone_first => Some("a placement strategy that does not spread across Availability Zones first"),
        () => None,
    };
    match (asked, obstacle) {
        (Some("DISABLED"), _) => Ok("DISABLED".to_owned()),
        (Some("ENABLED"), None) => Ok("ENABLED".to_owned()),
        (Some("ENABLED"), Some(what)) => Err(invalid(format!(
            "Availability Zone rebalancing does not support services with {what}."
        ))),
        (Some(other), _) => Err(invalid(format!(
            "Unknown value for availabilityZoneRebalancing: {other}"
        ))),
        (None, None) => Ok(default.to_owned()),
        (None, Some(_)) => Ok("DISABLED".to_owned()),
    }
}

#[cfg(test)]
mod tests;
