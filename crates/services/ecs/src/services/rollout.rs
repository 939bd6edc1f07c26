//! Beginning a rollout: the deployment, its service revision and its history entry, made together.

use crate::api;
use crate::plan::circuit_breaker;
use crate::plan::deployment;
use crate::plan::service::History;
use crate::records::{
    Deployment, ServiceDeploymentRecord, ServiceRecord, ServiceRevisionRecord, ServiceSpec, TaskDefinitionRecord,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use neargate_core::{Arn, Ids, Timestamp};
use neargate_store::{Snapshot, Txn};
use std::collections::BTreeMap;

/// How long service deployments are kept, as on AWS.
const HISTORY: std::time::Duration = std::time::Duration::from_secs(90 * 24 * 3600);
/// The most old ones forgotten along with one new one.
const FORGET_AT_ONCE: usize = 30;

/// Begins a rollout of `spec`: `service` gets a new PRIMARY, `txn` the records that go with it.
#[allow(clippy::too_many_arguments)]
pub fn begin(
    snapshot: &Snapshot,
    txn: &mut Txn,
    service: &mut ServiceRecord,
    spec: ServiceSpec,
    definition: &TaskDefinitionRecord,
    ids: &dyn Ids,
    now: Timestamp,
) {
    let revision = new_revision(service, &spec, definition, ids.digits19(), now);
    // 21 characters as on AWS: the last bits of the sixteen bytes do not fit, and must not be what tells ids apart.
    let mut bytes = ids.bytes();
    bytes.reverse();
    let mut id = URL_SAFE_NO_PAD.encode(bytes);
    id.truncate(21);
    let deployment_id = format!("ecs-svc/{}", ids.digits19());
    let containers = definition.definition.container_definitions.iter().flatten();
    let next = Deployment {
        reason: deployment::in_progress(&deployment_id),
        id: deployment_id,
        service_deployment: id,
        service_revision_arn: revision.detail.service_revision_arn.clone().unwrap_or_default(),
        spec,
        target: service.desired_count,
        created_at: now,
        updated_at: now,
        unresolved: containers
            .filter(|c| c.version_consistency.as_deref() != Some("disabled"))
            .filter_map(|c| c.name.clone())
            .collect(),
        ..Deployment::default()
    };
    let history = new_history(service, &next, now);
    if let Some(superseded) = deployment::begin(service, next) {
        record_all(snapshot, txn, service, &[superseded], now);
    }
    forget_old(snapshot, txn, service, now);
    txn.put(&revision.own_key(), revision);
    txn.put(&history.own_key(), history);
}

/// ARN of a part of the service: `service-deployment` or `service-revision`.
pub fn child_arn(service: &ServiceRecord, kind: &str, id: &str) -> String {
    let account = service.arn.parse::<Arn>().map(|a| a.account).unwrap_or_default();
    Arn::new(
        "ecs",
        &service.region,
        &account,
        format!("{kind}/{}/{id}", service.path()),
    )
    .to_string()
}

fn new_revision(
    service: &ServiceRecord,
    spec: &ServiceSpec,
    definition: &TaskDefinitionRecord,
    id: String,
    now: Timestamp,
) -> ServiceRevisionRecord {
    let containers = definition.definition.container_definitions.iter().flatten();
    let strategy = &spec.capacity_provider_strategy;
    let detail = api::ServiceRevision {
        service_revision_arn: Some(child_arn(service, "service-revision", &id)),
        service_arn: Some(service.arn.clone()),
        cluster_arn: Some(service.cluster_arn.clone()),
        task_definition: Some(spec.task_definition.clone()),
        launch_type: spec.launch_type.clone(),
        capacity_provider_strategy: (!strategy.is_empty()).then(|| strategy.clone()),
        platform_version: spec
            .platform_version
            .as_ref()
            .map(|_| crate::launch::capacity::PLATFORM_VERSION.to_owned()),
        platform_family: spec.platform_family.clone(),
        network_configuration: spec.network.clone().map(|network| api::NetworkConfiguration {
            awsvpc_configuration: Some(network),
        }),
        container_images: Some(
            containers
                .map(|c| api::ContainerImage {
                    container_name: c.name.clone(),
                    image: c.image.clone(),
                    image_digest: None,
                })
                .collect(),
        ),
        load_balancers: Some(spec.load_balancers.clone()),
        guard_duty_enabled: Some(false),
        created_at: Some(now),
        ..api::ServiceRevision::default()
    };
    ServiceRevisionRecord {
        region: service.region.clone(),
        cluster: service.cluster.clone(),
        service: service.name.clone(),
        id,
        created_at: now,
        detail,
    }
}

fn new_history(service: &ServiceRecord, next: &Deployment, now: Timestamp) -> ServiceDeploymentRecord {
    let breaker = circuit_breaker::of(&service.deployment_configuration, service.desired_count);
    let source = |d: &Deployment| api::ServiceRevisionSummary {
        arn: Some(d.service_revision_arn.clone()),
        requested_task_count: Some(i32::try_from(d.target).unwrap_or(i32::MAX)),
        ..api::ServiceRevisionSummary::default()
    };
    let detail = api::ServiceDeployment {
        service_deployment_arn: Some(child_arn(service, "service-deployment", &next.service_deployment)),
        service_arn: Some(service.arn.clone()),
        cluster_arn: Some(service.cluster_arn.clone()),
        created_at: Some(now),
        updated_at: Some(now),
        source_service_revisions: Some(service.deployments.iter().map(source).collect()),
        target_service_revision: Some(source(next)),
        status: Some("PENDING".to_owned()),
        deployment_configuration: Some(service.deployment_configuration.clone()),
        deployment_circuit_breaker: Some(api::ServiceDeploymentCircuitBreaker {
            status: Some(if breaker.enabled { "MONITORING" } else { "DISABLED" }.to_owned()),
            failure_count: Some(0),
            threshold: Some(i32::try_from(breaker.threshold).unwrap_or(i32::MAX)),
        }),
        alarms: Some(api::ServiceDeploymentAlarms {
            status: Some("DISABLED".to_owned()),
            ..api::ServiceDeploymentAlarms::default()
        }),
        ..api::ServiceDeployment::default()
    };
    ServiceDeploymentRecord {
        region: service.region.clone(),
        cluster: service.cluster.clone(),
        service: service.name.clone(),
        id: next.service_deployment.clone(),
        created_at: now,
        deployment_id: next.id.clone(),
        detail,
    }
}

/// Writes changes of history entries into `txn`.
pub fn record_all(snapshot: &Snapshot, txn: &mut Txn, service: &ServiceRecord, changes: &[History], now: Timestamp) {
    let mut records: BTreeMap<String, ServiceDeploymentRecord> = BTreeMap::new();
    for change in changes {
        let key = ServiceDeploymentRecord::key(&service.region, &service.cluster, &service.name, &change.id);
        let current = || {
            snapshot
                .get::<ServiceDeploymentRecord>(&key)
                .map(|r| (*r.record).clone())
        };
        let Some(mut record) = records.remove(&key).or_else(current) else {
            continue;
        };
        apply(snapshot, service, &mut record, change, now);
        records.insert(key, record);
    }
    for (key, record) in records {
        txn.unchanged::<ServiceDeploymentRecord>(snapshot, &key)
            .put(&key, record);
    }
}

fn apply(
    snapshot: &Snapshot,
    service: &ServiceRecord,
    record: &mut ServiceDeploymentRecord,
    change: &History,
    now: Timestamp,
) {
    super::shape::count_revisions(snapshot, service, &mut record.detail);
    let detail = &mut record.detail;
    detail.status = Some(change.status.to_owned());
    detail.updated_at = Some(now);
    if change.reason.is_some() {
        detail.status_reason.clone_from(&change.reason);
    }
    if detail.started_at.is_none() {
        detail.started_at = Some(now);
    }
    if change.finished {
        detail.finished_at = Some(now);
        if change.status == "STOPPED" {
            detail.stopped_at = Some(now);
        }
    }
    if let Some(revision) = &change.rollback_to {
        detail.rollback = Some(api::Rollback {
            reason: change.reason.clone(),
            started_at: Some(now),
            service_revision_arn: Some(revision.clone()),
        });
    }
    if let Some(breaker) = &mut detail.deployment_circuit_breaker {
        if let Some(status) = change.breaker {
            breaker.status = Some(status.to_owned());
        }
        if let Some(failures) = change.failures {
            breaker.failure_count = Some(i32::try_from(failures).unwrap_or(i32::MAX));
        }
    }
}

/// History older than AWS keeps goes, with the revisions it brought unless a deployment still runs them.
fn forget_old(snapshot: &Snapshot, txn: &mut Txn, service: &ServiceRecord, now: Timestamp) {
    let prefix = format!("{}/", service.own_key());
    let before = now.minus(HISTORY);
    let old = snapshot
        .range::<ServiceDeploymentRecord>(&prefix)
        .filter(|(_, d)| d.created_at < before);
    for (key, record) in old.take(FORGET_AT_ONCE) {
        let revision = record
            .detail
            .target_service_revision
            .as_ref()
            .and_then(|r| r.arn.as_deref())
            .unwrap_or_default();
        let kept = |d: &Deployment| d.service_revision_arn == revision || d.service_deployment == record.id;
        if service.deployments.iter().chain(&service.last_completed).any(kept) {
            continue;
        }
        txn.delete::<ServiceDeploymentRecord>(key);
        if let Some((_, id)) = revision.rsplit_once('/') {
            let key = ServiceRevisionRecord::key(&service.region, &service.cluster, &service.name, id);
            if snapshot.contains::<ServiceRevisionRecord>(&key) {
                txn.delete::<ServiceRevisionRecord>(&key);
            }
        }
    }
}
