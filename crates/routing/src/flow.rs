//! Flows of a Network Load Balancer: the same flow finds the same target, and targets that come and go move few flows.

use std::net::{IpAddr, SocketAddr};

/// What makes a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// IP protocol number: 6 TCP, 17 UDP.
    pub protocol: u8,
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

impl Flow {
    /// A hash of the five parts.
    pub fn hash(&self) -> u64 {
        let ports = u64::from(self.source.port()) << 16 | u64::from(self.destination.port());
        let state = mix(fold(self.source.ip()), fold(self.destination.ip()));
        mix(state, ports << 8 | u64::from(self.protocol))
    }

    /// A hash of the client's address alone.
    pub fn source_hash(&self) -> u64 {
        mix(fold(self.source.ip()), 0)
    }
}

fn fold(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            mix((bits >> 64) as u64, bits as u64)
        }
    }
}

/// Two numbers into one that looks random: the finalizer of SplitMix64.
pub fn mix(a: u64, b: u64) -> u64 {
    let mut state = a
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(b)
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// FNV-1a: the same in every process, for tags that cookies carry.
pub fn tag<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let state = parts.into_iter().fold(0xcbf2_9ce4_8422_2325, |state, part| {
        let part = part.iter().fold(state, |state: u64, byte| {
            (state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        mix(part, 1)
    });
    mix(state, 0)
}
