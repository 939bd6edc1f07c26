//! StopServiceDeployment: the running rollout goes back (ROLLBACK) or stays where it is (ABORT). The reconciler does it.

use crate::Ecs;
use crate::api::{self, errors};
use crate::records::{ServiceDeploymentRecord, ServiceRecord, ServiceStatus, StopRequest};
use crate::services::{invalid, parse_child};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{Snapshot, Txn};

/// # Errors
/// `InvalidParameterException`, `ServiceDeploymentNotFoundException`, `ConflictException` when it is over or there is
/// nothing to go back to.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::StopServiceDeploymentRequest,
) -> Result<api::StopServiceDeploymentResponse, AwsError> {
    service
        .store
        .transact(|snapshot| {
            let txn = admit(snapshot, cx, &input)?;
            Ok::<_, AwsError>((txn, ()))
        })
        .await?;
    Ok(api::StopServiceDeploymentResponse {
        service_deployment_arn: input.service_deployment_arn,
    })
}

fn admit(snapshot: &Snapshot, cx: &RequestContext, input: &api::StopServiceDeploymentRequest) -> Result<Txn, AwsError> {
    let arn = input.service_deployment_arn.as_deref().unwrap_or_default();
    let request = match input.stop_type.as_deref() {
        None | Some("ROLLBACK") => StopRequest::Rollback,
        Some("ABORT") => StopRequest::Abort,
        Some(other) => return Err(invalid(format!("Unknown value for stopType: {other}"))),
    };
    let not_found = || errors::service_deployment_not_found_exception("Service deployment not found.");
    let Some((cluster, name, id)) = parse_child(cx, "service-deployment", arn) else {
        return Err(invalid(format!("Invalid service deployment ARN: {arn}")));
    };
    let service_key = ServiceRecord::key(&cx.region, &cluster, &name);
    let service = snapshot.get::<ServiceRecord>(&service_key).ok_or_else(not_found)?;
    let key = ServiceDeploymentRecord::key(&cx.region, &cluster, &name, &id);
    let record = snapshot.get::<ServiceDeploymentRecord>(&key).ok_or_else(not_found)?;
    if service.status != ServiceStatus::Active || record.created_at < service.created_at {
        return Err(not_found());
    }
    let mut txn = Txn::new();
    match record.status() {
        "PENDING" | "IN_PROGRESS" => {}
        // It is being stopped already, and goes on.
        "STOP_REQUESTED" | "ROLLBACK_REQUESTED" | "ROLLBACK_IN_PROGRESS" => return Ok(txn),
        status => {
            return Err(errors::conflict_exception(format!(
                "The service deployment cannot be stopped because it is in the {status} state."
            )));
        }
    }
    let back = service
        .last_completed
        .as_ref()
        .filter(|d| Some(&d.id) != service.primary().map(|p| &p.id));
    if request == StopRequest::Rollback && back.is_none() {
        return Err(errors::conflict_exception(
            "The service deployment cannot be rolled back because there is no completed service deployment to roll back to.",
        ));
    }
    let mut next = (*record.record).clone();
    next.detail.status = Some(
        match request {
            StopRequest::Rollback => "ROLLBACK_REQUESTED",
            StopRequest::Abort => "STOP_REQUESTED",
        }
        .to_owned(),
    );
    next.detail.updated_at = Some(cx.now);
    let mut owner = (*service.record).clone();
    owner.stop_requested = Some(request);
    txn.unchanged::<ServiceDeploymentRecord>(snapshot, &key).put(&key, next);
    txn.unchanged::<ServiceRecord>(snapshot, &service_key)
        .put(&service_key, owner);
    Ok(txn)
}
