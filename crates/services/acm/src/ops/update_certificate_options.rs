//! UpdateCertificateOptions: how a requested certificate's domains are proved, and whether it would be logged.

use crate::api::{self, errors};
use crate::records::{CertificateRecord, Origin, Validation};
use crate::{Acm, resolve};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;

/// # Errors
/// `InvalidArnException`, `ResourceNotFoundException`, `InvalidStateException`, `ValidationException`.
pub async fn handle(
    service: &Acm,
    cx: &RequestContext,
    input: api::UpdateCertificateOptionsRequest,
) -> Result<(), AwsError> {
    let asked = input.options.unwrap_or_default();
    if asked.export.as_deref() == Some("ENABLED") {
        return Err(errors::validation_exception(
            "Options.Export=ENABLED is not supported: private keys are never given out.",
        ));
    }
    service
        .store
        .transact(|snapshot| {
            let found = resolve::certificate(snapshot, cx, input.certificate_arn.as_deref())?;
            let mut record = (*found.record).clone();
            let Origin::Issued(issued) = &mut record.origin else {
                return Err(errors::invalid_state_exception(
                    "Options are those of requested certificates; this one was imported.",
                ));
            };
            let order = &mut issued.order;
            match asked.validation_method.as_deref() {
                None => {}
                Some("DNS") => order.validation = Validation::Dns,
                Some(other) if other == order.validation.as_str() => {}
                Some(other) => {
                    return Err(errors::validation_exception(format!(
                        "Options.ValidationMethod={other} is not supported: a certificate can change from EMAIL to DNS only."
                    )));
                }
            }
            if let Some(preference) = asked.certificate_transparency_logging_preference.as_deref() {
                order.transparency_logging = preference != "DISABLED";
            }
            let mut txn = Txn::new();
            if record.origin != found.origin {
                let key = record.own_key();
                txn.unchanged::<CertificateRecord>(snapshot, &key).put(&key, record);
            }
            Ok((txn, ()))
        })
        .await
}
