//! PutClusterCapacityProviders.

use crate::api::{self, errors};
use crate::clusters::{self, Include};
use crate::records::{ClusterRecord, counters};
use crate::{Ecs, resolve};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;

/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`, `ResourceInUseException` when tasks use a capacity provider
/// that would go.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::PutClusterCapacityProvidersRequest,
) -> Result<api::PutClusterCapacityProvidersResponse, AwsError> {
    let cluster = service
        .store
        .transact(|snapshot| {
            let cluster = resolve::cluster(snapshot, cx, input.cluster.as_deref())?;
            let mut record = (*cluster.record).clone();
            record.capacity_providers = input.capacity_providers.clone().unwrap_or_default();
            record.default_capacity_provider_strategy =
                clusters::whole_strategy(input.default_capacity_provider_strategy.clone());
            clusters::admit_capacity(&record)?;
            for gone in cluster
                .capacity_providers
                .iter()
                .filter(|p| !record.capacity_providers.contains(p))
            {
                if snapshot.count(&counters::provider_tasks(&record.region, &record.name, gone)) > 0 {
                    return Err(errors::resource_in_use_exception(
                        "The specified capacity provider is in use and cannot be removed.",
                    ));
                }
            }
            let reply = clusters::shape(snapshot, &record, Include::CHANGED);
            let mut txn = Txn::new();
            if record != *cluster.record {
                let key = record.own_key();
                txn.unchanged::<ClusterRecord>(snapshot, &key).put(&key, record);
            }
            Ok::<_, AwsError>((txn, reply))
        })
        .await?;
    Ok(api::PutClusterCapacityProvidersResponse { cluster: Some(cluster) })
}
