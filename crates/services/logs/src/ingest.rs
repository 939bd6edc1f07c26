//! What containers write, by the awslogs driver: every line once, however often a node sends it.
//!
//! A batch names its source and the offsets it lies between. Offsets are stored with the events, in the same write, so
//! that after any crash what is known to be stored is stored, and nothing else.

use crate::api::errors;
use crate::pattern::Pattern;
use crate::records::{LogGroupRecord, LogStreamRecord};
use crate::search::{self, Search, Streams};
use crate::storage::{Appended, Batch, Key, Range, Source, StreamRef};
use crate::{Logs, resolve};
use neargate_core::{AwsError, Tags};
use neargate_link::{LogBatch, LogOpening};
use neargate_store::{Snapshot, Txn};
use std::sync::Arc;

/// Longest name of a group or a stream.
const MAX_NAME: usize = 512;

impl Logs {
    /// Makes sure that a container's log has its stream; durable once this answers.
    ///
    /// # Errors
    /// As `ingest`.
    pub async fn open_stream(&self, opening: LogOpening) -> Result<(), AwsError> {
        self.stream_of(&opening).await.map(drop)
    }

    /// Stores a batch of a container's log; durable once this answers. What was stored before is left out.
    ///
    /// # Errors
    /// `ResourceNotFoundException` when the group is missing, `InvalidParameterException` for names
    /// that no group or stream can have, `ServiceUnavailableException` when the disk fails: then send it again.
    pub async fn ingest(&self, batch: LogBatch) -> Result<(), AwsError> {
        let mut events: Vec<(i64, Arc<str>)> = (batch.events.iter())
            .filter(|event| !event.message.is_empty())
            .map(|event| (event.timestamp.0.max(0), event.message.as_str().into()))
            .collect();
        let into = LogOpening {
            source: batch.source.clone(),
            region: batch.region.clone(),
            group: batch.group.clone(),
            stream: batch.stream.clone(),
            create_group: false,
        };
        let mut from = batch.from_offset;
        loop {
            let stream = self.stream_of(&into).await?;
            if events.is_empty() {
                return Ok(());
            }
            let appended = self.storage.append(Batch {
                stream: stream.clone(),
                ingested: self.clock.now().0,
                source: Some(Source {
                    name: batch.source.clone(),
                    from,
                    to: batch.to_offset,
                }),
                events: events.clone(),
            });
            match appended.await? {
                Appended::Stored { .. } | Appended::Known => return Ok(()),
                Appended::Overlap { stored } => {
                    let known = self.stored_before(&stream, &events).await?;
                    tracing::warn!(
                        source = batch.source,
                        stored,
                        from,
                        known,
                        "a node sent log lines again, cut in another way"
                    );
                    events.drain(..known);
                    from = stored;
                }
            }
        }
    }

    /// The log's stream, created where it is missing; its group where that is asked for.
    async fn stream_of(&self, log: &LogOpening) -> Result<StreamRef, AwsError> {
        if let Some(found) = find(&self.store.snapshot(), log) {
            return Ok(found);
        }
        check_name("log group", &log.group, |c| {
            c.is_ascii_alphanumeric() || "._/#-".contains(c)
        })?;
        check_name("log stream", &log.stream, |c| c != ':' && c != '*')?;
        let (uid, id, now) = (self.fresh_id(), self.fresh_id(), self.clock.now());
        self.store
            .transact(|snapshot| {
                let mut txn = Txn::new();
                let key = LogGroupRecord::key(&log.region, &log.group);
                let group = match resolve::group_in(snapshot, &log.region, &log.group) {
                    Ok(group) => group.uid,
                    Err(missing) if !log.create_group => return Err(missing),
                    Err(_) => uid,
                };
                txn.unchanged::<LogGroupRecord>(snapshot, &key);
                if group == uid {
                    let record = LogGroupRecord {
                        region: log.region.clone(),
                        name: log.group.clone(),
                        uid,
                        created_at: now,
                        retention_days: None,
                        tags: Tags::default(),
                    };
                    txn.put(&key, record);
                }
                if let Some(found) = find(snapshot, log) {
                    return Ok((Txn::new(), found));
                }
                let key = LogStreamRecord::key(group, &log.stream);
                txn.unchanged::<LogStreamRecord>(snapshot, &key)
                    .put(&key, LogStreamRecord::new(group, &log.stream, id, now));
                let made = StreamRef {
                    group,
                    id,
                    key: key.into(),
                };
                Ok::<_, AwsError>((txn, made))
            })
            .await
    }

    /// How many of the first `events` are the last ones that the stream already holds.
    async fn stored_before(&self, stream: &StreamRef, events: &[(i64, Arc<str>)]) -> Result<usize, AwsError> {
        let search = Search {
            group: stream.group,
            streams: Streams::Ids(vec![stream.id]),
            range: Range {
                after: Key::start_of(i64::MIN),
                before: Key::start_of(i64::MAX),
                forward: false,
            },
            limit: events.len(),
            pattern: Pattern::everything(),
        };
        let page = search::page(self.storage.clone(), self.store.snapshot(), search).await?;
        let mut stored: Vec<_> = page.found.into_iter().map(|found| found.event).collect();
        // In the order in which they came, which is the source's.
        stored.sort_by_key(|event| event.key.seq);
        let stored: Vec<(i64, &str)> = stored.iter().map(|e| (e.key.timestamp, &*e.message)).collect();
        let events: Vec<(i64, &str)> = events.iter().map(|(time, message)| (*time, &**message)).collect();
        Ok(overlap(&stored, &events))
    }
}

/// The longest end of `old` that `new` starts with.
fn overlap<T: PartialEq>(old: &[T], new: &[T]) -> usize {
    let longest = old.len().min(new.len());
    (1..=longest)
        .rev()
        .find(|n| old[old.len() - n..] == new[..*n])
        .unwrap_or(0)
}

fn find(snapshot: &Snapshot, log: &LogOpening) -> Option<StreamRef> {
    let group = resolve::group_in(snapshot, &log.region, &log.group).ok()?;
    let key = LogStreamRecord::key(group.uid, &log.stream);
    let stream = snapshot.get::<LogStreamRecord>(&key)?;
    Some(StreamRef {
        group: group.uid,
        id: stream.id,
        key: key.into(),
    })
}

fn check_name(what: &str, name: &str, allowed: impl Fn(char) -> bool) -> Result<(), AwsError> {
    let length = name.chars().count();
    if !(1..=MAX_NAME).contains(&length) || !name.chars().all(allowed) {
        return Err(errors::invalid_parameter_exception(format!(
            "'{name}' is not a valid {what} name."
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::overlap;

    #[test]
    fn an_overlap_is_the_longest_end_that_is_a_start() {
        assert_eq!(overlap(&[1, 2, 3], &[2, 3, 4]), 2);
        assert_eq!(overlap(&[1, 2, 3], &[4]), 0);
        assert_eq!(overlap(&[1, 1, 1], &[1, 1, 2]), 2);
        assert_eq!(overlap::<u8>(&[], &[]), 0);
    }
}
