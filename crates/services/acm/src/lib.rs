//! AWS Certificate Manager: imported certificates, and ones that the instance's own authority issues.
//!
//! Rooms: `api` (generated), `records` (what is stored), `authority` (the local certificate authority), `plan` (when to
//! renew, pure), `renewal` (the loop that does), `ops` (one file per operation), `resolve` (from ARNs to records),
//! `lookup` (what load balancers ask). Invariant: a private key is in the store only sealed, and no operation answers
//! it. This crate knows no load balancer: who uses a certificate it is told through `Acm::in_use`.

pub mod api;
mod authority;
mod describe;
mod dispatch;
mod lookup;
mod ops;
mod plan;
pub mod records;
mod renewal;
mod resolve;
mod tagging;
#[cfg(test)]
mod tests;

pub use authority::{Authority, AuthorityError};
pub use dispatch::routes;
pub use lookup::{find, hold};
pub use neargate_x509::Found;
pub use records::{CertificateRecord, kinds};

use neargate_core::{Clock, Ids};
use neargate_seal::Seal;
use neargate_store::{Snapshot, Store};
use std::path::Path;
use std::sync::Arc;

/// ARNs of what uses the certificate with the given ARN.
pub type InUse = Arc<dyn Fn(&Snapshot, &str) -> Vec<String> + Send + Sync>;

/// The service: handles to what it stands on.
pub struct Acm {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    /// 12 digits.
    pub account: String,
    pub seal: Arc<Seal>,
    pub in_use: InUse,
    pub authority: Arc<Authority>,
}

impl Acm {
    /// The service over the records in `store`. Makes the local authority when there is none, and writes its certificate
    /// to `ca.pem` in `data_dir`, where people find it to trust it.
    ///
    /// # Errors
    /// `AuthorityError`: its key does not open, it cannot be stored, or the file cannot be written.
    pub async fn open(
        store: Store,
        data_dir: &Path,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        account: &str,
        seal: Arc<Seal>,
        in_use: InUse,
    ) -> Result<Acm, AuthorityError> {
        let authority = Authority::open_or_create(&store, &seal, &*ids, clock.now()).await?;
        authority.publish(data_dir)?;
        Ok(Acm {
            store,
            clock,
            ids,
            account: account.to_owned(),
            seal,
            in_use,
            authority: Arc::new(authority),
        })
    }

    /// The certificate of the local authority, PEM; `ca.pem` in the data directory holds the same.
    pub fn authority_pem(&self) -> &str {
        self.authority.certificate_pem()
    }
}
