//! What is stored of log groups and streams besides their events.

use neargate_core::{Tags, Timestamp};
use neargate_store::{Kind, Record};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Every kind of record that this service stores.
pub fn kinds() -> Vec<Kind> {
    vec![
        Kind::of::<LogGroupRecord>(),
        Kind::of::<LogStreamRecord>(),
        Kind::of::<SweepRecord>(),
    ]
}

/// A log group. Key: `{region}/{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogGroupRecord {
    pub region: String,
    pub name: String,
    /// Names this life of the group: its streams and its events belong to it, not to the name.
    pub uid: u64,
    pub created_at: Timestamp,
    /// None keeps events for ever.
    pub retention_days: Option<i32>,
    pub tags: Tags,
}

impl LogGroupRecord {
    pub const BY_UID: &'static str = "logs-group";

    pub fn key(region: &str, name: &str) -> String {
        format!("{region}/{name}")
    }

    pub fn own_key(&self) -> String {
        Self::key(&self.region, &self.name)
    }

    pub fn uid_text(uid: u64) -> String {
        format!("{uid:016x}")
    }

    /// Events before this moment, in milliseconds, have expired.
    pub fn expired_before(&self, now: Timestamp) -> i64 {
        match self.retention_days {
            Some(days) => now.0.saturating_sub(i64::from(days) * DAY),
            None => i64::MIN,
        }
    }
}

/// Milliseconds.
pub const DAY: i64 = 24 * 60 * 60 * 1000;

impl Record for LogGroupRecord {
    const PREFIX: &'static str = "logs/group/";

    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![(Self::BY_UID, Self::uid_text(self.uid))]
    }
}

/// A log stream. Key: `{the group's uid}/{name}`, so that a group goes in one change, its streams' records after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogStreamRecord {
    pub group: u64,
    pub name: String,
    /// Names this life of the stream.
    pub id: u64,
    pub created_at: Timestamp,
    /// Times in milliseconds; events that came in since the last segment are not told here.
    pub first_event: Option<i64>,
    pub last_event: Option<i64>,
    pub last_ingestion: Option<i64>,
    /// Offsets up to which the logs of containers are stored.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, u64>,
}

impl LogStreamRecord {
    pub const BY_ID: &'static str = "logs-stream";

    /// A stream without events.
    pub fn new(group: u64, name: &str, id: u64, now: Timestamp) -> LogStreamRecord {
        LogStreamRecord {
            group,
            name: name.to_owned(),
            id,
            created_at: now,
            first_event: None,
            last_event: None,
            last_ingestion: None,
            sources: BTreeMap::new(),
        }
    }

    pub fn key(group: u64, name: &str) -> String {
        format!("{}{name}", Self::prefix(group))
    }

    /// What the keys of a group's streams start with.
    pub fn prefix(group: u64) -> String {
        format!("{}/", LogGroupRecord::uid_text(group))
    }

    pub fn id_text(id: u64) -> String {
        format!("{id:016x}")
    }

    /// Takes over what came in; telling it twice changes nothing.
    pub fn tell(&mut self, first: i64, last: i64, ingested: i64, sources: &BTreeMap<String, u64>) {
        self.first_event = Some(self.first_event.map_or(first, |known| known.min(first)));
        self.last_event = Some(self.last_event.map_or(last, |known| known.max(last)));
        self.last_ingestion = Some(self.last_ingestion.map_or(ingested, |known| known.max(ingested)));
        for (source, to) in sources {
            let stored = self.sources.entry(source.clone()).or_default();
            *stored = (*stored).max(*to);
        }
    }
}

impl Record for LogStreamRecord {
    const PREFIX: &'static str = "logs/stream/";

    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![(Self::BY_ID, Self::id_text(self.id))]
    }
}

/// A group lost a stream whose events still lie in files. Key: the group's uid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweepRecord {
    pub since: Timestamp,
}

impl Record for SweepRecord {
    const PREFIX: &'static str = "logs/sweep/";
}
