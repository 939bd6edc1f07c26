//! RequestCertificate: the local authority issues at once what AWS would issue after the domains' owners agreed.

use super::import_certificate::check_quota;
use crate::api::errors;
use crate::records::{CertificateRecord, Issued, Order, Origin, TokenRecord, Validation};
use crate::{Acm, api, domain, tagging};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{Snapshot, Txn};
use neargate_x509::KeyAlgorithm;
use std::collections::BTreeMap;

/// Names on one certificate; AWS's quota can be raised up to this.
const MOST_NAMES: usize = 100;
/// RFC 5280, upper bound of a common name.
const LONGEST_COMMON_NAME: usize = 64;

/// # Errors
/// `InvalidParameterException`, `InvalidDomainValidationOptionsException`, `LimitExceededException`,
/// `InvalidTagException`, `TooManyTagsException`.
pub async fn handle(
    service: &Acm,
    cx: &RequestContext,
    input: api::RequestCertificateRequest,
) -> Result<api::RequestCertificateResponse, AwsError> {
    let tags = tagging::admit(input.tags.clone())?;
    let order = admit(&input)?;
    let token = input.idempotency_token.as_deref();
    let snapshot = service.store.snapshot();
    // Before a key is made, which is most of the work.
    if let Some(arn) = asked_before(&snapshot, cx, token, &order)? {
        return Ok(answer(arn));
    }
    check_quota(&snapshot, cx)?;
    let id = service.ids.uuid();
    let arn = cx.arn("acm", format!("certificate/{id}"));
    let new = service.issue(&arn, &order, cx.now).await?;
    let record = CertificateRecord {
        arn: arn.clone(),
        region: cx.region.clone(),
        id,
        certificate_pem: new.certificate_pem,
        chain_pem: Some(new.chain_pem),
        sealed_key: new.sealed_key,
        facts: new.facts,
        created_at: cx.now,
        origin: Origin::Issued(Issued {
            order: order.clone(),
            at: cx.now,
            renewed_at: None,
        }),
        tags,
    };
    let arn = service
        .store
        .transact(|snapshot| {
            let mut txn = Txn::new();
            if let Some(arn) = asked_before(snapshot, cx, token, &order)? {
                return Ok((txn, arn));
            }
            check_quota(snapshot, cx)?;
            let key = record.own_key();
            txn.unchanged::<CertificateRecord>(snapshot, &key)
                .put(&key, record.clone());
            if let Some(token) = token {
                let key = TokenRecord::key(&cx.region, token);
                let record = TokenRecord {
                    at: cx.now,
                    order: order.clone(),
                    arn: arn.clone(),
                };
                txn.unchanged::<TokenRecord>(snapshot, &key).put(&key, record);
            }
            Ok::<_, AwsError>((txn, arn.clone()))
        })
        .await?;
    Ok(answer(arn))
}

fn answer(arn: String) -> api::RequestCertificateResponse {
    api::RequestCertificateResponse {
        certificate_arn: Some(arn),
    }
}

/// The certificate that this token got within the last hour, if it is still there.
///
/// # Errors
/// `InvalidParameterException` when something else was asked for with the token.
fn asked_before(
    snapshot: &Snapshot,
    cx: &RequestContext,
    token: Option<&str>,
    order: &Order,
) -> Result<Option<String>, AwsError> {
    let Some(token) = token else {
        return Ok(None);
    };
    let Some(known) = snapshot.get::<TokenRecord>(&TokenRecord::key(&cx.region, token)) else {
        return Ok(None);
    };
    if known.ended(cx.now) || crate::resolve::by_arn(snapshot, &known.arn).is_none() {
        return Ok(None);
    }
    if known.order != *order {
        return Err(errors::invalid_parameter_exception(format!(
            "The idempotency token {token} was used with other parameters within the last hour."
        )));
    }
    Ok(Some(known.arn.clone()))
}

/// What is asked for, checked.
fn admit(input: &api::RequestCertificateRequest) -> Result<Order, AwsError> {
    let refuse = |what: &str| Err(errors::invalid_parameter_exception(what));
    if input.certificate_authority_arn.is_some() {
        return refuse(
            "CertificateAuthorityArn is not supported: there are no private certificate authorities, certificates are \
             issued by the local one.",
        );
    }
    if input.managed_by.is_some() {
        return refuse("ManagedBy is not supported: there is no CloudFront.");
    }
    let options = input.options.clone().unwrap_or_default();
    if options.export.as_deref() == Some("ENABLED") {
        return refuse("Options.Export=ENABLED is not supported: private keys are never given out.");
    }
    if options.validation_method.is_some() {
        return refuse("Options.ValidationMethod cannot be given with a request; use ValidationMethod.");
    }
    let validation = match input.validation_method.as_deref() {
        // As AWS: mail is what it did first.
        None | Some("EMAIL") => Validation::Email,
        Some("DNS") => Validation::Dns,
        Some(other) => return refuse(&format!("ValidationMethod={other} is not supported, use DNS or EMAIL.")),
    };
    let domains = domains(input)?;
    Ok(Order {
        key_algorithm: key_algorithm(input.key_algorithm.as_deref())?,
        validation,
        validation_domains: validation_domains(input, &domains)?,
        transparency_logging: options.certificate_transparency_logging_preference.as_deref() != Some("DISABLED"),
        domains,
    })
}

fn key_algorithm(name: Option<&str>) -> Result<KeyAlgorithm, AwsError> {
    match name {
        None | Some("RSA_2048") => Ok(KeyAlgorithm::RSA_2048),
        Some("EC_prime256v1") => Ok(KeyAlgorithm::EC_prime256v1),
        Some("EC_secp384r1") => Ok(KeyAlgorithm::EC_secp384r1),
        Some(other) => Err(errors::invalid_parameter_exception(format!(
            "KeyAlgorithm={other} cannot be requested, only RSA_2048, EC_prime256v1 and EC_secp384r1."
        ))),
    }
}

/// All names in lower case and each once, `DomainName` first.
fn domains(input: &api::RequestCertificateRequest) -> Result<Vec<String>, AwsError> {
    let first = input.domain_name.as_deref().unwrap_or_default();
    if first.len() > LONGEST_COMMON_NAME {
        return Err(errors::invalid_parameter_exception(format!(
            "The first domain name can be no longer than {LONGEST_COMMON_NAME} bytes; put '{first}' among the \
             SubjectAlternativeNames after a shorter one."
        )));
    }
    let mut out = vec![domain::admit(first, "domainName")?];
    for (at, name) in input.subject_alternative_names.iter().flatten().enumerate() {
        let name = domain::admit(name, &format!("subjectAlternativeNames.{}.member", at + 1))?;
        if !out.contains(&name) {
            out.push(name);
        }
    }
    if out.len() > MOST_NAMES {
        return Err(errors::limit_exceeded_exception(format!(
            "A certificate can have at most {MOST_NAMES} domain names, {} were given.",
            out.len()
        )));
    }
    Ok(out)
}

fn validation_domains(
    input: &api::RequestCertificateRequest,
    domains: &[String],
) -> Result<BTreeMap<String, String>, AwsError> {
    let mut out = BTreeMap::new();
    for (at, option) in input.domain_validation_options.iter().flatten().enumerate() {
        let name = |given: &Option<String>, member: &str| {
            let place = format!("domainValidationOptions.{}.member.{member}", at + 1);
            domain::admit(given.as_deref().unwrap_or_default(), &place)
        };
        let domain = name(&option.domain_name, "domainName")?;
        let asked = name(&option.validation_domain, "validationDomain")?;
        let refuse = |message| Err(errors::invalid_domain_validation_options_exception(message));
        if !domains.contains(&domain) {
            return refuse(format!(
                "The domain {domain} of a DomainValidationOption is not one of the certificate's."
            ));
        }
        let base = domain.strip_prefix("*.").unwrap_or(&domain);
        if base != asked && !base.ends_with(&format!(".{asked}")) {
            return refuse(format!(
                "The validation domain {asked} is neither {base} nor a domain above it."
            ));
        }
        if out.insert(domain.clone(), asked).is_some() {
            return refuse(format!("The domain {domain} has more than one DomainValidationOption."));
        }
    }
    Ok(out)
}
