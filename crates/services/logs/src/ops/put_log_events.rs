//! PutLogEvents.

use crate::api;
use crate::records::LogStreamRecord;
use crate::storage::{Appended, Batch, Key, StreamRef};
use crate::{Logs, put, resolve, token};
use neargate_core::{AwsError, RequestContext};
use std::sync::Arc;

/// # Errors
/// `InvalidParameterException`, `ResourceNotFoundException`, `ServiceUnavailableException` when the disk fails.
pub async fn handle(
    service: &Logs,
    cx: &RequestContext,
    input: api::PutLogEventsRequest,
) -> Result<api::PutLogEventsResponse, AwsError> {
    let snapshot = service.store.snapshot();
    let group = resolve::group(&snapshot, cx, input.log_group_name.as_deref().unwrap_or_default())?;
    let name = input.log_stream_name.unwrap_or_default();
    let stream = resolve::stream(&snapshot, &group, &name)?;
    let mut events: Vec<(i64, Arc<str>)> = (input.log_events.unwrap_or_default().into_iter())
        .map(|event| {
            (
                event.timestamp.unwrap_or_default(),
                event.message.unwrap_or_default().into(),
            )
        })
        .collect();
    let sizes: Vec<(i64, usize)> = events.iter().map(|(time, message)| (*time, message.len())).collect();
    let admitted = put::admit(&sizes, cx.now, group.expired_before(cx.now))?;
    events.truncate(admitted.stored.end);
    events.drain(..admitted.stored.start);
    let mut last_seq = 0;
    if !events.is_empty() {
        let batch = Batch {
            stream: StreamRef {
                group: group.uid,
                id: stream.id,
                key: LogStreamRecord::key(group.uid, &name).into(),
            },
            ingested: cx.now.0,
            source: None,
            events,
        };
        if let Appended::Stored { last_seq: stored } = service.storage.append(batch).await? {
            last_seq = stored;
        }
    }
    let sequence = Key {
        timestamp: cx.now.0,
        seq: last_seq,
    };
    Ok(api::PutLogEventsResponse {
        next_sequence_token: Some(token::digits(sequence)),
        // Entities are not kept: told the way the API has for it, so that agents that send one still work.
        rejected_entity_info: input.entity.map(|_| api::RejectedEntityInfo {
            error_type: Some("UnsupportedLogGroupType".into()),
        }),
        rejected_log_events_info: admitted.rejected,
    })
}
