//! What is stored.

mod listener;
mod load_balancer;
mod target;
mod target_group;

pub use listener::{ListenerRecord, RuleRecord};
pub use load_balancer::{LoadBalancerRecord, Seat};
pub use target::{TargetHealth, TargetRecord};
pub use target_group::{HealthCheck, TargetGroupRecord};

use neargate_store::Kind;

/// Every kind of record this service stores; the store is opened with them.
pub fn kinds() -> Vec<Kind> {
    vec![
        Kind::of::<LoadBalancerRecord>(),
        Kind::of::<ListenerRecord>(),
        Kind::of::<TargetGroupRecord>(),
        Kind::of::<TargetRecord>(),
    ]
}
