//! Private keys: their kinds, reading them from PEM, and whether they belong to a certificate.
//!
//! `admit` is the caller. Invariant: key material lies only in memory that is wiped when dropped, except for RSA keys
//! of 1024 bits, which the cryptographic library does not take and whose numbers are checked here.

use crate::admit::Fault;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair as _, RsaKeyPair,
};
use neargate_seal::Zeroizing;
use serde::{Deserialize, Serialize};
use x509_parser::der_parser::der::parse_der;
use x509_parser::oid_registry as oid;
use x509_parser::public_key::{PublicKey, RSAPublicKey};
use x509_parser::x509::SubjectPublicKeyInfo;

/// The kinds of keys that ACM knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(non_camel_case_types, reason = "AWS's names, which are also what is stored")]
pub enum KeyAlgorithm {
    RSA_1024,
    RSA_2048,
    RSA_3072,
    RSA_4096,
    EC_prime256v1,
    EC_secp384r1,
    EC_secp521r1,
}

impl KeyAlgorithm {
    /// AWS's name.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyAlgorithm::RSA_1024 => "RSA_1024",
            KeyAlgorithm::RSA_2048 => "RSA_2048",
            KeyAlgorithm::RSA_3072 => "RSA_3072",
            KeyAlgorithm::RSA_4096 => "RSA_4096",
            KeyAlgorithm::EC_prime256v1 => "EC_prime256v1",
            KeyAlgorithm::EC_secp384r1 => "EC_secp384r1",
            KeyAlgorithm::EC_secp521r1 => "EC_secp521r1",
        }
    }

    /// # Errors
    /// What kind of key it is instead, for a person.
    pub(crate) fn of(key: &SubjectPublicKeyInfo<'_>) -> Result<KeyAlgorithm, String> {
        match key.parsed() {
            Ok(PublicKey::RSA(rsa)) => match bits(rsa.modulus) {
                1024 => Ok(KeyAlgorithm::RSA_1024),
                2048 => Ok(KeyAlgorithm::RSA_2048),
                3072 => Ok(KeyAlgorithm::RSA_3072),
                4096 => Ok(KeyAlgorithm::RSA_4096),
                other => Err(format!("RSA with {other} bits")),
            },
            Ok(PublicKey::EC(_)) => match key.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok()) {
                Some(curve) if curve == oid::OID_EC_P256 => Ok(KeyAlgorithm::EC_prime256v1),
                Some(curve) if curve == oid::OID_NIST_EC_P384 => Ok(KeyAlgorithm::EC_secp384r1),
                Some(curve) if curve == oid::OID_NIST_EC_P521 => Ok(KeyAlgorithm::EC_secp521r1),
                Some(curve) => Err(format!("EC on the curve {curve}")),
                None => Err("EC on an unnamed curve".to_owned()),
            },
            _ => Err(format!("algorithm {}", key.algorithm.algorithm)),
        }
    }
}

/// A private key as it was given.
pub(crate) struct PrivateKey {
    form: Form,
    der: Zeroizing<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// PKCS #8, RFC 5208.
    Any,
    /// PKCS #1, RFC 8017.
    Rsa,
    /// SEC 1, RFC 5915.
    Ec,
}

impl Form {
    fn tag(self) -> &'static str {
        match self {
            Form::Any => "PRIVATE KEY",
            Form::Rsa => "RSA PRIVATE KEY",
            Form::Ec => "EC PRIVATE KEY",
        }
    }
}

/// The one private key in a PEM text; `openssl ecparam` writes the curve before it, which does not matter.
///
/// # Errors
/// `KeyNotPem`, `KeyEncrypted`.
pub(crate) fn read(text: &[u8]) -> Result<PrivateKey, Fault> {
    let blocks = pem::parse_many(text).map_err(|_| Fault::KeyNotPem)?;
    let mut found = None;
    for block in blocks {
        let form = match block.tag() {
            "PRIVATE KEY" => Form::Any,
            "RSA PRIVATE KEY" => Form::Rsa,
            "EC PRIVATE KEY" => Form::Ec,
            "ENCRYPTED PRIVATE KEY" => return Err(Fault::KeyEncrypted),
            "EC PARAMETERS" => continue,
            _ => return Err(Fault::KeyNotPem),
        };
        if block
            .headers()
            .get("Proc-Type")
            .is_some_and(|kind| kind.contains("ENCRYPTED"))
        {
            return Err(Fault::KeyEncrypted);
        }
        let der = Zeroizing::new(block.into_contents());
        if found.replace(PrivateKey { form, der }).is_some() {
            return Err(Fault::KeyNotPem);
        }
    }
    found.ok_or(Fault::KeyNotPem)
}

impl PrivateKey {
    /// One PEM block.
    pub(crate) fn pem(&self) -> Zeroizing<String> {
        let block = pem::Pem::new(self.form.tag(), self.der.as_slice());
        let text = Zeroizing::new(crate::admit::text(&block));
        drop(Zeroizing::new(block.into_contents()));
        text
    }

    /// Checks that this is the key of a certificate with the public key `public`.
    ///
    /// # Errors
    /// `KeyUnreadable`, `KeyMismatch`.
    pub(crate) fn check(&self, algorithm: KeyAlgorithm, public: &SubjectPublicKeyInfo<'_>) -> Result<(), Fault> {
        let own = match algorithm {
            KeyAlgorithm::RSA_1024 => return self.check_small_rsa(public),
            KeyAlgorithm::RSA_2048 | KeyAlgorithm::RSA_3072 | KeyAlgorithm::RSA_4096 => self.rsa(),
            KeyAlgorithm::EC_prime256v1 => self.ec(&ECDSA_P256_SHA256_ASN1_SIGNING),
            KeyAlgorithm::EC_secp384r1 => self.ec(&ECDSA_P384_SHA384_ASN1_SIGNING),
            KeyAlgorithm::EC_secp521r1 => self.ec(&ECDSA_P521_SHA512_ASN1_SIGNING),
        };
        match own {
            Some(own) if own == public.subject_public_key.data.as_ref() => Ok(()),
            Some(_) => Err(Fault::KeyMismatch),
            None => Err(self.other_kind_or_unreadable()),
        }
    }

    /// The public half, if this is an RSA key of 2048 bits or more.
    fn rsa(&self) -> Option<Vec<u8>> {
        let key = match self.form {
            Form::Any => RsaKeyPair::from_pkcs8(&self.der),
            Form::Rsa => RsaKeyPair::from_der(&self.der),
            Form::Ec => return None,
        };
        Some(key.ok()?.public_key().as_ref().to_vec())
    }

    /// The public half, if this is a key on `curve`.
    fn ec(&self, curve: &'static EcdsaSigningAlgorithm) -> Option<Vec<u8>> {
        if self.form == Form::Rsa {
            return None;
        }
        let key = EcdsaKeyPair::from_private_key_der(curve, &self.der).ok()?;
        Some(key.public_key().as_ref().to_vec())
    }

    /// A key that can be read but is of another kind than the certificate's is a mismatch, not a broken key.
    fn other_kind_or_unreadable(&self) -> Fault {
        let curves = [
            &ECDSA_P256_SHA256_ASN1_SIGNING,
            &ECDSA_P384_SHA384_ASN1_SIGNING,
            &ECDSA_P521_SHA512_ASN1_SIGNING,
        ];
        let readable = self.rsa().is_some() || curves.into_iter().any(|curve| self.ec(curve).is_some());
        if readable || SmallRsa::read(self).is_some() {
            Fault::KeyMismatch
        } else {
            Fault::KeyUnreadable
        }
    }

    fn check_small_rsa(&self, public: &SubjectPublicKeyInfo<'_>) -> Result<(), Fault> {
        let key = SmallRsa::read(self).ok_or_else(|| self.other_kind_or_unreadable())?;
        match public.parsed() {
            Ok(PublicKey::RSA(public)) if key.belongs_to(&public) => Ok(()),
            _ => Err(Fault::KeyMismatch),
        }
    }
}

/// The public numbers of an RSA key whose private ones fit them.
struct SmallRsa {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl SmallRsa {
    fn read(key: &PrivateKey) -> Option<SmallRsa> {
        let outer;
        let der = match key.form {
            Form::Any => {
                outer = parse_der(&key.der).ok()?.1;
                outer.as_sequence().ok()?.get(2)?.as_slice().ok()?
            }
            Form::Rsa => key.der.as_slice(),
            Form::Ec => return None,
        };
        // RFC 8017, A.1.2: version, n, e, d, p, q and more.
        let (_, numbers) = parse_der(der).ok()?;
        let numbers = numbers.as_sequence().ok()?;
        let number = |at: usize| numbers.get(at)?.as_biguint().ok();
        let (n, e, d, p, q) = (number(1)?, number(2)?, number(3)?, number(4)?, number(5)?);
        let product = &d * &e;
        let fits = p.bits() > 1
            && q.bits() > 1
            && &p * &q == n
            && (&product % (&p - 1u32)).bits() == 1
            && (&product % (&q - 1u32)).bits() == 1;
        fits.then(|| SmallRsa {
            modulus: n.to_bytes_be(),
            exponent: e.to_bytes_be(),
        })
    }

    fn belongs_to(&self, public: &RSAPublicKey<'_>) -> bool {
        self.modulus == unpadded(public.modulus) && self.exponent == unpadded(public.exponent)
    }
}

/// A positive number without the zeros that DER puts before it.
fn unpadded(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

fn bits(number: &[u8]) -> usize {
    let number = unpadded(number);
    let first = number.first().map_or(0, |first| first.leading_zeros() as usize);
    number.len() * 8 - first
}
