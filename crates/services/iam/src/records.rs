//! What is stored of server certificates.

use neargate_core::{Tags, Timestamp};
use neargate_seal::Sealed;
use neargate_store::{Kind, Record};
use neargate_x509::Facts;
use serde::{Deserialize, Serialize};

/// Every kind of record that this service stores.
pub fn kinds() -> Vec<Kind> {
    vec![Kind::of::<ServerCertificateRecord>()]
}

/// A server certificate. Key: its name, which is the account's only one of that name whatever the path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerCertificateRecord {
    pub name: String,
    /// `/` or `/…/`.
    pub path: String,
    /// `ASCA…`; stays the same when name and path change.
    pub id: String,
    pub arn: String,
    /// ARNs it had before and under which something still uses it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_arns: Vec<String>,
    /// As it was uploaded, without space around it: tools compare it with what they sent.
    pub body: String,
    /// As `body`.
    pub chain: Option<String>,
    /// The certificate and then its chain, PEM in its usual form.
    pub full_chain_pem: String,
    /// PEM, opens in the context that `context` tells.
    pub sealed_key: Sealed,
    pub facts: Facts,
    pub uploaded_at: Timestamp,
    pub tags: Tags,
}

impl ServerCertificateRecord {
    pub const BY_ARN: &'static str = "iam-server-certificate";
    /// Counts all.
    pub const COUNTER: &'static str = "iam-server-certificates";

    /// What its private key is sealed to.
    pub fn context(&self) -> Vec<u8> {
        Self::context_of(&self.id)
    }

    pub fn context_of(id: &str) -> Vec<u8> {
        format!("private key of the server certificate {id}").into_bytes()
    }

    /// Every ARN it goes by, the one of now first.
    pub fn arns(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.arn).chain(&self.former_arns).map(String::as_str)
    }
}

impl Record for ServerCertificateRecord {
    const PREFIX: &'static str = "iam/server-certificate/";

    fn indexes(&self) -> Vec<(&'static str, String)> {
        self.arns().map(|arn| (Self::BY_ARN, arn.to_owned())).collect()
    }

    fn counters(&self) -> Vec<String> {
        vec![Self::COUNTER.to_owned()]
    }
}
