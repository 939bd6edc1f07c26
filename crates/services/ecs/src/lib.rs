//! Amazon ECS: clusters, task definitions, tasks, services, deployments.
//!
//! Rooms: `api` (generated), `records` (what is stored), `ops` (one file per operation), `plan` (pure decisions),
//! `reconcile` (the loops). This crate knows no socket, no container and no protocol; nodes reach it as reports and
//! leave it as assignments.

pub mod account_settings;
#[cfg(test)]
mod admin_tests;
pub mod api;
pub mod assign;
mod clusters;
pub mod dispatch;
mod instances;
pub mod launch;
mod nodes;
pub mod ops;
pub mod paging;
pub mod plan;
mod protection;
pub mod reconcile;
pub mod records;
pub mod refusal;
mod reports;
pub mod resolve;
mod services;
mod tagged;
pub mod tagging;
mod targets;
pub mod task_definition;
mod tasks;
#[cfg(test)]
pub mod testing;

use crate::reconcile::placement::Placer;
use neargate_core::{Clock, Ids};
use neargate_store::Store;
use std::sync::Arc;
use std::time::Duration;

/// The service: handles to what it stands on.
#[derive(Clone)]
pub struct Ecs {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub account: String,
    /// Where tasks go; shared by everything that places them.
    pub placer: Arc<Placer>,
    /// How long a node may be away before its services' tasks are replaced.
    pub node_grace: Duration,
    /// How long a service's task without health check must run to count as healthy: 40 seconds on AWS.
    pub healthy_after: Duration,
}

impl Ecs {
    /// The service over `store`, with the fleet as it is there.
    pub fn new(store: Store, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>, account: impl Into<String>) -> Ecs {
        let placer = Arc::new(Placer::new(&store));
        Ecs {
            store,
            clock,
            ids,
            account: account.into(),
            placer,
            node_grace: reconcile::expiry::NODE_GRACE,
            healthy_after: reconcile::service::HEALTHY_AFTER,
        }
    }
}
