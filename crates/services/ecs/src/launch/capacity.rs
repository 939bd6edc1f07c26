//! Where a task's capacity comes from: a launch type, or a capacity provider chosen by base and weight.

use crate::api::{self, errors};
use crate::clusters;
use crate::records::{ClusterRecord, TaskDefinitionRecord};
use neargate_core::AwsError;
use std::collections::BTreeMap;

/// The Fargate platform that Neargate plays.
pub const PLATFORM_VERSION: &str = "1.4.0";
/// Platforms that AWS has retired.
const RETIRED: &[&str] = &["1.0.0", "1.1.0", "1.2.0", "1.3.0"];

/// One task's capacity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// `FARGATE` or `EC2`.
    pub launch_type: String,
    pub provider: Option<String>,
}

impl Capacity {
    pub fn is_fargate(&self) -> bool {
        self.launch_type == "FARGATE"
    }
}

/// What a request asks for: one launch type, or providers to choose among for every task.
#[derive(Clone, Debug, PartialEq)]
pub enum CapacityPlan {
    LaunchType(String),
    Strategy(Vec<api::CapacityProviderStrategyItem>),
}

impl CapacityPlan {
    /// Every provider Neargate has is Fargate's, so a plan is of one kind.
    pub fn is_fargate(&self) -> bool {
        match self {
            CapacityPlan::LaunchType(name) => name == "FARGATE",
            CapacityPlan::Strategy(_) => true,
        }
    }

    /// Capacity of the next task when `counts` tasks run on each provider already; counts it in.
    pub fn next(&self, counts: &mut BTreeMap<String, u32>) -> Capacity {
        match self {
            CapacityPlan::LaunchType(name) => Capacity {
                launch_type: name.clone(),
                provider: None,
            },
            CapacityPlan::Strategy(items) => {
                let provider = next_provider(items, counts);
                *counts.entry(provider.clone()).or_default() += 1;
                Capacity {
                    launch_type: "FARGATE".to_owned(),
                    provider: Some(provider),
                }
            }
        }
    }
}

/// Checks launch type, strategy and platform version against cluster and task definition.
///
/// # Errors
/// `InvalidParameterException`, `ClientException`, `PlatformUnknownException`,
/// `PlatformTaskDefinitionIncompatibilityException`, `UnsupportedFeatureException`.
pub fn admit_capacity(
    cluster: &ClusterRecord,
    definition: &TaskDefinitionRecord,
    launch_type: Option<&str>,
    strategy: &[api::CapacityProviderStrategyItem],
    platform_version: Option<&str>,
) -> Result<CapacityPlan, AwsError> {
    let plan = match launch_type.filter(|t| !t.is_empty()) {
        Some(_) if !strategy.is_empty() => {
            return Err(errors::invalid_parameter_exception(
                "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.",
            ));
        }
        Some(name @ ("FARGATE" | "EC2")) => CapacityPlan::LaunchType(name.to_owned()),
        Some(name @ ("EXTERNAL" | "MANAGED_INSTANCES")) => {
            return Err(errors::unsupported_feature_exception(format!(
                "The launch type {name} is not supported."
            )));
        }
        Some(name) => {
            return Err(errors::invalid_parameter_exception(format!(
                "Unknown launch type: {name}"
            )));
        }
        None if !strategy.is_empty() => {
            admit_strategy(cluster, strategy)?;
            CapacityPlan::Strategy(clusters::whole_strategy(Some(strategy.to_vec())))
        }
        None if !cluster.default_capacity_provider_strategy.is_empty() => {
            CapacityPlan::Strategy(cluster.default_capacity_provider_strategy.clone())
        }
        None => CapacityPlan::LaunchType("EC2".to_owned()),
    };
    admit_definition(definition, &plan)?;
    admit_platform(definition, &plan, platform_version.filter(|v| !v.is_empty()))?;
    Ok(plan)
}

/// Checks providers, weights and bases; an empty strategy is fine.
///
/// # Errors
/// `InvalidParameterException`.
pub fn admit_strategy(cluster: &ClusterRecord, strategy: &[api::CapacityProviderStrategyItem]) -> Result<(), AwsError> {
    let bad = |message: String| Err(errors::invalid_parameter_exception(message));
    if strategy.len() > 20 {
        return bad("A capacity provider strategy can contain a maximum of 20 capacity providers.".to_owned());
    }
    let mut seen: Vec<&str> = Vec::new();
    for item in strategy {
        let name = item.capacity_provider.as_deref().unwrap_or_default();
        if seen.contains(&name) {
            return bad("A capacity provider can only be specified once in a capacity provider strategy.".to_owned());
        }
        seen.push(name);
        if !cluster.capacity_providers.iter().any(|p| p == name) {
            return bad(match name {
                "FARGATE" | "FARGATE_SPOT" => "The specified capacity provider strategy cannot contain a capacity provider that is not associated with the cluster. Associate the capacity provider with the cluster and try again.".to_owned(),
                _ => format!(
                    "The specified capacity provider '{name}' was not found. Specify a valid name or ARN and try again."
                ),
            });
        }
        if !(0..=1000).contains(&item.weight.unwrap_or(0)) {
            return bad("The weight of a capacity provider must be between 0 and 1000.".to_owned());
        }
        if !(0..=100_000).contains(&item.base.unwrap_or(0)) {
            return bad("The base of a capacity provider must be between 0 and 100000.".to_owned());
        }
    }
    if strategy.iter().filter(|i| i.base.unwrap_or(0) > 0).count() > 1 {
        return bad("Only one capacity provider in a capacity provider strategy can have a base defined.".to_owned());
    }
    // One provider alone, without a weight, is meant to be used.
    if strategy.len() > 1 && strategy.iter().all(|i| i.weight.unwrap_or(0) == 0) {
        return bad("At least one capacity provider in a strategy must have a weight greater than zero.".to_owned());
    }
    Ok(())
}

fn admit_definition(definition: &TaskDefinitionRecord, plan: &CapacityPlan) -> Result<(), AwsError> {
    let d = &definition.definition;
    let wanted = if plan.is_fargate() { "FARGATE" } else { "EC2" };
    let compatible = match &d.compatibilities {
        Some(list) if !list.is_empty() => list.iter().any(|c| c == wanted),
        _ => !plan.is_fargate(),
    };
    if compatible {
        return Ok(());
    }
    Err(errors::invalid_parameter_exception(match plan {
        CapacityPlan::LaunchType(name) => format!("Task definition does not support launch_type {name}."),
        CapacityPlan::Strategy(_) => {
            "The capacity provider strategy cannot contain a Fargate capacity provider for a task definition that does not support FARGATE.".to_owned()
        }
    }))
}

fn admit_platform(
    definition: &TaskDefinitionRecord,
    plan: &CapacityPlan,
    version: Option<&str>,
) -> Result<(), AwsError> {
    let Some(version) = version else { return Ok(()) };
    if !plan.is_fargate() {
        return Err(errors::invalid_parameter_exception(
            "The platform version must be null when specifying an EC2 launch type.",
        ));
    }
    if matches!(version, "LATEST" | PLATFORM_VERSION) {
        return Ok(());
    }
    let d = &definition.definition;
    let needs_present = d.ephemeral_storage.is_some()
        || d.cpu
            .as_deref()
            .and_then(super::overrides::parse_cpu)
            .is_some_and(|cpu| cpu > 4096);
    if RETIRED.contains(&version) && needs_present {
        return Err(errors::platform_task_definition_incompatibility_exception(format!(
            "The task definition uses features that platform version {version} does not support. Use {PLATFORM_VERSION} or LATEST."
        )));
    }
    Err(errors::platform_unknown_exception(format!(
        "The platform version {version} does not exist."
    )))
}

/// The provider of the next task: first the base, then whoever is furthest behind its share of the weights.
pub fn next_provider(strategy: &[api::CapacityProviderStrategyItem], counts: &BTreeMap<String, u32>) -> String {
    let name = |i: &api::CapacityProviderStrategyItem| i.capacity_provider.clone().unwrap_or_default();
    let count = |i: &api::CapacityProviderStrategyItem| counts.get(&name(i)).copied().unwrap_or(0);
    let base = |i: &api::CapacityProviderStrategyItem| u32::try_from(i.base.unwrap_or(0)).unwrap_or(0);
    if let Some(item) = strategy.iter().find(|i| count(i) < base(i)) {
        return name(item);
    }
    let weight = |i: &api::CapacityProviderStrategyItem| u64::try_from(i.weight.unwrap_or(0)).unwrap_or(0);
    let lone = strategy.len() == 1;
    strategy
        .iter()
        .filter(|i| lone || weight(i) > 0)
        // Least (tasks beyond the base + 1) / weight; compared crosswise to stay in whole numbers.
        .min_by(|a, b| {
            let share = |i: &api::CapacityProviderStrategyItem| u64::from(count(i).saturating_sub(base(i))) + 1;
            (share(a) * weight(b).max(1)).cmp(&(share(b) * weight(a).max(1)))
        })
        .map(name)
        .unwrap_or_default()
}
