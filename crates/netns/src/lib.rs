//! Task networks on one machine: a network namespace per task, routed to the host by a veth pair without a bridge.
//!
//! The node is the only caller. Every packet of a task passes the host's forward hook; every VPC range has an
//! unreachable route of the lowest preference, so that a packet for an address no task holds never leaves the machine
//! by the default route. This crate knows addresses and ports, and nothing of containers or of AWS.

mod config;
mod dns;
mod firewall;
mod namespace;
mod netlink;
mod network;
mod ports;
mod resolv;

pub use config::{Cidr, Interface, NetworkConfig, Publish, Published, Transport};
pub use network::{Network, NetworkError};
