//! What EC2 stores. Keys start with the region, except an interface's, whose address is unique on the machines.

mod address;
mod endpoint;
mod gateways;
mod interface;
mod pool;
mod prefix_list;
mod region;
mod route_table;
mod security_group;
mod subnet;
mod vpc;

pub use address::AddressRecord;
pub use endpoint::EndpointRecord;
pub use gateways::{InternetGatewayRecord, NatFailure, NatGatewayRecord, NatState};
pub use interface::{InterfaceOwner, InterfaceRecord};
pub use pool::PoolRecord;
pub use prefix_list::{PrefixListEntry, PrefixListRecord};
pub use region::RegionRecord;
pub use route_table::{Destination, RouteRecord, RouteTableAssociation, RouteTableRecord, RouteTarget};
pub use security_group::{GroupRule, RulePeer, SecurityGroupRecord};
pub use subnet::SubnetRecord;
pub use vpc::VpcRecord;

/// The client token under which a resource was made, and what was asked with it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ClientToken {
    pub token: String,
    /// The request's SHA-256.
    pub request: String,
}

/// A range as text, e.g. `172.31.0.0/20`.
pub fn cidr_text((network, prefix): (std::net::Ipv4Addr, u8)) -> String {
    format!("{network}/{prefix}")
}
