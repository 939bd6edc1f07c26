//! The PROXY protocol header of version 2 (HAProxy's `proxy-protocol.txt`), which tells a target who the client is.

use std::net::SocketAddr;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const PROXY: u8 = 0x21;
const INET: u8 = 0x10;
const INET6: u8 = 0x20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Stream = 1,
    Datagram = 2,
}

/// The header for a client at `client` that came to `balancer`. Both become IPv6 when one is.
pub fn header(client: SocketAddr, balancer: SocketAddr, transport: Transport) -> Vec<u8> {
    let mut out = Vec::with_capacity(52);
    out.extend_from_slice(&SIGNATURE);
    out.push(PROXY);
    match (client, balancer) {
        (SocketAddr::V4(client), SocketAddr::V4(balancer)) => {
            out.push(INET | transport as u8);
            out.extend_from_slice(&12u16.to_be_bytes());
            out.extend_from_slice(&client.ip().octets());
            out.extend_from_slice(&balancer.ip().octets());
        }
        _ => {
            out.push(INET6 | transport as u8);
            out.extend_from_slice(&36u16.to_be_bytes());
            for address in [client, balancer] {
                out.extend_from_slice(&match address {
                    SocketAddr::V4(v4) => v4.ip().to_ipv6_mapped().octets(),
                    SocketAddr::V6(v6) => v6.ip().octets(),
                });
            }
        }
    }
    out.extend_from_slice(&client.port().to_be_bytes());
    out.extend_from_slice(&balancer.port().to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_the_one_of_the_specification() {
        let bytes = header(
            "192.168.0.1:56324".parse().unwrap(),
            "192.168.0.11:443".parse().unwrap(),
            Transport::Stream,
        );
        let expected = "0d0a0d0a000d0a515549540a2111000cc0a80001c0a8000bdc0401bb";
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
    }

    #[test]
    fn addresses_of_two_kinds_are_both_told_as_ipv6() {
        let bytes = header(
            "[2001:db8::1]:1".parse().unwrap(),
            "10.0.0.1:2".parse().unwrap(),
            Transport::Datagram,
        );
        assert_eq!(bytes.len(), 16 + 36);
        assert_eq!(bytes[13], 0x22);
        assert_eq!(bytes[42..44], [0xff, 0xff]);
        assert_eq!(bytes[44..48], [10, 0, 0, 1]);
        assert_eq!(bytes[48..], [0, 1, 0, 2]);
    }
}
