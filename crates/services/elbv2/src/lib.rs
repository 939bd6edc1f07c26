//! Elastic Load Balancing v2: load balancers, listeners, rules, target groups and the health of targets.
//!
//! Rooms: `api` (generated), `records` (what is stored), `ops` (one file per operation), `targets` (who gets traffic;
//! ECS calls it within its own commits), `table` and `names` (what gateways and nodes are told). This crate knows no
//! socket: a gateway serves what the table says and reports how targets do.

pub mod api;
mod arns;
mod attributes;
mod certificates;
mod cidr;
mod dispatch;
mod find;
mod health_check;
mod hosted_zones;
mod limits;
mod listeners;
pub mod names;
mod naming;
mod ops;
mod paging;
pub mod records;
mod refusal;
mod rules;
mod seats;
mod shapes;
mod ssl_policies;
pub mod table;
mod tagging;
pub mod targets;

pub use certificates::{CertificateSource, Fitness, users_of_certificate};
pub use dispatch::routes;
pub use records::{
    ListenerRecord, LoadBalancerRecord, RuleRecord, TargetGroupRecord, TargetHealth, TargetRecord, kinds,
};
pub use targets::in_use;

use neargate_core::{Clock, Ids};
use neargate_store::{Snapshot, Store};
use std::net::IpAddr;
use std::sync::Arc;

/// Where the machine of a container instance is reached, by region and instance id (`i-…`).
pub type InstanceAddress = dyn Fn(&Snapshot, &str, &str) -> Option<IpAddr> + Send + Sync;

/// The service: handles to what it stands on.
#[derive(Clone)]
pub struct Elbv2 {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    /// 12 digits.
    pub account: String,
    pub certificates: Arc<dyn CertificateSource>,
    pub instances: Arc<InstanceAddress>,
    /// Rules of an application load balancer at most, besides the default ones: a quota.
    pub rules_per_balancer: usize,
}

#[cfg(test)]
mod tests;
