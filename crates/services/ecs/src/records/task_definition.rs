//! A revision of a task definition.

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
    pub fn key(region: &str, family: &str, revision: u32) -> String {
        format!("{region}/{family}/{revision:010}")
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
}
