//! What a load balancer decides, without sockets: rules, targets, stickiness, rewriting, health, log lines, counters.
//!
//! Called by the gateway for every request and connection. `Routes` is compiled from control's table and swapped whole;
//! what outlives a table (health, outstanding requests, cursors, counters) is carried from one `Routes` to the next.
//! Invariant: no clock, no randomness and no IO; time and random numbers are arguments, so that every decision can be
//! repeated in a test. This crate deliberately knows no HTTP parser: heads come as slices behind a small trait.

pub mod access_log;
mod condition;
pub mod cookie;
pub mod desync;
pub mod digits;
mod flow;
pub mod forward;
pub mod forwarded;
mod group;
pub mod head;
pub mod health;
mod index;
mod listener;
pub mod metrics;
mod pattern;
mod pick;
mod redirect;
mod routes;
mod settings;
mod target;
mod transform;

pub use cookie::CookieKey;
pub use desync::{Class, DesyncMode, Reason, Reasons, Verdict};
pub use flow::Flow;
pub use forward::{Ask, Choice, Cookies, Forward, NoTarget};
pub use forwarded::XffMode;
pub use group::Group;
pub use head::{Headers, RequestHead};
pub use health::{Finding, HealthCheck};
pub use listener::{Action, FixedResponse, Listener, Rule};
pub use metrics::{BalancerCounter, BalancerMetrics, GroupCounter, GroupMetrics, MetricsSnapshot};
pub use redirect::Redirect;
pub use routes::{Balancer, Routes};
pub use settings::{Algorithm, BalancerSettings, GroupSettings, ListenerSettings, LogPlace, Stickiness};
pub use target::{Outstanding, Target};
pub use transform::{Rewrite, Transforms};
