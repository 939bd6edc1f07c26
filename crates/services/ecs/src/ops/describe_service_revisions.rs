//! DescribeServiceRevisions: up to twenty, by ARN.

use crate::records::{ServiceRecord, ServiceRevisionRecord, ServiceStatus};
use crate::services::{invalid, parse_child};
use crate::{Ecs, api};
use neargate_core::{AwsError, RequestContext};

const MOST: usize = 20;

/// # Errors
/// `InvalidParameterException`; a revision that is not there is a failure, not an error.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::DescribeServiceRevisionsRequest,
) -> Result<api::DescribeServiceRevisionsResponse, AwsError> {
    let asked = input.service_revision_arns.unwrap_or_default();
    match asked.len() {
        0 => return Err(invalid("serviceRevisionArns can not be empty.")),
        n if n > MOST => return Err(invalid("serviceRevisionArns can have at most 20 items.")),
        _ => {}
    }
    let snapshot = service.store.snapshot();
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for arn in asked {
        let detail = parse_child(cx, "service-revision", &arn).and_then(|(cluster, name, id)| {
            let owner = snapshot.get::<ServiceRecord>(&ServiceRecord::key(&cx.region, &cluster, &name))?;
            let key = ServiceRevisionRecord::key(&cx.region, &cluster, &name, &id);
            let record = snapshot.get::<ServiceRevisionRecord>(&key)?;
            let there = owner.status != ServiceStatus::Inactive && record.created_at >= owner.created_at;
            there.then(|| record.detail.clone())
        });
        match detail {
            Some(detail) => found.push(detail),
            None => failures.push(api::Failure {
                arn: Some(arn),
                reason: Some("MISSING".to_owned()),
                detail: None,
            }),
        }
    }
    Ok(api::DescribeServiceRevisionsResponse {
        service_revisions: Some(found),
        failures: Some(failures),
    })
}
