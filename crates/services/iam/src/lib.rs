//! AWS IAM, the part that load balancers need: server certificates.
//!
//! Rooms: `api` (generated), `records` (what is stored), `ops` (one file per operation), `resolve` (from names to
//! records), `lookup` (what load balancers ask). IAM is global: keys have no region. Invariant: a private key is in the
//! store only sealed, and no operation answers it. This crate knows no load balancer: who uses a certificate it is told
//! through `Iam::in_use`.

pub mod api;
mod dispatch;
mod lookup;
mod ops;
pub mod records;
mod resolve;
mod shapes;
mod tagging;
#[cfg(test)]
mod tests;

pub use dispatch::routes;
pub use lookup::{hold, server_certificate};
pub use neargate_x509::Found;
pub use records::{ServerCertificateRecord, kinds};

use neargate_core::{Clock, Ids};
use neargate_seal::Seal;
use neargate_store::{Snapshot, Store};
use std::sync::Arc;

/// ARNs of what uses the server certificate with the given ARN.
pub type InUse = Arc<dyn Fn(&Snapshot, &str) -> Vec<String> + Send + Sync>;

/// The service: handles to what it stands on.
#[derive(Clone)]
pub struct Iam {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    /// 12 digits.
    pub account: String,
    pub seal: Arc<Seal>,
    pub in_use: InUse,
}
