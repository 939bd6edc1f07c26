//! Amazon EC2, the part ECS stands on: VPCs, subnets, security groups, network interfaces.
//!
//! Rooms: `api` (generated), `records` (what is stored), `region` (the default VPC of a region), `interface` (addresses
//! of tasks), `lookup` (what other services ask), `ops` (one file per kind of resource or per operation), `network`
//! (what nodes are told). This crate knows no socket and no kernel: a node makes an interface real from what its record
//! says.

pub mod api;
mod cidr;
mod dispatch;
mod filter;
pub mod interface;
pub mod lookup;
pub mod network;
mod ops;
mod permissions;
mod public;
pub mod records;
pub mod region;
mod routing;

pub use dispatch::routes;
pub use lookup::{default_security_group, security_group, subnet, vpc};
pub use records::{InterfaceRecord, SecurityGroupRecord, SubnetRecord, VpcRecord};

use neargate_core::{Clock, Ids};
use neargate_store::{Kind, Store};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The service: handles to what it stands on.
#[derive(Clone)]
pub struct Ec2 {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    /// 12 digits.
    pub account: String,
    /// Range of every region's default VPC: network address and prefix length, 8 to 24.
    pub vpc_cidr: (Ipv4Addr, u8),
    /// Pool of public addresses.
    pub public_cidr: (Ipv4Addr, u8),
    /// Networks that the machine has besides Neargate's own: no VPC may overlap one.
    pub foreign_ranges: Arc<dyn Fn() -> Vec<(Ipv4Addr, u8)> + Send + Sync>,
    /// Rules of a security group in one direction at most: a quota.
    pub rules_per_group: usize,
}

/// Every kind of record this service stores; the store is opened with them.
pub fn kinds() -> Vec<Kind> {
    vec![
        Kind::of::<VpcRecord>(),
        Kind::of::<SubnetRecord>(),
        Kind::of::<SecurityGroupRecord>(),
        Kind::of::<InterfaceRecord>(),
        Kind::of::<records::AddressRecord>(),
        Kind::of::<records::PoolRecord>(),
        Kind::of::<records::RegionRecord>(),
        Kind::of::<records::RouteTableRecord>(),
        Kind::of::<records::InternetGatewayRecord>(),
        Kind::of::<records::NatGatewayRecord>(),
        Kind::of::<records::PrefixListRecord>(),
        Kind::of::<records::EndpointRecord>(),
    ]
}
