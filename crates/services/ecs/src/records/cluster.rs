//! A cluster.

use crate::api;
use neargate_core::{Tags, Timestamp};
use neargate_store::Record;
use serde::{Deserialize, Serialize};

/// Key: `{region}/{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterRecord {
    pub region: String,
    pub name: String,
    pub arn: String,
    /// `ACTIVE` or `INACTIVE` (deleted, still described for a while).
    pub status: String,
    /// Always holds `containerInsights`.
    pub settings: Vec<api::ClusterSetting>,
    pub capacity_providers: Vec<String>,
    /// With base and weight filled in.
    pub default_capacity_provider_strategy: Vec<api::CapacityProviderStrategyItem>,
    pub tags: Tags,
    pub created_at: Timestamp,
    pub deleted_at: Option<Timestamp>,
}

impl ClusterRecord {
    /// How long a deleted cluster is still described.
    pub const INACTIVE_FOR: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

    pub fn key(region: &str, name: &str) -> String {
        format!("{region}/{name}")
    }

    pub fn own_key(&self) -> String {
        Self::key(&self.region, &self.name)
    }

    pub fn is_active(&self) -> bool {
        self.status == "ACTIVE"
    }
}

impl Record for ClusterRecord {
    const PREFIX: &'static str = "ecs/cluster/";
}
