//! Health checks of target groups: AWS's defaults and rules. Source: `CreateTargetGroup` of the ELB model and "Health
//! checks for Application Load Balancer target groups".

use crate::api::Matcher;
use crate::attributes::target_group::is_http;
use crate::records::HealthCheck;
use crate::refusal::{configuration, unsupported, validation};
use neargate_core::AwsError;

/// What a request says of it.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub enabled: Option<bool>,
    pub protocol: Option<String>,
    pub port: Option<String>,
    pub path: Option<String>,
    pub interval: Option<i32>,
    pub timeout: Option<i32>,
    pub healthy_threshold: Option<i32>,
    pub unhealthy_threshold: Option<i32>,
    pub matcher: Option<Matcher>,
}

/// The health check of a new group.
///
/// # Errors
/// `ValidationError`.
pub fn admit(group_protocol: &str, version: Option<&str>, asked: Asked) -> Result<HealthCheck, AwsError> {
    let http = is_http(group_protocol);
    let protocol = asked
        .protocol
        .clone()
        .unwrap_or_else(|| if http { "HTTP" } else { "TCP" }.to_owned());
    let defaults = HealthCheck {
        enabled: true,
        path: None,
        matcher: None,
        port: "traffic-port".to_owned(),
        interval: 30,
        timeout: match protocol.as_str() {
            "HTTP" if !http => 6,
            _ if http => 5,
            _ => 10,
        },
        healthy_threshold: 5,
        unhealthy_threshold: 2,
        protocol,
    };
    change(group_protocol, version, &defaults, asked)
}

/// The health check of a group that is changed.
///
/// # Errors
/// `ValidationError`.
pub fn change(
    group_protocol: &str,
    version: Option<&str>,
    before: &HealthCheck,
    asked: Asked,
) -> Result<HealthCheck, AwsError> {
    let mut check = before.clone();
    if asked.enabled == Some(false) {
        return Err(validation(
            "Health check enabled must be true for target groups with target type 'instance' or 'ip'",
        ));
    }
    if let Some(protocol) = asked.protocol {
        check.protocol = protocol;
    }
    let http_group = is_http(group_protocol);
    match check.protocol.as_str() {
        "HTTP" | "HTTPS" => {}
        "TCP" if !http_group => {}
        other => {
            return Err(validation(format!(
                "Health check protocol '{other}' is not supported for target groups with protocol '{group_protocol}'"
            )));
        }
    }
    if let Some(port) = asked.port.filter(|text| !text.is_empty()) {
        if port != "traffic-port" && !port.parse::<u16>().is_ok_and(|p| p > 0) {
            return Err(validation(format!(
                "Health check port '{port}' must be 'traffic-port' or in the range 1-65535"
            )));
        }
        check.port = port;
    }
    for (given, into) in [
        (asked.interval, &mut check.interval),
        (asked.timeout, &mut check.timeout),
        (asked.healthy_threshold, &mut check.healthy_threshold),
        (asked.unhealthy_threshold, &mut check.unhealthy_threshold),
    ] {
        if let Some(n) = given.and_then(|n| u32::try_from(n).ok()) {
            *into = n;
        }
    }
    // Of network load balancers they may be equal, as they are where only the interval is given as 10.
    if check.timeout > check.interval || (http_group && check.timeout == check.interval) {
        return Err(validation("Health check interval must be greater than the timeout."));
    }
    let grpc = version == Some("GRPC");
    if check.protocol == "TCP" {
        for (given, what) in [(asked.path.is_some(), "paths"), (asked.matcher.is_some(), "matchers")] {
            if given {
                return Err(configuration(format!(
                    "Health check {what} are not supported for TCP health checks"
                )));
            }
        }
        (check.path, check.matcher) = (None, None);
        return Ok(check);
    }
    let default_path = if grpc { "/AWS.ALB/healthcheck" } else { "/" };
    let path = asked
        .path
        .or(check.path.take())
        .unwrap_or_else(|| default_path.to_owned());
    if !path.starts_with('/') {
        return Err(validation(format!(
            "Health check path '{path}' must begin with a '/' character"
        )));
    }
    if !path.bytes().all(|b| (0x21..0x7f).contains(&b)) {
        return Err(validation(format!(
            "Health check path '{path}' contains a character that is not valid"
        )));
    }
    check.path = Some(path);
    let given = asked.matcher.unwrap_or_default();
    let codes = match (grpc, given.grpc_code, given.http_code) {
        (true, codes, None) | (false, None, codes) => codes,
        (true, ..) => {
            return Err(validation(
                "An HTTP code matcher is not supported for protocol version 'GRPC'",
            ));
        }
        (false, ..) => {
            return Err(validation(format!(
                "A gRPC code matcher is not supported for protocol version '{}'",
                version.unwrap_or("none")
            )));
        }
    };
    let default_codes = match (grpc, http_group) {
        (true, _) => "12",
        (_, true) => "200",
        (_, false) => "200-399",
    };
    let codes = codes
        .or(check.matcher.take())
        .unwrap_or_else(|| default_codes.to_owned());
    let (least, most) = match (grpc, http_group) {
        (true, _) => (0, 99),
        (_, true) => (200, 499),
        (_, false) => (200, 599),
    };
    if codes.is_empty() {
        let kind = if grpc { "GRPC" } else { "HTTP" };
        return Err(validation(format!("Health check matcher {kind} code cannot be empty")));
    }
    if !is_matcher(&codes, least, most) {
        return Err(validation(format!(
            "Health check matcher '{codes}' must be codes or ranges of codes between {least} and {most}, separated by \
             commas"
        )));
    }
    check.matcher = Some(codes);
    Ok(check)
}

/// Codes and ranges: `200`, `200,202`, `200-299`.
fn is_matcher(text: &str, least: u16, most: u16) -> bool {
    let code = |text: &str| {
        let digits = !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u16>()
            .ok()
            .filter(|n| digits && (least..=most).contains(n))
    };
    text.split(',').all(|part| match part.split_once('-') {
        None => code(part).is_some(),
        Some((from, to)) => matches!((code(from), code(to)), (Some(from), Some(to)) if from <= to),
    })
}

/// Protocols of target groups, and the version of those that have one.
///
/// # Errors
/// `ValidationError`, `InvalidConfigurationRequest` for AWS's protocols that Neargate has not.
pub fn protocol(protocol: &str, version: Option<&str>) -> Result<Option<String>, AwsError> {
    match (protocol, version) {
        ("HTTP" | "HTTPS", None) => Ok(Some("HTTP1".to_owned())),
        ("HTTP" | "HTTPS", Some(version @ ("HTTP1" | "HTTP2" | "GRPC"))) => Ok(Some(version.to_owned())),
        ("HTTP" | "HTTPS", Some(other)) => Err(validation(format!(
            "Protocol version '{other}' must be one of 'HTTP1, HTTP2, GRPC'"
        ))),
        ("TCP" | "TLS" | "UDP" | "TCP_UDP", None) => Ok(None),
        ("TCP" | "TLS" | "UDP" | "TCP_UDP", Some(_)) => Err(validation(format!(
            "Protocol version is not supported for target groups with protocol '{protocol}'"
        ))),
        (other, _) => Err(unsupported(format!("The target group protocol '{other}'"))),
    }
}
