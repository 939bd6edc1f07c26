//! What is stored of certificates and of the authority that issues them.

use neargate_core::{Tags, Timestamp};
use neargate_seal::Sealed;
use neargate_store::{Kind, Record};
use neargate_x509::{Facts, KeyAlgorithm};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Every kind of record that this service stores.
pub fn kinds() -> Vec<Kind> {
    vec![
        Kind::of::<CertificateRecord>(),
        Kind::of::<TokenRecord>(),
        Kind::of::<AuthorityRecord>(),
    ]
}

/// A certificate. Key: `{region}/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CertificateRecord {
    pub arn: String,
    pub region: String,
    /// A UUID.
    pub id: String,
    pub certificate_pem: String,
    /// Its signer and those above it, PEM.
    pub chain_pem: Option<String>,
    /// PEM, opens in the context that `context` tells.
    pub sealed_key: Sealed,
    /// What the certificate says, so that nobody has to parse it again.
    pub facts: Facts,
    pub created_at: Timestamp,
    pub origin: Origin,
    pub tags: Tags,
}

/// Where a certificate comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Origin {
    Imported { at: Timestamp },
    Issued(Issued),
}

/// A certificate of the local authority, with everything that renewing it takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Issued {
    pub order: Order,
    /// When the certificate of now was issued.
    pub at: Timestamp,
    /// None before the first renewal.
    pub renewed_at: Option<Timestamp>,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// In lower case and each once, the certificate's `DomainName` first.
    pub domains: Vec<String>,
    pub key_algorithm: KeyAlgorithm,
    pub validation: Validation,
    /// Domains whose owners would be asked instead of the certificate's own.
    pub validation_domains: BTreeMap<String, String>,
    /// `CertificateTransparencyLoggingPreference` as the caller wishes to read it; nothing is logged anywhere.
    pub transparency_logging: bool,
}

/// How AWS would have the owner of a domain prove it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Validation {
    Dns,
    Email,
}

impl Validation {
    /// AWS's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Validation::Dns => "DNS",
            Validation::Email => "EMAIL",
        }
    }
}

impl CertificateRecord {
    pub fn key(region: &str, id: &str) -> String {
        format!("{region}/{id}")
    }

    pub fn own_key(&self) -> String {
        Self::key(&self.region, &self.id)
    }

    /// What the private key of the certificate with this ARN is sealed to.
    pub fn context(arn: &str) -> Vec<u8> {
        format!("private key of {arn}").into_bytes()
    }

    /// Counts the certificates of a region.
    pub fn counter(region: &str) -> String {
        format!("acm-certificates/{region}")
    }

    /// `ISSUED` or `EXPIRED`.
    pub fn status(&self, now: Timestamp) -> &'static str {
        if now > self.facts.not_after {
            "EXPIRED"
        } else {
            "ISSUED"
        }
    }
}

impl Record for CertificateRecord {
    const PREFIX: &'static str = "acm/certificate/";

    fn counters(&self) -> Vec<String> {
        vec![Self::counter(&self.region)]
    }
}

/// An idempotency token of RequestCertificate. Key: `{region}/{token}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenRecord {
    pub at: Timestamp,
    pub order: Order,
    pub arn: String,
}

impl TokenRecord {
    /// Milliseconds: one hour.
    const LIFE: i64 = 60 * 60 * 1000;

    pub fn key(region: &str, token: &str) -> String {
        format!("{region}/{token}")
    }

    pub fn ended(&self, now: Timestamp) -> bool {
        now.millis() >= self.at.millis() + Self::LIFE
    }
}

impl Record for TokenRecord {
    const PREFIX: &'static str = "acm/token/";
}

/// The local certificate authority. Key: `KEY`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuthorityRecord {
    pub common_name: String,
    pub certificate_pem: String,
    /// PEM, opens in the context `CONTEXT`.
    pub sealed_key: Sealed,
    pub not_after: Timestamp,
}

impl AuthorityRecord {
    pub const KEY: &'static str = "local";
    pub const CONTEXT: &'static [u8] = b"private key of the local certificate authority";
}

impl Record for AuthorityRecord {
    const PREFIX: &'static str = "acm/authority/";
}
