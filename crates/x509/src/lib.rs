//! Certificates, their chains and their keys: read, checked against each other, and found again by whoever serves them.
//!
//! ACM and IAM admit what users bring through `admit` and describe it by `Facts`; load balancers take it from them as
//! `Found`. Invariant: what `admit` lets through is a certificate that the key belongs to, under a chain in order.
//! Pure: time is an argument. This crate deliberately knows no store and no AWS error; it says what is wrong and each
//! service says it in its own words.

mod admit;
mod facts;
mod key;
mod signature;
#[cfg(test)]
mod tests;

pub use admit::{Admitted, Fault, admit};
pub use facts::{ExtendedKeyUsage, Facts, facts};
pub use key::KeyAlgorithm;

use neargate_seal::Sealed;

/// A certificate as a load balancer needs it. Its key opens in the instance's `Seal` with `context`, and is PEM then.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub arn: String,
    /// Names that the certificate covers, in lower case, wildcards as `*.example.com`.
    pub domains: Vec<String>,
    pub key_algorithm: KeyAlgorithm,
    /// PEM, the certificate itself first.
    pub chain_pem: String,
    pub sealed_key: Sealed,
    pub context: Vec<u8>,
}
