//! Clients that speak HTTP/2, and targets that do.
//!
//! Called by the accept loops with connections that settled on HTTP/2, by ALPN or by their first bytes. Each stream is
//! decided like a request (`decide`) and goes to a target over HTTP/1.1 or HTTP/2, by its group's version. WebSockets over
//! HTTP/2 are refused, as ALB refuses them. Invariant: a client may have 128 streams, and one that keeps opening and
//! resetting them loses its connection.

mod account;
mod asked;
mod bell;
mod body;
mod connection;
mod exchange;
mod headers;
mod life;
mod plain;
mod pool;
mod prefixed;
mod reply;

#[cfg(test)]
mod tests;

pub use connection::serve;

/// As ALB's.
const STREAMS: u32 = 128;
/// Streams that a client reset before they were looked at.
const RESET_UNSEEN: usize = 20;
/// As for HTTP/1.1.
const HEADERS: u32 = 64 * 1024;
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const SEND_BUFFER: usize = 64 * 1024;
