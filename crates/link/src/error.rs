//! What can go wrong between two ends of the link.

use std::path::PathBuf;
use std::time::Duration;

/// Why a connection could not be made or ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("the other side does not speak Neargate's link protocol")]
    NotNeargate,
    #[error(
        "this side speaks link protocol {ours}, the other side protocol {theirs}: run the same version of neargate on both"
    )]
    Version { ours: u32, theirs: u32 },
    #[error("a frame of {length} bytes is longer than the limit of {limit}")]
    FrameTooLong { length: usize, limit: usize },
    #[error("the message cannot be encoded: {0}")]
    Encode(#[source] serde_json::Error),
    #[error("the other side sent a message that cannot be read: {0}")]
    Decode(#[source] serde_json::Error),
    #[error("the connection ended in the middle of a frame")]
    Truncated,
    #[error("nothing was heard from the other side for {after:?}")]
    Silent { after: Duration },
    #[error("the connection is closed")]
    Closed,
    #[error("user id {uid} may not use the link: only the user that runs control, or root, may")]
    Peer { uid: u32 },
    #[error("another process already listens at {}: stop it first", path.display())]
    InUse { path: PathBuf },
    #[error("the link socket {}: {source}", path.display())]
    Socket { path: PathBuf, source: std::io::Error },
    #[error("the link's stream: {0}")]
    Io(#[from] std::io::Error),
}
