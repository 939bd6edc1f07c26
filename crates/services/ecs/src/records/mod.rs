//! What ECS stores. Keys start with the region, so that regions never meet.

mod cluster;
mod node;
mod task;
mod task_definition;

pub use cluster::ClusterRecord;
pub use node::NodeRecord;
pub use task::{DesiredStatus, ServiceLink, TaskContainer, TaskInterface, TaskRecord, TaskState};
pub use task_definition::TaskDefinitionRecord;
