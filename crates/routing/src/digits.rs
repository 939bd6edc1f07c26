//! Numbers, addresses and times as text, straight into the buffer that is sent or logged.
//!
//! Formatting with `write!` cost a tenth of a request's own time; this is what a request's path uses instead.

use neargate_core::Timestamp;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// In decimal.
pub fn number(number: u64, out: &mut Vec<u8>) {
    padded(number, 1, out);
}

/// In decimal, of at least `width` digits.
pub fn padded(number: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    let mut left = number;
    while left > 0 {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    out.extend_from_slice(&digits[at.min(digits.len() - width.min(digits.len()))..]);
}

/// In hexadecimal, of `width` digits: the last ones of a number that has more.
pub fn hexadecimal(number: u128, width: usize, out: &mut Vec<u8>) {
    // By bytes: shifting so wide a number for every digit takes longer than all else here.
    let bytes = number.to_le_bytes();
    let digit = |place: usize| b"0123456789abcdef"[usize::from(bytes[place / 2] >> (4 * (place % 2)) & 0xf)];
    out.extend((0..width).rev().map(digit));
}

pub fn ip(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => {
            let mut text = [0; 15];
            let length = v4(address, &mut text);
            out.extend_from_slice(&text[..length]);
        }
        // Writing to a vector does not fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

/// How long the text is that it writes. In one go: an address is written four times a request.
fn v4(address: Ipv4Addr, text: &mut [u8; 15]) -> usize {
    let mut length = 0;
    let mut put = |byte: u8| {
        text[length] = byte;
        length += 1;
    };
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            put(b'.');
        }
        if octet >= 100 {
            put(b'0' + octet / 100);
        }
        if octet >= 10 {
            put(b'0' + octet / 10 % 10);
        }
        put(b'0' + octet % 10);
    }
    length
}

/// Address and port, as URLs have them.
pub fn socket(address: SocketAddr, out: &mut Vec<u8>) {
    match address {
        SocketAddr::V4(_) => {
            ip(address.ip(), out);
            out.push(b':');
            number(address.port().into(), out);
        }
        SocketAddr::V6(_) => drop(write!(out, "{address}")),
    }
}

/// `2026-11-25T18:00:01`; what is no time of our calendar is written as the epoch.
pub fn seconds(at: Timestamp, out: &mut Vec<u8>) {
    let at = jiff::Timestamp::from_millisecond(at.millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let at = jiff::tz::Offset::UTC.to_datetime(at);
    let mut text = *b"0000-00-00T00:00:00";
    let year = at.year().unsigned_abs();
    let parts = [(0, year / 100), (2, year % 100)];
    let rest = [
        (5, at.month()),
        (8, at.day()),
        (11, at.hour()),
        (14, at.minute()),
        (17, at.second()),
    ];
    let rest = rest.map(|(place, part)| (place, part.unsigned_abs().into()));
    for (place, part) in parts.into_iter().chain(rest) {
        text[place] = b'0' + (part / 10) as u8;
        text[place + 1] = b'0' + (part % 10) as u8;
    }
    out.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn all_is_written_as_the_standard_library_writes_it(n: u64, big: u128, width in 1_usize..20, address: SocketAddr) {
            prop_assert_eq!(written(|out| number(n, out)), n.to_string());
            prop_assert_eq!(written(|out| padded(n >> 40, width, out)), format!("{:0width$}", n >> 40));
            prop_assert_eq!(written(|out| hexadecimal(big, 32, out)), format!("{big:032x}"));
            prop_assert_eq!(written(|out| hexadecimal(n.into(), 8, out)), format!("{:08x}", n as u32));
            prop_assert_eq!(written(|out| ip(address.ip(), out)), address.ip().to_string());
            prop_assert_eq!(written(|out| socket(address, out)), address.to_string());
        }

        #[test]
        fn times_are_those_of_the_xml_protocols(millis in 0_i64..253_402_300_800_000) {
            let at = Timestamp(millis);
            prop_assert_eq!(written(|out| seconds(at, out)), at.iso8601()[..19].to_owned());
        }
    }

    #[test]
    fn nothing_is_a_zero() {
        assert_eq!(written(|out| number(0, out)), "0");
        assert_eq!(written(|out| seconds(Timestamp(0), out)), "1970-01-01T00:00:00");
    }
}
