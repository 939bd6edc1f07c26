//! The client's side: signs requests for tests, benchmarks and whatever of ours calls AWS.

use super::canonical::{canonical_request, string_to_sign};
use super::{ALGORITHM, PathEncoding, Scope, SigningKey, sha256_hex};
use crate::request::Request;
use neargate_core::Timestamp;

/// Whose signature, for what.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    pub access_key: &'a str,
    pub secret: &'a str,
    pub region: &'a str,
    pub service: &'a str,
    pub now: Timestamp,
}

/// `YYYYMMDDTHHMMSSZ`.
pub fn format_time(at: Timestamp) -> String {
    let iso = at.iso8601();
    let mut out: String = iso.chars().take(19).filter(|c| !matches!(c, '-' | ':')).collect();
    out.push('Z');
    out
}

/// The headers to add to `request`, which must have its `host`: `x-amz-date` and `authorization`. All headers of the
/// request are signed.
pub fn sign(request: &Request<'_>, signer: &Signer<'_>) -> [(&'static str, String); 2] {
    let time = format_time(signer.now);
    let scope = Scope {
        date: time[..8].to_owned(),
        region: signer.region.to_owned(),
        service: signer.service.to_owned(),
    };
    let mut headers: Vec<(&str, &[u8])> = request.headers.to_vec();
    headers.push(("x-amz-date", time.as_bytes()));
    let mut signed: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    signed.sort_unstable();
    signed.dedup();
    let hash = match request.header("x-amz-content-sha256") {
        Some(given) => given.to_owned(),
        None => sha256_hex(request.body),
    };
    let with_date = Request {
        headers: &headers,
        ..*request
    };
    let encoding = PathEncoding::of(signer.service);
    let canonical = canonical_request(&with_date, &signed, encoding, None, &hash);
    let to_sign = string_to_sign(&time, &scope.text(), &canonical);
    let signature = SigningKey::derive(signer.secret, &scope).signature(&to_sign);
    let authorization = format!(
        "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={signature}",
        signer.access_key,
        scope.text(),
        signed.join(";"),
    );
    [("x-amz-date", time), ("authorization", authorization)]
}
