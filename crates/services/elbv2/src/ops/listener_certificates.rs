//! AddListenerCertificates, RemoveListenerCertificates and DescribeListenerCertificates.

use crate::api::{self, errors};
use crate::certificates::hold_new;
use crate::records::ListenerRecord;
use crate::refusal::validation;
use crate::{Elbv2, find, limits, listeners, paging};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;

/// # Errors
/// `ListenerNotFound`, `CertificateNotFound`, `UnsupportedCertificate`, `TooManyCertificates`, `ValidationError`.
pub async fn add(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::AddListenerCertificatesInput,
) -> Result<api::AddListenerCertificatesOutput, AwsError> {
    let arn = input.listener_arn.unwrap_or_default();
    let asked = given(input.certificates)?;
    let added = service
        .store
        .transact(|snapshot| {
            let (key, found) = find::listener(snapshot, &cx.region, &arn)?;
            admit_protocol(&found)?;
            let mut next = (*found.record).clone();
            let mut added = Vec::new();
            for certificate in &asked {
                if certificate.is_default.is_some() {
                    return Err(validation("You cannot set the isDefault parameter"));
                }
                let arn = listeners::certificate(service, snapshot, certificate)?;
                if !is_listed(&next, &arn) {
                    next.certificates.push(arn.clone());
                }
                added.push(shape(&arn, false));
            }
            if next.certificates.len() > limits::CERTIFICATES + 1 {
                return Err(errors::too_many_certificates_exception(format!(
                    "The maximum number of certificates per listener '{}' has been reached",
                    limits::CERTIFICATES
                )));
            }
            let mut txn = Txn::new();
            hold_new(&*service.certificates, snapshot, &mut txn, Some(&found), &next);
            txn.unchanged::<ListenerRecord>(snapshot, &key).put(&key, next);
            Ok::<_, AwsError>((txn, added))
        })
        .await?;
    Ok(api::AddListenerCertificatesOutput {
        certificates: Some(added),
    })
}

/// # Errors
/// `ListenerNotFound`, `OperationNotPermitted` for the default certificate, `ValidationError`.
pub async fn remove(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::RemoveListenerCertificatesInput,
) -> Result<api::RemoveListenerCertificatesOutput, AwsError> {
    let arn = input.listener_arn.unwrap_or_default();
    let asked = given(input.certificates)?;
    service
        .store
        .transact(|snapshot| {
            let (key, found) = find::listener(snapshot, &cx.region, &arn)?;
            admit_protocol(&found)?;
            let mut next = (*found.record).clone();
            for certificate in &asked {
                let arn = certificate.certificate_arn.clone().unwrap_or_default();
                if next.certificates.first() == Some(&arn) && !is_listed(&next, &arn) {
                    return Err(errors::operation_not_permitted_exception(
                        "Default certificate cannot be removed from the listener",
                    ));
                }
                let list = next.certificates.split_off(next.certificates.len().min(1));
                next.certificates.extend(list.into_iter().filter(|held| *held != arn));
            }
            let mut txn = Txn::new();
            txn.unchanged::<ListenerRecord>(snapshot, &key).put(&key, next);
            Ok::<_, AwsError>((txn, ()))
        })
        .await?;
    Ok(api::RemoveListenerCertificatesOutput {})
}

/// # Errors
/// `ListenerNotFound`, `ValidationError`.
pub async fn describe(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::DescribeListenerCertificatesInput,
) -> Result<api::DescribeListenerCertificatesOutput, AwsError> {
    let arn = input.listener_arn.unwrap_or_default();
    let (_, found) = find::listener(&service.store.snapshot(), &cx.region, &arn)?;
    let all = found.certificates.iter().enumerate();
    let all = all.map(|(at, arn)| shape(arn, at == 0)).collect();
    let key = |c: &api::Certificate| {
        let rank = if c.is_default == Some(true) { 0 } else { 1 };
        format!("{rank}{}", c.certificate_arn.as_deref().unwrap_or_default())
    };
    let listing = format!("certificates/{arn}");
    let (page, next_marker) = paging::page(&listing, all, key, input.page_size, input.marker.as_deref())?;
    Ok(api::DescribeListenerCertificatesOutput {
        certificates: Some(page),
        next_marker,
    })
}

/// Whether the certificate is on the list, be it the default one or not.
fn is_listed(listener: &ListenerRecord, arn: &str) -> bool {
    listener.certificates.iter().skip(1).any(|held| held == arn)
}

fn given(certificates: Option<Vec<api::Certificate>>) -> Result<Vec<api::Certificate>, AwsError> {
    let given = certificates.filter(|list| !list.is_empty());
    given.ok_or_else(|| validation("At least one certificate must be specified"))
}

fn admit_protocol(listener: &ListenerRecord) -> Result<(), AwsError> {
    if listeners::is_secure(&listener.protocol) {
        return Ok(());
    }
    Err(listeners::no_certificate(&listener.protocol))
}

fn shape(arn: &str, is_default: bool) -> api::Certificate {
    api::Certificate {
        certificate_arn: Some(arn.to_owned()),
        is_default: Some(is_default),
    }
}
