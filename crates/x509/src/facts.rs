//! What a certificate says about itself, in the words that ACM describes it with.

use crate::key::KeyAlgorithm;
use neargate_core::Timestamp;
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry as oid;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Name;

/// A certificate's content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Names it covers, in lower case and each once, the common name first.
    pub domains: Vec<String>,
    /// As `CN=www.example.com`.
    pub subject: String,
    /// The issuer's organization, or its common name, or all of its name.
    pub issuer: String,
    /// Hex digits with colons.
    pub serial: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    pub key_algorithm: KeyAlgorithm,
    /// As `SHA256WITHRSA`.
    pub signature_algorithm: String,
    /// As `DIGITAL_SIGNATURE`.
    pub key_usages: Vec<String>,
    pub extended_key_usages: Vec<ExtendedKeyUsage>,
}

/// A purpose of the key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExtendedKeyUsage {
    /// As `TLS_WEB_SERVER_AUTHENTICATION`.
    pub name: String,
    pub oid: String,
}

/// The facts of the first certificate in a PEM text; none when it is no certificate or has a key of an unknown kind.
pub fn facts(certificate_pem: &str) -> Option<Facts> {
    let block = pem::parse(certificate_pem).ok()?;
    let certificate = parse(block.contents())?;
    let algorithm = KeyAlgorithm::of(certificate.public_key()).ok()?;
    Some(of(&certificate, algorithm))
}

/// A certificate and nothing after it.
pub(crate) fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    rest.is_empty().then_some(certificate)
}

pub(crate) fn of(certificate: &X509Certificate<'_>, key_algorithm: KeyAlgorithm) -> Facts {
    Facts {
        domains: domains(certificate),
        subject: certificate.subject().to_string(),
        issuer: name(certificate.issuer()),
        serial: certificate.raw_serial_as_string(),
        not_before: Timestamp::from_secs(certificate.validity().not_before.timestamp()),
        not_after: Timestamp::from_secs(certificate.validity().not_after.timestamp()),
        key_algorithm,
        signature_algorithm: signature_algorithm(certificate),
        key_usages: key_usages(certificate),
        extended_key_usages: extended_key_usages(certificate),
    }
}

fn domains(certificate: &X509Certificate<'_>) -> Vec<String> {
    let common = certificate
        .subject()
        .iter_common_name()
        .filter_map(|cn| cn.as_str().ok());
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let alternative = alternative
        .into_iter()
        .flat_map(|extension| &extension.value.general_names);
    let alternative = alternative.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    });
    let mut out = Vec::new();
    for name in common.filter(|name| is_domain(name)).chain(alternative) {
        let name = name.to_ascii_lowercase();
        if !out.contains(&name) {
            out.push(name);
        }
    }
    out
}

/// Common names are often no domain but "Example Root".
fn is_domain(name: &str) -> bool {
    let host = name.strip_prefix("*.").unwrap_or(name);
    let label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    host.len() <= 253 && host.split('.').all(label)
}

fn name(name: &X509Name<'_>) -> String {
    let mut known = name.iter_organization().chain(name.iter_common_name());
    let known = known.find_map(|part| part.as_str().ok().map(str::to_owned));
    known.unwrap_or_else(|| name.to_string())
}

fn signature_algorithm(certificate: &X509Certificate<'_>) -> String {
    let algorithm = &certificate.signature_algorithm.algorithm;
    let known = [
        (&oid::OID_PKCS1_SHA1WITHRSA, "SHA1WITHRSA"),
        (&oid::OID_PKCS1_SHA256WITHRSA, "SHA256WITHRSA"),
        (&oid::OID_PKCS1_SHA384WITHRSA, "SHA384WITHRSA"),
        (&oid::OID_PKCS1_SHA512WITHRSA, "SHA512WITHRSA"),
        (&oid::OID_PKCS1_RSASSAPSS, "RSASSAPSS"),
        (&oid::OID_SIG_ECDSA_WITH_SHA256, "SHA256WITHECDSA"),
        (&oid::OID_SIG_ECDSA_WITH_SHA384, "SHA384WITHECDSA"),
        (&oid::OID_SIG_ECDSA_WITH_SHA512, "SHA512WITHECDSA"),
    ];
    let known = known.iter().find(|(oid, _)| *oid == algorithm);
    known.map_or_else(|| algorithm.to_id_string(), |(_, name)| (*name).to_owned())
}

fn key_usages(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.key_usage() else {
        return Vec::new();
    };
    let usage = extension.value;
    let all = [
        (usage.digital_signature(), "DIGITAL_SIGNATURE"),
        (usage.non_repudiation(), "NON_REPUDIATION"),
        (usage.key_encipherment(), "KEY_ENCIPHERMENT"),
        (usage.data_encipherment(), "DATA_ENCIPHERMENT"),
        (usage.key_agreement(), "KEY_AGREEMENT"),
        (usage.key_cert_sign(), "CERTIFICATE_SIGNING"),
        (usage.crl_sign(), "CRL_SIGNING"),
        (usage.encipher_only(), "ENCIPHER_ONLY"),
        (usage.decipher_only(), "DECIPHER_ONLY"),
    ];
    all.iter()
        .filter(|(set, _)| *set)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

fn extended_key_usages(certificate: &X509Certificate<'_>) -> Vec<ExtendedKeyUsage> {
    let Ok(Some(extension)) = certificate.extended_key_usage() else {
        return Vec::new();
    };
    let usage = extension.value;
    let known = [
        (usage.any, "ANY", "2.5.29.37.0"),
        (usage.server_auth, "TLS_WEB_SERVER_AUTHENTICATION", "1.3.6.1.5.5.7.3.1"),
        (usage.client_auth, "TLS_WEB_CLIENT_AUTHENTICATION", "1.3.6.1.5.5.7.3.2"),
        (usage.code_signing, "CODE_SIGNING", "1.3.6.1.5.5.7.3.3"),
        (usage.email_protection, "EMAIL_PROTECTION", "1.3.6.1.5.5.7.3.4"),
        (usage.time_stamping, "TIME_STAMPING", "1.3.6.1.5.5.7.3.8"),
        (usage.ocsp_signing, "OCSP_SIGNING", "1.3.6.1.5.5.7.3.9"),
    ];
    let known = known.iter().filter(|(set, _, _)| *set);
    let mut out: Vec<_> = known.map(|(_, name, oid)| purpose(name, (*oid).to_owned())).collect();
    out.extend(usage.other.iter().map(|oid| {
        let oid = oid.to_id_string();
        let name = match oid.as_str() {
            "1.3.6.1.5.5.7.3.5" => "IPSEC_END_SYSTEM",
            "1.3.6.1.5.5.7.3.6" => "IPSEC_TUNNEL",
            "1.3.6.1.5.5.7.3.7" => "IPSEC_USER",
            _ => "CUSTOM",
        };
        purpose(name, oid)
    }));
    out
}

fn purpose(name: &str, oid: String) -> ExtendedKeyUsage {
    ExtendedKeyUsage {
        name: name.to_owned(),
        oid,
    }
}
