//! What ECS stores. Keys start with the region, so that regions never meet.

mod cluster;
mod node;
mod service;
mod service_deployment;
mod service_revision;
mod task;
mod task_definition;

pub use cluster::ClusterRecord;
pub use node::NodeRecord;
pub use service::{
    Backoff, BackoffCause, Deployment, RolloutState, SchedulingStrategy, ServiceEventRecord, ServiceRecord, ServiceSpec,
    ServiceStatus,
};
pub use service_deployment::ServiceDeploymentRecord;
pub use service_revision::ServiceRevisionRecord;
pub use task::{DesiredStatus, ServiceLink, TaskContainer, TaskInterface, TaskRecord, TaskState};
pub use task_definition::TaskDefinitionRecord;
