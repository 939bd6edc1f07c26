//! Ranges of addresses of both families.

use std::net::IpAddr;

/// A range such as `10.0.0.0/8` or `2001:db8::/32`.
pub fn parse(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length: u8 = prefix.parse().ok()?;
    // In digits alone, without zeros before them.
    (length <= most && length.to_string() == prefix).then_some((address, length))
}

/// True when the address lies in the range.
pub fn contains((network, prefix): (IpAddr, u8), address: IpAddr) -> bool {
    let bits = |a: IpAddr| match a {
        IpAddr::V4(a) => (u128::from(u32::from(a)) << 96, true),
        IpAddr::V6(a) => (u128::from(a), false),
    };
    let ((network, four), (address, other)) = (bits(network), bits(address));
    let differing = (network ^ address).leading_zeros();
    four == other && differing >= u32::from(prefix)
}
