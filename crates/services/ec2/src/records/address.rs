//! A public address: an elastic one, or one that an interface was given when it was made.

use neargate_core::Tags;
use neargate_store::Record;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Key: the address as 8 hex digits, so that one commit at most ever holds an address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AddressRecord {
    pub region: String,
    pub address: Ipv4Addr,
    /// `eipalloc-` and 17 hex digits; none for an address that goes with its interface.
    pub allocation_id: Option<String>,
    /// `eipassoc-` and 17 hex digits, while it belongs to an interface.
    pub association_id: Option<String>,
    pub interface_id: Option<String>,
    pub private_address: Option<Ipv4Addr>,
    pub tags: Tags,
}

impl AddressRecord {
    /// Index: the elastic address of an allocation, value `{region}/{allocation id}`.
    pub const BY_ALLOCATION: &'static str = "ec2-address-by-allocation";
    /// Index: the address of an association, value `{region}/{association id}`.
    pub const BY_ASSOCIATION: &'static str = "ec2-address-by-association";

    pub fn key(address: Ipv4Addr) -> String {
        format!("{:08x}", u32::from(address))
    }

    pub fn is_elastic(&self) -> bool {
        self.allocation_id.is_some()
    }
}

impl Record for AddressRecord {
    const PREFIX: &'static str = "ec2/address/";

    fn indexes(&self) -> Vec<(&'static str, String)> {
        let allocation = self.allocation_id.iter().map(|id| (Self::BY_ALLOCATION, id));
        let association = self.association_id.iter().map(|id| (Self::BY_ASSOCIATION, id));
        allocation
            .chain(association)
            .map(|(index, id)| (index, format!("{}/{id}", self.region)))
            .collect()
    }
}
