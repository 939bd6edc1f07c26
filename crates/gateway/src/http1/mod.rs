//! HTTP/1.1, the hot path: one task a connection, heads and bodies over reused buffers.
//!
//! `connection` reads heads, `turn` does what `decide` says of each, `exchange` carries a request and its response.

pub mod body;
pub mod chunked;
pub mod connection;
mod exchange;
pub mod head;
mod patience;
pub mod rewrite;
pub mod target_form;
pub mod token;
mod turn;
pub mod upstream;

#[cfg(test)]
mod head_tests;
