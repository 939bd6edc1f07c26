//! What ECS stores. Keys start with the region, so that regions never meet.

mod cluster;
mod task_definition;

pub use cluster::ClusterRecord;
pub use task_definition::TaskDefinitionRecord;
