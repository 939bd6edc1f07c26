//! DeleteServerCertificate: the certificate and its key, unless something uses it.

use crate::api::errors;
use crate::records::ServerCertificateRecord;
use crate::{Iam, api, resolve};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;

/// # Errors
/// `NoSuchEntity`, `DeleteConflict`.
pub async fn handle(
    service: &Iam,
    _cx: &RequestContext,
    input: api::DeleteServerCertificateRequest,
) -> Result<(), AwsError> {
    service
        .store
        .transact(|snapshot| {
            let record = resolve::named(snapshot, input.server_certificate_name.as_deref())?;
            if let Some(user) = resolve::users(snapshot, &service.in_use, &record).first() {
                // Terraform waits when it reads "is currently in use by arn".
                return Err(errors::delete_conflict_exception(format!(
                    "Certificate: {} is currently in use by {user}. Please remove it first before deleting it from IAM.",
                    record.id
                )));
            }
            let mut txn = Txn::new();
            txn.unchanged::<ServerCertificateRecord>(snapshot, &record.name)
                .delete::<ServerCertificateRecord>(&record.name);
            Ok((txn, ()))
        })
        .await
}
