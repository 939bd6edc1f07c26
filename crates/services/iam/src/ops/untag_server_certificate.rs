//! UntagServerCertificate: removes tags; keys that are not there do not matter.

use crate::{Iam, api, tagging};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `NoSuchEntity`.
pub async fn handle(
    service: &Iam,
    _cx: &RequestContext,
    input: api::UntagServerCertificateRequest,
) -> Result<(), AwsError> {
    let keys = input.tag_keys.unwrap_or_default();
    tagging::change(service, input.server_certificate_name.as_deref(), |tags| {
        tags.remove(keys.iter().map(String::as_str));
        Ok(())
    })
    .await
}
