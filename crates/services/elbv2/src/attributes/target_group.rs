//! Attributes of target groups. Source: `TargetGroupAttribute` of the ELB model.

use super::Values::{Fixed, Flag, Number, OneOf, Text, ZeroOr};
use super::{Attribute, ONLY_FALSE, attribute};
use crate::refusal::{configuration, validation};
use neargate_core::AwsError;
use std::collections::BTreeMap;

const ZONES: &[&str] = &["true", "false", "use_load_balancer_configuration"];
/// Longest stickiness: a week.
const WEEK: u64 = 604_800;

static BOTH: &[Attribute] = &[
    attribute("deregistration_delay.timeout_seconds", "300", Number(0, 3600)),
    attribute("stickiness.enabled", "false", Flag),
    attribute(
        "load_balancing.cross_zone.enabled",
        "use_load_balancer_configuration",
        OneOf(ZONES, ZONES),
    ),
    attribute(
        "target_group_health.dns_failover.minimum_healthy_targets.count",
        "1",
        Fixed,
    ),
    attribute(
        "target_group_health.dns_failover.minimum_healthy_targets.percentage",
        "off",
        Fixed,
    ),
    attribute(
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count",
        "1",
        Fixed,
    ),
    attribute(
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage",
        "off",
        Fixed,
    ),
];

static APPLICATION: &[Attribute] = &[
    attribute(
        "stickiness.type",
        "lb_cookie",
        OneOf(&["lb_cookie", "app_cookie"], &["lb_cookie", "app_cookie"]),
    ),
    attribute("stickiness.lb_cookie.duration_seconds", "86400", Number(1, WEEK)),
    attribute("stickiness.app_cookie.cookie_name", "", Text(is_cookie_name)),
    attribute("stickiness.app_cookie.duration_seconds", "86400", Number(1, WEEK)),
    attribute(
        "load_balancing.algorithm.type",
        "round_robin",
        OneOf(ALGORITHMS, ALGORITHMS),
    ),
    attribute(
        "load_balancing.algorithm.anomaly_mitigation",
        "off",
        OneOf(&["on", "off"], &["off"]),
    ),
    attribute("slow_start.duration_seconds", "0", ZeroOr(30, 900)),
];

const ALGORITHMS: &[&str] = &["round_robin", "least_outstanding_requests", "weighted_random"];

static NETWORK: &[Attribute] = &[
    attribute("stickiness.type", "source_ip", OneOf(&["source_ip"], &["source_ip"])),
    attribute("preserve_client_ip.enabled", "false", ONLY_FALSE),
    attribute("proxy_protocol_v2.enabled", "false", Flag),
    attribute(
        "target_health_state.unhealthy.draining_interval_seconds",
        "0",
        Number(0, 360_000),
    ),
];

static STREAMS: &[Attribute] = &[
    attribute("deregistration_delay.connection_termination.enabled", "false", Flag),
    attribute(
        "target_health_state.unhealthy.connection_termination.enabled",
        "true",
        Flag,
    ),
];

/// Where there are datagrams: flows end with the registration, and outlast a bad health.
static DATAGRAMS: &[Attribute] = &[
    attribute("deregistration_delay.connection_termination.enabled", "true", Flag),
    attribute(
        "target_health_state.unhealthy.connection_termination.enabled",
        "false",
        OneOf(&["false"], &["false"]),
    ),
];

/// True for groups of Application Load Balancers.
pub fn is_http(protocol: &str) -> bool {
    matches!(protocol, "HTTP" | "HTTPS")
}

/// The attributes of groups with this protocol.
pub fn table(protocol: &str) -> Vec<&'static Attribute> {
    let (own, more): (_, &[Attribute]) = match protocol {
        _ if is_http(protocol) => (APPLICATION, &[]),
        "UDP" | "TCP_UDP" => (NETWORK, DATAGRAMS),
        _ => (NETWORK, STREAMS),
    };
    BOTH.iter().chain(own).chain(more).collect()
}

/// Sets attributes of a target group.
///
/// # Errors
/// `ValidationError`, `InvalidConfigurationRequest`; the attributes are then half set and not to be used.
pub fn set(
    protocol: &str,
    attributes: &mut BTreeMap<String, String>,
    asked: Vec<(Option<String>, Option<String>)>,
) -> Result<(), AwsError> {
    let other = table(if is_http(protocol) { "TCP" } else { "HTTP" });
    let http = is_http(protocol);
    let stickiness: &[&str] = if http {
        &["source_ip"]
    } else {
        &["lb_cookie", "app_cookie"]
    };
    for (_, value) in asked
        .iter()
        .filter(|(key, _)| key.as_deref() == Some("stickiness.type"))
    {
        let kind = value.as_deref().unwrap_or_default();
        if stickiness.contains(&kind) {
            return Err(configuration(format!(
                "Stickiness type '{kind}' is not supported for target groups with the {protocol} protocol"
            )));
        }
    }
    super::set("Target group", &table(protocol), attributes, asked, |key| {
        other.iter().any(|a| a.key == key).then(|| {
            format!("Target group attribute key '{key}' is not supported on target groups with protocol '{protocol}'")
        })
    })?;
    let value = |key: &str| attributes.get(key).map_or("", String::as_str);
    let sticky = value("stickiness.enabled") == "true";
    if sticky && value("stickiness.type") == "app_cookie" && value("stickiness.app_cookie.cookie_name").is_empty() {
        return Err(validation(
            "The value of 'stickiness.app_cookie.cookie_name' cannot be empty when 'stickiness.type' is app_cookie",
        ));
    }
    if sticky && protocol == "TLS" {
        return Err(validation(
            "Stickiness is not supported on target groups with protocol 'TLS'",
        ));
    }
    let algorithm = value("load_balancing.algorithm.type");
    if !matches!(value("slow_start.duration_seconds"), "" | "0") && algorithm != "round_robin" {
        return Err(configuration(format!(
            "You cannot enable both slow start and {} algorithm on a target group",
            algorithm.replace('_', " ")
        )));
    }
    let udp = matches!(protocol, "UDP" | "TCP_UDP");
    if udp && value("proxy_protocol_v2.enabled") == "true" {
        return Err(validation(format!(
            "Target group attribute key 'proxy_protocol_v2.enabled' is not supported on target groups with protocol \
             '{protocol}'"
        )));
    }
    let terminated = value("target_health_state.unhealthy.connection_termination.enabled") == "true";
    let interval = value("target_health_state.unhealthy.draining_interval_seconds");
    if terminated && !matches!(interval, "" | "0") {
        return Err(validation(
            "'target_health_state.unhealthy.draining_interval_seconds' can only be set when \
             'target_health_state.unhealthy.connection_termination.enabled' is false",
        ));
    }
    Ok(())
}

/// Empty, or a cookie's name that is not one of the load balancer's own.
fn is_cookie_name(text: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    text.len() <= 512 && !text.starts_with("AWSALB") && text.bytes().all(token)
}
