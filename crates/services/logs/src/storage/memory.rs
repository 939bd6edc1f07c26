//! Events that are durable in a journal and not yet in a segment, and what they change about their streams.

use super::{Event, Key};
use imbl::OrdMap;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What an event costs in memory besides its message.
const COST: usize = 120;

/// What is known of a stream from events in memory.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Key of the stream's record.
    pub key: Arc<str>,
    pub group: u64,
    pub first: i64,
    pub last: i64,
    pub ingested: i64,
    /// Offsets up to which the stream's sources are stored.
    pub sources: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default)]
pub struct Group {
    pub events: OrdMap<Key, Event>,
    /// As CloudWatch Logs counts.
    pub bytes: u64,
}

/// All of it that came through one journal.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub journal: u64,
    pub groups: HashMap<u64, Group>,
    pub streams: HashMap<u64, Seen>,
    /// Bytes of memory, about.
    pub charged: usize,
}

/// One accepted batch.
pub struct Batch<'a> {
    pub group: u64,
    pub stream: u64,
    pub key: &'a Arc<str>,
    pub ingested: i64,
    pub first_seq: u64,
    pub source: Option<(&'a str, u64)>,
    pub events: &'a [(i64, Arc<str>)],
}

impl Memory {
    pub fn new(journal: u64) -> Memory {
        Memory {
            journal,
            ..Memory::default()
        }
    }

    pub fn apply(&mut self, batch: &Batch<'_>) {
        let group = self.groups.entry(batch.group).or_default();
        let (mut first, mut last) = (i64::MAX, i64::MIN);
        for (seq, (timestamp, message)) in (batch.first_seq..).zip(batch.events) {
            let key = Key {
                timestamp: *timestamp,
                seq,
            };
            let event = Event {
                key,
                stream: batch.stream,
                ingested: batch.ingested,
                message: message.clone(),
            };
            first = first.min(*timestamp);
            last = last.max(*timestamp);
            group.bytes += event.bytes();
            self.charged += message.len() + COST;
            group.events.insert(key, event);
        }
        if !self.streams.contains_key(&batch.stream) {
            self.charged += COST + batch.key.len();
        }
        let seen = self.streams.entry(batch.stream).or_insert_with(|| Seen {
            key: batch.key.clone(),
            group: batch.group,
            first,
            last,
            ingested: batch.ingested,
            sources: BTreeMap::new(),
        });
        seen.first = seen.first.min(first);
        seen.last = seen.last.max(last);
        seen.ingested = seen.ingested.max(batch.ingested);
        if let Some((name, to)) = batch.source {
            let stored = seen.sources.entry(name.to_owned()).or_default();
            *stored = to.max(*stored);
        }
    }

    pub fn offset(&self, stream: u64, source: &str) -> Option<u64> {
        self.streams.get(&stream)?.sources.get(source).copied()
    }

    /// Forgets the events of `group` that `keep` does not want.
    pub fn prune(&mut self, group: u64, mut keep: impl FnMut(&Event) -> bool) {
        let Some(found) = self.groups.get_mut(&group) else {
            return;
        };
        let gone: Vec<Key> = (found.events.iter())
            .filter(|(_, event)| !keep(event))
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            if let Some(event) = found.events.remove(&key) {
                found.bytes -= event.bytes();
                self.charged = self.charged.saturating_sub(event.message.len() + COST);
            }
        }
    }

    pub fn forget_group(&mut self, group: u64) {
        self.prune(group, |_| false);
        self.groups.remove(&group);
        self.streams.retain(|_, seen| seen.group != group);
    }
}
