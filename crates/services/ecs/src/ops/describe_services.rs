//! DescribeServices: up to ten, DRAINING and INACTIVE ones too.

use crate::records::ServiceRecord;
use crate::services::{self, invalid, shape};
use crate::{Ecs, api, resolve};
use neargate_core::{AwsError, RequestContext};

const MOST: usize = 10;

/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`; a service that is not there is a failure, not an error.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::DescribeServicesRequest,
) -> Result<api::DescribeServicesResponse, AwsError> {
    let asked = input.services.unwrap_or_default();
    match asked.len() {
        0 => return Err(invalid("Services cannot be empty.")),
        n if n > MOST => return Err(invalid("Services cannot have more than 10 entries.")),
        _ => {}
    }
    let include = input.include.unwrap_or_default();
    if let Some(other) = include.iter().find(|i| *i != "TAGS") {
        return Err(invalid(format!("Unknown value for include: {other}")));
    }
    let snapshot = service.store.snapshot();
    let cluster = resolve::cluster(&snapshot, cx, input.cluster.as_deref())?;
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for reference in &asked {
        let name = services::service_name(cx, &cluster.name, reference).ok();
        let key = name.as_ref().map(|n| ServiceRecord::key(&cx.region, &cluster.name, n));
        match key.and_then(|key| snapshot.get::<ServiceRecord>(&key)) {
            Some(record) => found.push(shape::service(&snapshot, &record, !include.is_empty())),
            None => failures.push(api::Failure {
                arn: Some(match name {
                    Some(name) => cx.arn("ecs", format!("service/{}/{name}", cluster.name)),
                    None => reference.clone(),
                }),
                reason: Some("MISSING".to_owned()),
                detail: None,
            }),
        }
    }
    Ok(api::DescribeServicesResponse {
        services: Some(found),
        failures: Some(failures),
    })
}
