//! The canonical request and the string to sign.

use super::{ALGORITHM, PathEncoding, sha256_hex};
use crate::codec::form::percent_decoded;
use crate::request::Request;
use std::fmt::Write as _;

/// The canonical request of `request`; `signed` are header names in lower case, in the order of the signature.
pub fn canonical_request(
    request: &Request<'_>,
    signed: &[&str],
    encoding: PathEncoding,
    without_query: Option<&str>,
    payload_hash: &str,
) -> String {
    let mut out = String::with_capacity(512);
    out.push_str(request.method);
    out.push('\n');
    path(request.path, encoding, &mut out);
    out.push('\n');
    query(request.query, without_query, &mut out);
    out.push('\n');
    for name in signed {
        out.push_str(name);
        out.push(':');
        for (i, value) in request.values(name).enumerate() {
            if i > 0 {
                out.push(',');
            }
            header_value(value, &mut out);
        }
        out.push('\n');
    }
    out.push('\n');
    out.push_str(&signed.join(";"));
    out.push('\n');
    out.push_str(payload_hash);
    out
}

/// The string to sign over a canonical request.
pub fn string_to_sign(time: &str, scope: &str, canonical: &str) -> String {
    format!("{ALGORITHM}\n{time}\n{scope}\n{}", sha256_hex(canonical.as_bytes()))
}

fn path(path: &str, encoding: PathEncoding, out: &mut String) {
    if path.is_empty() {
        out.push('/');
        return;
    }
    match encoding {
        // `+` stands for itself in paths, unlike in queries.
        PathEncoding::Once => encode(&percent_decoded(path.replace('+', "%2B").as_bytes()), true, out),
        PathEncoding::Twice => encode(normalised(path).as_bytes(), true, out),
    }
}

/// Removes `.`, `..` and empty segments (RFC 3986, section 5.2.4).
fn normalised(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if out.is_empty() || path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..") {
        out.push('/');
    }
    out
}

fn query(raw: &str, without: Option<&str>, out: &mut String) {
    let mut pairs: Vec<(String, String)> = raw
        .split('&')
        .filter(|piece| !piece.is_empty())
        .map(|piece| {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            (reencoded(name), reencoded(value))
        })
        .filter(|(name, _)| without != Some(name.as_str()))
        .collect();
    pairs.sort_unstable();
    for (i, (name, value)) in pairs.iter().enumerate() {
        if i > 0 {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        out.push_str(value);
    }
}

fn reencoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    encode(&percent_decoded(text.as_bytes()), false, &mut out);
    out
}

/// Percent-encodes all but unreserved characters, and `/` where `slashes` may stay.
pub fn encode(bytes: &[u8], slashes: bool, out: &mut String) {
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(*byte)),
            b'/' if slashes => out.push('/'),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

/// Trims, and makes one space of each run of blanks.
fn header_value(value: &[u8], out: &mut String) {
    let text = String::from_utf8_lossy(value);
    let mut first = true;
    for word in text.split([' ', '\t']).filter(|word| !word.is_empty()) {
        if !first {
            out.push(' ');
        }
        out.push_str(word);
        first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(raw: &str, encoding: PathEncoding) -> String {
        let mut out = String::new();
        path(raw, encoding, &mut out);
        out
    }

    #[test]
    fn paths_are_encoded_once_for_s3_and_twice_for_others() {
        assert_eq!(path_of("", PathEncoding::Twice), "/");
        assert_eq!(path_of("//example//", PathEncoding::Twice), "/example/");
        assert_eq!(path_of("/a/./b/../c", PathEncoding::Twice), "/a/c");
        assert_eq!(path_of("/../..", PathEncoding::Twice), "/");
        assert_eq!(path_of("/a%20b", PathEncoding::Twice), "/a%2520b");
        assert_eq!(path_of("/a%20b//c/../d+e", PathEncoding::Once), "/a%20b//c/../d%2Be");
        assert_eq!(path_of("/x%2Fy$", PathEncoding::Once), "/x/y%24");
    }

    #[test]
    fn queries_are_sorted_and_encoded_alike() {
        let mut out = String::new();
        query(
            "b=2&a=%7e%20+&a=1&&X-Amz-Signature=z&c",
            Some("X-Amz-Signature"),
            &mut out,
        );
        assert_eq!(out, "a=1&a=~%20%20&b=2&c=");
    }

    #[test]
    fn header_values_lose_their_extra_blanks() {
        let mut out = String::new();
        header_value(b"  a   b \t c  ", &mut out);
        assert_eq!(out, "a b c");
    }
}
