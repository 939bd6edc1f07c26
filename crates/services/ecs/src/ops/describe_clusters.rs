//! DescribeClusters.

use crate::api::{self, errors};
use crate::clusters::{self, Include};
use crate::records::ClusterRecord;
use crate::{Ecs, resolve};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `InvalidParameterException`; a cluster that is not there is a failure, not an error.
pub async fn handle(
    service: &Ecs,
    cx: &RequestContext,
    input: api::DescribeClustersRequest,
) -> Result<api::DescribeClustersResponse, AwsError> {
    let include = Include::read(input.include.as_deref().unwrap_or_default())?;
    let mut asked = input.clusters.unwrap_or_default();
    if asked.len() > 100 {
        return Err(errors::invalid_parameter_exception(
            "Clusters cannot have more than 100 entries.",
        ));
    }
    if asked.is_empty() {
        asked.push("default".to_owned());
    }
    let snapshot = service.store.snapshot();
    let (mut clusters, mut failures) = (Vec::new(), Vec::new());
    for reference in &asked {
        let name = resolve::cluster_name(cx, Some(reference)).ok();
        let found = name
            .as_ref()
            .and_then(|n| snapshot.get::<ClusterRecord>(&ClusterRecord::key(&cx.region, n)));
        match found {
            Some(cluster) => clusters.push(clusters::shape(&snapshot, &cluster, include)),
            None => failures.push(api::Failure {
                arn: Some(match name {
                    Some(name) => cx.arn("ecs", format!("cluster/{name}")),
                    None => reference.clone(),
                }),
                reason: Some("MISSING".to_owned()),
                detail: None,
            }),
        }
    }
    Ok(api::DescribeClustersResponse {
        clusters: Some(clusters),
        failures: Some(failures),
    })
}
