//! A server certificate as the operations answer it, and how listings are paged.

use crate::api;
use crate::records::ServerCertificateRecord;
use neargate_core::paging::{self, BadToken, Page};
use neargate_core::{AwsError, Tags};

/// `MaxItems` when it is not given.
const PAGE: usize = 100;

pub fn metadata(record: &ServerCertificateRecord) -> api::ServerCertificateMetadata {
    api::ServerCertificateMetadata {
        arn: Some(record.arn.clone()),
        expiration: Some(record.facts.not_after),
        path: Some(record.path.clone()),
        server_certificate_id: Some(record.id.clone()),
        server_certificate_name: Some(record.name.clone()),
        upload_date: Some(record.uploaded_at),
    }
}

pub fn tags(tags: &Tags) -> Vec<api::Tag> {
    let pairs = tags.iter().map(|(key, value)| api::Tag {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    });
    pairs.collect()
}

/// One page of `items`, which ascend by `key`.
///
/// # Errors
/// `ValidationError` for the marker of another listing.
pub fn page<T>(
    listing: &str,
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> String,
    max_items: Option<i32>,
    marker: Option<&str>,
) -> Result<Page<T>, AwsError> {
    let max = max_items.and_then(|max| usize::try_from(max).ok()).unwrap_or(PAGE);
    paging::page(listing, items, key, max, marker)
        .map_err(|BadToken| AwsError::new("ValidationError", 400, "Invalid Marker."))
}
