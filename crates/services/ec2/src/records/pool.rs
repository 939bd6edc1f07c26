//! The pool of public addresses.

use neargate_store::Record;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// The one record of its kind. Addresses of an earlier range stay with who has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRecord {
    pub range: (Ipv4Addr, u8),
}

impl PoolRecord {
    pub const KEY: &'static str = "public";
}

impl Record for PoolRecord {
    const PREFIX: &'static str = "ec2/pool/";
}
