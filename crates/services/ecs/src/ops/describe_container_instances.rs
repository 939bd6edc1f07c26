//! DescribeContainerInstances.

use crate::api::{self, errors};
use crate::records::InstanceTagsRecord;
use crate::{Ecs, instances, resolve, tagging, tasks};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`; an instance that is not there is a failure, not an error.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::DescribeContainerInstancesRequest,
) -> Result<api::DescribeContainerInstancesResponse, AwsError> {
    let asked = input.container_instances.unwrap_or_default();
    if asked.is_empty() {
        return Err(errors::invalid_parameter_exception(
            "Container instances cannot be empty.",
        ));
    }
    if asked.len() > 100 {
        return Err(errors::invalid_parameter_exception(
            "Container instances can have at most 100 items.",
        ));
    }
    let (mut health, mut tags) = (false, false);
    for field in input.include.iter().flatten() {
        match field.as_str() {
            "TAGS" => tags = true,
            "CONTAINER_INSTANCE_HEALTH" => health = true,
            other => {
                return Err(errors::invalid_parameter_exception(format!(
                    "Unknown value for include: {other}"
                )));
            }
        }
    }
    let snapshot = service.store.snapshot();
    let cluster = resolve::cluster(&snapshot, cx, input.cluster.as_deref())?;
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for reference in &asked {
        match instances::find(&snapshot, cx, &cluster, reference)? {
            Some(node) => {
                let mut shape = service.placer.with_fleet(&service.store, |fleet| {
                    instances::shape(&snapshot, fleet, cx, &cluster, &node)
                });
                if health {
                    shape.health_status = Some(instances::health(&node));
                }
                if tags {
                    let key = InstanceTagsRecord::key(&cx.region, &cluster.name, &node.hello.node_id);
                    let stored = snapshot.get::<InstanceTagsRecord>(&key);
                    shape.tags = stored.map(|stored| tagging::shape(&stored.tags)).or(shape.tags);
                }
                found.push(shape);
            }
            None => failures.push(tasks::failure(instances::arn(cx, &cluster, reference), "MISSING", None)),
        }
    }
    Ok(api::DescribeContainerInstancesResponse {
        container_instances: Some(found),
        failures: Some(failures),
    })
}
