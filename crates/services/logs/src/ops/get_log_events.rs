//! GetLogEvents: the events of one stream, from either end, with a token for each direction.

use crate::api;
use crate::pattern::Pattern;
use crate::search::{self, Found, Search, Streams};
use crate::storage::{Key, Range};
use crate::token::{self, Place};
use crate::{Logs, resolve};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `InvalidParameterException`, `ResourceNotFoundException`.
pub async fn handle(
    service: &Logs,
    cx: &RequestContext,
    input: api::GetLogEventsRequest,
) -> Result<api::GetLogEventsResponse, AwsError> {
    let snapshot = service.store.snapshot();
    let (name, identifier) = (input.log_group_name.as_deref(), input.log_group_identifier.as_deref());
    let group = resolve::named_group(&snapshot, cx, name, identifier)?;
    let stream = resolve::stream(&snapshot, &group, input.log_stream_name.as_deref().unwrap_or_default())?;
    let given = input.next_token.as_deref().map(token::parse_stream_token).transpose()?;
    let start = input.start_time.unwrap_or(0).max(group.expired_before(cx.now));
    // Events at the end time are not included.
    let end = input.end_time.unwrap_or(i64::MAX);
    let range = range(start, end, given, input.start_from_head == Some(true));
    let search = Search {
        group: group.uid,
        streams: Streams::Ids(vec![stream.id]),
        range,
        limit: usize::try_from(input.limit.unwrap_or(10_000)).unwrap_or(10_000),
        pattern: Pattern::everything(),
    };
    let page = search::page(service.storage.clone(), snapshot, search).await?;
    let mut found = page.found;
    if !range.forward {
        found.reverse();
    }
    let ends = (found.first().map(|f| f.event.key), found.last().map(|f| f.event.key));
    let (forward, backward) = tokens(ends, page.more_after, given, start.max(0));
    Ok(api::GetLogEventsResponse {
        events: Some(found.into_iter().map(shape).collect()),
        next_backward_token: Some(token::stream_token(backward)),
        next_forward_token: Some(token::stream_token(forward)),
    })
}

fn shape(found: Found) -> api::OutputLogEvent {
    api::OutputLogEvent {
        ingestion_time: Some(found.event.ingested),
        message: Some(found.event.message.as_ref().to_owned()),
        timestamp: Some(found.event.key.timestamp),
    }
}

/// Where to look: a token's direction goes before what the request says.
fn range(start: i64, end: i64, given: Option<Place>, from_head: bool) -> Range {
    let (after, before) = (Key::start_of(start), Key::start_of(end));
    match given {
        Some(Place { key, forward: true }) => Range {
            after: after.max(key),
            before,
            forward: true,
        },
        Some(Place { key, forward: false }) => Range {
            after,
            before: before.min(key),
            forward: false,
        },
        None => Range {
            after,
            before,
            forward: from_head,
        },
    }
}

/// The tokens behind and before a page with the given first and last key. Where nothing was found, the token that was
/// given comes back, and the other one turns round at the same place.
fn tokens(
    (first, last): (Option<Key>, Option<Key>),
    looked_until: Option<Key>,
    given: Option<Place>,
    start: i64,
) -> (Place, Place) {
    let empty = match (looked_until, given) {
        (Some(key), Some(given)) => Place { key, ..given },
        (_, Some(given)) => given,
        (_, None) => Place {
            key: Key::start_of(start),
            forward: true,
        },
    };
    // A token excludes its own place: turned round, it must include it.
    let turned = Key {
        timestamp: empty.key.timestamp,
        seq: if empty.forward {
            empty.key.seq.saturating_add(1)
        } else {
            empty.key.seq.saturating_sub(1)
        },
    };
    let forward = last.unwrap_or(if empty.forward { empty.key } else { turned });
    let backward = first.unwrap_or(if empty.forward { turned } else { empty.key });
    (
        Place {
            key: forward,
            forward: true,
        },
        Place {
            key: backward,
            forward: false,
        },
    )
}
