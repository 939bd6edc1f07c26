//! Places in a group's events, as the tokens that clients hand back.

use crate::api::errors;
use crate::storage::Key;
use neargate_core::{AwsError, paging};

/// A place and the direction in which to go on from it; the event at the place is not among what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub key: Key,
    pub forward: bool,
}

/// 56 digits, as long as CloudWatch Logs' own: a leading 3, the time, the sequence number. Ascends as events do.
pub fn digits(key: Key) -> String {
    format!("3{:019}{:036}", key.timestamp.max(0), key.seq)
}

fn parse_digits(text: &str) -> Option<Key> {
    if text.len() != 56 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(Key {
        timestamp: text[1..20].parse().ok()?,
        seq: text[20..].parse().ok()?,
    })
}

/// A token of GetLogEvents.
pub fn stream_token(place: Place) -> String {
    let direction = if place.forward { 'f' } else { 'b' };
    format!("{direction}/{}/s", digits(place.key))
}

/// # Errors
/// `InvalidParameterException` when the text is no token of GetLogEvents.
pub fn parse_stream_token(token: &str) -> Result<Place, AwsError> {
    let parse = || {
        let (direction, rest) = token.split_once('/')?;
        let forward = match direction {
            "f" => true,
            "b" => false,
            _ => return None,
        };
        let key = parse_digits(rest.strip_suffix("/s")?)?;
        Some(Place { key, forward })
    };
    parse().ok_or_else(invalid)
}

fn listing(group: u64, forward: bool) -> String {
    format!("logs-filter/{group:016x}/{}", if forward { 'f' } else { 'b' })
}

/// A token of FilterLogEvents in the group `group`.
pub fn filter_token(group: u64, place: Place) -> String {
    paging::token(&listing(group, place.forward), &digits(place.key))
}

/// # Errors
/// `InvalidParameterException` when the text is no token of FilterLogEvents in this group.
pub fn parse_filter_token(group: u64, token: &str) -> Result<Place, AwsError> {
    for forward in [true, false] {
        if let Ok(text) = paging::resume(&listing(group, forward), token)
            && let Some(key) = parse_digits(&text)
        {
            return Ok(Place { key, forward });
        }
    }
    Err(invalid())
}

/// What every operation answers to a token that is not its own.
pub fn invalid() -> AwsError {
    errors::invalid_parameter_exception("The specified nextToken is invalid.")
}
