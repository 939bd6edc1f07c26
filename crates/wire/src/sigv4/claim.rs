//! What a request claims about its signature, and the check of that claim.

use super::canonical::{canonical_request, string_to_sign};
use super::{ALGORITHM, Fault, PathEncoding, Scope, SigningKey, format_time, sha256_hex};
use crate::codec::form::percent_decoded;
use crate::codec::timestamp::http_date;
use crate::request::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use neargate_core::Timestamp;
use sha2::{Digest as _, Sha256};
use std::time::Duration;

/// How far the signed time may be from ours.
pub const SKEW: Duration = Duration::from_secs(300);

/// The longest a presigned URL may live: seven days.
const MAX_EXPIRES: u64 = 604_800;
/// What S3 signs in place of a payload's hash.
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// The parts of a signature, read but not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub access_key: String,
    pub scope: Scope,
    pub session_token: Option<String>,
    signed: Vec<String>,
    signature: String,
    /// The signed time as it enters the string to sign.
    time: String,
    at: Timestamp,
    /// Set for presigned URLs.
    expires: Option<Duration>,
    presigned: bool,
}

impl Claim {
    /// Reads the `Authorization` header or the presigned query of `request`.
    ///
    /// # Errors
    /// `Unsigned`, `Incomplete`, `Unfit`.
    pub fn read(request: &Request<'_>) -> Result<Claim, Fault> {
        let authorization = request.header("authorization");
        let in_query =
            parameter(request, "X-Amz-Algorithm").is_some() || parameter(request, "X-Amz-Signature").is_some();
        match (authorization, in_query) {
            (Some(_), true) => Err(Fault::Incomplete("Only one auth mechanism allowed.".to_owned())),
            (Some(text), false) => from_header(request, text),
            (None, true) => from_query(request),
            (None, false) => Err(Fault::Unsigned),
        }
    }

    /// Compares the signature with the one that `key`, derived for this scope, makes of `request`. `service` is the
    /// signing name of the service that will answer.
    ///
    /// # Errors
    /// Every fault but `Unsigned` and `UnknownKey`.
    pub fn verify(&self, request: &Request<'_>, service: &str, now: Timestamp, key: &SigningKey) -> Result<(), Fault> {
        self.check_scope(service)?;
        self.check_time(now)?;
        let encoding = PathEncoding::of(service);
        self.check_signed_headers(request)?;
        let hash = self.payload_hash(request, encoding)?;
        let signed: Vec<&str> = self.signed.iter().map(String::as_str).collect();
        let without = self.presigned.then_some("X-Amz-Signature");
        let canonical = canonical_request(request, &signed, encoding, without, &hash);
        let to_sign = string_to_sign(&self.time, &self.scope.text(), &canonical);
        if key.accepts(&to_sign, &self.signature) {
            return Ok(());
        }
        Err(Fault::Mismatch {
            canonical,
            string_to_sign: to_sign,
        })
    }

    fn check_scope(&self, service: &str) -> Result<(), Fault> {
        if self.scope.service != service {
            return Err(Fault::Unfit(format!(
                "Credential should be scoped to correct service: '{service}'. "
            )));
        }
        let day = &self.time[..8];
        if self.scope.date != day {
            return Err(Fault::Unfit(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != \
                 '{day}', from '{}'.",
                self.scope.date, self.time
            )));
        }
        Ok(())
    }

    fn check_time(&self, now: Timestamp) -> Result<(), Fault> {
        let (signed, current) = (&self.time, format_time(now));
        // The clock counts milliseconds and signatures count seconds.
        let latest = now.plus(SKEW);
        if self.at > latest {
            let limit = format_time(latest);
            return Err(Fault::Skewed(format!(
                "Signature not yet current: {signed} is still later than {limit} ({current} + 5 min.)"
            )));
        }
        if let Some(expires) = self.expires {
            return if self.at.plus(expires) < now {
                let limit = format_time(now.minus(expires));
                let for_ = match expires.as_secs() {
                    seconds if seconds % 60 == 0 => format!("{} min.", seconds / 60),
                    seconds => format!("{seconds} sec."),
                };
                Err(Fault::Expired(format!(
                    "Signature expired: {signed} is now earlier than {limit} ({current} - {for_})"
                )))
            } else {
                Ok(())
            };
        }
        let earliest = now.minus(SKEW);
        if self.at.secs() < earliest.secs() {
            let limit = format_time(earliest);
            return Err(Fault::Skewed(format!(
                "Signature expired: {signed} is now earlier than {limit} ({current} - 5 min.)"
            )));
        }
        Ok(())
    }

    fn check_signed_headers(&self, request: &Request<'_>) -> Result<(), Fault> {
        let signs = |name: &str| self.signed.iter().any(|s| s == name);
        if !signs("host") {
            let text = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.";
            return Err(Fault::Unfit(text.to_owned()));
        }
        let loose = request
            .headers
            .iter()
            .find(|(name, _)| name.starts_with("x-amz-") && !signs(name));
        match loose {
            Some((name, _)) => Err(Fault::Unfit(format!(
                "There were headers present in the request which were not signed: '{name}' must be a 'SignedHeader'."
            ))),
            None => Ok(()),
        }
    }

    /// The last line of the canonical request, believed only after comparison with the body.
    fn payload_hash(&self, request: &Request<'_>, encoding: PathEncoding) -> Result<String, Fault> {
        let given = request.header("x-amz-content-sha256");
        match (given, encoding) {
            (Some(UNSIGNED_PAYLOAD), PathEncoding::Once) => return Ok(UNSIGNED_PAYLOAD.to_owned()),
            (None, PathEncoding::Once) if self.presigned => return Ok(UNSIGNED_PAYLOAD.to_owned()),
            _ => {}
        }
        let computed = sha256_hex(request.body);
        match given {
            Some(hash) if hash != computed => Err(Fault::Unfit(
                "The provided 'x-amz-content-sha256' header does not match what was computed.".to_owned(),
            )),
            _ => Ok(computed),
        }
    }
}

fn from_header(request: &Request<'_>, text: &str) -> Result<Claim, Fault> {
    // The header itself is never repeated: it may be logged on the way.
    let hashed = || {
        let hash = STANDARD.encode(Sha256::digest(text.as_bytes()));
        format!("(Hashed with SHA-256 and encoded with Base64) Authorization={hash}")
    };
    let (algorithm, rest) = text.trim().split_once([' ', '\t']).unwrap_or((text.trim(), ""));
    if algorithm.starts_with("AWS4-") && algorithm != ALGORITHM {
        return Err(Fault::Incomplete(format!(
            "Unsupported AWS 'algorithm': '{}'. {}",
            shown(algorithm),
            hashed()
        )));
    }
    let (mut credential, mut signed, mut signature) = (None, None, None);
    if algorithm == ALGORITHM {
        for part in rest.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((name, value)) = part.split_once('=') else {
                return Err(Fault::Incomplete(format!(
                    "'{}' not a valid key=value pair (missing equal-sign) in Authorization header {}.",
                    shown(part),
                    hashed()
                )));
            };
            match name {
                "Credential" => credential = Some(value),
                "SignedHeaders" => signed = Some(value),
                "Signature" => signature = Some(value),
                _ => {}
            }
        }
    }
    let date = request.header("x-amz-date").or_else(|| request.header("date"));
    let mut lacking = String::new();
    for (name, present) in [
        ("Credential", credential.is_some()),
        ("Signature", signature.is_some()),
        ("SignedHeaders", signed.is_some()),
    ] {
        if !present {
            lacking.push_str(&format!("Authorization header requires '{name}' parameter. "));
        }
    }
    if date.is_none() {
        lacking.push_str("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ");
    }
    let (Some(credential), Some(signed), Some(signature), Some(date)) = (credential, signed, signature, date) else {
        return Err(Fault::Incomplete(lacking + &hashed()));
    };
    let (access_key, scope) = read_credential(credential)?;
    let (time, at) = read_time(date)?;
    Ok(Claim {
        access_key,
        scope,
        session_token: request.header("x-amz-security-token").map(str::to_owned),
        signed: signed.split(';').map(str::to_ascii_lowercase).collect(),
        signature: signature.to_owned(),
        time,
        at,
        expires: None,
        presigned: false,
    })
}

fn from_query(request: &Request<'_>) -> Result<Claim, Fault> {
    let required = |name: &str| {
        parameter(request, name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| {
                Fault::Incomplete(format!(
                    "AWS query-string parameters must include '{name}'. Re-examine the query-string parameters."
                ))
            })
    };
    let algorithm = required("X-Amz-Algorithm")?;
    if algorithm != ALGORITHM {
        return Err(Fault::Incomplete(format!(
            "Unsupported AWS 'algorithm': '{}'.",
            shown(&algorithm)
        )));
    }
    let (access_key, scope) = read_credential(&required("X-Amz-Credential")?)?;
    let signature = required("X-Amz-Signature")?;
    let signed = required("X-Amz-SignedHeaders")?;
    let (time, at) = read_time(&required("X-Amz-Date")?)?;
    // Only S3 insists on an expiry; without one a URL lives as long as a signed header.
    let expires = match parameter(request, "X-Amz-Expires") {
        None => SKEW,
        Some(text) => match text.parse::<u64>() {
            Ok(seconds @ 1..=MAX_EXPIRES) => Duration::from_secs(seconds),
            Ok(0) => return Err(Fault::Incomplete("X-Amz-Expires must be greater than 0".to_owned())),
            Ok(_) => {
                let text = "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be \
                            less than 604800 seconds";
                return Err(Fault::Incomplete(text.to_owned()));
            }
            Err(_) => return Err(Fault::Incomplete("X-Amz-Expires should be a number".to_owned())),
        },
    };
    Ok(Claim {
        access_key,
        scope,
        session_token: parameter(request, "X-Amz-Security-Token")
            .or_else(|| request.header("x-amz-security-token").map(str::to_owned)),
        signed: signed.split(';').map(str::to_ascii_lowercase).collect(),
        signature,
        time,
        at,
        expires: Some(expires),
        presigned: true,
    })
}

fn read_credential(text: &str) -> Result<(String, Scope), Fault> {
    let parts: Vec<&str> = text.split('/').collect();
    let [access_key, date, region, service, terminator] = parts[..] else {
        return Err(Fault::Incomplete(format!(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{}'",
            shown(text)
        )));
    };
    if terminator != "aws4_request" {
        return Err(Fault::Unfit(format!(
            "Credential should be scoped with a valid terminator: 'aws4_request', not '{}'. ",
            shown(terminator)
        )));
    }
    if region.is_empty() || region.len() > 64 || !region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(Fault::Unfit(
            "Credential should be scoped to a valid region. ".to_owned(),
        ));
    }
    let scope = Scope {
        date: date.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
    };
    Ok((access_key.to_owned(), scope))
}

/// Reads `YYYYMMDDTHHMMSSZ`, or the date of HTTP.
fn read_time(text: &str) -> Result<(String, Timestamp), Fault> {
    let bytes = text.as_bytes();
    let basic = bytes.len() == 16 && bytes.is_ascii() && bytes[8] == b'T' && bytes[15] == b'Z';
    let at = if basic {
        let (y, m, d) = (&text[..4], &text[4..6], &text[6..8]);
        let (hour, minute, second) = (&text[9..11], &text[11..13], &text[13..15]);
        Timestamp::parse_iso8601(&format!("{y}-{m}-{d}T{hour}:{minute}:{second}Z"))
    } else {
        http_date(text)
    };
    match at {
        Some(at) => Ok((if basic { text.to_owned() } else { format_time(at) }, at)),
        None => Err(Fault::Incomplete(format!(
            "Date must be in ISO-8601 'basic format'. Got '{}'. See http://en.wikipedia.org/wiki/ISO_8601",
            shown(text)
        ))),
    }
}

/// The first value of a parameter of the query string.
fn parameter(request: &Request<'_>, name: &str) -> Option<String> {
    request.query.split('&').find_map(|piece| {
        let (key, value) = piece.split_once('=').unwrap_or((piece, ""));
        (percent_decoded(key.as_bytes()) == name.as_bytes())
            .then(|| String::from_utf8_lossy(&percent_decoded(value.as_bytes())).into_owned())
    })
}

fn shown(text: &str) -> String {
    text.chars().take(128).collect()
}
