//! A machine that runs tasks: it answers as a container instance of every cluster.

use neargate_core::Timestamp;
use neargate_link::NodeHello;
use neargate_store::Record;
use serde::{Deserialize, Serialize};

/// Key: the node id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    pub hello: NodeHello,
    pub availability_zone_index: u32,
    pub connected: bool,
    pub connectivity_at: Timestamp,
    pub registered_at: Timestamp,
}

impl Record for NodeRecord {
    const PREFIX: &'static str = "ecs/node/";
}
