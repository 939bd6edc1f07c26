//! UploadServerCertificate: a certificate of the user's with chain and key.

use crate::api::errors;
use crate::records::ServerCertificateRecord;
use crate::{Iam, api, resolve, shapes, tagging};
use neargate_core::{AwsError, Ids, RequestContext};
use neargate_seal::Zeroizing;
use neargate_store::{Snapshot, Txn};
use neargate_x509::Fault;

/// What AWS raises its quota of 20 to at most.
const MOST: u64 = 1000;

/// # Errors
/// `EntityAlreadyExists`, `LimitExceeded`, `MalformedCertificate`, `KeyPairMismatch`, `InvalidInput`.
pub async fn handle(
    service: &Iam,
    cx: &RequestContext,
    input: api::UploadServerCertificateRequest,
) -> Result<api::UploadServerCertificateResponse, AwsError> {
    let tags = tagging::admit(input.tags)?;
    let name = input.server_certificate_name.unwrap_or_default();
    let path = input.path.unwrap_or_else(|| "/".to_owned());
    let body = input.certificate_body.unwrap_or_default();
    let chain = input.certificate_chain;
    let key = Zeroizing::new(input.private_key.unwrap_or_default());
    // Before the certificate is looked at, as AWS does; the commit asks again.
    check_free(&service.store.snapshot(), &name)?;
    let admitted = neargate_x509::admit(
        body.as_bytes(),
        chain.as_deref().map(str::as_bytes),
        key.as_bytes(),
        cx.now,
    )
    .map_err(|fault| refuse(&fault))?;
    let id = fresh_id(&*service.ids);
    let context = ServerCertificateRecord::context_of(&id);
    let record = ServerCertificateRecord {
        arn: resolve::arn(service, cx, &path, &name),
        former_arns: Vec::new(),
        body: body.trim().to_owned(),
        chain: chain.map(|chain| chain.trim().to_owned()),
        full_chain_pem: admitted.certificate_pem + admitted.chain_pem.as_deref().unwrap_or_default(),
        sealed_key: service.seal.seal(&context, admitted.key_pem.as_bytes()),
        facts: admitted.facts,
        uploaded_at: cx.now,
        name,
        path,
        id,
        tags,
    };
    let answer = api::UploadServerCertificateResponse {
        server_certificate_metadata: Some(shapes::metadata(&record)),
        tags: Some(shapes::tags(&record.tags)),
    };
    service
        .store
        .transact(|snapshot| {
            check_free(snapshot, &record.name)?;
            check_unused(service, snapshot, &record)?;
            if snapshot.count(ServerCertificateRecord::COUNTER) >= MOST {
                let message = format!("Cannot exceed quota for ServerCertificatesPerAccount: {MOST}");
                return Err(errors::limit_exceeded_exception(message));
            }
            let mut txn = Txn::new();
            txn.unchanged::<ServerCertificateRecord>(snapshot, &record.name)
                .put(&record.name, record.clone());
            Ok((txn, ()))
        })
        .await?;
    Ok(answer)
}

/// # Errors
/// `EntityAlreadyExists`.
pub(super) fn check_free(snapshot: &Snapshot, name: &str) -> Result<(), AwsError> {
    if !snapshot.contains::<ServerCertificateRecord>(name) {
        return Ok(());
    }
    let message = format!("The Server Certificate with name {name} already exists.");
    Err(errors::entity_already_exists_exception(message))
}

/// That nothing uses another certificate, which was renamed, under the ARN of this one: it would get this one unasked.
///
/// # Errors
/// `EntityAlreadyExists`.
pub(super) fn check_unused(
    service: &Iam,
    snapshot: &Snapshot,
    record: &ServerCertificateRecord,
) -> Result<(), AwsError> {
    let renamed = resolve::by_arn(snapshot, &record.arn).filter(|found| found.id != record.id);
    let (Some(renamed), false) = (renamed, (service.in_use)(snapshot, &record.arn).is_empty()) else {
        return Ok(());
    };
    Err(errors::entity_already_exists_exception(format!(
        "The Server Certificate with name {} already exists: the certificate {} is still in use by the ARN that it had under this name.",
        record.name, renamed.name
    )))
}

/// `ASCA` and 17 more, as IAM's identifiers go.
fn fresh_id(ids: &dyn Ids) -> String {
    const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut random = u128::from_be_bytes(ids.bytes());
    let mut out = "ASCA".to_owned();
    for _ in 0..17 {
        out.push(char::from(DIGITS[(random % 32) as usize]));
        random /= 32;
    }
    out
}

fn refuse(fault: &Fault) -> AwsError {
    let message = match fault {
        Fault::KeyMismatch => {
            return errors::key_pair_mismatch_exception("Public key certificate and private key doesn't match.");
        }
        Fault::CertificateNotPem | Fault::CertificateUnreadable => {
            "Unable to parse certificate. Please ensure the certificate is in PEM format.".to_owned()
        }
        Fault::CertificateCount => "Only one public key certificate is allowed in the certificate body.".to_owned(),
        Fault::IssuerEmpty => "The issuer field of the certificate is empty.".to_owned(),
        Fault::NotYetValid(from) => format!("The certificate is not valid before {}.", from.iso8601()),
        Fault::Expired(to) => format!("The certificate has expired: it was not valid after {}.", to.iso8601()),
        Fault::ChainNotPem => {
            "Unable to parse certificate chain. Please ensure the certificate chain is in PEM format.".to_owned()
        }
        Fault::ChainBroken(at) => format!(
            "Unable to validate certificate chain. The certificate chain must start with the immediate signing certificate, \
             followed by any intermediaries in order. The index within the chain of the invalid certificate is: {at}"
        ),
        Fault::KeyNotPem => "Unable to parse key; Private Key is not in PEM format.".to_owned(),
        Fault::KeyEncrypted => "Unable to parse key; Private Key is encrypted.".to_owned(),
        Fault::KeyUnreadable => "Unable to parse key; Private Key is not valid.".to_owned(),
        Fault::KeyUnsupported(kind) => format!(
            "The key of the certificate is not supported ({kind}). Supported are RSA with 1024, 2048, 3072 and 4096 bits \
             and EC on prime256v1, secp384r1 and secp521r1."
        ),
    };
    errors::malformed_certificate_exception(message)
}
