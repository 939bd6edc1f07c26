//! DescribeLogStreams.

use crate::api::{self, errors};
use crate::records::LogStreamRecord;
use crate::storage::{Key, Recent};
use crate::{Logs, resolve, token};
use neargate_core::{AwsError, RequestContext, paging};
use std::cmp::Ordering;
use std::sync::Arc;

/// # Errors
/// `InvalidParameterException`, `ResourceNotFoundException`.
pub async fn handle(
    service: &Logs,
    cx: &RequestContext,
    input: api::DescribeLogStreamsRequest,
) -> Result<api::DescribeLogStreamsResponse, AwsError> {
    let snapshot = service.store.snapshot();
    let (name, identifier) = (input.log_group_name.as_deref(), input.log_group_identifier.as_deref());
    let group = resolve::named_group(&snapshot, cx, name, identifier)?;
    let by_time = input.order_by.as_deref() == Some("LastEventTime");
    if by_time && input.log_stream_name_prefix.is_some() {
        return Err(errors::invalid_parameter_exception(
            "Cannot order by LastEventTime with a logStreamNamePrefix.",
        ));
    }
    let descending = input.descending == Some(true);
    let limit = usize::try_from(input.limit.unwrap_or(50)).unwrap_or(50);
    let listing = format!("logs-streams/{:016x}/{by_time}/{descending}", group.uid);
    let after = match &input.next_token {
        Some(text) => Some(Place::parse(&listing, text)?),
        None => None,
    };
    let prefix = input.log_stream_name_prefix.unwrap_or_default();
    let key = LogStreamRecord::key(group.uid, &prefix);
    let mut streams: Vec<Stream> = snapshot
        .range::<LogStreamRecord>(&key)
        .map(|(_, record)| Stream {
            // Only an order by time needs it of every stream.
            recent: by_time.then(|| service.storage.recent(record.id)).flatten(),
            record: record.record,
        })
        .collect();
    let order = |a: &Place, b: &Place| {
        let ascending = a.time.cmp(&b.time).then_with(|| a.name.cmp(&b.name));
        if descending { ascending.reverse() } else { ascending }
    };
    let place = |stream: &Stream| Place {
        time: if by_time { stream.last_event().unwrap_or(0) } else { 0 },
        name: stream.record.name.clone(),
    };
    if by_time || descending {
        streams.sort_by(|a, b| order(&place(a), &place(b)));
    }
    let from = after.map_or(0, |after| {
        streams.partition_point(|stream| order(&place(stream), &after) != Ordering::Greater)
    });
    let rest = &mut streams[from..];
    let more = rest.len() > limit;
    let shown = limit.min(rest.len());
    let page = &mut rest[..shown];
    for stream in page.iter_mut() {
        stream.recent = service.storage.recent(stream.record.id);
    }
    let next_token = page.last().filter(|_| more).map(|last| place(last).token(&listing));
    let arn = resolve::group_arn(cx, &group.name);
    Ok(api::DescribeLogStreamsResponse {
        log_streams: Some(page.iter().map(|stream| stream.shape(&arn)).collect()),
        next_token,
    })
}

/// A stream's place in the order asked for.
struct Place {
    time: i64,
    name: String,
}

impl Place {
    fn token(&self, listing: &str) -> String {
        paging::token(listing, &format!("{}/{}", self.time, self.name))
    }

    fn parse(listing: &str, token: &str) -> Result<Place, AwsError> {
        let text = paging::resume(listing, token).map_err(|paging::BadToken| token::invalid())?;
        let (time, name) = text.split_once('/').ok_or_else(token::invalid)?;
        Ok(Place {
            time: time.parse().map_err(|_| token::invalid())?,
            name: name.to_owned(),
        })
    }
}

struct Stream {
    record: Arc<LogStreamRecord>,
    recent: Option<Recent>,
}

impl Stream {
    fn last_event(&self) -> Option<i64> {
        self.record.last_event.max(self.recent.map(|r| r.last))
    }

    fn shape(&self, group_arn: &str) -> api::LogStream {
        let record = &*self.record;
        let first = record.first_event.into_iter().chain(self.recent.map(|r| r.first)).min();
        let ingested = record.last_ingestion.max(self.recent.map(|r| r.ingested));
        // Nobody checks sequence tokens any more; clients of old want to see one.
        let sequence = Key {
            timestamp: ingested.unwrap_or(record.created_at.0),
            seq: 0,
        };
        api::LogStream {
            arn: Some(format!("{group_arn}:log-stream:{}", record.name)),
            creation_time: Some(record.created_at.0),
            first_event_timestamp: first,
            last_event_timestamp: self.last_event(),
            last_ingestion_time: ingested,
            log_stream_name: Some(record.name.clone()),
            stored_bytes: Some(0),
            upload_sequence_token: Some(token::digits(sequence)),
        }
    }
}
