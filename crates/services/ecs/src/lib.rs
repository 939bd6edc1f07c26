//! Amazon ECS: clusters, task definitions, tasks, services, deployments.
//!
//! Rooms: `api` (generated), `records` (what is stored), `ops` (one file per operation), `plan` (pure decisions),
//! `reconcile` (the loops). This crate knows no socket, no container and no protocol; nodes reach it as reports and
//! leave it as assignments.

pub mod api;
pub mod dispatch;
pub mod ops;
pub mod records;
pub mod resolve;

use neargate_core::{Clock, Ids};
use neargate_store::Store;
use std::sync::Arc;

/// The service: handles to what it stands on.
#[derive(Clone)]
pub struct Ecs {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub account: String,
}
