//! DescribeServiceDeployments: up to twenty, by ARN.

use crate::records::{ServiceDeploymentRecord, ServiceRecord, ServiceStatus};
use crate::services::{invalid, parse_child, shape};
use crate::{Ecs, api};
use neargate_core::{AwsError, RequestContext};

const MOST: usize = 20;

/// # Errors
/// `InvalidParameterException`; a service deployment that is not there is a failure, not an error.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::DescribeServiceDeploymentsRequest,
) -> Result<api::DescribeServiceDeploymentsResponse, AwsError> {
    let asked = input.service_deployment_arns.unwrap_or_default();
    match asked.len() {
        0 => return Err(invalid("serviceDeploymentArns can not be empty.")),
        n if n > MOST => return Err(invalid("serviceDeploymentArns can have at most 20 items.")),
        _ => {}
    }
    let snapshot = service.store.snapshot();
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for arn in asked {
        let shaped = parse_child(cx, "service-deployment", &arn).and_then(|(cluster, name, id)| {
            let owner = snapshot.get::<ServiceRecord>(&ServiceRecord::key(&cx.region, &cluster, &name))?;
            let key = ServiceDeploymentRecord::key(&cx.region, &cluster, &name, &id);
            let record = snapshot.get::<ServiceDeploymentRecord>(&key)?;
            let there = owner.status != ServiceStatus::Inactive && record.created_at >= owner.created_at;
            there.then(|| shape::service_deployment(&snapshot, Some(&owner), &record))
        });
        match shaped {
            Some(shaped) => found.push(shaped),
            None => failures.push(api::Failure {
                arn: Some(arn),
                reason: Some("MISSING".to_owned()),
                detail: None,
            }),
        }
    }
    Ok(api::DescribeServiceDeploymentsResponse {
        service_deployments: Some(found),
        failures: Some(failures),
    })
}
