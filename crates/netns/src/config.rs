//! What the node asks for, as plain data, and the arithmetic of address ranges.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

/// An IPv4 range whose base has no host bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    base: Ipv4Addr,
    prefix: u8,
}

impl Cidr {
    /// The range of `prefix` bits that `address` lies in; none when `prefix` exceeds 32.
    pub fn containing(address: Ipv4Addr, prefix: u8) -> Option<Cidr> {
        if prefix > 32 {
            return None;
        }
        Some(Cidr {
            base: Ipv4Addr::from(u32::from(address) & mask(prefix)),
            prefix,
        })
    }

    pub fn base(self) -> Ipv4Addr {
        self.base
    }

    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The address `offset` above the base.
    pub fn nth(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.base).wrapping_add(offset))
    }

    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == u32::from(self.base)
    }

    pub fn overlaps(self, other: Cidr) -> bool {
        self.contains(other.base) || other.contains(self.base)
    }

    /// How many addresses the range has.
    pub fn size(self) -> u64 {
        1 << (32 - u32::from(self.prefix))
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Cidr, String> {
        let wrong = || format!("'{text}' is not an IPv4 range such as 172.31.0.0/16");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let cidr = Cidr::containing(address, prefix.parse().map_err(|_| wrong())?).ok_or_else(wrong)?;
        if cidr.base != address {
            return Err(format!("'{text}' has host bits set: did you mean {cidr}?"));
        }
        Ok(cidr)
    }
}

/// Port of the resolver's address where the node serves task metadata: ECS's agent uses the same.
pub const METADATA_PORT: u16 = 51679;

/// What an interface has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    pub bytes: u64,
    pub packets: u64,
    pub errors: u64,
    pub dropped: u64,
}

/// What a task's interface has carried, as the task sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub received: Carried,
    pub sent: Carried,
}

/// How the machine's networks are laid out for one Neargate instance.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Four hex digits that tell this instance's interfaces and tables from another's.
    pub instance: String,
    /// Folder for namespace handles; made when missing.
    pub run_dir: PathBuf,
    pub vpc_cidr: Cidr,
    /// Addresses of containers in bridge mode.
    pub bridge_cidr: Cidr,
    /// Pool of the addresses under which tasks and load balancers are reached from outside their VPC.
    pub public_cidr: Cidr,
    /// DNS servers to forward to; empty follows the machine's /etc/resolv.conf.
    pub dns_upstreams: Vec<SocketAddr>,
}

impl NetworkConfig {
    /// The VPC's resolver, base + 2 as on AWS: lives on the machine's loopback interface.
    pub fn resolver(&self) -> Ipv4Addr {
        self.vpc_cidr.nth(2)
    }

    pub(crate) const TABLE_PREFIX: &str = "neargate_";

    pub(crate) fn table(&self) -> String {
        format!("{}{}", NetworkConfig::TABLE_PREFIX, self.instance)
    }

    pub(crate) fn interface_prefix(&self) -> String {
        format!("ng{}", self.instance)
    }

    /// Name of the host's end of `namespace`'s veth pair: 14 characters, the kernel allows 15.
    pub(crate) fn host_interface(&self, namespace: &str) -> String {
        let hash = namespace.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
        });
        format!("{}{:08x}", self.interface_prefix(), (hash ^ (hash >> 32)) as u32)
    }

    /// True for the names that `host_interface` answers.
    pub(crate) fn is_host_interface(&self, name: &str) -> bool {
        let hash = name.strip_prefix(&self.interface_prefix());
        hash.is_some_and(|h| h.len() == 8 && h.bytes().all(|b| b.is_ascii_hexdigit()))
    }
}

/// A task's own interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    pub address: Ipv4Addr,
    pub mac: [u8; 6],
    /// Next hop of everything: the VPC router.
    pub gateway: Ipv4Addr,
}

/// A container port to publish on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish {
    pub container_port: u16,
    /// 0 takes any free port of 32768–60999.
    pub host_port: u16,
    /// How many ports that follow are published with it, on host ports that follow one another likewise.
    pub further: u16,
    pub transport: Transport,
}

/// A published port, with the ports that follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    pub container_port: u16,
    pub host_port: u16,
    pub further: u16,
    pub transport: Transport,
}

impl Published {
    /// Every host port.
    pub fn host_ports(&self) -> RangeInclusive<u16> {
        self.host_port..=self.host_port.saturating_add(self.further)
    }

    /// Each host port with its container port.
    pub fn ports(&self) -> impl Iterator<Item = (u16, u16)> + use<> {
        let last = self.container_port.saturating_add(self.further);
        self.host_ports().zip(self.container_port..=last)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    Tcp,
    Udp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_read_print_and_overlap() {
        let vpc: Cidr = "172.31.0.0/16".parse().unwrap();
        assert_eq!(vpc.to_string(), "172.31.0.0/16");
        assert_eq!(vpc.nth(2), Ipv4Addr::new(172, 31, 0, 2));
        assert!(vpc.overlaps("172.31.16.0/20".parse().unwrap()));
        assert!(vpc.overlaps("0.0.0.0/0".parse().unwrap()));
        assert!(!vpc.overlaps("172.30.0.0/16".parse().unwrap()));
        assert!("172.31.0.1/16".parse::<Cidr>().unwrap_err().contains("172.31.0.0/16"));
        assert!("172.31.0.0".parse::<Cidr>().is_err());
        assert!("172.31.0.0/33".parse::<Cidr>().is_err());
    }
}
