//! ListTagsForCertificate.

use crate::{Acm, api, resolve};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `InvalidArnException`, `ResourceNotFoundException`.
pub async fn handle(
    service: &Acm,
    cx: &RequestContext,
    input: api::ListTagsForCertificateRequest,
) -> Result<api::ListTagsForCertificateResponse, AwsError> {
    let record = resolve::certificate(&service.store.snapshot(), cx, input.certificate_arn.as_deref())?;
    let tags = record.tags.iter().map(|(key, value)| api::Tag {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    });
    Ok(api::ListTagsForCertificateResponse {
        tags: Some(tags.collect()),
    })
}
