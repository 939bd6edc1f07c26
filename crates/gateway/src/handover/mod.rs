//! Listening sockets that outlive the gateway's process, so that neither its death nor its upgrade refuses a connection.
//!
//! `neargate up` holds a duplicate of each listening socket (`Keeper`); a gateway says what it opened and closed, and takes
//! what there is when it starts (`Sockets`). Between two gateways connections wait in the kernel's backlog and datagrams
//! in the socket's buffer. The last table goes the same way, in anonymous memory, so that a gateway started while control
//! is away serves too.
//!
//! Invariant: all duplicates share one open socket, so a gateway that stops listening only ever closes its own descriptor
//! and never calls shutdown(2) on it.

mod keeper;
mod sockets;
mod wire;

#[cfg(test)]
mod tests;

pub use keeper::{Attached, Keeper};
pub use sockets::Sockets;
