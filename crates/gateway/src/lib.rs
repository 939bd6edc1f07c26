//! The gateway: the data plane of load balancers, in a process of its own so that it serves on while control restarts.
//!
//! Called by the binary (`neargate gateway`). There are no load balancers yet, so it has nothing to serve: it holds its
//! place in supervision, start order and shutdown. It knows control only through `link`.

pub mod dial;
pub mod handover;
pub mod probe;
pub mod simulated;
pub mod unverified;

/// Runs the gateway until `shutdown`.
pub async fn run(shutdown: impl Future<Output = ()>) {
    shutdown.await;
    tracing::debug!("the gateway ends");
}
