//! DeleteCluster: the cluster turns INACTIVE and is described for a day.

use crate::api::{self, errors};
use crate::clusters::{self, Include};
use crate::records::{ClusterRecord, ServiceRecord, ServiceStatus, counters};
use crate::{Ecs, resolve};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;

/// INACTIVE clusters forgotten along with one deletion, so that a commit stays small.
const FORGET_AT_ONCE: usize = 50;

/// # Errors
/// `ClusterNotFoundException`, `ClusterContainsServicesException`, `ClusterContainsTasksException`.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::DeleteClusterRequest,
) -> Result<api::DeleteClusterResponse, AwsError> {
    let cluster = service
        .store
        .transact(|snapshot| {
            let cluster = resolve::cluster(snapshot, cx, input.cluster.as_deref())?;
            let mut services = snapshot.range::<ServiceRecord>(&format!("{}/{}/", cx.region, cluster.name));
            if services.any(|(_, s)| s.status == ServiceStatus::Active) {
                return Err(errors::cluster_contains_services_exception(
                    "The Cluster cannot be deleted while Services are active.",
                ));
            }
            if snapshot.count(&counters::open_tasks(&cx.region, &cluster.name)) > 0 {
                return Err(errors::cluster_contains_tasks_exception(
                    "The Cluster cannot be deleted while Tasks are active.",
                ));
            }
            let mut record = (*cluster.record).clone();
            record.status = "INACTIVE".to_owned();
            record.deleted_at = Some(cx.now);
            record.capacity_providers.clear();
            record.default_capacity_provider_strategy.clear();
            record.tags = Default::default();

            let mut txn = Txn::new();
            let before = cx.now.minus(ClusterRecord::INACTIVE_FOR);
            let all = snapshot
                .range::<ClusterRecord>(&format!("{}/", cx.region))
                .map(|(_, c)| c);
            let old = all.filter(|c| !c.is_active() && c.deleted_at.is_some_and(|at| at < before));
            for old in old.take(FORGET_AT_ONCE) {
                let key = old.own_key();
                txn.unchanged::<ClusterRecord>(snapshot, &key)
                    .delete::<ClusterRecord>(&key);
            }
            let key = record.own_key();
            let reply = clusters::shape(snapshot, &record, Include::CHANGED);
            txn.unchanged::<ClusterRecord>(snapshot, &key).put(&key, record);
            Ok::<_, AwsError>((txn, reply))
        })
        .await?;
    Ok(api::DeleteClusterResponse { cluster: Some(cluster) })
}
