//! GetCertificate: the certificate and its chain, never the key.

use crate::{Acm, api, resolve};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `InvalidArnException`, `ResourceNotFoundException`.
pub async fn handle(
    service: &Acm,
    cx: &RequestContext,
    input: api::GetCertificateRequest,
) -> Result<api::GetCertificateResponse, AwsError> {
    let record = resolve::certificate(&service.store.snapshot(), cx, input.certificate_arn.as_deref())?;
    Ok(api::GetCertificateResponse {
        certificate: Some(record.certificate_pem.clone()),
        certificate_chain: record.chain_pem.clone(),
    })
}
