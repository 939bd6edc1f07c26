//! The gateway: the data plane of load balancers, in a process of its own so that it serves on while control restarts.
//!
//! Called by the binary (`neargate gateway`). It knows control only through `link`: whole tables of balancers come down,
//! health and problems go up; while control is away the last table is served. What becomes of a request is decided in
//! `routing`; here are the sockets. Invariant: a new table disturbs nothing that runs and whose listener and target stay.

pub mod answers;
pub mod arrival;
mod buffers;
mod config;
pub mod decide;
pub mod dial;
pub mod doors;
mod gateway;
pub mod handover;
pub mod http1;
pub mod http2;
mod key;
mod leash;
mod ledger;
pub mod log_files;
mod metrics_socket;
pub mod nlb;
mod open;
mod outbox;
pub mod probe;
pub mod record;
pub mod serving;
mod session;
pub mod simulated;
pub mod tls;
pub mod unverified;
mod workers;

pub use config::{GatewayConfig, GatewayError};
pub use gateway::run;
