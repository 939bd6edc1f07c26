//! A service revision: what one deployment was asked to run, with the image digests it was found to be.

use crate::api;
use neargate_core::Timestamp;
use neargate_store::Record;
use serde::{Deserialize, Serialize};

/// Key: `{region}/{cluster}/{service}/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceRevisionRecord {
    pub region: String,
    pub cluster: String,
    pub service: String,
    /// 19 digits, the last part of the ARN.
    pub id: String,
    pub created_at: Timestamp,
    /// As DescribeServiceRevisions answers it.
    pub detail: api::ServiceRevision,
}

impl ServiceRevisionRecord {
    pub fn key(region: &str, cluster: &str, service: &str, id: &str) -> String {
        format!("{region}/{cluster}/{service}/{id}")
    }

    pub fn own_key(&self) -> String {
        Self::key(&self.region, &self.cluster, &self.service, &self.id)
    }
}

impl Record for ServiceRevisionRecord {
    const PREFIX: &'static str = "ecs/service-revision/";
}
