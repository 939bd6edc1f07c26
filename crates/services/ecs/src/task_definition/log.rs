//! logConfiguration: the options that each driver takes.

use super::Check;
use crate::api;
use std::collections::BTreeMap;

const AWSLOGS: &[&str] = &[
    "awslogs-create-group",
    "awslogs-datetime-format",
    "awslogs-group",
    "awslogs-multiline-pattern",
    "awslogs-region",
    "awslogs-stream-prefix",
    "max-buffer-size",
    "mode",
];

/// The directives that Docker's awslogs driver knows.
const STRFTIME: &str = "aAwdbBmYyHIpMSLfzZj%";

pub(super) fn check(c: &api::ContainerDefinition) -> Check {
    let Some(log) = &c.log_configuration else { return Ok(()) };
    let empty = BTreeMap::new();
    let options = log.options.as_ref().unwrap_or(&empty);
    match log.log_driver.as_deref().unwrap_or_default() {
        "" => Err("'logConfiguration.logDriver' must be specified.".to_owned()),
        "awslogs" => awslogs(options),
        driver => match options.keys().next() {
            Some(option) => Err(format!(
                "'logConfiguration' option {option} of {driver} is not supported by Neargate yet."
            )),
            None => Ok(()),
        },
    }
}

fn awslogs(options: &BTreeMap<String, String>) -> Check {
    let given = |name: &str| options.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let unknown: Vec<&str> = options
        .keys()
        .map(String::as_str)
        .filter(|name| !AWSLOGS.contains(name))
        .collect();
    if !unknown.is_empty() {
        return Err(format!("Log driver awslogs disallows options: {}", unknown.join(", ")));
    }
    let missing: Vec<&str> = ["awslogs-group", "awslogs-region"]
        .into_iter()
        .filter(|n| given(n).is_none())
        .collect();
    if !missing.is_empty() {
        return Err(format!("Log driver awslogs requires options: {}", missing.join(", ")));
    }
    let group = given("awslogs-group").unwrap_or_default();
    let in_group = |c: char| c.is_ascii_alphanumeric() || "_-/.#".contains(c);
    if group.len() > 512 || !group.chars().all(in_group) {
        return Err(format!(
            "'logConfiguration' option awslogs-group has an invalid value: '{group}'."
        ));
    }
    let prefix = given("awslogs-stream-prefix").unwrap_or_default();
    if prefix.len() > 256 || prefix.contains([':', '*']) {
        return Err(format!(
            "'logConfiguration' option awslogs-stream-prefix has an invalid value: '{prefix}'."
        ));
    }
    match given("awslogs-create-group") {
        None | Some("true" | "false") => {}
        Some(other) => {
            return Err(format!(
                "'logConfiguration' option awslogs-create-group must be true or false, not {other}."
            ));
        }
    }
    match (given("awslogs-datetime-format"), given("awslogs-multiline-pattern")) {
        (Some(_), Some(_)) => {
            return Err("you cannot configure both awslogs-datetime-format and awslogs-multiline-pattern.".to_owned());
        }
        (Some(format), None) if !is_datetime_format(format) => {
            return Err(format!(
                "'logConfiguration' option awslogs-datetime-format has an unknown directive: {format}"
            ));
        }
        (None, Some(pattern)) => {
            if let Err(error) = regex::Regex::new(pattern) {
                return Err(format!(
                    "'logConfiguration' option awslogs-multiline-pattern is invalid: {error}"
                ));
            }
        }
        _ => {}
    }
    let blocking = match given("mode") {
        None | Some("non-blocking") => false,
        Some("blocking") => true,
        Some(other) => {
            return Err(format!(
                "'logConfiguration' option mode must be blocking or non-blocking, not {other}."
            ));
        }
    };
    match given("max-buffer-size") {
        Some(_) if blocking => {
            Err("'logConfiguration' option max-buffer-size is only for the mode non-blocking.".to_owned())
        }
        Some(size) if !is_size(size) => Err(format!(
            "'logConfiguration' option max-buffer-size has an invalid value: '{size}'."
        )),
        _ => Ok(()),
    }
}

fn is_datetime_format(format: &str) -> bool {
    let mut chars = format.chars();
    let mut directives = 0;
    while let Some(c) = chars.next() {
        if c == '%' {
            directives += 1;
            if !chars.next().is_some_and(|c| STRFTIME.contains(c)) {
                return false;
            }
        }
    }
    directives > 0
}

/// Docker's sizes: a number and `b`, `k`, `m` or `g`, with or without a second `b`.
fn is_size(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches("b").trim_end_matches(['k', 'm', 'g']);
    !digits.is_empty() && lower.len() - digits.len() <= 2 && digits.parse::<u64>().is_ok_and(|n| n > 0)
}
