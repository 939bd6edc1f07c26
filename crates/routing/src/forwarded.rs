//! What targets are told of the client: X-Forwarded-For, X-Amzn-Trace-Id, and which headers end at the balancer. Sources:
//! "HTTP headers and Application Load Balancers", "Request tracing" of the ELB guide; RFC 9110, 7.6.1.

use crate::digits;
use crate::head::Headers;
use neargate_core::Timestamp;
use std::net::SocketAddr;

/// `routing.http.xff_header_processing.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XffMode {
    /// The client's address goes after what came.
    Append,
    /// What came, unchanged.
    Preserve,
    /// None is sent.
    Remove,
}

/// X-Forwarded-For has more than 30 addresses: answer 463.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyAddresses;

const MOST_ADDRESSES: usize = 30;

/// The value of X-Forwarded-For for the target, added to `out`; false: send none.
///
/// The client's own lines are to be dropped: they are in the value where the mode keeps them.
///
/// # Errors
/// `TooManyAddresses`; `out` is as it was then.
pub fn forwarded_for(
    mode: XffMode,
    client_port: bool,
    headers: &dyn Headers,
    peer: SocketAddr,
    out: &mut Vec<u8>,
) -> Result<bool, TooManyAddresses> {
    if mode == XffMode::Remove {
        return Ok(false);
    }
    let from = out.len();
    let mut lines = 0;
    headers.visit("x-forwarded-for", &mut |value| {
        if lines > 0 {
            out.extend_from_slice(b", ");
        }
        lines += 1;
        out.extend_from_slice(value);
    });
    let given = &out[from..];
    if given.iter().filter(|b| **b == b',').count() >= MOST_ADDRESSES {
        out.truncate(from);
        return Err(TooManyAddresses);
    }
    if mode == XffMode::Preserve {
        return Ok(lines > 0);
    }
    if given.trim_ascii().is_empty() {
        out.truncate(from);
    } else {
        out.extend_from_slice(b", ");
    }
    let address = peer.ip().to_canonical();
    if client_port {
        digits::socket(SocketAddr::new(address, peer.port()), out);
    } else {
        digits::ip(address, out);
    }
    Ok(true)
}

/// The value of X-Amzn-Trace-Id for the target, added to `out`: a new root, or what came with this balancer's `Self`.
pub fn trace_id(existing: Option<&[u8]>, now: Timestamp, random: [u64; 2], out: &mut Vec<u8>) {
    let existing = existing.map(<[u8]>::trim_ascii).filter(|value| !value.is_empty());
    let fields = || {
        existing
            .into_iter()
            .flat_map(|value| value.split(|b| *b == b';'))
            .map(<[u8]>::trim_ascii)
    };
    let is = |field: &[u8], name: &[u8]| {
        field
            .split_at_checked(name.len())
            .is_some_and(|(start, _)| start.eq_ignore_ascii_case(name))
    };
    // At once, with room for a root that came.
    out.reserve(96);
    let rooted = fields().any(|field| is(field, b"Root="));
    out.extend_from_slice(if rooted { b"Self=" } else { b"Root=" });
    // 96 bits.
    out.extend_from_slice(b"1-");
    digits::hexadecimal((now.secs() as u32).into(), 8, out);
    out.push(b'-');
    digits::hexadecimal(random[0].into(), 16, out);
    digits::hexadecimal((random[1] as u32).into(), 8, out);
    for field in fields().filter(|field| !field.is_empty() && !is(field, b"Self=")) {
        out.push(b';');
        out.extend_from_slice(field);
    }
}

/// Headers of one connection, never passed on. What `Connection` lists besides: see [`named_in`].
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// True for a header that ends at the balancer. `name` in any case.
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    one_of(&HOP_BY_HOP, name)
}

/// True when a `Connection` header's value lists `name`.
pub fn named_in(connection: &[u8], name: &[u8]) -> bool {
    connection
        .split(|b| *b == b',')
        .any(|listed| listed.trim_ascii().eq_ignore_ascii_case(name))
}

/// Headers that the balancer writes itself.
const REPLACED: [&str; 4] = [
    "x-amzn-trace-id",
    "x-forwarded-for",
    "x-forwarded-port",
    "x-forwarded-proto",
];

/// True for a header of the client's that is dropped because the balancer writes it. `name` in any case.
pub fn is_replaced(name: &[u8]) -> bool {
    one_of(&REPLACED, name)
}

fn one_of(names: &[&str], name: &[u8]) -> bool {
    names.iter().any(|one| one.as_bytes().eq_ignore_ascii_case(name))
}

/// False for a header that `routing.http.drop_invalid_header_fields.enabled` drops.
pub fn is_valid_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xff(mode: XffMode, port: bool, lines: &[&str], peer: &str) -> Result<Option<String>, TooManyAddresses> {
        let headers: Vec<(&[u8], &[u8])> = lines
            .iter()
            .map(|line| (&b"X-Forwarded-For"[..], line.as_bytes()))
            .collect();
        let mut out = Vec::new();
        let sent = forwarded_for(mode, port, &headers.as_slice(), peer.parse().unwrap(), &mut out)?;
        Ok(sent.then(|| String::from_utf8(out).unwrap()))
    }

    #[test]
    fn x_forwarded_for_in_every_mode() {
        let peer = "198.51.100.7:5000";
        let text = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(xff(XffMode::Append, false, &[], peer), text("198.51.100.7"));
        assert_eq!(xff(XffMode::Append, true, &[], peer), text("198.51.100.7:5000"));
        assert_eq!(
            xff(XffMode::Append, false, &["1.1.1.1", "2.2.2.2, 3.3.3.3"], peer),
            text("1.1.1.1, 2.2.2.2, 3.3.3.3, 198.51.100.7")
        );
        assert_eq!(xff(XffMode::Append, false, &[" "], peer), text("198.51.100.7"));
        assert_eq!(xff(XffMode::Append, false, &[], "[2001:db8::1]:1"), text("2001:db8::1"));
        assert_eq!(
            xff(XffMode::Append, true, &[], "[2001:db8::1]:1"),
            text("[2001:db8::1]:1")
        );
        assert_eq!(
            xff(XffMode::Append, false, &[], "[::ffff:10.0.0.1]:1"),
            text("10.0.0.1")
        );
        assert_eq!(xff(XffMode::Preserve, true, &["1.1.1.1"], peer), text("1.1.1.1"));
        assert_eq!(xff(XffMode::Preserve, true, &[], peer), Ok(None));
        assert_eq!(xff(XffMode::Remove, true, &["1.1.1.1"], peer), Ok(None));
    }

    #[test]
    fn more_than_thirty_addresses_are_refused() {
        let line = |count| vec!["10.0.0.1"; count].join(", ");
        assert!(xff(XffMode::Append, false, &[&line(30)], "10.0.0.2:1").is_ok());
        assert!(xff(XffMode::Append, false, &[&line(31)], "10.0.0.2:1").is_err());
        assert!(xff(XffMode::Preserve, false, &[&line(16), &line(15)], "10.0.0.2:1").is_err());
    }

    #[test]
    fn traces_begin_or_go_on() {
        let value = |existing: Option<&str>| {
            let mut out = Vec::new();
            let now = Timestamp::from_secs(0x6789_1234);
            trace_id(
                existing.map(str::as_bytes),
                now,
                [0x1234_5678_9abc_def0, 0x1234_5678],
                &mut out,
            );
            String::from_utf8(out).unwrap()
        };
        let own = "1-67891234-123456789abcdef012345678";
        assert_eq!(value(None), format!("Root={own}"));
        assert_eq!(value(Some("  ")), format!("Root={own}"));
        assert_eq!(
            value(Some("Root=1-1-1;CalledFrom=app")),
            format!("Self={own};Root=1-1-1;CalledFrom=app")
        );
        assert_eq!(value(Some("Self=1-2-2; Root=1-1-1")), format!("Self={own};Root=1-1-1"));
        assert_eq!(value(Some("CalledFrom=app")), format!("Root={own};CalledFrom=app"));
    }

    #[test]
    fn headers_of_the_connection_end_here() {
        assert!(is_hop_by_hop(b"Transfer-Encoding") && is_hop_by_hop(b"TE"));
        assert!(!is_hop_by_hop(b"Host"));
        assert!(named_in(b"keep-alive, X-Secret", b"x-secret"));
        assert!(!named_in(b"keep-alive, X-Secret-2", b"x-secret"));
        assert!(is_replaced(b"X-FORWARDED-PROTO") && !is_replaced(b"x-forwarded-host"));
        assert!(is_valid_name(b"X-Ok-1") && !is_valid_name(b"x_under") && !is_valid_name(b""));
    }
}
