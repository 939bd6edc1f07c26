//! What RunTask and StartTask have in common: one admitted request, from which any number of tasks is made.

use super::capacity::CapacityPlan;
use super::{LaunchRequest, admit_capacity, admit_network, admit_placement, new_task};
use crate::api::{self, errors};
use crate::records::{ClusterRecord, TaskDefinitionRecord, TaskRecord};
use crate::{resolve, tagging};
use neargate_core::{AwsError, Ids, RequestContext, Tags};
use neargate_store::{Snapshot, Txn};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The members of a request that both operations have, and those that only RunTask has.
#[derive(Clone, Debug, Default)]
pub struct TaskRequest {
    pub cluster: Option<String>,
    pub task_definition: Option<String>,
    pub launch_type: Option<String>,
    pub capacity_provider_strategy: Vec<api::CapacityProviderStrategyItem>,
    pub platform_version: Option<String>,
    pub network_configuration: Option<api::NetworkConfiguration>,
    pub overrides: Option<api::TaskOverride>,
    pub placement_constraints: Vec<api::PlacementConstraint>,
    pub placement_strategy: Vec<api::PlacementStrategy>,
    pub group: Option<String>,
    pub started_by: Option<String>,
    pub started_by_limit: usize,
    pub reference_id: Option<String>,
    pub tags: Option<Vec<api::Tag>>,
    pub propagate_tags: Option<String>,
    pub enable_ecs_managed_tags: bool,
    pub enable_execute_command: bool,
    pub volume_configurations: bool,
}

/// A request that may run.
pub struct Admitted {
    pub cluster: Arc<ClusterRecord>,
    pub definition: Arc<TaskDefinitionRecord>,
    pub capacity: CapacityPlan,
    network: Option<api::AwsVpcConfiguration>,
    tags: Tags,
    request: TaskRequest,
}

/// Checks everything that does not depend on the fleet.
///
/// # Errors
/// What RunTask's model lists, as AWS words it.
pub fn admit(snapshot: &Snapshot, cx: &RequestContext, request: TaskRequest) -> Result<Admitted, AwsError> {
    let bad = |message: String| Err(errors::invalid_parameter_exception(message));
    if request.enable_execute_command {
        return Err(errors::unsupported_feature_exception(
            "enableExecuteCommand is not supported by Neargate yet.",
        ));
    }
    if request.volume_configurations {
        return Err(errors::unsupported_feature_exception(
            "volumeConfigurations is not supported by Neargate yet.",
        ));
    }
    let cluster = resolve::cluster(snapshot, cx, request.cluster.as_deref())?.record;
    let reference = request.task_definition.as_deref().unwrap_or_default();
    if reference.is_empty() {
        return bad("TaskDefinition cannot be empty.".to_owned());
    }
    let definition = resolve::active_task_definition(snapshot, cx, reference)?.record;
    let limit = request.started_by_limit;
    if let Some(started_by) = &request.started_by {
        if started_by.chars().count() > limit {
            return bad(format!("startedBy can have at most {limit} characters."));
        }
        if !started_by
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-/_".contains(c))
        {
            return bad(
                "startedBy can have letters, numbers, hyphens, forward slashes and underscores only.".to_owned(),
            );
        }
    }
    if let Some(group) = request.group.as_deref().filter(|g| !g.is_empty()) {
        if group.starts_with("service:") {
            return bad("Invalid namespace for group.".to_owned());
        }
        if group.chars().count() > 255 {
            return bad("group can have at most 255 characters.".to_owned());
        }
    }
    if request.reference_id.as_ref().is_some_and(|r| r.chars().count() > 1024) {
        return bad("referenceId can have at most 1024 characters.".to_owned());
    }
    let capacity = admit_capacity(
        &cluster,
        &definition,
        request.launch_type.as_deref(),
        &request.capacity_provider_strategy,
        request.platform_version.as_deref(),
    )?;
    let fargate = capacity.is_fargate();
    admit_placement(fargate, &request.placement_constraints, &request.placement_strategy)?;
    let network = admit_network(
        snapshot,
        cx,
        &definition.definition,
        fargate,
        request.network_configuration.as_ref(),
    )?;

    let own = tagging::admit(request.tags.clone())?;
    let mut tags = match request.propagate_tags.as_deref() {
        None | Some("" | "NONE") => Tags::default(),
        Some("TASK_DEFINITION") => definition.tags.clone(),
        Some("SERVICE") => {
            return bad("Propagate tags from a service is not supported for a task that no service starts.".to_owned());
        }
        Some(other) => return bad(format!("Unknown value for propagateTags: {other}")),
    };
    tags.merge(own).map_err(tagging::refuse)?;
    Ok(Admitted {
        cluster,
        definition,
        capacity,
        network,
        tags,
        request,
    })
}

impl Admitted {
    /// The next task; `counts` are the tasks made so far by capacity provider.
    ///
    /// # Errors
    /// `InvalidParameterException` for overrides that do not fit.
    pub fn task(
        &self,
        cx: &RequestContext,
        ids: &dyn Ids,
        counts: &mut BTreeMap<String, u32>,
    ) -> Result<TaskRecord, AwsError> {
        let r = &self.request;
        new_task(LaunchRequest {
            load_balancers: &[],
            cluster: &self.cluster,
            definition: &self.definition,
            overrides: r.overrides.clone().unwrap_or_default(),
            capacity: self.capacity.next(counts),
            network: self.network.clone(),
            group: r.group.clone().filter(|g| !g.is_empty()),
            started_by: r.started_by.clone().filter(|s| !s.is_empty()),
            service: None,
            placement_constraints: r.placement_constraints.clone(),
            placement_strategy: r.placement_strategy.clone(),
            tags: self.tags.clone(),
            enable_ecs_managed_tags: r.enable_ecs_managed_tags,
            reference_id: r.reference_id.clone(),
            pinned_digests: BTreeMap::new(),
            now: cx.now,
            ids,
        })
    }

    /// The tasks commit only while cluster and task definition are as they were admitted.
    pub fn guard(&self, snapshot: &Snapshot, txn: &mut Txn) {
        let c = &self.cluster;
        txn.unchanged::<ClusterRecord>(snapshot, &ClusterRecord::key(&c.region, &c.name));
        let d = &self.definition;
        txn.unchanged::<TaskDefinitionRecord>(snapshot, &TaskDefinitionRecord::key(&d.region, &d.family, d.revision));
    }
}
