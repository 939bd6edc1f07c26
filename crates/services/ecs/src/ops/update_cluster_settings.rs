//! UpdateClusterSettings.

use super::update_cluster::change;
use crate::api::{self, errors};
use crate::{Ecs, clusters};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::UpdateClusterSettingsRequest,
) -> Result<api::UpdateClusterSettingsResponse, AwsError> {
    let settings = clusters::admit_settings(input.settings.as_deref().unwrap_or_default())?;
    if settings.is_empty() {
        return Err(errors::invalid_parameter_exception("Settings must not be empty."));
    }
    let cluster = change(service, cx, input.cluster.as_deref(), |record| {
        record.settings.clone_from(&settings);
        Ok(())
    })
    .await?;
    Ok(api::UpdateClusterSettingsResponse { cluster: Some(cluster) })
}
