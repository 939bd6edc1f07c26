//! DescribeTaskDefinition.

use crate::api::{self, errors};
use crate::{Ecs, resolve, tagging};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `ClientException` when there is no such definition, `InvalidParameterException`.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::DescribeTaskDefinitionRequest,
) -> Result<api::DescribeTaskDefinitionResponse, AwsError> {
    let include = input.include.unwrap_or_default();
    if let Some(other) = include.iter().find(|name| *name != "TAGS") {
        return Err(errors::invalid_parameter_exception(format!(
            "Unknown value for include: {other}"
        )));
    }
    let reference = input.task_definition.unwrap_or_default();
    let record = resolve::task_definition(&service.store.snapshot(), cx, &reference)?;
    Ok(api::DescribeTaskDefinitionResponse {
        task_definition: Some(record.definition.clone()),
        tags: Some(if include.is_empty() {
            Vec::new()
        } else {
            tagging::shape(&record.tags)
        }),
    })
}
