//! Whether a certificate, a chain and a private key, each as PEM text of a user, belong together and may be used.
//!
//! ACM's ImportCertificate and IAM's UploadServerCertificate are the callers. Nothing of the key is in any `Fault`.

use crate::facts::{self, Facts};
use crate::key::{self, KeyAlgorithm};
use crate::signature;
use neargate_core::Timestamp;
use neargate_seal::Zeroizing;
use x509_parser::certificate::X509Certificate;

/// What was let through.
#[derive(Debug)]
pub struct Admitted {
    pub facts: Facts,
    /// The certificate alone, PEM in its usual form.
    pub certificate_pem: String,
    /// The certificates above it in order, PEM; none when there is no chain.
    pub chain_pem: Option<String>,
    /// One PEM block.
    pub key_pem: Zeroizing<String>,
    /// The certificate is signed with its own key.
    pub self_signed: bool,
}

/// Why something was not let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    CertificateNotPem,
    /// There are several; exactly one is asked for.
    CertificateCount,
    CertificateUnreadable,
    IssuerEmpty,
    NotYetValid(Timestamp),
    Expired(Timestamp),
    ChainNotPem,
    /// The certificate at this place of the chain, from 0, is not the one that signed what comes before it.
    ChainBroken(usize),
    KeyNotPem,
    KeyEncrypted,
    KeyUnreadable,
    /// A kind of key that no load balancer here takes.
    KeyUnsupported(String),
    KeyMismatch,
}

/// Checks everything; `chain` is the certificate's signer and those above it, in order.
///
/// # Errors
/// The first fault found: certificate, dates, key, chain.
pub fn admit(certificate: &[u8], chain: Option<&[u8]>, key: &[u8], now: Timestamp) -> Result<Admitted, Fault> {
    let mut blocks = certificates(certificate).ok_or(Fault::CertificateNotPem)?;
    let block = match (blocks.pop(), blocks.is_empty()) {
        (Some(block), true) => block,
        (Some(_), false) => return Err(Fault::CertificateCount),
        (None, _) => return Err(Fault::CertificateNotPem),
    };
    let leaf = facts::parse(block.contents()).ok_or(Fault::CertificateUnreadable)?;
    let algorithm = KeyAlgorithm::of(leaf.public_key()).map_err(Fault::KeyUnsupported)?;
    let facts = facts::of(&leaf, algorithm);
    check_dates(&leaf, &facts, now)?;
    let key = key::read(key)?;
    key.check(algorithm, leaf.public_key())?;
    let chain_pem = chain.map(|chain| check_chain(&leaf, chain)).transpose()?;
    Ok(Admitted {
        self_signed: signature::signed_by(&leaf, &leaf),
        certificate_pem: text(&block),
        chain_pem,
        key_pem: key.pem(),
        facts,
    })
}

fn check_dates(leaf: &X509Certificate<'_>, facts: &Facts, now: Timestamp) -> Result<(), Fault> {
    if leaf.issuer().iter_attributes().next().is_none() {
        return Err(Fault::IssuerEmpty);
    }
    if now < facts.not_before {
        return Err(Fault::NotYetValid(facts.not_before));
    }
    if now > facts.not_after {
        return Err(Fault::Expired(facts.not_after));
    }
    Ok(())
}

/// Answers the chain as PEM in its usual form.
fn check_chain(leaf: &X509Certificate<'_>, chain: &[u8]) -> Result<String, Fault> {
    let blocks = certificates(chain)
        .filter(|blocks| !blocks.is_empty())
        .ok_or(Fault::ChainNotPem)?;
    let parsed = (blocks.iter().enumerate())
        .map(|(at, block)| facts::parse(block.contents()).ok_or(Fault::ChainBroken(at)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut below = leaf;
    for (at, signer) in parsed.iter().enumerate() {
        if !may_sign(signer) || !signature::signed_by(below, signer) {
            return Err(Fault::ChainBroken(at));
        }
        below = signer;
    }
    Ok(blocks.iter().map(text).collect())
}

/// Version 1 knows no constraints; later ones must say that they are an authority.
fn may_sign(certificate: &X509Certificate<'_>) -> bool {
    certificate.version().0 == 0 || certificate.is_ca()
}

/// The certificates in a PEM text; none when it is no PEM or holds something else.
fn certificates(text: &[u8]) -> Option<Vec<pem::Pem>> {
    let blocks = pem::parse_many(text).ok()?;
    blocks
        .iter()
        .all(|block| block.tag() == "CERTIFICATE")
        .then_some(blocks)
}

pub(crate) fn text(block: &pem::Pem) -> String {
    pem::encode_config(block, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
}
