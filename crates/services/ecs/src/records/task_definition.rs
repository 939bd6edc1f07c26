//! A revision of a task definition, and what a family remembers of its revisions.

use crate::api;
use neargate_core::Tags;
use neargate_store::Record;
use serde::{Deserialize, Serialize};

/// Key: `{region}/{family}/{revision:010}`, so that a family's revisions ascend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskDefinitionRecord {
    pub region: String,
    pub family: String,
    pub revision: u32,
    /// As DescribeTaskDefinition answers it (status, requiresAttributes and compatibilities included).
    pub definition: api::TaskDefinition,
    pub tags: Tags,
}

impl TaskDefinitionRecord {
    /// Index: revisions whose deletion was asked, which go once nothing uses them; value empty.
    pub const DELETING: &'static str = "task-definition-deleting";

    pub fn key(region: &str, family: &str, revision: u32) -> String {
        format!("{region}/{family}/{revision:010}")
    }

    pub fn own_key(&self) -> String {
        Self::key(&self.region, &self.family, self.revision)
    }

    pub fn status(&self) -> &str {
        self.definition.status.as_deref().unwrap_or("ACTIVE")
    }

    pub fn arn(&self) -> &str {
        self.definition.task_definition_arn.as_deref().unwrap_or_default()
    }
}

impl Record for TaskDefinitionRecord {
    const PREFIX: &'static str = "ecs/task-definition/";

    fn indexes(&self) -> Vec<(&'static str, String)> {
        match self.status() {
            "DELETE_IN_PROGRESS" => vec![(Self::DELETING, String::new())],
            _ => Vec::new(),
        }
    }
}

/// Key: `{region}/{family}`. Outlives the revisions, so that a revision's number is never given twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FamilyRecord {
    pub region: String,
    pub family: String,
    /// The newest number given.
    pub last_revision: u32,
    /// The newest ACTIVE revision: what the family's bare name means.
    pub latest_active: Option<u32>,
    /// Revisions still stored; a family without any is not listed.
    pub stored: u32,
}

impl FamilyRecord {
    pub fn key(region: &str, family: &str) -> String {
        format!("{region}/{family}")
    }
}

impl Record for FamilyRecord {
    const PREFIX: &'static str = "ecs/family/";
}
