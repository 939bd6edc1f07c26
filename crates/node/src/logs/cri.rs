//! One line of a container's log file, in the CRI format: `<RFC 3339 time> <stdout|stderr> <P|F> <text>`.
//!
//! Called by `assemble`. Pure.

use neargate_core::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    pub at: Timestamp,
    pub stream: Stream,
    /// More of the same line follows.
    pub partial: bool,
    pub text: &'a [u8],
}

/// Reads a line without its newline; none when it is not in the format (a crash of the machine can tear one).
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |b| *b == b' ');
    let at = Timestamp::parse_iso8601(std::str::from_utf8(parts.next()?).ok()?)?;
    let stream = match parts.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let partial = match parts.next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    Some(Line {
        at,
        stream,
        partial,
        text: parts.next().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_with_nanoseconds_and_spaces() {
        let line = parse(b"2026-11-21T08:40:00.123456789Z stderr P a  b ").unwrap();
        assert_eq!(line.at, Timestamp::parse_iso8601("2026-11-21T08:40:00.123Z").unwrap());
        assert_eq!(
            (line.stream, line.partial, line.text),
            (Stream::Stderr, true, &b"a  b "[..])
        );
        assert_eq!(parse(b"2026-11-21T08:40:00.123456789Z stdout F ").unwrap().text, b"");
        assert_eq!(parse(b"2026-11-21T08:40:00Z stdout F").unwrap().text, b"");
        assert!(parse(b"").is_none());
        assert!(parse(b"yesterday stdout F x").is_none());
        assert!(parse(b"2026-11-21T08:40:00Z stdin F x").is_none());
    }
}
