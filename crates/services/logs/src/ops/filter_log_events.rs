//! FilterLogEvents: the events of a group's streams that match a pattern, interleaved in order of time.

use crate::api::{self, errors};
use crate::pattern::Pattern;
use crate::records::LogStreamRecord;
use crate::search::{self, Found, Search, Streams};
use crate::storage::{Key, Range};
use crate::token::{self, Place};
use crate::{Logs, resolve};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Snapshot;

/// 2024-01-01T00:00:00Z in milliseconds: since then logs can be searched from the newest on.
const NEWEST_FIRST_SINCE: i64 = 1_704_067_200_000;

/// # Errors
/// `InvalidParameterException`, `ResourceNotFoundException`.
pub async fn handle(
    service: &Logs,
    cx: &RequestContext,
    input: api::FilterLogEventsRequest,
) -> Result<api::FilterLogEventsResponse, AwsError> {
    let snapshot = service.store.snapshot();
    let (name, identifier) = (input.log_group_name.as_deref(), input.log_group_identifier.as_deref());
    let group = resolve::named_group(&snapshot, cx, name, identifier)?;
    let pattern = Pattern::parse(input.filter_pattern.as_deref().unwrap_or_default())
        .map_err(|fault| errors::invalid_parameter_exception(fault.to_string()))?;
    let streams = streams(&snapshot, group.uid, &input)?;
    let (start, end) = (input.start_time.unwrap_or(0), input.end_time.unwrap_or(i64::MAX));
    if start > end {
        return Err(errors::invalid_parameter_exception(
            "The endTime must not be before the startTime.",
        ));
    }
    let given = match &input.next_token {
        Some(text) => Some(token::parse_filter_token(group.uid, text)?),
        None => None,
    };
    let forward = given.map_or(input.start_from_head != Some(false), |place| place.forward);
    if given.is_none() && !forward && input.start_time.is_some_and(|start| start < NEWEST_FIRST_SINCE) {
        return Err(errors::invalid_parameter_exception(
            "startFromHead can be false only when startTime is on or after Jan 1, 2024 00:00:00 UTC.",
        ));
    }
    let mut range = Range {
        after: Key::start_of(start.max(group.expired_before(cx.now))),
        // Events at the end time are included.
        before: Key {
            timestamp: end,
            seq: u64::MAX,
        },
        forward,
    };
    match given {
        Some(Place { key, forward: true }) => range.after = range.after.max(key),
        Some(Place { key, forward: false }) => range.before = range.before.min(key),
        None => {}
    }
    let search = Search {
        group: group.uid,
        streams,
        range,
        limit: usize::try_from(input.limit.unwrap_or(10_000)).unwrap_or(10_000),
        pattern,
    };
    let page = search::page(service.storage.clone(), snapshot, search).await?;
    let next_token = (page.more_after).map(|key| token::filter_token(group.uid, Place { key, forward }));
    Ok(api::FilterLogEventsResponse {
        events: Some(page.found.into_iter().map(shape).collect()),
        next_token,
        searched_log_streams: Some(Vec::new()),
    })
}

fn shape(found: Found) -> api::FilteredLogEvent {
    api::FilteredLogEvent {
        event_id: Some(token::digits(found.event.key)),
        ingestion_time: Some(found.event.ingested),
        log_stream_name: Some(found.stream.as_ref().to_owned()),
        message: Some(found.event.message.as_ref().to_owned()),
        timestamp: Some(found.event.key.timestamp),
    }
}

fn streams(snapshot: &Snapshot, group: u64, input: &api::FilterLogEventsRequest) -> Result<Streams, AwsError> {
    match (&input.log_stream_names, &input.log_stream_name_prefix) {
        (Some(_), Some(_)) => Err(errors::invalid_parameter_exception(
            "logStreamNamePrefix and logStreamNames are mutually exclusive parameters.",
        )),
        (Some(names), None) => {
            let mut ids = Vec::with_capacity(names.len());
            for name in names {
                let stream = snapshot
                    .get::<LogStreamRecord>(&LogStreamRecord::key(group, name))
                    .ok_or_else(|| errors::resource_not_found_exception("The specified log stream does not exist."))?;
                ids.push(stream.id);
            }
            Ok(Streams::Ids(ids))
        }
        (None, prefix) => Ok(Streams::Prefix(prefix.clone().unwrap_or_default())),
    }
}
