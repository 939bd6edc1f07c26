//! ListServerCertificateTags.

use crate::{Iam, api, resolve, shapes};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `NoSuchEntity`, `ValidationError` for the marker of another listing.
pub async fn handle(
    service: &Iam,
    _cx: &RequestContext,
    input: api::ListServerCertificateTagsRequest,
) -> Result<api::ListServerCertificateTagsResponse, AwsError> {
    let record = resolve::named(&service.store.snapshot(), input.server_certificate_name.as_deref())?;
    let page = shapes::page(
        &format!("tags of {}", record.id),
        shapes::tags(&record.tags),
        |tag| tag.key.clone().unwrap_or_default(),
        input.max_items,
        input.marker.as_deref(),
    )?;
    Ok(api::ListServerCertificateTagsResponse {
        is_truncated: Some(page.next_token.is_some()),
        marker: page.next_token,
        tags: Some(page.items),
    })
}
