//! Attributes of listeners. Source: `ListenerAttribute` of the ELB model.

use super::Values::{Flag, Number, OneOf, Text};
use super::{Attribute, attribute};
use crate::refusal::unsupported;
use neargate_core::AwsError;
use std::collections::BTreeMap;

const SAME_ORIGIN: &[&str] = &["", "DENY", "SAMEORIGIN"];

static HTTP: &[Attribute] = &[
    attribute("routing.http.response.server.enabled", "true", Flag),
    attribute(
        "routing.http.response.strict_transport_security.header_value",
        "",
        Text(is_value),
    ),
    attribute(
        "routing.http.response.access_control_allow_origin.header_value",
        "",
        Text(is_value),
    ),
    attribute(
        "routing.http.response.access_control_allow_methods.header_value",
        "",
        Text(is_value),
    ),
    attribute(
        "routing.http.response.access_control_allow_headers.header_value",
        "",
        Text(is_value),
    ),
    attribute(
        "routing.http.response.access_control_allow_credentials.header_value",
        "",
        OneOf(&["", "true"], &["", "true"]),
    ),
    attribute(
        "routing.http.response.access_control_expose_headers.header_value",
        "",
        Text(is_value),
    ),
    attribute(
        "routing.http.response.access_control_max_age.header_value",
        "",
        Text(is_seconds),
    ),
    attribute(
        "routing.http.response.content_security_policy.header_value",
        "",
        Text(is_value),
    ),
    attribute(
        "routing.http.response.x_content_type_options.header_value",
        "",
        OneOf(&["", "nosniff"], &["", "nosniff"]),
    ),
    attribute(
        "routing.http.response.x_frame_options.header_value",
        "",
        OneOf(SAME_ORIGIN, SAME_ORIGIN),
    ),
];

static HTTPS: &[Attribute] = &[
    attribute(
        "routing.http.request.x_amzn_tls_version.header_name",
        "X-Amzn-Tls-Version",
        Text(is_name),
    ),
    attribute(
        "routing.http.request.x_amzn_tls_cipher_suite.header_name",
        "X-Amzn-Tls-Cipher-Suite",
        Text(is_name),
    ),
];

static TCP: &[Attribute] = &[attribute("tcp.idle_timeout.seconds", "350", Number(60, 6000))];

/// The attributes of listeners with this protocol.
pub fn table(protocol: &str) -> Vec<&'static Attribute> {
    match protocol {
        "HTTP" => HTTP.iter().collect(),
        "HTTPS" => HTTP.iter().chain(HTTPS).collect(),
        "TCP" | "TLS" | "TCP_UDP" => TCP.iter().collect(),
        _ => Vec::new(),
    }
}

/// Sets attributes of a listener.
///
/// # Errors
/// `ValidationError`, `InvalidConfigurationRequest`; the attributes are then half set and not to be used.
pub fn set(
    protocol: &str,
    attributes: &mut BTreeMap<String, String>,
    asked: Vec<(Option<String>, Option<String>)>,
) -> Result<(), AwsError> {
    let mutual = |key: &Option<String>| {
        key.as_ref()
            .is_some_and(|k| k.starts_with("routing.http.request.x_amzn_mtls_"))
    };
    if let Some((Some(key), _)) = asked.iter().find(|(key, _)| mutual(key)) {
        return Err(unsupported(format!("Listener attribute '{key}' (mutual TLS)")));
    }
    super::set("Listener", &table(protocol), attributes, asked, |key| {
        let known = HTTP.iter().chain(HTTPS).chain(TCP).any(|a| a.key == key);
        known
            .then(|| format!("Listener attribute key '{key}' is not supported on listeners with protocol '{protocol}'"))
    })
}

/// A header's value: visible characters and spaces.
fn is_value(text: &str) -> bool {
    text.len() <= 1024 && text.trim() == text && text.bytes().all(|b| (0x20..0x7f).contains(&b))
}

/// Empty, or a number of seconds up to a day.
fn is_seconds(text: &str) -> bool {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.is_empty() || digits && text.parse::<u32>().is_ok_and(|n| n <= 86_400)
}

/// A header's name.
fn is_name(text: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=40).contains(&text.len()) && text.bytes().all(token)
}
