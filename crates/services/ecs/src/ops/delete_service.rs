//! DeleteService: the service is DRAINING until its tasks stop, then INACTIVE.

use crate::records::{ServiceRecord, ServiceStatus};
use crate::services::{self, invalid, shape};
use crate::{Ecs, api};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{Snapshot, Txn};

/// # Errors
/// `ClusterNotFoundException`, `ServiceNotFoundException`, `InvalidParameterException`.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::DeleteServiceRequest,
) -> Result<api::DeleteServiceResponse, AwsError> {
    let shaped = service
        .store
        .transact(|snapshot| {
            let record = admit(snapshot, cx, &input)?;
            let mut txn = Txn::new();
            let key = record.own_key();
            txn.unchanged::<ServiceRecord>(snapshot, &key).put(&key, record.clone());
            Ok::<_, AwsError>((txn, shape::service(snapshot, &record, true)))
        })
        .await?;
    Ok(api::DeleteServiceResponse { service: Some(shaped) })
}

fn admit(
    snapshot: &Snapshot,
    cx: &RequestContext,
    input: &api::DeleteServiceRequest,
) -> Result<ServiceRecord, AwsError> {
    let reference = input.service.as_deref().unwrap_or_default();
    let current = services::find(snapshot, cx, input.cluster.as_deref(), reference)?;
    match current.status {
        ServiceStatus::Active => {}
        ServiceStatus::Draining => return Ok((*current.record).clone()),
        ServiceStatus::Inactive => return Err(services::service_not_found()),
    }
    let scaled = current.desired_count > 0 && !current.is_daemon();
    if scaled && !input.force.unwrap_or(false) {
        return Err(invalid("The service cannot be stopped while it is scaled above 0."));
    }
    let mut record = (*current.record).clone();
    record.status = ServiceStatus::Draining;
    record.desired_count = 0;
    Ok(record)
}
