//! Moments in every form AWS accepts, as seconds since the epoch.

use neargate_core::Timestamp;

/// Reads ISO 8601 (`2026-11-21T08:40:00Z`, with fraction or offset), an HTTP date, or a number of seconds.
pub fn parse(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds.is_finite().then_some(seconds);
    }
    if let Some(moment) = Timestamp::parse_iso8601(text) {
        return Some(moment.millis() as f64 / 1000.0);
    }
    http_date(text).map(|moment| moment.millis() as f64 / 1000.0)
}

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn http_date(text: &str) -> Option<Timestamp> {
    let zoned = jiff::fmt::rfc2822::DateTimeParser::new().parse_zoned(text).ok()?;
    Some(Timestamp::from_millis(zoned.timestamp().as_millisecond()))
}

/// ISO 8601 of a number of seconds, as the XML protocols write it.
pub fn iso8601(seconds: f64) -> String {
    Timestamp::from_millis((seconds * 1000.0).round() as i64).iso8601()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_accepted_form_is_the_same_moment() {
        for text in [
            "1763714400.5",
            "2025-11-21T08:40:00.5Z",
            "2025-11-21T09:40:00.500+01:00",
        ] {
            assert_eq!(parse(text), Some(1_763_714_400.5), "{text}");
        }
        assert_eq!(parse("Fri, 21 Nov 2025 08:40:00 GMT"), Some(1_763_714_400.0));
        for text in ["", "yesterday", "NaN", "inf", "2025-13-41T00:00:00Z"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(iso8601(1_763_714_400.5), "2025-11-21T08:40:00.500Z");
    }
}
