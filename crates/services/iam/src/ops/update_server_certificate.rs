//! UpdateServerCertificate: another name, another path, and with them another ARN.
//!
//! Whatever uses the certificate under its old ARN goes on: that ARN is kept beside the new one for as long.

use super::upload_server_certificate::{check_free, check_unused};
use crate::records::ServerCertificateRecord;
use crate::{Iam, api, resolve};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;

/// # Errors
/// `NoSuchEntity`, `EntityAlreadyExists`.
pub async fn handle(
    service: &Iam,
    cx: &RequestContext,
    input: api::UpdateServerCertificateRequest,
) -> Result<(), AwsError> {
    service
        .store
        .transact(|snapshot| {
            let old = resolve::named(snapshot, input.server_certificate_name.as_deref())?;
            let mut record = (*old.record).clone();
            record.name = input.new_server_certificate_name.clone().unwrap_or(record.name);
            record.path = input.new_path.clone().unwrap_or(record.path);
            record.arn = resolve::arn(service, cx, &record.path, &record.name);
            let mut txn = Txn::new();
            if record == *old.record {
                return Ok((txn, ()));
            }
            record.former_arns = (old.arns())
                .filter(|arn| *arn != record.arn && !(service.in_use)(snapshot, arn).is_empty())
                .map(str::to_owned)
                .collect();
            check_unused(service, snapshot, &record)?;
            txn.unchanged::<ServerCertificateRecord>(snapshot, &old.name);
            if record.name != old.name {
                check_free(snapshot, &record.name)?;
                txn.unchanged::<ServerCertificateRecord>(snapshot, &record.name)
                    .delete::<ServerCertificateRecord>(&old.name);
            }
            let key = record.name.clone();
            txn.put(&key, record);
            Ok::<_, AwsError>((txn, ()))
        })
        .await
}
