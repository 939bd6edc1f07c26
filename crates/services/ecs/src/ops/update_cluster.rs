//! UpdateCluster.

use crate::api;
use crate::clusters::{self, Include};
use crate::records::ClusterRecord;
use crate::{Ecs, resolve};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;

/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`, `ClientException` for members that are not supported.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::UpdateClusterRequest,
) -> Result<api::UpdateClusterResponse, AwsError> {
    clusters::refuse_unsupported(input.configuration.as_ref(), input.service_connect_defaults.as_ref())?;
    let settings = clusters::admit_settings(input.settings.as_deref().unwrap_or_default())?;
    let cluster = change(service, cx, input.cluster.as_deref(), |record| {
        if !settings.is_empty() {
            record.settings.clone_from(&settings);
        }
        Ok(())
    })
    .await?;
    Ok(api::UpdateClusterResponse { cluster: Some(cluster) })
}

/// Commits `edit` of an ACTIVE cluster and describes the result.
///
/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`, and what `edit` refuses.
pub(super) async fn change(
    service: &Ecs,
    cx: &RequestContext,
    reference: Option<&str>,
    edit: impl Fn(&mut ClusterRecord) -> Result<(), AwsError>,
) -> Result<api::Cluster, AwsError> {
    service
        .store
        .transact(|snapshot| {
            let cluster = resolve::cluster(snapshot, cx, reference)?;
            let mut record = (*cluster.record).clone();
            edit(&mut record)?;
            let reply = clusters::shape(snapshot, &record, Include::CHANGED);
            let mut txn = Txn::new();
            if record != *cluster.record {
                let key = record.own_key();
                txn.unchanged::<ClusterRecord>(snapshot, &key).put(&key, record);
            }
            Ok::<_, AwsError>((txn, reply))
        })
        .await
}
