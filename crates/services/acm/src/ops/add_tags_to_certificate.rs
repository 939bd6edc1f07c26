//! AddTagsToCertificate: adds tags, replacing values of keys that are there.

use crate::{Acm, api, tagging};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `InvalidArnException`, `ResourceNotFoundException`, `InvalidTagException`, `TooManyTagsException`.
pub async fn handle(
    service: &Acm,
    cx: &RequestContext,
    input: api::AddTagsToCertificateRequest,
) -> Result<(), AwsError> {
    let more = tagging::admit(input.tags)?;
    tagging::change(service, cx, input.certificate_arn.as_deref(), |tags| {
        tags.merge(more.clone()).map_err(|fault| tagging::refuse(&fault))
    })
    .await
}
