//! ListCertificates: the region's certificates, filtered, sorted and paged.

use crate::api::errors;
use crate::records::CertificateRecord;
use crate::{Acm, api, describe};
use neargate_core::paging::{self, BadToken};
use neargate_core::{AwsError, RequestContext, Timestamp};
use std::sync::Arc;

const PAGE: usize = 1000;
/// What is listed when no `keyTypes` are asked for.
const USUAL_KEYS: &[&str] = &["RSA_1024", "RSA_2048"];
/// ACME certificates, which Neargate has none of, are the third.
const USUAL_ORIGINS: &[&str] = &["AWS_MANAGED", "CUSTOMER_PROVIDED"];

/// # Errors
/// `ValidationException` for half a sorting, `InvalidArgsException` for a token of another listing.
pub async fn handle(
    service: &Acm,
    cx: &RequestContext,
    input: api::ListCertificatesRequest,
) -> Result<api::ListCertificatesResponse, AwsError> {
    let order = Order::admit(input.sort_by.as_deref(), input.sort_order.as_deref())?;
    let snapshot = service.store.snapshot();
    let mut listed: Vec<(String, Arc<CertificateRecord>)> = snapshot
        .range::<CertificateRecord>(&CertificateRecord::key(&cx.region, ""))
        .map(|(_, certificate)| certificate.record)
        .filter(|certificate| wanted(certificate, &input, cx.now))
        .map(|certificate| (order.key(&certificate), certificate))
        .collect();
    listed.sort_by(|(one, _), (other, _)| one.cmp(other));
    let max = input
        .max_items
        .and_then(|max| usize::try_from(max).ok())
        .unwrap_or(PAGE);
    let page = paging::page(
        order.listing(),
        listed,
        |(key, _)| key.clone(),
        max,
        input.next_token.as_deref(),
    )
    .map_err(|BadToken| errors::invalid_args_exception("The NextToken is not valid."))?;
    let summaries = page.items.iter().map(|(_, certificate)| {
        let in_use = !(service.in_use)(&snapshot, &certificate.arn).is_empty();
        describe::summary(certificate, in_use, cx.now)
    });
    Ok(api::ListCertificatesResponse {
        certificate_summary_list: Some(summaries.collect()),
        next_token: page.next_token,
    })
}

#[derive(Clone, Copy)]
enum Order {
    ById,
    Oldest,
    Newest,
}

impl Order {
    fn admit(by: Option<&str>, order: Option<&str>) -> Result<Order, AwsError> {
        match (by, order) {
            (None, None) => Ok(Order::ById),
            (Some(_), Some("DESCENDING")) => Ok(Order::Newest),
            (Some(_), Some(_)) => Ok(Order::Oldest),
            _ => Err(errors::validation_exception(
                "If you specify SortBy, you must also specify SortOrder, and the other way round.",
            )),
        }
    }

    /// A token belongs to one order.
    fn listing(self) -> &'static str {
        match self {
            Order::ById => "certificates",
            Order::Oldest => "certificates, oldest first",
            Order::Newest => "certificates, newest first",
        }
    }

    /// Ascending in this order.
    fn key(self, certificate: &CertificateRecord) -> String {
        let created = certificate.created_at.millis().max(0);
        match self {
            Order::ById => certificate.id.clone(),
            Order::Oldest => format!("{created:020} {}", certificate.id),
            Order::Newest => format!("{:020} {}", i64::MAX - created, certificate.id),
        }
    }
}

fn wanted(certificate: &CertificateRecord, input: &api::ListCertificatesRequest, now: Timestamp) -> bool {
    let filters = input.includes.clone().unwrap_or_default();
    let facts = &certificate.facts;
    let among = |given: &Option<Vec<String>>, usual: &[&str], own: &str| match given {
        Some(given) if !given.is_empty() => given.iter().any(|one| one == own),
        _ => usual.contains(&own),
    };
    let status = certificate.status(now);
    let keys = among(&filters.key_types, USUAL_KEYS, facts.key_algorithm.as_str());
    let named = filters.key_types.is_some() || !facts.domains.is_empty();
    let extended: Vec<String> = facts
        .extended_key_usages
        .iter()
        .map(|usage| usage.name.clone())
        .collect();
    among(&input.certificate_statuses, &[status], status)
        && among(&input.certificate_key_pair_origins, USUAL_ORIGINS, describe::key_pair_origin(certificate))
        && keys
        && named
        && has_one(&filters.key_usage, &facts.key_usages)
        && has_one(&filters.extended_key_usage, &extended)
        && filters.export_option.is_none_or(|export| export == "DISABLED")
        // CloudFront's, which are not here.
        && filters.managed_by.is_none()
}

/// True when one of the usages asked for is there. A certificate that names none is for `ANY` use and has `NONE`.
fn has_one(asked: &Option<Vec<String>>, own: &[String]) -> bool {
    let Some(asked) = asked.as_ref().filter(|asked| !asked.is_empty()) else {
        return true;
    };
    let unnamed = own.is_empty() && asked.iter().any(|usage| usage == "ANY" || usage == "NONE");
    unnamed || asked.iter().any(|usage| own.contains(usage))
}
