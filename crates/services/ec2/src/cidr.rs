//! Ranges of addresses: reading, comparing, taking one out of another. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Network address and prefix length, without host bits.
pub type Cidr = (Ipv4Addr, u8);

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

/// A prefix's length in decimal digits, without a sign or zeros before it.
fn length(text: &str, most: u8) -> Option<u8> {
    let length: u8 = text.parse().ok()?;
    (length <= most && length.to_string() == text).then_some(length)
}

/// Reads `10.0.0.0/16`; host bits are cut off, as EC2 does. None for anything else.
pub fn parse(text: &str) -> Option<Cidr> {
    let (address, prefix) = text.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let prefix = length(prefix, 32)?;
    Some((Ipv4Addr::from(u32::from(address) & mask(prefix)), prefix))
}

/// As `parse`, for IPv6; the canonical text.
pub fn parse_v6(text: &str) -> Option<String> {
    let (address, prefix) = text.split_once('/')?;
    let address: Ipv6Addr = address.parse().ok()?;
    let prefix = length(prefix, 128)?;
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    Some(format!("{}/{prefix}", Ipv6Addr::from(u128::from(address) & mask)))
}

pub fn contains((base, prefix): Cidr, address: Ipv4Addr) -> bool {
    u32::from(address) & mask(prefix) == u32::from(base)
}

/// True when all of `inner` lies in `outer`.
pub fn within(outer: Cidr, inner: Cidr) -> bool {
    inner.1 >= outer.1 && contains(outer, inner.0)
}

pub fn overlap(a: Cidr, b: Cidr) -> bool {
    within(a, b) || within(b, a)
}

/// What is left of `range` without `hole`: at most 32 ranges.
pub fn without(range: Cidr, hole: Cidr) -> Vec<Cidr> {
    if !overlap(range, hole) {
        return vec![range];
    }
    if within(hole, range) {
        return Vec::new();
    }
    // The hole lies inside: at each step one half is kept whole, the other still has the hole.
    let mut left = Vec::new();
    let (mut base, mut prefix) = range;
    while prefix < hole.1 {
        prefix += 1;
        let low = (base, prefix);
        let high = (
            Ipv4Addr::from(u32::from(base) | 1u32 << (32 - u32::from(prefix))),
            prefix,
        );
        if within(low, hole) {
            left.push(high);
        } else {
            left.push(low);
            base = high.0;
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn host_bits_are_cut_off_and_nonsense_is_refused() {
        assert_eq!(parse("10.0.3.7/16"), Some((Ipv4Addr::new(10, 0, 0, 0), 16)));
        for bad in [
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0/8",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "x/1",
            "",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse_v6("2001:db8::1/32").as_deref(), Some("2001:db8::/32"));
    }

    proptest! {
        #[test]
        fn what_is_left_is_all_but_the_hole(base in any::<u32>(), p in 0u8..=32, h in any::<u32>(), q in 0u8..=32, probe in any::<u32>()) {
            let range = parse(&format!("{}/{p}", Ipv4Addr::from(base))).unwrap();
            let hole = parse(&format!("{}/{q}", Ipv4Addr::from(h))).unwrap();
            for address in [Ipv4Addr::from(probe), range.0, hole.0, Ipv4Addr::from(u32::from(hole.0).wrapping_sub(1))] {
                let expected = contains(range, address) && !contains(hole, address);
                let left = without(range, hole).into_iter().filter(|r| contains(*r, address)).count();
                prop_assert_eq!(left, usize::from(expected));
            }
        }
    }
}
