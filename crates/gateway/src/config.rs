//! What a gateway is told when it starts, and why it may fail to.

use crate::handover::Sockets;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

/// Where a gateway finds control and keeps its own things.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Where control serves gateways.
    pub link_socket: PathBuf,
    /// Holds `gateway.key` (mode 0600), which stickiness cookies are sealed under, and `gateway-metrics.sock`.
    pub state_dir: PathBuf,
    /// Stands for S3: access logs are written under `BUCKET/PREFIX/…`.
    pub logs_dir: PathBuf,
    /// Where balancers with `on_loopback` are served besides their own addresses.
    pub loopback: IpAddr,
    pub account: String,
    pub region: String,
    /// Threads that serve; one per core when zero.
    pub threads: usize,
    /// Listening sockets that survive this process.
    pub sockets: Sockets,
}

/// Why a gateway cannot run.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("cannot use {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    #[error("the key of stickiness cookies at {path} is damaged; remove it, and clients are spread anew")]
    Key { path: PathBuf },
}
