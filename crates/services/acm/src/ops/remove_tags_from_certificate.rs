//! RemoveTagsFromCertificate: by key, or by key and value, which then must be the one that is there.

use crate::{Acm, api, tagging};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `InvalidArnException`, `ResourceNotFoundException`.
pub async fn handle(
    service: &Acm,
    cx: &RequestContext,
    input: api::RemoveTagsFromCertificateRequest,
) -> Result<(), AwsError> {
    let named = input.tags.unwrap_or_default();
    tagging::change(service, cx, input.certificate_arn.as_deref(), |tags| {
        tags.0.retain(|key, value| {
            !(named.iter())
                .any(|tag| tag.key.as_ref() == Some(key) && tag.value.as_ref().is_none_or(|named| named == value))
        });
        Ok(())
    })
    .await
}
