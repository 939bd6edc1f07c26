//! What the cluster operations share: rules of a request's members, and a cluster as it is described.

use crate::account_settings;
use crate::api::{self, errors};
use crate::launch::capacity::admit_strategy;
use crate::records::{ClusterRecord, NodeRecord, ServiceRecord, ServiceStatus, counters};
use crate::refusal::unsupported;
use crate::tagging;
use neargate_core::{AwsError, RequestContext};
use neargate_store::Snapshot;

/// Capacity providers that every account has.
pub const CAPACITY_PROVIDERS: [&str; 2] = ["FARGATE", "FARGATE_SPOT"];

/// A new cluster's name: up to 255 letters, digits, underscores and hyphens.
///
/// # Errors
/// `InvalidParameterException`.
pub fn admit_name(name: Option<String>) -> Result<String, AwsError> {
    let name = name.filter(|n| !n.is_empty()).unwrap_or_else(|| "default".to_owned());
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if name.len() > 255 || !name.bytes().all(allowed) {
        return Err(errors::invalid_parameter_exception(
            "Invalid cluster name. Up to 255 letters (uppercase and lowercase), numbers, underscores, and hyphens are allowed.",
        ));
    }
    Ok(name)
}

/// Refuses what would need a feature that is not there.
///
/// # Errors
/// `ClientException` naming the member.
pub fn refuse_unsupported(
    configuration: Option<&api::ClusterConfiguration>,
    service_connect: Option<&api::ClusterServiceConnectDefaultsRequest>,
) -> Result<(), AwsError> {
    if let Some(configuration) = configuration {
        if configuration.execute_command_configuration.is_some() {
            return Err(unsupported("configuration.executeCommandConfiguration"));
        }
        if configuration.managed_storage_configuration.is_some() {
            return Err(unsupported("configuration.managedStorageConfiguration"));
        }
    }
    // An empty namespace asks for no default, which is what every cluster has.
    match service_connect.and_then(|s| s.namespace.as_deref()) {
        None | Some("") => Ok(()),
        Some(_) => Err(unsupported("serviceConnectDefaults")),
    }
}

/// Settings as the request gives them.
///
/// # Errors
/// `InvalidParameterException`.
pub fn admit_settings(settings: &[api::ClusterSetting]) -> Result<Vec<api::ClusterSetting>, AwsError> {
    let mut out: Vec<api::ClusterSetting> = Vec::new();
    for setting in settings {
        let name = setting.name.as_deref().unwrap_or_default();
        if name != "containerInsights" {
            return Err(errors::invalid_parameter_exception(format!(
                "Invalid cluster setting name: {name}"
            )));
        }
        let value = setting.value.as_deref().unwrap_or_default();
        if !matches!(value, "enabled" | "disabled" | "enhanced") {
            return Err(errors::invalid_parameter_exception(format!(
                "Invalid value for the cluster setting containerInsights: {value}"
            )));
        }
        if out.iter().any(|s| s.name == setting.name) {
            return Err(errors::invalid_parameter_exception(format!(
                "Duplicate cluster setting: {name}"
            )));
        }
        out.push(setting.clone());
    }
    Ok(out)
}

/// `containerInsights` of a cluster whose request does not say: the caller's account setting.
pub fn default_settings(snapshot: &Snapshot, cx: &RequestContext) -> Vec<api::ClusterSetting> {
    let value = account_settings::effective(snapshot, &cx.region, Some(&cx.caller_arn), "containerInsights");
    vec![api::ClusterSetting {
        name: Some("containerInsights".to_owned()),
        value: Some(value),
    }]
}

/// Checks the capacity providers and the default strategy that `cluster` carries.
///
/// # Errors
/// `InvalidParameterException`.
pub fn admit_capacity(cluster: &ClusterRecord) -> Result<(), AwsError> {
    for (at, provider) in cluster.capacity_providers.iter().enumerate() {
        if !CAPACITY_PROVIDERS.contains(&provider.as_str()) {
            return Err(errors::invalid_parameter_exception(format!(
                "The specified capacity provider '{provider}' was not found. Specify a valid name or ARN and try again."
            )));
        }
        if cluster.capacity_providers[..at].contains(provider) {
            return Err(errors::invalid_parameter_exception(format!(
                "The capacity provider '{provider}' is specified more than once."
            )));
        }
    }
    for item in &cluster.default_capacity_provider_strategy {
        if !cluster
            .capacity_providers
            .contains(item.capacity_provider.as_ref().unwrap_or(&String::new()))
        {
            return Err(errors::invalid_parameter_exception(
                "The specified capacity provider strategy cannot contain a capacity provider that is not associated with the cluster. Associate the capacity provider with the cluster and try again.",
            ));
        }
    }
    admit_strategy(cluster, &cluster.default_capacity_provider_strategy)
}

/// A strategy with base and weight filled in, as AWS describes it.
pub fn whole_strategy(items: Option<Vec<api::CapacityProviderStrategyItem>>) -> Vec<api::CapacityProviderStrategyItem> {
    let fill = |mut item: api::CapacityProviderStrategyItem| {
        item.base.get_or_insert(0);
        item.weight.get_or_insert(0);
        item
    };
    items.unwrap_or_default().into_iter().map(fill).collect()
}

/// What a description holds besides the cluster itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Include {
    pub attachments: bool,
    pub settings: bool,
    pub statistics: bool,
    pub tags: bool,
}

impl Include {
    /// What the operations that change a cluster answer with.
    pub const CHANGED: Include = Include {
        attachments: true,
        settings: true,
        statistics: false,
        tags: true,
    };

    /// # Errors
    /// `InvalidParameterException`.
    pub fn read(names: &[String]) -> Result<Include, AwsError> {
        let mut include = Include::default();
        for name in names {
            match name.as_str() {
                "ATTACHMENTS" => include.attachments = true,
                // Nothing that a configuration could hold is accepted, so there is none to show.
                "CONFIGURATIONS" => {}
                "SETTINGS" => include.settings = true,
                "STATISTICS" => include.statistics = true,
                "TAGS" => include.tags = true,
                other => {
                    return Err(errors::invalid_parameter_exception(format!(
                        "Unknown value for include: {other}"
                    )));
                }
            }
        }
        Ok(include)
    }
}

/// The cluster as it is described.
pub fn shape(snapshot: &Snapshot, cluster: &ClusterRecord, include: Include) -> api::Cluster {
    let (region, name) = (cluster.region.as_str(), cluster.name.as_str());
    let tasks = |counter: fn(&str, &str, &str) -> String, launch_type: &str| {
        i32::try_from(snapshot.count(&counter(region, name, launch_type))).unwrap_or(i32::MAX)
    };
    let running = ["EC2", "FARGATE"].map(|launch_type| tasks(counters::running_tasks, launch_type));
    let pending = ["EC2", "FARGATE"].map(|launch_type| tasks(counters::pending_tasks, launch_type));
    let (mut active, mut draining) = ([0, 0], [0, 0]);
    for (_, service) in snapshot.range::<ServiceRecord>(&format!("{region}/{name}/")) {
        let at = usize::from(service.spec.effective_launch_type() == "FARGATE");
        match service.status {
            ServiceStatus::Active => active[at] += 1,
            ServiceStatus::Draining => draining[at] += 1,
            ServiceStatus::Inactive => {}
        }
    }
    let statistics = [
        ("runningEC2TasksCount", running[0]),
        ("runningFargateTasksCount", running[1]),
        ("pendingEC2TasksCount", pending[0]),
        ("pendingFargateTasksCount", pending[1]),
        ("activeEC2ServiceCount", active[0]),
        ("activeFargateServiceCount", active[1]),
        ("drainingEC2ServiceCount", draining[0]),
        ("drainingFargateServiceCount", draining[1]),
    ];
    let statistics = statistics
        .into_iter()
        .filter(|_| include.statistics)
        .map(|(name, value)| api::KeyValuePair {
            name: Some(name.to_owned()),
            value: Some(value.to_string()),
        })
        .collect();
    let instances = if cluster.is_active() {
        snapshot.range::<NodeRecord>("").count()
    } else {
        0
    };
    let attachments = include.attachments && !cluster.capacity_providers.is_empty();
    api::Cluster {
        cluster_arn: Some(cluster.arn.clone()),
        cluster_name: Some(cluster.name.clone()),
        status: Some(cluster.status.clone()),
        registered_container_instances_count: i32::try_from(instances).ok(),
        running_tasks_count: Some(running.iter().sum()),
        pending_tasks_count: Some(pending.iter().sum()),
        active_services_count: Some(active.iter().sum()),
        statistics: Some(statistics),
        tags: Some(if include.tags {
            tagging::shape(&cluster.tags)
        } else {
            Vec::new()
        }),
        settings: Some(if include.settings {
            cluster.settings.clone()
        } else {
            Vec::new()
        }),
        capacity_providers: Some(cluster.capacity_providers.clone()),
        default_capacity_provider_strategy: Some(cluster.default_capacity_provider_strategy.clone()),
        // FARGATE and FARGATE_SPOT attach nothing to a cluster.
        attachments: attachments.then(Vec::new),
        attachments_status: attachments.then(|| "UPDATE_COMPLETE".to_owned()),
        configuration: None,
        service_connect_defaults: None,
    }
}
