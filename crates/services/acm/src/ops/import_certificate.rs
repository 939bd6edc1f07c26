//! ImportCertificate: a certificate of the user's with chain and key, new or in the place of an imported one.

use crate::api::errors;
use crate::records::{CertificateRecord, Origin};
use crate::{Acm, api, resolve, tagging};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{Snapshot, Txn};
use neargate_x509::{Admitted, Facts, Fault};

/// ACM's quota of certificates in a region.
pub(super) const MOST: u64 = 2500;
/// Bytes. The store takes no larger records than 1.5 MB.
const LONGEST_CHAIN: usize = 1 << 20;

/// # Errors
/// `ValidationException`, `InvalidParameterException`, `InvalidArnException`, `ResourceNotFoundException`,
/// `LimitExceededException`, `InvalidTagException`, `TooManyTagsException`.
pub async fn handle(
    service: &Acm,
    cx: &RequestContext,
    input: api::ImportCertificateRequest,
) -> Result<api::ImportCertificateResponse, AwsError> {
    let replaced = input.certificate_arn.as_deref();
    if replaced.is_some() && input.tags.is_some() {
        return Err(errors::invalid_parameter_exception(
            "Tagging is not permitted on re-import.",
        ));
    }
    let tags = tagging::admit(input.tags)?;
    let certificate = input.certificate.unwrap_or_default().0;
    let chain = input.certificate_chain.map(|chain| chain.0);
    let key = neargate_seal::Zeroizing::new(input.private_key.unwrap_or_default().0);
    let admitted = admit(&certificate, chain.as_deref(), &key, cx)?;
    let id = service.ids.uuid();
    let arn = match replaced {
        Some(arn) => arn.to_owned(),
        None => cx.arn("acm", format!("certificate/{id}")),
    };
    let sealed_key = (service.seal).seal(&CertificateRecord::context(&arn), admitted.key_pem.as_bytes());
    let record = CertificateRecord {
        arn: arn.clone(),
        region: cx.region.clone(),
        id,
        certificate_pem: admitted.certificate_pem,
        chain_pem: admitted.chain_pem,
        sealed_key,
        facts: admitted.facts,
        created_at: cx.now,
        origin: Origin::Imported { at: cx.now },
        tags,
    };
    service
        .store
        .transact(|snapshot| {
            let record = match replaced {
                Some(_) => replacement(snapshot, cx, &record)?,
                None => {
                    check_quota(snapshot, cx)?;
                    record.clone()
                }
            };
            let key = record.own_key();
            let mut txn = Txn::new();
            txn.unchanged::<CertificateRecord>(snapshot, &key).put(&key, record);
            Ok::<_, AwsError>((txn, ()))
        })
        .await?;
    Ok(api::ImportCertificateResponse {
        certificate_arn: Some(arn),
    })
}

fn admit(certificate: &[u8], chain: Option<&[u8]>, key: &[u8], cx: &RequestContext) -> Result<Admitted, AwsError> {
    if chain.is_some_and(|chain| chain.len() > LONGEST_CHAIN) {
        let message = format!("The certificate chain is larger than {LONGEST_CHAIN} bytes.");
        return Err(errors::validation_exception(message));
    }
    let admitted = neargate_x509::admit(certificate, chain, key, cx.now)
        .map_err(|fault| errors::validation_exception(message(&fault)))?;
    if chain.is_none() && !admitted.self_signed {
        return Err(errors::validation_exception(
            "Provided certificate is not a valid self signed. Please provide either a valid self-signed certificate or \
             certificate chain.",
        ));
    }
    Ok(admitted)
}

fn message(fault: &Fault) -> String {
    match fault {
        Fault::CertificateNotPem => "Unable to parse certificate. Please ensure the certificate is in PEM format.".into(),
        Fault::CertificateCount => {
            "The certificate field contains more than one certificate. You can specify only one certificate in this field."
                .into()
        }
        Fault::CertificateUnreadable => "The certificate is not a valid X.509 certificate.".into(),
        Fault::IssuerEmpty => "The issuer field of the certificate is empty.".into(),
        Fault::NotYetValid(from) => format!("The certificate is not valid before {}.", from.iso8601()),
        Fault::Expired(to) => format!("The certificate has expired: it was not valid after {}.", to.iso8601()),
        Fault::ChainNotPem => {
            "Unable to parse certificate chain. Please ensure the certificate chain is in PEM format.".into()
        }
        Fault::ChainBroken(at) => format!(
            "Could not validate the certificate with the certificate chain. The chain must start with the immediate signing \
             certificate, followed by any intermediaries in order. The index within the chain of the invalid certificate \
             is: {at}"
        ),
        Fault::KeyNotPem => "Unable to parse private key. Please ensure the private key is in PEM format.".into(),
        Fault::KeyEncrypted => "The private key is encrypted. Only unencrypted private keys are supported.".into(),
        Fault::KeyUnreadable => "The private key is not valid.".into(),
        Fault::KeyUnsupported(kind) => format!(
            "The key of the certificate is not supported ({kind}). Supported are RSA with 1024, 2048, 3072 and 4096 bits \
             and EC on prime256v1, secp384r1 and secp521r1."
        ),
        Fault::KeyMismatch => "The private key does not match the certificate.".into(),
    }
}

/// # Errors
/// `LimitExceededException`.
pub(super) fn check_quota(snapshot: &Snapshot, cx: &RequestContext) -> Result<(), AwsError> {
    if snapshot.count(&CertificateRecord::counter(&cx.region)) < MOST {
        return Ok(());
    }
    let message = format!(
        "Error: you have reached your limit of {MOST} certificates in the region {}.",
        cx.region
    );
    Err(errors::limit_exceeded_exception(message))
}

/// `new` in the place of the imported certificate whose ARN it has.
fn replacement(
    snapshot: &Snapshot,
    cx: &RequestContext,
    new: &CertificateRecord,
) -> Result<CertificateRecord, AwsError> {
    let old = resolve::certificate(snapshot, cx, Some(&new.arn))?;
    if let Origin::Issued(_) = old.origin {
        let message = format!(
            "Certificate {} was not imported and cannot be replaced by an import.",
            old.arn
        );
        return Err(errors::validation_exception(message));
    }
    fits_in_place(&old.facts, &new.facts).map_err(errors::validation_exception)?;
    Ok(CertificateRecord {
        id: old.id.clone(),
        created_at: old.created_at,
        tags: old.tags.clone(),
        ..new.clone()
    })
}

/// ACM User Guide, "Reimport a certificate": the key keeps its kind, names do not all go, usages are only added.
fn fits_in_place(old: &Facts, new: &Facts) -> Result<(), String> {
    if old.key_algorithm != new.key_algorithm {
        let (old, new) = (old.key_algorithm.as_str(), new.key_algorithm.as_str());
        return Err(format!(
            "A reimported certificate must have a key of the same kind: {old}, not {new}."
        ));
    }
    if !old.domains.is_empty() && new.domains.is_empty() {
        return Err("A reimported certificate must have a domain name.".into());
    }
    let purposes = |facts: &Facts| {
        let extended = facts.extended_key_usages.iter().map(|usage| usage.oid.clone());
        extended.collect::<Vec<_>>()
    };
    if narrowed(&old.key_usages, &new.key_usages) || narrowed(&purposes(old), &purposes(new)) {
        return Err("A reimported certificate must keep the key usages of the certificate it replaces.".into());
    }
    Ok(())
}

/// Without the extension a key may be used for everything.
fn narrowed(old: &[String], new: &[String]) -> bool {
    let kept = old.iter().all(|usage| new.contains(usage));
    !old.is_empty() && !new.is_empty() && !kept
}
