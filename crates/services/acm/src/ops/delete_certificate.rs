//! DeleteCertificate: the certificate and its key, unless something uses it.

use crate::api::errors;
use crate::records::CertificateRecord;
use crate::{Acm, api, resolve};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;

/// # Errors
/// `InvalidArnException`, `ResourceNotFoundException`, `ResourceInUseException`.
pub async fn handle(service: &Acm, cx: &RequestContext, input: api::DeleteCertificateRequest) -> Result<(), AwsError> {
    service
        .store
        .transact(|snapshot| {
            let record = resolve::certificate(snapshot, cx, input.certificate_arn.as_deref())?;
            if !(service.in_use)(snapshot, &record.arn).is_empty() {
                return Err(errors::resource_in_use_exception(format!(
                    "Certificate {} in account {} is in use.",
                    record.arn, cx.account
                )));
            }
            let key = record.own_key();
            let mut txn = Txn::new();
            txn.unchanged::<CertificateRecord>(snapshot, &key)
                .delete::<CertificateRecord>(&key);
            Ok((txn, ()))
        })
        .await
}
