//! Certificates, which other services keep: ACM's, and IAM's server certificates.

use crate::records::ListenerRecord;
use neargate_link::gateway::Certificate;
use neargate_store::{Snapshot, Txn};
use std::collections::BTreeSet;

/// What a certificate is to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fitness {
    Fit,
    /// Its key is too small.
    Unfit,
    Absent,
}

/// Finds the certificates that listeners name.
pub trait CertificateSource: Send + Sync {
    /// Whether the ARN names a certificate that listeners may have.
    fn fitness(&self, snapshot: &Snapshot, arn: &str) -> Fitness;

    /// The certificate with its key; none when it is gone.
    fn load(&self, snapshot: &Snapshot, arn: &str) -> Option<Certificate>;

    /// Adds to `txn`, which begins to use the certificate, what makes it and a deletion of the certificate at the same
    /// time exclude each other. Nothing, where certificates are never deleted.
    fn hold(&self, _txn: &mut Txn, _snapshot: &Snapshot, _arn: &str) {}
}

/// Holds the certificates that the listener did not use before.
pub fn hold_new(
    source: &dyn CertificateSource,
    snapshot: &Snapshot,
    txn: &mut Txn,
    before: Option<&ListenerRecord>,
    after: &ListenerRecord,
) {
    let had = before
        .map(|listener| listener.certificates.as_slice())
        .unwrap_or_default();
    for arn in after.certificates.iter().filter(|arn| !had.contains(arn)) {
        source.hold(txn, snapshot, arn);
    }
}

/// ARNs of the load balancers whose listeners serve the certificate, ascending: ACM shows them and keeps it for them.
pub fn users_of_certificate(snapshot: &Snapshot, arn: &str) -> Vec<String> {
    let listeners = snapshot.indexed::<ListenerRecord>(ListenerRecord::BY_CERTIFICATE, arn);
    let balancers: BTreeSet<String> = listeners
        .map(|(_, listener)| listener.load_balancer_arn.clone())
        .collect();
    balancers.into_iter().collect()
}
