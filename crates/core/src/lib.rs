//! The words every floor shares: ARNs, identifiers, units, the clock and id ports, tags, paging and AWS errors.
//!
//! Everything here is pure except the two ports' system implementations (`clock::SystemClock`, `ids::RandomIds`).
//! This crate deliberately knows no AWS service, no protocol and no storage.

pub mod arn;
pub mod blob;
pub mod clock;
pub mod context;
pub mod error;
pub mod ids;
pub mod paging;
pub mod tags;
pub mod time;
pub mod units;

pub use arn::Arn;
pub use blob::Blob;
pub use clock::Clock;
pub use context::RequestContext;
pub use error::AwsError;
pub use ids::Ids;
pub use tags::Tags;
pub use time::Timestamp;
pub use units::{CpuUnits, MiB};
