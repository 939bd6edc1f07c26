//! A certificate as DescribeCertificate and ListCertificates answer it.

use crate::api;
use crate::records::{CertificateRecord, Issued, Order, Origin, Validation};
use neargate_core::Timestamp;
use sha2::{Digest as _, Sha256};

/// Everything about one certificate.
pub fn detail(record: &CertificateRecord, in_use_by: Vec<String>, now: Timestamp) -> api::CertificateDetail {
    let facts = &record.facts;
    let known = api::CertificateDetail {
        certificate_arn: Some(record.arn.clone()),
        certificate_key_pair_origin: Some(key_pair_origin(record).into()),
        created_at: Some(record.created_at),
        domain_name: facts.domains.first().cloned(),
        extended_key_usages: Some(
            (facts.extended_key_usages.iter())
                .map(|usage| api::ExtendedKeyUsage {
                    name: Some(usage.name.clone()),
                    oid: Some(usage.oid.clone()),
                })
                .collect(),
        ),
        in_use_by: Some(in_use_by),
        issuer: Some(facts.issuer.clone()),
        key_algorithm: Some(facts.key_algorithm.as_str().into()),
        key_usages: Some(
            (facts.key_usages.iter())
                .map(|usage| api::KeyUsage {
                    name: Some(usage.clone()),
                })
                .collect(),
        ),
        not_after: Some(facts.not_after),
        not_before: Some(facts.not_before),
        renewal_eligibility: Some(renewal_eligibility(record).into()),
        serial: Some(facts.serial.clone()),
        signature_algorithm: Some(facts.signature_algorithm.clone()),
        status: Some(record.status(now).into()),
        subject: Some(facts.subject.clone()),
        subject_alternative_names: Some(facts.domains.clone()),
        r#type: Some(kind(record).into()),
        ..Default::default()
    };
    match &record.origin {
        Origin::Imported { at } => api::CertificateDetail {
            imported_at: Some(*at),
            options: Some(options(false)),
            ..known
        },
        Origin::Issued(issued) => api::CertificateDetail {
            domain_validation_options: Some(validations(record, &issued.order)),
            issued_at: Some(issued.at),
            options: Some(options(issued.order.transparency_logging)),
            renewal_summary: renewal_summary(record, issued),
            ..known
        },
    }
}

/// What a listing tells.
pub fn summary(record: &CertificateRecord, in_use: bool, now: Timestamp) -> api::CertificateSummary {
    let facts = &record.facts;
    let usages = facts.extended_key_usages.iter();
    let (imported_at, issued_at) = match &record.origin {
        Origin::Imported { at } => (Some(*at), None),
        Origin::Issued(issued) => (None, Some(issued.at)),
    };
    api::CertificateSummary {
        certificate_arn: Some(record.arn.clone()),
        certificate_key_pair_origin: Some(key_pair_origin(record).into()),
        created_at: Some(record.created_at),
        domain_name: facts.domains.first().cloned(),
        export_option: Some("DISABLED".into()),
        exported: Some(false),
        extended_key_usages: Some(usages.map(|usage| usage.name.clone()).collect()),
        has_additional_subject_alternative_names: Some(facts.domains.len() > SUMMARY_NAMES),
        imported_at,
        in_use: Some(in_use),
        issued_at,
        key_algorithm: Some(facts.key_algorithm.as_str().into()),
        key_usages: Some(facts.key_usages.clone()),
        not_after: Some(facts.not_after),
        not_before: Some(facts.not_before),
        renewal_eligibility: Some(renewal_eligibility(record).into()),
        status: Some(record.status(now).into()),
        subject_alternative_name_summaries: Some(facts.domains.iter().take(SUMMARY_NAMES).cloned().collect()),
        r#type: Some(kind(record).into()),
        ..Default::default()
    }
}

/// A listing tells so many names of each certificate.
const SUMMARY_NAMES: usize = 100;

pub fn key_pair_origin(record: &CertificateRecord) -> &'static str {
    match record.origin {
        Origin::Imported { .. } => "CUSTOMER_PROVIDED",
        Origin::Issued(_) => "AWS_MANAGED",
    }
}

fn kind(record: &CertificateRecord) -> &'static str {
    match record.origin {
        Origin::Imported { .. } => "IMPORTED",
        Origin::Issued(_) => "AMAZON_ISSUED",
    }
}

/// All issued ones are renewed, in use or not.
fn renewal_eligibility(record: &CertificateRecord) -> &'static str {
    match record.origin {
        Origin::Imported { .. } => "INELIGIBLE",
        Origin::Issued(_) => "ELIGIBLE",
    }
}

fn options(transparency_logging: bool) -> api::CertificateOptions {
    let preference = if transparency_logging { "ENABLED" } else { "DISABLED" };
    api::CertificateOptions {
        certificate_transparency_logging_preference: Some(preference.into()),
        export: Some("DISABLED".into()),
        ..Default::default()
    }
}

fn renewal_summary(record: &CertificateRecord, issued: &Issued) -> Option<api::RenewalSummary> {
    Some(api::RenewalSummary {
        domain_validation_options: Some(validations(record, &issued.order)),
        renewal_status: Some("SUCCESS".into()),
        updated_at: Some(issued.renewed_at?),
        ..Default::default()
    })
}

fn validations(record: &CertificateRecord, order: &Order) -> Vec<api::DomainValidation> {
    order
        .domains
        .iter()
        .map(|domain| validation(record, order, domain))
        .collect()
}

fn validation(record: &CertificateRecord, order: &Order, domain: &str) -> api::DomainValidation {
    let asked = order.validation_domains.get(domain).map_or(domain, String::as_str);
    let known = api::DomainValidation {
        domain_name: Some(domain.to_owned()),
        validation_domain: Some(asked.to_owned()),
        validation_method: Some(order.validation.as_str().into()),
        validation_status: Some("SUCCESS".into()),
        ..Default::default()
    };
    match order.validation {
        Validation::Dns => api::DomainValidation {
            resource_record: Some(proof(record, domain)),
            ..known
        },
        Validation::Email => api::DomainValidation {
            validation_emails: Some(owners(asked)),
            ..known
        },
    }
}

/// The DNS record that would prove the ownership of a domain: the same for all certificates of an account and for the
/// wildcard beside its domain, as with AWS, so that tools which make it once do.
fn proof(record: &CertificateRecord, domain: &str) -> api::ResourceRecord {
    let base = domain.strip_prefix("*.").unwrap_or(domain);
    let account = record.arn.split(':').nth(4).unwrap_or_default();
    let hash = hex::encode(Sha256::digest(format!("acm validation\0{account}\0{base}")));
    let zone: String = hash[48..58]
        .bytes()
        .map(|digit| char::from(b'a' + digit % 26))
        .collect();
    api::ResourceRecord {
        name: Some(format!("_{}.{base}.", &hash[..32])),
        r#type: Some("CNAME".into()),
        value: Some(format!("_{}.{zone}.acm-validations.aws.", &hash[32..])),
    }
}

/// Whom AWS would ask by mail.
fn owners(domain: &str) -> Vec<String> {
    let domain = domain.strip_prefix("*.").unwrap_or(domain);
    let names = ["administrator", "hostmaster", "postmaster", "webmaster", "admin"];
    names.iter().map(|name| format!("{name}@{domain}")).collect()
}
