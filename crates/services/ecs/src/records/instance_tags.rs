//! Tags of a container instance: a machine is one in every cluster, and carries tags of its own in each.

use neargate_core::Tags;
use neargate_store::Record;
use serde::{Deserialize, Serialize};

/// Key: `{region}/{cluster}/{node id}`. None stored is no tags.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InstanceTagsRecord {
    pub tags: Tags,
}

impl InstanceTagsRecord {
    pub fn key(region: &str, cluster: &str, node: &str) -> String {
        format!("{region}/{cluster}/{node}")
    }
}

impl Record for InstanceTagsRecord {
    const PREFIX: &'static str = "ecs/instance-tags/";
}
