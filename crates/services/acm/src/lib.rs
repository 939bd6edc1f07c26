//! AWS Certificate Manager: imported certificates, and ones that the instance's own authority issues.
//!
//! Rooms: `api` (generated), `records` (what is stored), `authority` (the local certificate authority), `plan` (when to
//! renew, pure), `renewal` (the loop that does), `domain` (what a name is), `ops` (one file per operation), `resolve` (from ARNs to records),
//! `lookup` (what load balancers ask). Invariant: a private key is in the store only sealed, and no operation answers
//! it. This crate knows no load balancer: who uses a certificate it is told through `Acm::in_use`.

pub mod api;
mod authority;
mod describe;
mod dispatch;
mod domain;
mod lookup;
mod ops;
mod plan;
pub mod records;
mod renewal;
mod resolve;
mod tagging;
#[cfg(test)]
mod tests;

pub use authority::AuthorityError;
pub use dispatch::routes;
pub use lookup::{find, hold};
pub use neargate_x509::{Found, KeyAlgorithm};
pub use records::{CertificateRecord, kinds};

use authority::Authority;
use neargate_core::{Clock, Ids};
use neargate_seal::Seal;
use neargate_store::{Snapshot, Store};
use records::AuthorityRecord;
use std::path::Path;
use std::sync::Arc;

/// ARNs of what uses the certificate with the given ARN.
pub type InUse = Arc<dyn Fn(&Snapshot, &str) -> Vec<String> + Send + Sync>;

/// The service: handles to what it stands on.
#[derive(Clone)]
pub struct Acm {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    /// 12 digits.
    pub account: String,
    pub seal: Arc<Seal>,
    pub in_use: InUse,
}

impl Acm {
    /// Makes the local authority when there is none, and writes its certificate to `file`, where people find it to trust
    /// it. Called at every start.
    ///
    /// # Errors
    /// `AuthorityError`: its key does not open, it cannot be stored, or the file cannot be written.
    pub async fn open(&self, file: &Path) -> Result<(), AuthorityError> {
        self.authority().await?.publish(file)
    }

    /// The certificate of the local authority, PEM; none before `open` or the first certificate made it.
    pub fn authority_pem(&self) -> Option<String> {
        let record = self.store.snapshot().get::<AuthorityRecord>(AuthorityRecord::KEY)?;
        Some(record.certificate_pem.clone())
    }

    /// The local authority, made when there is none.
    pub(crate) async fn authority(&self) -> Result<Authority, AuthorityError> {
        Authority::open_or_create(&self.store, &self.seal, &*self.ids, self.clock.now()).await
    }
}
