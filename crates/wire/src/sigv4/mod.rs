//! AWS Signature Version 4, both sides, as pure functions.
//!
//! The front door reads a `Claim` out of a request, looks up the key it names, and has `Claim::verify` compare; `sign` makes
//! such requests for tests and load generators. Source: "AWS Signature Version 4 for API requests" in the IAM guide.

mod canonical;
mod claim;
mod fault;
mod key;
#[cfg(test)]
mod recorded;
mod sign;
#[cfg(test)]
mod tests;

pub use claim::{Claim, SKEW};
pub use fault::Fault;
pub use key::{Scope, SigningKey};
pub use sign::{Signer, format_time, sign};

/// The algorithm's name, as headers and queries carry it.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// How often the canonical request encodes the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathEncoding {
    /// S3: the path as it is, never normalised.
    Once,
    /// Everybody else: normalised, and encoded once more than on the wire.
    Twice,
}

impl PathEncoding {
    /// What `signing_name` uses.
    pub fn of(signing_name: &str) -> PathEncoding {
        match signing_name {
            "s3" | "s3express" | "s3-outposts" | "s3-object-lambda" => PathEncoding::Once,
            _ => PathEncoding::Twice,
        }
    }
}

/// SHA-256 in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(bytes))
}
