//! Numbers, addresses and times as text, straight into the buffer that is sent or logged.
//!
//! Formatting with `write!` cost a tenth of a request's own time; this is what a request's path uses instead.

use neargate_core::Timestamp;
use std::cell::Cell;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// In decimal.
pub fn number(number: u64, out: &mut Vec<u8>) {
    let mut text = [0; 20];
    let start = put_last(number, &mut text);
    out.extend_from_slice(&text[start..]);
}

/// Writes a number to the end of `text`, which has room for it; where it begins.
fn put_last(number: u64, text: &mut [u8]) -> usize {
    let mut at = text.len();
    let mut left = number;
    loop {
        at -= 1;
        text[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            return at;
        }
    }
}

/// Fills `text` with the last digits of a number.
fn fill(number: u32, text: &mut [u8]) {
    let mut left = number;
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
}

/// Seconds with three places, `12.045`.
pub fn millis(took: Duration, out: &mut Vec<u8>) {
    let mut text = [b'.'; 24];
    fill(took.subsec_millis(), &mut text[21..]);
    let start = put_last(took.as_secs(), &mut text[..20]);
    out.extend_from_slice(&text[start..]);
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
    out.extend_from_slice(&date_and_time(at));
}

/// `2026-11-25T18:00:01.012345Z`, given the microseconds of the second.
pub fn micros(at: Timestamp, micros: u32, out: &mut Vec<u8>) {
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    text[..19].copy_from_slice(&date_and_time(at));
    fill(micros, &mut text[20..26]);
    out.extend_from_slice(&text);
}

thread_local! {
    /// The second that was written last: mostly the next one, too.
    static LAST: Cell<(i64, [u8; 19])> = const { Cell::new((0, *b"1970-01-01T00:00:00")) };
}

fn date_and_time(at: Timestamp) -> [u8; 19] {
    let second = at.millis().div_euclid(1000);
    let (last, text) = LAST.get();
    if last == second {
        return text;
    }
    let at = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let at = jiff::tz::Offset::UTC.to_datetime(at);
    let mut text = *b"0000-00-00T00:00:00";
    fill(at.year().unsigned_abs().into(), &mut text[..4]);
    let rest = [
        (5, at.month()),
        (8, at.day()),
        (11, at.hour()),
        (14, at.minute()),
        (17, at.second()),
    ];
    for (place, part) in rest {
        fill(part.unsigned_abs().into(), &mut text[place..place + 2]);
    }
    LAST.set((second, text));
    text
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
        fn all_is_written_as_the_standard_library_writes_it(n: u64, big: u128, address: SocketAddr, took: Duration) {
            prop_assert_eq!(written(|out| number(n, out)), n.to_string());
            prop_assert_eq!(written(|out| number(n >> 40, out)), (n >> 40).to_string());
            let millis_of = format!("{}.{:03}", took.as_secs(), took.subsec_millis());
            prop_assert_eq!(written(|out| millis(took, out)), millis_of);
            prop_assert_eq!(written(|out| hexadecimal(big, 32, out)), format!("{big:032x}"));
            prop_assert_eq!(written(|out| hexadecimal(n.into(), 8, out)), format!("{:08x}", n as u32));
            prop_assert_eq!(written(|out| ip(address.ip(), out)), address.ip().to_string());
            prop_assert_eq!(written(|out| socket(address, out)), address.to_string());
        }

        #[test]
        fn times_are_those_of_the_xml_protocols(millis in 0_i64..253_402_300_800_000, of_second in 0_u32..1_000_000) {
            let at = Timestamp(millis);
            let text = at.iso8601()[..19].to_owned();
            prop_assert_eq!(written(|out| seconds(at, out)), text.clone());
            prop_assert_eq!(written(|out| micros(at, of_second, out)), format!("{text}.{of_second:06}Z"));
        }
    }

    #[test]
    fn nothing_is_a_zero() {
        assert_eq!(written(|out| number(0, out)), "0");
        assert_eq!(written(|out| seconds(Timestamp(0), out)), "1970-01-01T00:00:00");
    }
}
