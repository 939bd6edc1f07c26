//! GetServerCertificate: the certificate and its chain as they were uploaded, never the key.

use crate::{Iam, api, resolve, shapes};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `NoSuchEntity`.
pub async fn handle(
    service: &Iam,
    _cx: &RequestContext,
    input: api::GetServerCertificateRequest,
) -> Result<api::GetServerCertificateResponse, AwsError> {
    let record = resolve::named(&service.store.snapshot(), input.server_certificate_name.as_deref())?;
    Ok(api::GetServerCertificateResponse {
        server_certificate: Some(api::ServerCertificate {
            certificate_body: Some(record.body.clone()),
            certificate_chain: record.chain.clone(),
            server_certificate_metadata: Some(shapes::metadata(&record)),
            tags: Some(shapes::tags(&record.tags)),
        }),
    })
}
