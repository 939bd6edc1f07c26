//! A security group.

use crate::api;
use neargate_core::Tags;
use neargate_store::Record;
use serde::{Deserialize, Serialize};

/// Key: `{region}/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecurityGroupRecord {
    pub region: String,
    /// `sg-` and 17 hex digits.
    pub id: String,
    pub vpc_id: String,
    pub name: String,
    pub description: String,
    pub ingress: Vec<api::IpPermission>,
    pub egress: Vec<api::IpPermission>,
    pub tags: Tags,
}

impl SecurityGroupRecord {
    /// Index: a VPC's group of a name, value `{region}/{vpc id}/{name}`.
    pub const BY_NAME: &'static str = "ec2-group-by-name";

    pub fn key(region: &str, id: &str) -> String {
        format!("{region}/{id}")
    }
}

impl Record for SecurityGroupRecord {
    const PREFIX: &'static str = "ec2/security-group/";

    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![(Self::BY_NAME, format!("{}/{}/{}", self.region, self.vpc_id, self.name))]
    }
}
