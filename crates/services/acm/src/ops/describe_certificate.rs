//! DescribeCertificate.

use crate::{Acm, api, describe, resolve};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `InvalidArnException`, `ResourceNotFoundException`.
pub async fn handle(
    service: &Acm,
    cx: &RequestContext,
    input: api::DescribeCertificateRequest,
) -> Result<api::DescribeCertificateResponse, AwsError> {
    let snapshot = service.store.snapshot();
    let record = resolve::certificate(&snapshot, cx, input.certificate_arn.as_deref())?;
    let in_use_by = (service.in_use)(&snapshot, &record.arn);
    Ok(api::DescribeCertificateResponse {
        certificate: Some(describe::detail(&record, in_use_by, cx.now)),
    })
}
