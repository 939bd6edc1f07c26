//! Task networks on one machine: a network namespace per task, routed to the host by a veth pair without a bridge.
//!
//! The node is the only caller. Every packet of a task passes the host's forward hook; every VPC range has an
//! unreachable route of the lowest preference, so that a packet for an address no task holds never leaves the machine
//! by the default route. Control's network table says which VPCs, security groups, interfaces and names there are; what it
//! does not admit is dropped. This crate knows addresses, ports and rules, and nothing of containers or of AWS.

mod config;
mod dns;
mod elements;
mod enforce;
mod firewall;
mod forwarding;
mod journal;
mod made;
mod names;
mod namespace;
mod netlink;
mod network;
mod nfnetlink;
mod ports;
mod question;
mod ranges;
mod resolv;
mod rules;
mod table;

pub use config::{Carried, Cidr, Counters, Interface, METADATA_PORT, NetworkConfig, Publish, Published, Transport};
pub use network::{Membership, Network, NetworkError};
pub use table::NetworkChange;
