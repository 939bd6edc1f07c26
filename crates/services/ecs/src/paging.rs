//! One page of a listing, with ECS's limits and errors.

use crate::api::errors;
use neargate_core::{AwsError, paging};

/// Cuts one page out of `items`, which must ascend by `key`; `limit` is the most that one page may hold, and the page's
/// size when the request names none.
///
/// # Errors
/// `InvalidParameterException` for a size outside 1 to `limit` and for a token of another listing.
pub fn page<T>(
    listing: &str,
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> String,
    limit: i32,
    max_results: Option<i32>,
    next_token: Option<&str>,
) -> Result<paging::Page<T>, AwsError> {
    let max = size(limit, max_results)?;
    paging::page(listing, items, key, max, next_token.filter(|t| !t.is_empty())).map_err(|_| bad_token())
}

/// The page's size.
///
/// # Errors
/// `InvalidParameterException`.
pub fn size(limit: i32, max_results: Option<i32>) -> Result<usize, AwsError> {
    let max = max_results.unwrap_or(limit);
    usize::try_from(max)
        .ok()
        .filter(|m| (1..=limit).contains(&max) && *m > 0)
        .ok_or_else(|| {
            errors::invalid_parameter_exception(format!("maxResults must be between 1 and {limit}, inclusive."))
        })
}

pub fn bad_token() -> AwsError {
    errors::invalid_parameter_exception("Invalid token")
}
