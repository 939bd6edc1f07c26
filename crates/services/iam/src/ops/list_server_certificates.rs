//! ListServerCertificates: all, or those whose path starts with a prefix, by name.

use crate::records::ServerCertificateRecord;
use crate::{Iam, api, shapes};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `ValidationError` for the marker of another listing.
pub async fn handle(
    service: &Iam,
    _cx: &RequestContext,
    input: api::ListServerCertificatesRequest,
) -> Result<api::ListServerCertificatesResponse, AwsError> {
    let prefix = input.path_prefix.as_deref().unwrap_or("/");
    let snapshot = service.store.snapshot();
    let listed = snapshot
        .range::<ServerCertificateRecord>("")
        .map(|(_, certificate)| certificate.record)
        .filter(|certificate| certificate.path.starts_with(prefix));
    let page = shapes::page(
        &format!("server certificates under {prefix}"),
        listed,
        |certificate| certificate.name.clone(),
        input.max_items,
        input.marker.as_deref(),
    )?;
    let metadata = page.items.iter().map(|certificate| shapes::metadata(certificate));
    Ok(api::ListServerCertificatesResponse {
        is_truncated: Some(page.next_token.is_some()),
        server_certificate_metadata_list: Some(metadata.collect()),
        marker: page.next_token,
    })
}
