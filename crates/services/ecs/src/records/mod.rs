//! What ECS stores. Keys start with the region, so that regions never meet.

mod account_setting;
mod client_token;
mod cluster;
pub mod counters;
mod instance_tags;
pub mod node;
mod service;
mod service_deployment;
mod service_revision;
mod task;
mod task_definition;

pub use account_setting::AccountSettingRecord;
pub use client_token::ClientTokenRecord;
pub use cluster::ClusterRecord;
pub use instance_tags::InstanceTagsRecord;
pub use node::NodeRecord;
pub use service::{
    Backoff, BackoffCause, Deployment, RolloutState, SchedulingStrategy, ServiceEventRecord, ServiceRecord,
    ServiceSpec, ServiceStatus, StopRequest, Unplaced,
};
pub use service_deployment::ServiceDeploymentRecord;
pub use service_revision::ServiceRevisionRecord;
pub use task::{
    DesiredStatus, HostPort, Registered, ServiceLink, TaskContainer, TaskInterface, TaskRecord, TaskState, TaskTarget,
    Told, Waiting,
};
pub use task_definition::{FamilyRecord, TaskDefinitionRecord};

use neargate_store::Kind;

/// Every kind of record this service stores, one a line; the store is opened with them.
pub fn kinds() -> Vec<Kind> {
    vec![
        Kind::of::<AccountSettingRecord>(),
        Kind::of::<ClientTokenRecord>(),
        Kind::of::<ClusterRecord>(),
        Kind::of::<FamilyRecord>(),
        Kind::of::<InstanceTagsRecord>(),
        Kind::of::<NodeRecord>(),
        Kind::of::<ServiceDeploymentRecord>(),
        Kind::of::<ServiceEventRecord>(),
        Kind::of::<ServiceRecord>(),
        Kind::of::<ServiceRevisionRecord>(),
        Kind::of::<TaskDefinitionRecord>(),
        Kind::of::<TaskRecord>(),
    ]
}
