//! Which events of a PutLogEvents request are stored. Pure.

use crate::api::{self, errors};
use crate::records::DAY;
use crate::storage::OVERHEAD;
use neargate_core::{AwsError, Timestamp};
use std::ops::Range;

/// Of a request and of a single event, counted with the overhead.
pub const MAX_BYTES: u64 = 1_048_576;
pub const MAX_EVENTS: usize = 10_000;
const OLDEST: i64 = 14 * DAY;
const NEWEST: i64 = 2 * 60 * 60 * 1000;

/// The part of a request that is stored, and what is told of the rest.
#[derive(Debug, PartialEq)]
pub struct Admitted {
    pub stored: Range<usize>,
    pub rejected: Option<api::RejectedLogEventsInfo>,
}

/// Decides on events given by time and length of the message in bytes, at `now`, in a group whose events before
/// `expired_before` have expired.
///
/// # Errors
/// `InvalidParameterException` when the request as a whole breaks a rule.
pub fn admit(events: &[(i64, usize)], now: Timestamp, expired_before: i64) -> Result<Admitted, AwsError> {
    let invalid = |message: String| errors::invalid_parameter_exception(message);
    if events.len() > MAX_EVENTS {
        return Err(invalid(format!(
            "Too many log events: {} exceeds limit of {MAX_EVENTS}",
            events.len()
        )));
    }
    let size = |len: usize| len as u64 + OVERHEAD;
    if let Some((_, len)) = events.iter().find(|(_, len)| size(*len) > MAX_BYTES) {
        return Err(invalid(format!(
            "Log event too large: {} bytes exceeds limit of {MAX_BYTES}",
            size(*len)
        )));
    }
    let total: u64 = events.iter().map(|(_, len)| size(*len)).sum();
    if total > MAX_BYTES {
        return Err(invalid(format!(
            "Upload too large: {total} bytes exceeds limit of {MAX_BYTES}"
        )));
    }
    if events.windows(2).any(|pair| pair[0].0 > pair[1].0) {
        return Err(invalid(
            "Log events in a single PutLogEvents request must be in chronological order.".into(),
        ));
    }
    let too_old = events.partition_point(|(time, _)| *time < now.0 - OLDEST);
    let expired = events.partition_point(|(time, _)| *time < expired_before);
    let too_new = events.partition_point(|(time, _)| *time <= now.0 + NEWEST);
    let from = too_old.max(expired);
    let stored = from..too_new.max(from);
    if let [first, .., last] = &events[stored.clone()]
        && last.0 - first.0 > DAY
    {
        return Err(invalid(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.".into(),
        ));
    }
    let told = |count: usize| (count > 0).then_some(count as i32);
    let rejected = (stored.len() < events.len()).then(|| api::RejectedLogEventsInfo {
        too_old_log_event_end_index: told(too_old),
        expired_log_event_end_index: told(expired),
        too_new_log_event_start_index: (too_new < events.len()).then_some(too_new as i32),
    });
    Ok(Admitted { stored, rejected })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn times(times: &[i64]) -> Result<Admitted, AwsError> {
        let events: Vec<(i64, usize)> = times.iter().map(|t| (NOW + t, 1)).collect();
        admit(&events, Timestamp(NOW), i64::MIN)
    }

    #[test]
    fn events_too_old_and_too_new_are_left_out_and_told() {
        let all = times(&[-OLDEST - 2, -OLDEST - 1, -5, 0, NEWEST, NEWEST + 1]).unwrap();
        assert_eq!(all.stored, 2..5);
        let told = all.rejected.unwrap();
        assert_eq!(told.too_old_log_event_end_index, Some(2));
        assert_eq!(told.too_new_log_event_start_index, Some(5));
        assert_eq!(told.expired_log_event_end_index, None);
        assert_eq!(times(&[0]).unwrap().rejected, None);
        assert_eq!(times(&[NEWEST + 1]).unwrap().stored.len(), 0);
        assert_eq!(times(&[-OLDEST - 1]).unwrap().stored.len(), 0);
    }

    #[test]
    fn events_beyond_retention_are_told_as_expired() {
        let events = [(NOW - 3 * DAY, 1), (NOW - DAY / 2, 1)];
        let admitted = admit(&events, Timestamp(NOW), NOW - DAY).unwrap();
        assert_eq!(admitted.stored, 1..2);
        let told = admitted.rejected.unwrap();
        assert_eq!(
            (told.expired_log_event_end_index, told.too_old_log_event_end_index),
            (Some(1), None)
        );
    }

    #[test]
    fn a_request_out_of_order_too_long_or_too_large_is_refused_whole() {
        let refused = |r: Result<Admitted, AwsError>| r.unwrap_err().message;
        assert!(refused(times(&[1, 0])).contains("chronological order"));
        assert!(refused(times(&[-DAY - 1, 0])).contains("24 hours"));
        assert!(times(&[-DAY, 0]).is_ok());
        let limit = (MAX_BYTES - OVERHEAD) as usize;
        assert!(admit(&[(NOW, limit)], Timestamp(NOW), 0).is_ok());
        assert!(refused(admit(&[(NOW, limit + 1)], Timestamp(NOW), 0)).contains("Log event too large"));
        assert!(refused(admit(&[(NOW, limit), (NOW, 1)], Timestamp(NOW), 0)).contains("Upload too large"));
    }
}
