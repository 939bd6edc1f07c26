//! What EC2 stores. Keys start with the region, except an interface's, whose address is unique on the machines.

mod address;
mod interface;
mod pool;
mod security_group;
mod subnet;
mod vpc;

pub use address::AddressRecord;
pub use interface::{InterfaceOwner, InterfaceRecord};
pub use pool::PoolRecord;
pub use security_group::SecurityGroupRecord;
pub use subnet::SubnetRecord;
pub use vpc::VpcRecord;

/// A range as text, e.g. `172.31.0.0/20`.
pub fn cidr_text((network, prefix): (std::net::Ipv4Addr, u8)) -> String {
    format!("{network}/{prefix}")
}
