//! Attributes of load balancers. Source: `LoadBalancerAttribute` of the ELB model.

use super::Values::{Flag, Number, OneOf, Text};
use super::{Attribute, ONLY_FALSE, attribute};
use crate::refusal::validation;
use neargate_core::AwsError;
use neargate_link::gateway::BalancerKind;
use std::collections::BTreeMap;

pub const DELETION_PROTECTION: &str = "deletion_protection.enabled";
const LOGS_ENABLED: &str = "access_logs.s3.enabled";
const LOGS_BUCKET: &str = "access_logs.s3.bucket";

static BOTH: &[Attribute] = &[
    attribute(DELETION_PROTECTION, "false", Flag),
    attribute("ipv6.deny_all_igw_traffic", "false", ONLY_FALSE),
    attribute("zonal_shift.config.enabled", "false", ONLY_FALSE),
];

static APPLICATION: &[Attribute] = &[
    attribute(LOGS_ENABLED, "false", Flag),
    attribute(LOGS_BUCKET, "", Text(is_bucket)),
    attribute("access_logs.s3.prefix", "", Text(is_prefix)),
    attribute("client_keep_alive.seconds", "3600", Number(60, 604_800)),
    attribute("connection_logs.s3.enabled", "false", ONLY_FALSE),
    attribute("connection_logs.s3.bucket", "", Text(is_bucket)),
    attribute("connection_logs.s3.prefix", "", Text(is_prefix)),
    attribute("health_check_logs.s3.enabled", "false", ONLY_FALSE),
    attribute("health_check_logs.s3.bucket", "", Text(is_bucket)),
    attribute("health_check_logs.s3.prefix", "", Text(is_prefix)),
    attribute("idle_timeout.timeout_seconds", "60", Number(1, 4000)),
    attribute("load_balancing.cross_zone.enabled", "true", OneOf(&["true"], &["true"])),
    attribute(
        "routing.http.desync_mitigation_mode",
        "defensive",
        OneOf(
            &["monitor", "defensive", "strictest"],
            &["monitor", "defensive", "strictest"],
        ),
    ),
    attribute("routing.http.drop_invalid_header_fields.enabled", "false", Flag),
    attribute("routing.http.preserve_host_header.enabled", "false", Flag),
    attribute(
        "routing.http.x_amzn_tls_version_and_cipher_suite.enabled",
        "false",
        Flag,
    ),
    attribute("routing.http.xff_client_port.enabled", "false", Flag),
    attribute(
        "routing.http.xff_header_processing.mode",
        "append",
        OneOf(&["append", "preserve", "remove"], &["append", "preserve", "remove"]),
    ),
    attribute("routing.http2.enabled", "true", Flag),
    attribute("waf.fail_open.enabled", "false", ONLY_FALSE),
];

static NETWORK: &[Attribute] = &[
    attribute(LOGS_ENABLED, "false", ONLY_FALSE),
    attribute(LOGS_BUCKET, "", Text(is_bucket)),
    attribute("access_logs.s3.prefix", "", Text(is_prefix)),
    attribute(
        "dns_record.client_routing_policy",
        "any_availability_zone",
        OneOf(
            &[
                "availability_zone_affinity",
                "partial_availability_zone_affinity",
                "any_availability_zone",
            ],
            &["any_availability_zone"],
        ),
    ),
    attribute("load_balancing.cross_zone.enabled", "false", Flag),
    attribute(
        "secondary_ips.auto_assigned.per_subnet",
        "0",
        OneOf(&["0", "1", "2", "3", "4", "5", "6", "7"], &["0"]),
    ),
];

/// The attributes of a kind of load balancer.
pub fn table(kind: BalancerKind) -> Vec<&'static Attribute> {
    let own = match kind {
        BalancerKind::Application => APPLICATION,
        BalancerKind::Network => NETWORK,
    };
    BOTH.iter().chain(own).collect()
}

/// Sets attributes of a load balancer.
///
/// # Errors
/// `ValidationError`, `InvalidConfigurationRequest`; the attributes are then half set and not to be used.
pub fn set(
    kind: BalancerKind,
    attributes: &mut BTreeMap<String, String>,
    asked: Vec<(Option<String>, Option<String>)>,
) -> Result<(), AwsError> {
    let (other, name) = match kind {
        BalancerKind::Application => (NETWORK, "application"),
        BalancerKind::Network => (APPLICATION, "network"),
    };
    super::set("Load balancer", &table(kind), attributes, asked, |key| {
        other.iter().any(|a| a.key == key).then(|| {
            format!("Load balancer attribute key '{key}' is not supported on load balancers with type '{name}'")
        })
    })?;
    let is = |key: &str, value: &str| attributes.get(key).is_some_and(|v| v == value);
    if is(LOGS_ENABLED, "true") && is(LOGS_BUCKET, "") {
        return Err(validation("S3Bucket name cannot be empty"));
    }
    Ok(())
}

/// Empty, or a bucket's name: nothing that would be another directory.
fn is_bucket(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let end = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    text.is_empty()
        || ((3..=63).contains(&bytes.len())
            && bytes.iter().all(|b| inner(*b))
            && end(bytes.first())
            && end(bytes.last())
            && !text.contains(".."))
}

/// Empty, or names separated by `/`, none of which leads elsewhere; AWS keeps `AWSLogs` for itself.
fn is_prefix(text: &str) -> bool {
    let plain = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
        !part.is_empty() && part != "." && part != ".." && part.chars().all(allowed)
    };
    text.is_empty() || (text.len() <= 512 && !text.contains("AWSLogs") && text.split('/').all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_and_prefixes_never_lead_elsewhere() {
        for good in ["", "logs", "my.logs-1"] {
            assert!(is_bucket(good), "{good}");
        }
        for bad in ["..", "a", "a/b", "../x", "Logs", "-logs", "a..b"] {
            assert!(!is_bucket(bad), "{bad}");
        }
        for good in ["", "web", "web/prod", "a.b_c"] {
            assert!(is_prefix(good), "{good}");
        }
        for bad in [
            "/",
            "/web",
            "web/",
            "..",
            "web/../..",
            ".",
            "AWSLogs",
            "web/AWSLogs/x",
            "a\\b",
            "a b",
        ] {
            assert!(!is_prefix(bad), "{bad}");
        }
    }
}
