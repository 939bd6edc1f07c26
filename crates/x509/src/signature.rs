//! Whether one certificate signed another.

use aws_lc_rs::signature as lc;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry as oid;
use x509_parser::x509::SubjectPublicKeyInfo;

/// True when `signer` is named as the issuer of `certificate` and its key made the signature.
pub(crate) fn signed_by(certificate: &X509Certificate<'_>, signer: &X509Certificate<'_>) -> bool {
    if certificate.issuer().as_raw() != signer.subject().as_raw() {
        return false;
    }
    let Some(algorithm) = algorithm(certificate, signer.public_key()) else {
        return false;
    };
    let key = lc::UnparsedPublicKey::new(algorithm, &signer.public_key().subject_public_key.data);
    key.verify(certificate.tbs_certificate.as_ref(), &certificate.signature_value.data)
        .is_ok()
}

/// How the certificate says it was signed, if the signer's key can do that.
fn algorithm(
    certificate: &X509Certificate<'_>,
    key: &SubjectPublicKeyInfo<'_>,
) -> Option<&'static dyn lc::VerificationAlgorithm> {
    let used = &certificate.signature_algorithm.algorithm;
    let curve = || key.algorithm.parameters.as_ref()?.as_oid().ok();
    // RFC 5758 names only the hash; the curve is the signer's.
    let on_curve = |p256, p384, p521| match curve()? {
        curve if curve == oid::OID_EC_P256 => Some(p256),
        curve if curve == oid::OID_NIST_EC_P384 => Some(p384),
        curve if curve == oid::OID_NIST_EC_P521 => Some(p521),
        _ => None,
    };
    let found: &'static dyn lc::VerificationAlgorithm = match used {
        used if *used == oid::OID_PKCS1_SHA1WITHRSA => &lc::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
        used if *used == oid::OID_PKCS1_SHA256WITHRSA => &lc::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        used if *used == oid::OID_PKCS1_SHA384WITHRSA => &lc::RSA_PKCS1_2048_8192_SHA384,
        used if *used == oid::OID_PKCS1_SHA512WITHRSA => &lc::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        used if *used == oid::OID_SIG_ECDSA_WITH_SHA256 => on_curve(
            &lc::ECDSA_P256_SHA256_ASN1,
            &lc::ECDSA_P384_SHA256_ASN1,
            &lc::ECDSA_P521_SHA256_ASN1,
        )?,
        used if *used == oid::OID_SIG_ECDSA_WITH_SHA384 => on_curve(
            &lc::ECDSA_P256_SHA384_ASN1,
            &lc::ECDSA_P384_SHA384_ASN1,
            &lc::ECDSA_P521_SHA384_ASN1,
        )?,
        used if *used == oid::OID_SIG_ECDSA_WITH_SHA512 => on_curve(
            &lc::ECDSA_P256_SHA512_ASN1,
            &lc::ECDSA_P384_SHA512_ASN1,
            &lc::ECDSA_P521_SHA512_ASN1,
        )?,
        _ => return None,
    };
    Some(found)
}
