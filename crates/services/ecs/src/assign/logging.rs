//! A container's log driver with its options resolved.

use crate::api;
use crate::records::TaskRecord;
use neargate_link::{AwslogsSpec, LogSpec};

/// The buffer of non-blocking mode when none is given.
const DEFAULT_BUFFER: u64 = 10 * 1024 * 1024;

/// Where the container's lines go. Drivers other than awslogs and json-file are refused when the task definition is
/// registered. `blocking_default` is the account's `defaultLogDriverMode`, used when the options name no mode.
pub fn log(
    task: &TaskRecord,
    container: &str,
    configuration: Option<&api::LogConfiguration>,
    blocking_default: bool,
) -> LogSpec {
    let Some(configuration) = configuration.filter(|c| c.log_driver.as_deref() == Some("awslogs")) else {
        return LogSpec::JsonFile;
    };
    let option = |name: &str| {
        configuration
            .options
            .as_ref()
            .and_then(|o| o.get(name))
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    };
    let blocking = match option("mode") {
        Some(mode) => mode == "blocking",
        None => blocking_default,
    };
    let buffer = option("max-buffer-size").and_then(bytes).unwrap_or(DEFAULT_BUFFER);
    let stream = match (option("awslogs-stream"), option("awslogs-stream-prefix")) {
        (Some(stream), _) => stream.to_owned(),
        (None, Some(prefix)) => format!("{prefix}/{container}/{}", task.id),
        // Docker would name it after the container's id; ours is the last part of the container's ARN.
        (None, None) => task
            .containers
            .iter()
            .find(|c| c.name == container)
            .map_or_else(|| format!("{container}/{}", task.id), |c| c.id.replace('-', "")),
    };
    LogSpec::Awslogs(AwslogsSpec {
        region: option("awslogs-region").unwrap_or(&task.region).to_owned(),
        group: option("awslogs-group").unwrap_or_default().to_owned(),
        stream,
        create_group: option("awslogs-create-group").is_some_and(|v| v.eq_ignore_ascii_case("true")),
        multiline_pattern: option("awslogs-multiline-pattern")
            .map(str::to_owned)
            .or_else(|| option("awslogs-datetime-format").map(datetime_pattern)),
        max_buffer_bytes: (!blocking).then_some(buffer),
    })
}

/// `25m`, `1g`, `4096k`, `100b` or plain bytes, as Docker reads sizes.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text
        .strip_suffix("ib")
        .or_else(|| text.strip_suffix('b'))
        .unwrap_or(&text);
    let (number, factor) = match text.chars().last()? {
        'k' => (&text[..text.len() - 1], 1u64 << 10),
        'm' => (&text[..text.len() - 1], 1 << 20),
        'g' => (&text[..text.len() - 1], 1 << 30),
        't' => (&text[..text.len() - 1], 1 << 40),
        _ => (text, 1),
    };
    number.trim().parse::<u64>().ok()?.checked_mul(factor)
}

/// The regular expression of a Python strftime format, as Docker's awslogs driver makes it: what is no `%` code stays as
/// it is.
fn datetime_pattern(format: &str) -> String {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let Some(code) = chars.next() else {
            out.push('%');
            break;
        };
        match code {
            'a' => out.push_str("(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"),
            'A' => out.push_str("(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"),
            'w' => out.push_str("[0-6]"),
            'd' => out.push_str("(?:0[1-9]|[12][0-9]|3[01])"),
            'b' => out.push_str("(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"),
            'B' => out
                .push_str("(?:January|February|March|April|May|June|July|August|September|October|November|December)"),
            'm' => out.push_str("(?:0[1-9]|1[0-2])"),
            'Y' => out.push_str(r"\d{4}"),
            'y' => out.push_str(r"\d{2}"),
            'H' => out.push_str("(?:[01][0-9]|2[0-3])"),
            'I' => out.push_str("(?:0[0-9]|1[0-2])"),
            'p' => out.push_str("[AP]M"),
            'M' | 'S' => out.push_str("[0-5][0-9]"),
            'f' => out.push_str(r"\d{6}"),
            'z' => out.push_str(r"[+-]\d{4}"),
            'Z' => out.push_str("[A-Z]{1,4}T"),
            'j' => out.push_str("(?:00[1-9]|0[1-9][0-9]|[12][0-9][0-9]|3[0-5][0-9]|36[0-6])"),
            'L' => out.push_str(r"\.\d{3}"),
            '%' => out.push('%'),
            other => {
                out.push('%');
                out.push(other);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datetime_formats_become_patterns_that_match_their_lines() {
        for (format, line) in [
            ("%Y-%m-%d %H:%M:%S", "2026-11-21 09:05:59 started"),
            (r"\[%b %d, %Y %H:%M:%S\]", "[Nov 21, 2026 09:05:59] started"),
            ("%H:%M:%S%L", "23:59:59.120 tick"),
            ("%A %j %p%z", "Saturday 325 AM+0100"),
        ] {
            let pattern = regex::Regex::new(&datetime_pattern(format)).unwrap();
            assert!(pattern.is_match(line), "{format} as {pattern} does not match {line}");
            assert!(!pattern.is_match("  at java.lang.Thread"));
        }
    }

    #[test]
    fn buffer_sizes_read_as_docker_reads_them() {
        for (text, want) in [
            ("4096", Some(4096)),
            ("1k", Some(1024)),
            ("25m", Some(25 << 20)),
            ("1GiB", Some(1 << 30)),
            ("x", None),
        ] {
            assert_eq!(bytes(text), want, "{text}");
        }
    }
}
