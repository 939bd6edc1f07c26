//! ModifyTargetGroup.

use crate::api;
use crate::health_check::{self, Asked};
use crate::records::TargetGroupRecord;
use crate::{Elbv2, find, shapes};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;

/// # Errors
/// `TargetGroupNotFound`, `ValidationError`.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::ModifyTargetGroupInput,
) -> Result<api::ModifyTargetGroupOutput, AwsError> {
    let arn = input.target_group_arn.unwrap_or_default();
    let asked = Asked {
        enabled: input.health_check_enabled,
        protocol: input.health_check_protocol,
        port: input.health_check_port,
        path: input.health_check_path,
        interval: input.health_check_interval_seconds,
        timeout: input.health_check_timeout_seconds,
        healthy_threshold: input.healthy_threshold_count,
        unhealthy_threshold: input.unhealthy_threshold_count,
        matcher: input.matcher,
    };
    let next = service
        .store
        .transact(|snapshot| {
            let group = find::target_group(snapshot, &cx.region, &arn)?;
            let mut next = (*group.record).clone();
            let protocol = next.protocol.as_deref().unwrap_or_default();
            let version = next.protocol_version.as_deref();
            next.health_check = health_check::change(protocol, version, &next.health_check, asked.clone())?;
            let key = TargetGroupRecord::key(&next.region, &next.name);
            let mut txn = Txn::new();
            txn.unchanged::<TargetGroupRecord>(snapshot, &key)
                .put(&key, next.clone());
            Ok::<_, AwsError>((txn, next))
        })
        .await?;
    Ok(api::ModifyTargetGroupOutput {
        target_groups: Some(vec![shapes::target_group(&service.store.snapshot(), &next)]),
    })
}
