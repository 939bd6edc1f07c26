//! The local certificate authority: one per instance, made once, its key sealed in the store.
//!
//! `Acm` asks for it whenever something is to be issued. Invariant: name and key stay the same for the instance's life, so that
//! whoever has trusted it once need not do it again before it ends.

use crate::plan::Validity;
use crate::records::AuthorityRecord;
use neargate_core::{AwsError, Ids, Timestamp};
use neargate_seal::{Seal, SealError, Zeroizing};
use neargate_store::{CommitError, Store, Txn};
use neargate_x509::KeyAlgorithm;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const VALID_FOR: Duration = DAY.saturating_mul(3652);
/// With less than this left its certificate is made anew, under the same name and key: certificates that it issues must
/// fit in.
const EXTEND_BEFORE: Duration = DAY.saturating_mul(400);
const ORGANIZATION: &str = "Neargate";

/// Signs certificates.
pub(crate) struct Authority {
    certificate_pem: String,
    not_after: Timestamp,
    issuer: Issuer<'static, KeyPair>,
}

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("the key of the local certificate authority cannot be used: {0}")]
    Key(#[from] SealError),
    #[error("the local certificate authority cannot be stored: {0}")]
    Store(#[from] CommitError),
    #[error("cannot make the local certificate authority: {0}")]
    Make(#[from] rcgen::Error),
    #[error("cannot write the authority's certificate to {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
}

/// What to issue.
pub(crate) struct Subject<'a> {
    /// The common name first.
    pub domains: &'a [String],
    pub key_algorithm: KeyAlgorithm,
    pub validity: Validity,
    pub serial: [u8; 16],
}

/// A new certificate and its key, both PEM.
pub(crate) struct Certificate {
    pub certificate_pem: String,
    pub key_pem: Zeroizing<String>,
}

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IssueError {
    #[error("no certificate with a key of the kind {0} can be issued")]
    KeyAlgorithm(&'static str),
    #[error(transparent)]
    Make(#[from] rcgen::Error),
    #[error("the certificate that was made cannot be read back")]
    Unreadable,
    #[error("making the certificate was stopped")]
    Stopped,
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// The cause is logged and does not leave the process.
impl From<IssueError> for AwsError {
    fn from(error: IssueError) -> AwsError {
        tracing::error!(%error, "a certificate could not be issued");
        AwsError::internal()
    }
}

impl Authority {
    /// The authority of this store.
    ///
    /// # Errors
    /// `AuthorityError`, all but `File`.
    pub(crate) async fn open_or_create(
        store: &Store,
        seal: &Seal,
        ids: &dyn Ids,
        now: Timestamp,
    ) -> Result<Authority, AuthorityError> {
        store
            .transact(|snapshot| {
                let known = snapshot.get::<AuthorityRecord>(AuthorityRecord::KEY);
                let mut txn = Txn::new();
                let (common_name, key) = match &known {
                    Some(known) => {
                        let pem = seal.open(AuthorityRecord::CONTEXT, &known.sealed_key)?;
                        let pem = std::str::from_utf8(&pem).map_err(|_| SealError)?;
                        let key = KeyPair::from_pem(pem)?;
                        if known.not_after > now.plus(EXTEND_BEFORE) {
                            return Ok((txn, Authority::new(known, key)));
                        }
                        (known.common_name.clone(), key)
                    }
                    None => (
                        format!("Neargate local CA {}", &ids.hex32()[24..]),
                        KeyPair::generate()?,
                    ),
                };
                let record = make(common_name, &key, seal, ids, now)?;
                let authority = Authority::new(&record, key);
                txn.unchanged::<AuthorityRecord>(snapshot, AuthorityRecord::KEY)
                    .put(AuthorityRecord::KEY, record);
                Ok((txn, authority))
            })
            .await
    }

    fn new(record: &AuthorityRecord, key: KeyPair) -> Authority {
        Authority {
            certificate_pem: record.certificate_pem.clone(),
            not_after: record.not_after,
            issuer: Issuer::new(authority_params(&record.common_name), key),
        }
    }

    /// PEM.
    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// When its certificate ends.
    pub(crate) fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Writes the certificate to the file `path`, unless it is there already.
    ///
    /// # Errors
    /// `AuthorityError::File`.
    pub(crate) fn publish(&self, path: &Path) -> Result<(), AuthorityError> {
        if std::fs::read(path).is_ok_and(|there| there == self.certificate_pem.as_bytes()) {
            return Ok(());
        }
        let new = path.with_extension("new");
        let write = || {
            let mut file = std::fs::File::create(&new)?;
            file.write_all(self.certificate_pem.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, path)
        };
        write().map_err(|source| AuthorityError::File {
            path: path.to_owned(),
            source,
        })
    }

    /// Makes a key and a certificate for it. An RSA key takes a good part of a second.
    ///
    /// # Errors
    /// `IssueError`.
    pub(crate) fn issue(&self, subject: &Subject<'_>) -> Result<Certificate, IssueError> {
        let key = new_key(subject.key_algorithm)?;
        let mut params = CertificateParams::new(subject.domains)?;
        params.distinguished_name = DistinguishedName::new();
        if let Some(common) = subject.domains.first() {
            params.distinguished_name.push(DnType::CommonName, common.as_str());
        }
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_1970(subject.validity.not_before);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_1970(subject.validity.not_after);
        params.serial_number = Some(serial(subject.serial));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = match subject.key_algorithm {
            KeyAlgorithm::RSA_2048 => vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment],
            _ => vec![KeyUsagePurpose::DigitalSignature],
        };
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Ok(Certificate {
            certificate_pem: params.signed_by(&key, &self.issuer)?.pem(),
            key_pem: Zeroizing::new(key.serialize_pem()),
        })
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

fn make(
    common_name: String,
    key: &KeyPair,
    seal: &Seal,
    ids: &dyn Ids,
    now: Timestamp,
) -> Result<AuthorityRecord, AuthorityError> {
    let not_after = Timestamp::from_secs(now.plus(VALID_FOR).secs());
    let mut params = authority_params(&common_name);
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_1970(now.minus(DAY));
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_1970(not_after);
    params.serial_number = Some(serial(ids.bytes()));
    let key_pem = Zeroizing::new(key.serialize_pem());
    Ok(AuthorityRecord {
        certificate_pem: params.self_signed(key)?.pem(),
        sealed_key: seal.seal(AuthorityRecord::CONTEXT, key_pem.as_bytes()),
        common_name,
        not_after,
    })
}

/// What does not change when the authority's certificate is made anew.
fn authority_params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, ORGANIZATION);
    params.distinguished_name.push(DnType::CommonName, common_name);
    // It signs servers' certificates and no other authority.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn new_key(algorithm: KeyAlgorithm) -> Result<KeyPair, IssueError> {
    let algorithm = match algorithm {
        KeyAlgorithm::RSA_2048 => &rcgen::PKCS_RSA_SHA256,
        KeyAlgorithm::EC_prime256v1 => &rcgen::PKCS_ECDSA_P256_SHA256,
        KeyAlgorithm::EC_secp384r1 => &rcgen::PKCS_ECDSA_P384_SHA384,
        other => return Err(IssueError::KeyAlgorithm(other.as_str())),
    };
    Ok(KeyPair::generate_for(algorithm)?)
}

/// RFC 5280: positive, at most 20 bytes, here without a leading zero.
fn serial(mut bytes: [u8; 16]) -> SerialNumber {
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    SerialNumber::from_slice(&bytes)
}

/// Whole seconds, as certificates tell time.
fn since_1970(at: Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(at.secs()).unwrap_or(0))
}
