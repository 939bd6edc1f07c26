//! One page of events out of the storage, for GetLogEvents and FilterLogEvents.

use crate::pattern::Pattern;
use crate::put::MAX_BYTES;
use crate::records::LogStreamRecord;
use crate::storage::{Event, Events, Key, Range, Storage, StorageError};
use neargate_core::AwsError;
use neargate_store::Snapshot;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Uncompressed bytes that one page may look at; then it answers what it has, as CloudWatch Logs does.
const SCAN: u64 = 64 << 20;

/// Which streams of a group are looked at.
#[derive(Clone, Debug)]
pub enum Streams {
    Ids(Vec<u64>),
    Prefix(String),
}

#[derive(Clone, Debug)]
pub struct Search {
    pub group: u64,
    pub streams: Streams,
    pub range: Range,
    pub limit: usize,
    pub pattern: Pattern,
}

/// An event and the name of its stream.
pub struct Found {
    pub stream: Arc<str>,
    pub event: Event,
}

pub struct Page {
    /// In the search's direction.
    pub found: Vec<Found>,
    /// The last place looked at, when there is or may be more beyond it.
    pub more_after: Option<Key>,
}

/// Names of streams by id, remembered as they come up.
struct Names {
    snapshot: Snapshot,
    streams: Streams,
    group: u64,
    known: HashMap<u64, Option<Arc<str>>>,
}

impl Names {
    fn of(&mut self, id: u64) -> Option<Arc<str>> {
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let text = LogStreamRecord::id_text(id);
        let found = self
            .snapshot
            .indexed::<LogStreamRecord>(LogStreamRecord::BY_ID, &text)
            .next()
            .map(|(_, record)| record.record)
            .filter(|record| record.group == self.group)
            .filter(|record| match &self.streams {
                Streams::Ids(ids) => ids.contains(&id),
                Streams::Prefix(prefix) => record.name.starts_with(prefix),
            })
            .map(|record| Arc::from(record.name.as_str()));
        self.known.insert(id, found.clone());
        found
    }
}

/// Runs `search` on a thread that may wait for disks.
///
/// # Errors
/// `ServiceUnavailableException` when stored data cannot be read.
pub async fn page(storage: Arc<Storage>, snapshot: Snapshot, search: Search) -> Result<Page, AwsError> {
    let run = tokio::task::spawn_blocking(move || run(&storage, snapshot, &search));
    match run.await {
        Ok(page) => Ok(page?),
        Err(error) => {
            tracing::error!(%error, "a search through log events did not end");
            Err(AwsError::internal())
        }
    }
}

fn run(storage: &Storage, snapshot: Snapshot, search: &Search) -> Result<Page, StorageError> {
    let names = Mutex::new(Names {
        snapshot,
        streams: search.streams.clone(),
        group: search.group,
        known: HashMap::new(),
    });
    let name = |id| names.lock().unwrap_or_else(PoisonError::into_inner).of(id);
    let mut events = Events::new(
        storage.view(search.group),
        search.range,
        Box::new(|id| name(id).is_some()),
    );
    let mut page = Page {
        found: Vec::new(),
        more_after: None,
    };
    let mut bytes = 0;
    let mut last = None;
    while let Some(event) = events.next()? {
        let full = page.found.len() >= search.limit || events.scanned > SCAN;
        if full && last.is_some() {
            page.more_after = last;
            break;
        }
        let key = event.key;
        if let Some(stream) = name(event.stream)
            && search.pattern.matches(&event.message)
        {
            bytes += event.bytes();
            if bytes > MAX_BYTES && !page.found.is_empty() {
                page.more_after = last;
                break;
            }
            page.found.push(Found { stream, event });
        }
        last = Some(key);
    }
    Ok(page)
}
