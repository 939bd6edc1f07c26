//! What load balancers ask of certificates.

use crate::records::CertificateRecord;
use crate::resolve;
use neargate_store::{Snapshot, Txn};
use neargate_x509::Found;

/// The certificate with this ARN as `snapshot` shows it. An expired one is answered too: AWS serves it on.
pub fn find(snapshot: &Snapshot, arn: &str) -> Option<Found> {
    let record = resolve::by_arn(snapshot, arn)?;
    let chain = record.chain_pem.as_deref().unwrap_or_default();
    Some(Found {
        arn: record.arn.clone(),
        domains: record.facts.domains.clone(),
        key_algorithm: record.facts.key_algorithm,
        chain_pem: format!("{}{chain}", record.certificate_pem),
        sealed_key: record.sealed_key.clone(),
        context: CertificateRecord::context(&record.arn),
    })
}

/// Makes a commit that begins to use the certificate, and a deletion of it at the same time, exclude each other: whoever
/// is second must look again. Answers false when there is no such certificate.
pub fn hold(txn: &mut Txn, snapshot: &Snapshot, arn: &str) -> bool {
    let Some(found) = resolve::by_arn(snapshot, arn) else {
        return false;
    };
    let key = found.own_key();
    txn.unchanged::<CertificateRecord>(snapshot, &key)
        .put_shared(&key, found.record);
    true
}
