//! DescribeTasks.

use crate::api::{self, errors};
use crate::{Ecs, resolve, tasks};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`; a task that is not there is a failure, not an error.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::DescribeTasksRequest,
) -> Result<api::DescribeTasksResponse, AwsError> {
    let asked = input.tasks.unwrap_or_default();
    if asked.is_empty() {
        return Err(errors::invalid_parameter_exception("Tasks cannot be empty."));
    }
    if asked.len() > 100 {
        return Err(errors::invalid_parameter_exception("Tasks can have at most 100 items."));
    }
    let mut tags = false;
    for field in input.include.iter().flatten() {
        match field.as_str() {
            "TAGS" => tags = true,
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
        match tasks::find(&snapshot, cx, &cluster, reference)? {
            Some(task) => found.push(tasks::shape(&snapshot, &task, tags)),
            None => failures.push(tasks::missing(cx, &cluster, reference)),
        }
    }
    Ok(api::DescribeTasksResponse {
        tasks: Some(found),
        failures: Some(failures),
    })
}
