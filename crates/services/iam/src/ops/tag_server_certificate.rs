//! TagServerCertificate: adds tags, replacing values of keys that are there.

use crate::{Iam, api, tagging};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `NoSuchEntity`, `InvalidInput`, `LimitExceeded`.
pub async fn handle(
    service: &Iam,
    _cx: &RequestContext,
    input: api::TagServerCertificateRequest,
) -> Result<(), AwsError> {
    let more = tagging::admit(input.tags)?;
    tagging::change(service, input.server_certificate_name.as_deref(), |tags| {
        tags.merge(more.clone()).map_err(|fault| tagging::refuse(&fault))
    })
    .await
}
