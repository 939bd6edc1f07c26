//! A service deployment: the history entry of one rollout. The working state of a rollout lies in `ServiceRecord`.

use crate::api;
use neargate_core::Timestamp;
use neargate_store::Record;
use serde::{Deserialize, Serialize};

/// Key: `{region}/{cluster}/{service}/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceDeploymentRecord {
    pub region: String,
    pub cluster: String,
    pub service: String,
    /// 21 characters, the last part of the ARN.
    pub id: String,
    pub created_at: Timestamp,
    /// `ecs-svc/…` that it brings.
    pub deployment_id: String,
    /// As DescribeServiceDeployments answers it, counts as of the last change of status.
    pub detail: api::ServiceDeployment,
}

impl ServiceDeploymentRecord {
    pub fn key(region: &str, cluster: &str, service: &str, id: &str) -> String {
        format!("{region}/{cluster}/{service}/{id}")
    }

    pub fn own_key(&self) -> String {
        Self::key(&self.region, &self.cluster, &self.service, &self.id)
    }

    pub fn status(&self) -> &str {
        self.detail.status.as_deref().unwrap_or("PENDING")
    }

    pub fn arn(&self) -> &str {
        self.detail.service_deployment_arn.as_deref().unwrap_or_default()
    }
}

impl Record for ServiceDeploymentRecord {
    const PREFIX: &'static str = "ecs/service-deployment/";
}
