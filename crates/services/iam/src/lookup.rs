//! What load balancers ask of server certificates.

use crate::records::ServerCertificateRecord;
use crate::resolve;
use neargate_store::{Snapshot, Txn};
use neargate_x509::Found;

/// The server certificate with this ARN as `snapshot` shows it. One that was renamed while in use is found by its former
/// ARN too, so that what uses it goes on.
pub fn server_certificate(snapshot: &Snapshot, arn: &str) -> Option<Found> {
    let record = resolve::by_arn(snapshot, arn)?;
    Some(Found {
        arn: arn.to_owned(),
        domains: record.facts.domains.clone(),
        key_algorithm: record.facts.key_algorithm,
        chain_pem: record.full_chain_pem.clone(),
        sealed_key: record.sealed_key.clone(),
        context: record.context(),
    })
}

/// Makes a commit that begins to use the certificate, and a deletion of it at the same time, exclude each other: whoever
/// is second must look again. Answers false when there is no such certificate.
pub fn hold(txn: &mut Txn, snapshot: &Snapshot, arn: &str) -> bool {
    let Some(found) = resolve::by_arn(snapshot, arn) else {
        return false;
    };
    let key = found.name.clone();
    txn.unchanged::<ServerCertificateRecord>(snapshot, &key)
        .put_shared(&key, found.record);
    true
}
