//! What control and the data planes say to each other, and the transport that carries it.
//!
//! Nodes and gateways connect to control; control answers with each one's whole desired set under a generation, and
//! they report what they observe. This crate decides nothing and knows neither the store nor any AWS service.

pub mod connection;
pub mod desired;
mod error;
pub mod frame;
pub mod gateway;
pub mod message;
pub mod network;
pub mod task;
pub mod unix;

pub use connection::{Connection, ControlConnection, NodeConnection, Receiver, Sender, Timing};
pub use desired::{Changed, DesiredSet, Offer, Resync};
pub use error::LinkError;
pub use frame::Framed;
pub use gateway::{FromGateway, GatewayTable, ToGateway};
pub use message::{
    FromNode, LogBatch, LogEvent, LogOpening, NodeHello, ProtectionAnswer, ProtectionChange, ProtectionRequest, ToNode,
};
pub use network::{Holder, InterfaceEntry, NetworkEntry, Peer, Traffic, TrafficRule};
pub use task::*;
pub use unix::{Accepted, LinkListener, connect_unix};
