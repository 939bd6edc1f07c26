//! ListTasks: ARNs by filter, a page at a time.

use crate::api::{self, errors};
use crate::records::{DesiredStatus, ServiceRecord, TaskRecord};
use crate::{Ecs, instances, paging, resolve};
use neargate_core::{Arn, AwsError, RequestContext};
use neargate_store::{Snapshot, Versioned};

/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`, `ServiceNotFoundException`.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::ListTasksRequest,
) -> Result<api::ListTasksResponse, AwsError> {
    let given = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
    let bad = |message: &str| Err(errors::invalid_parameter_exception(message));
    if given(&input.daemon_name).is_some() {
        return Err(errors::client_exception("daemonName is not supported by Neargate yet."));
    }
    let snapshot = service.store.snapshot();
    let cluster = resolve::cluster(&snapshot, cx, input.cluster.as_deref())?;
    let (family, started_by, service_name, instance, launch_type) = (
        given(&input.family),
        given(&input.started_by),
        given(&input.service_name),
        given(&input.container_instance),
        given(&input.launch_type),
    );
    if started_by.is_some()
        && (family.is_some() || service_name.is_some() || instance.is_some() || launch_type.is_some())
    {
        return bad("cannot specify startedBy with other arguments");
    }
    if service_name.is_some() && (family.is_some() || instance.is_some()) {
        return bad("cannot specify serviceName with other arguments");
    }
    if let Some(launch_type) = launch_type.as_deref()
        && !matches!(launch_type, "EC2" | "FARGATE" | "EXTERNAL" | "MANAGED_INSTANCES")
    {
        return Err(errors::invalid_parameter_exception(format!(
            "Unknown launch type: {launch_type}"
        )));
    }
    let desired = match given(&input.desired_status).as_deref() {
        None | Some("RUNNING") => Some(DesiredStatus::Running),
        Some("STOPPED") => Some(DesiredStatus::Stopped),
        // ECS never wants a task to be PENDING.
        Some("PENDING") => None,
        Some(other) => {
            return Err(errors::invalid_parameter_exception(format!(
                "Unknown desired status: {other}"
            )));
        }
    };
    let node = match &instance {
        Some(reference) => match instances::find(&snapshot, cx, &cluster, reference)? {
            Some(node) => Some(node.hello.node_id.clone()),
            None => return bad("The referenced container instance was not found."),
        },
        None => None,
    };
    let of_service = match &service_name {
        Some(reference) => Some(find_service(&snapshot, cx, &cluster.name, reference)?),
        None => None,
    };

    let prefix = format!("{}/{}/", cluster.region, cluster.name);
    let matches = |task: &TaskRecord| {
        task.is_shown()
            && Some(task.desired) == desired
            && node.as_ref().is_none_or(|n| task.node.as_ref() == Some(n))
            && family.as_ref().is_none_or(|f| task.family == *f)
            && started_by.as_ref().is_none_or(|s| task.started_by.as_ref() == Some(s))
            && launch_type.as_ref().is_none_or(|l| task.launch_type == *l)
    };
    // The keys of a cluster's tasks ascend by id, whichever way they are found.
    let listing = format!("tasks {prefix} {:?}", input_filters(&input));
    let token = input.next_token.as_deref().filter(|t| !t.is_empty());
    let after = token
        .and_then(|t| neargate_core::paging::resume(&listing, t).ok())
        .unwrap_or_default();
    let found: Box<dyn Iterator<Item = (&str, Versioned<TaskRecord>)>> = match &of_service {
        Some(name) => Box::new(snapshot.indexed(TaskRecord::BY_SERVICE, &format!("{prefix}{name}"))),
        None => Box::new(snapshot.range_after(&prefix, &after)),
    };
    let page = paging::page(
        &listing,
        found.filter(|(_, task)| matches(task)),
        |(key, _)| (*key).to_owned(),
        100,
        input.max_results,
        input.next_token.as_deref(),
    )?;
    Ok(api::ListTasksResponse {
        task_arns: Some(page.items.iter().map(|(_, task)| task.arn.clone()).collect()),
        next_token: page.next_token,
    })
}

/// A token continues only the listing it was made by.
fn input_filters(input: &api::ListTasksRequest) -> [&Option<String>; 6] {
    [
        &input.container_instance,
        &input.family,
        &input.started_by,
        &input.service_name,
        &input.desired_status,
        &input.launch_type,
    ]
}

/// The name of the service that `reference` (a name or an ARN) names in the cluster.
fn find_service(snapshot: &Snapshot, cx: &RequestContext, cluster: &str, reference: &str) -> Result<String, AwsError> {
    let not_found = || errors::service_not_found_exception("Service not found.");
    let name = match reference.parse::<Arn>() {
        Err(_) => reference.to_owned(),
        Ok(arn) => {
            let ("service", rest) = arn.resource_parts() else {
                return Err(not_found());
            };
            match rest.rsplit_once('/') {
                Some((named, name)) if named == cluster => name.to_owned(),
                None => rest.to_owned(),
                Some(_) => return Err(not_found()),
            }
        }
    };
    if !snapshot.contains::<ServiceRecord>(&ServiceRecord::key(&cx.region, cluster, &name)) {
        return Err(not_found());
    }
    Ok(name)
}
