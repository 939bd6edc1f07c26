//! The resources that carry tags, found by ARN: what TagResource, UntagResource and ListTagsForResource share.

use crate::api::errors;
use crate::records::{
    ClusterRecord, InstanceTagsRecord, NodeRecord, ServiceRecord, ServiceStatus, TaskDefinitionRecord, TaskRecord,
    TaskState,
};
use crate::{refusal, resolve};
use neargate_core::{Arn, AwsError, RequestContext, Tags};
use neargate_store::{Record, Snapshot, Txn};

/// A record with tags.
trait Tagged: Record + Clone {
    fn tags(&mut self) -> &mut Tags;
}

macro_rules! tagged {
    ($($record:ty),*) => { $( impl Tagged for $record {
        fn tags(&mut self) -> &mut Tags {
            &mut self.tags
        }
    } )* };
}

tagged!(
    ClusterRecord,
    InstanceTagsRecord,
    ServiceRecord,
    TaskDefinitionRecord,
    TaskRecord
);

/// A resource that exists and can be tagged, by its record's key.
#[derive(Debug, PartialEq, Eq)]
pub enum Resource {
    Cluster(String),
    ContainerInstance(String),
    Service(String),
    Task(String),
    TaskDefinition(String),
}

/// The resource of an ARN. `missing` makes the error of one that does not exist.
///
/// # Errors
/// `InvalidParameterException`, `ClusterNotFoundException`, and what `missing` makes.
pub fn find(
    snapshot: &Snapshot,
    cx: &RequestContext,
    arn: &str,
    missing: fn(String) -> AwsError,
) -> Result<Resource, AwsError> {
    let invalid = || errors::invalid_parameter_exception(format!("Invalid resource ARN: {arn}"));
    let parsed: Arn = arn.parse().map_err(|_| invalid())?;
    if parsed.service != "ecs" || parsed.region != cx.region || parsed.account != cx.account {
        return Err(invalid());
    }
    let (kind, rest) = parsed.resource.split_once('/').ok_or_else(invalid)?;
    let gone = |kind: &str, state: &str, must: &str| {
        errors::invalid_parameter_exception(format!(
            "The specified {kind} is {state}. Specify {must} {kind} and try again."
        ))
    };
    let missing = |kind: &str| {
        missing(format!(
            "The specified {kind} does not exist. Specify a valid {kind} and try again."
        ))
    };
    match kind {
        "cluster" => match snapshot.get::<ClusterRecord>(&ClusterRecord::key(&cx.region, rest)) {
            Some(cluster) if cluster.is_active() => Ok(Resource::Cluster(cluster.own_key())),
            Some(_) => Err(gone("cluster", "inactive", "an active")),
            None => Err(errors::cluster_not_found_exception("Cluster not found.")),
        },
        "task-definition" => {
            let name = resolve::task_definition_name(cx, arn)
                .ok()
                .flatten()
                .ok_or_else(invalid)?;
            let revision = name.revision.ok_or_else(invalid)?;
            let key = TaskDefinitionRecord::key(&cx.region, &name.family, revision);
            match snapshot.get::<TaskDefinitionRecord>(&key) {
                Some(definition) if definition.status() == "DELETE_IN_PROGRESS" => {
                    Err(gone("task definition", "being deleted", "an active"))
                }
                Some(_) => Ok(Resource::TaskDefinition(key)),
                None => Err(missing("task definition")),
            }
        }
        "service" => {
            let (cluster, name) = rest.split_once('/').ok_or_else(|| {
                errors::invalid_parameter_exception(
                    "Long ARN format must be used for tagging operations: arn:aws:ecs:region:account:service/cluster/service.",
                )
            })?;
            let key = ServiceRecord::key(&cx.region, cluster, name);
            match snapshot.get::<ServiceRecord>(&key) {
                Some(service) if service.status == ServiceStatus::Inactive => {
                    Err(gone("service", "inactive", "an active"))
                }
                Some(_) => Ok(Resource::Service(key)),
                None => Err(missing("service")),
            }
        }
        "task" => {
            let (cluster, id) = rest.split_once('/').ok_or_else(invalid)?;
            let key = TaskRecord::key(&cx.region, cluster, id);
            match snapshot.get::<TaskRecord>(&key) {
                Some(task) if task.state == TaskState::Stopped => Err(gone("task", "stopped", "a running")),
                Some(_) => Ok(Resource::Task(key)),
                None => Err(missing("task")),
            }
        }
        "container-instance" => {
            let (cluster, node) = rest.split_once('/').ok_or_else(invalid)?;
            resolve::cluster(snapshot, cx, Some(cluster))?;
            match snapshot.contains::<NodeRecord>(node) {
                true => Ok(Resource::ContainerInstance(InstanceTagsRecord::key(
                    &cx.region, cluster, node,
                ))),
                false => Err(missing("container instance")),
            }
        }
        "capacity-provider" => Err(refusal::unsupported("Tagging of capacity providers")),
        _ => Err(invalid()),
    }
}

/// The resource's tags.
pub fn tags(snapshot: &Snapshot, resource: &Resource) -> Tags {
    match resource {
        Resource::Cluster(key) => of::<ClusterRecord>(snapshot, key),
        Resource::ContainerInstance(key) => of::<InstanceTagsRecord>(snapshot, key),
        Resource::Service(key) => of::<ServiceRecord>(snapshot, key),
        Resource::Task(key) => of::<TaskRecord>(snapshot, key),
        Resource::TaskDefinition(key) => of::<TaskDefinitionRecord>(snapshot, key),
    }
}

/// The transaction that gives the resource these tags; empty when it has them.
pub fn put(snapshot: &Snapshot, resource: &Resource, tags: Tags) -> Txn {
    match resource {
        Resource::Cluster(key) => put_to::<ClusterRecord>(snapshot, key, tags, None),
        Resource::ContainerInstance(key) => put_to(snapshot, key, tags, Some(InstanceTagsRecord::default())),
        Resource::Service(key) => put_to::<ServiceRecord>(snapshot, key, tags, None),
        Resource::Task(key) => put_to::<TaskRecord>(snapshot, key, tags, None),
        Resource::TaskDefinition(key) => put_to::<TaskDefinitionRecord>(snapshot, key, tags, None),
    }
}

fn of<R: Tagged>(snapshot: &Snapshot, key: &str) -> Tags {
    snapshot
        .get::<R>(key)
        .map(|found| (*found.record).clone().tags().clone())
        .unwrap_or_default()
}

fn put_to<R: Tagged>(snapshot: &Snapshot, key: &str, tags: Tags, otherwise: Option<R>) -> Txn {
    let mut txn = Txn::new();
    let record = snapshot
        .get::<R>(key)
        .map(|found| (*found.record).clone())
        .or(otherwise);
    if let Some(mut record) = record.filter(|record| *record.clone().tags() != tags) {
        *record.tags() = tags;
        txn.unchanged::<R>(snapshot, key).put(key, record);
    }
    txn
}
