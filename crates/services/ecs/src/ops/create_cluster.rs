//! CreateCluster. An ACTIVE cluster of the name is answered as it is; what the request says of it must agree.

use crate::api::{self, errors};
use crate::clusters::{self, Include};
use crate::records::ClusterRecord;
use crate::{Ecs, tagging};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{Snapshot, Txn};

/// # Errors
/// `InvalidParameterException`, `ClientException` for members that are not supported.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::CreateClusterRequest,
) -> Result<api::CreateClusterResponse, AwsError> {
    let cluster = service
        .store
        .transact(|snapshot| {
            let mut txn = Txn::new();
            let (record, fresh) = admit(snapshot, cx, input.clone())?;
            if fresh {
                let key = record.own_key();
                txn.unchanged::<ClusterRecord>(snapshot, &key).put(&key, record.clone());
            }
            Ok::<_, AwsError>((txn, clusters::shape(snapshot, &record, Include::CHANGED)))
        })
        .await?;
    Ok(api::CreateClusterResponse { cluster: Some(cluster) })
}

/// The cluster, and whether it is a new one.
fn admit(
    snapshot: &Snapshot,
    cx: &RequestContext,
    input: api::CreateClusterRequest,
) -> Result<(ClusterRecord, bool), AwsError> {
    let name = clusters::admit_name(input.cluster_name)?;
    clusters::refuse_unsupported(input.configuration.as_ref(), input.service_connect_defaults.as_ref())?;
    let tags = tagging::admit(input.tags.clone())?;
    let mut settings = clusters::admit_settings(input.settings.as_deref().unwrap_or_default())?;
    if settings.is_empty() {
        settings = clusters::default_settings(snapshot, cx);
    }
    let record = ClusterRecord {
        region: cx.region.clone(),
        arn: cx.arn("ecs", format!("cluster/{name}")),
        name,
        status: "ACTIVE".to_owned(),
        settings,
        capacity_providers: input.capacity_providers.clone().unwrap_or_default(),
        default_capacity_provider_strategy: clusters::whole_strategy(input.default_capacity_provider_strategy.clone()),
        tags,
        created_at: cx.now,
        deleted_at: None,
    };
    clusters::admit_capacity(&record)?;
    let Some(existing) = snapshot
        .get::<ClusterRecord>(&record.own_key())
        .filter(|c| c.is_active())
    else {
        return Ok((record, true));
    };
    let agrees = (input.tags.is_none_or(|t| t.is_empty()) || record.tags == existing.tags)
        && (input.settings.is_none_or(|s| s.is_empty()) || record.settings == existing.settings)
        && (input.capacity_providers.is_none() || record.capacity_providers == existing.capacity_providers)
        && (input.default_capacity_provider_strategy.is_none()
            || record.default_capacity_provider_strategy == existing.default_capacity_provider_strategy);
    if !agrees {
        return Err(errors::invalid_parameter_exception(
            "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
        ));
    }
    Ok(((*existing.record).clone(), false))
}
