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
    pub settings: Vec<api::ClusterSetting>,
    pub configuration: Option<api::ClusterConfiguration>,
    pub service_connect_namespace: Option<String>,
    pub capacity_providers: Vec<String>,
    pub default_capacity_provider_strategy: Vec<api::CapacityProviderStrategyItem>,
    pub tags: Tags,
    pub created_at: Timestamp,
    pub deleted_at: Option<Timestamp>,
}

impl ClusterRecord {
    pub fn key(region: &str, name: &str) -> String {
        format!("{region}/{name}")
    }
}

impl Record for ClusterRecord {
    const PREFIX: &'static str = "ecs/cluster/";
}
