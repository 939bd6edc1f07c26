//! A stored event and its place in the one order that everything is stored and read in.

use std::sync::Arc;

/// Bytes that CloudWatch Logs counts for an event besides its message.
pub const OVERHEAD: u64 = 26;

/// Where an event stands: by time, and among equal times in the order they came in. Unique for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Milliseconds since the epoch, as the event's sender says.
    pub timestamp: i64,
    /// Grows with every event stored; never zero.
    pub seq: u64,
}

impl Key {
    /// Before every event at `timestamp`.
    pub fn start_of(timestamp: i64) -> Key {
        Key { timestamp, seq: 0 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub key: Key,
    pub stream: u64,
    /// When it was stored, milliseconds since the epoch.
    pub ingested: i64,
    pub message: Arc<str>,
}

impl Event {
    /// As CloudWatch Logs counts.
    pub fn bytes(&self) -> u64 {
        self.message.len() as u64 + OVERHEAD
    }
}
