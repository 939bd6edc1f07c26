//! From the ARN in a request to the record, with AWS's errors for what is not there.

use crate::api::errors;
use crate::records::CertificateRecord;
use neargate_core::{Arn, AwsError, RequestContext};
use neargate_store::{Snapshot, Versioned};

/// The certificate that a request names.
///
/// # Errors
/// `InvalidArnException` for the ARN of something else, `ResourceNotFoundException`.
pub fn certificate(
    snapshot: &Snapshot,
    cx: &RequestContext,
    arn: Option<&str>,
) -> Result<Versioned<CertificateRecord>, AwsError> {
    let arn = arn.unwrap_or_default();
    let (region, _) = parts(arn)
        .ok_or_else(|| errors::invalid_arn_exception(format!("The ARN '{arn}' is not the ARN of a certificate.")))?;
    let found = by_arn(snapshot, arn).filter(|_| region == cx.region);
    found.ok_or_else(|| errors::resource_not_found_exception(format!("Could not find certificate {arn}.")))
}

/// The certificate with this ARN, in whatever region.
pub fn by_arn(snapshot: &Snapshot, arn: &str) -> Option<Versioned<CertificateRecord>> {
    let (region, id) = parts(arn)?;
    let found = snapshot.get::<CertificateRecord>(&CertificateRecord::key(&region, &id))?;
    (found.arn == arn).then_some(found)
}

/// Region and id.
fn parts(arn: &str) -> Option<(String, String)> {
    let arn: Arn = arn.parse().ok()?;
    let id = arn.resource.strip_prefix("certificate/")?;
    (arn.service == "acm" && !id.contains('/')).then(|| (arn.region.clone(), id.to_owned()))
}
