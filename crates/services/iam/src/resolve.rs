//! From names and ARNs to records, with AWS's errors for what is not there.

use crate::api::errors;
use crate::records::ServerCertificateRecord;
use crate::{Iam, InUse};
use neargate_core::arn::partition_of;
use neargate_core::{AwsError, RequestContext};
use neargate_store::{Snapshot, Versioned};

/// The certificate with this name.
///
/// # Errors
/// `NoSuchEntity`.
pub fn named(snapshot: &Snapshot, name: Option<&str>) -> Result<Versioned<ServerCertificateRecord>, AwsError> {
    let name = name.unwrap_or_default();
    snapshot.get(name).ok_or_else(|| {
        errors::no_such_entity_exception(format!("The Server Certificate with name {name} cannot be found."))
    })
}

/// The certificate with this ARN, or else the one that had it before it was renamed.
pub fn by_arn(snapshot: &Snapshot, arn: &str) -> Option<Versioned<ServerCertificateRecord>> {
    let mut former = None;
    for (_, found) in snapshot.indexed::<ServerCertificateRecord>(ServerCertificateRecord::BY_ARN, arn) {
        if found.arn == arn {
            return Some(found);
        }
        former.get_or_insert(found);
    }
    former
}

/// ARNs of what uses the certificate, under whatever ARN.
pub fn users(snapshot: &Snapshot, in_use: &InUse, record: &ServerCertificateRecord) -> Vec<String> {
    let own = record
        .arns()
        .filter(|arn| by_arn(snapshot, arn).is_some_and(|found| found.id == record.id));
    own.flat_map(|arn| in_use(snapshot, arn)).collect()
}

/// The ARN of a server certificate of this name and path.
pub fn arn(service: &Iam, cx: &RequestContext, path: &str, name: &str) -> String {
    let partition = partition_of(&cx.region);
    format!(
        "arn:{partition}:iam::{}:server-certificate{path}{name}",
        service.account
    )
}
