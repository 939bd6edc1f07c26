//! One page of a listing by `Marker` and `PageSize`.

use crate::refusal::validation;
use neargate_core::{AwsError, paging};

/// The most that one page may hold, and the page's size when none is asked.
const MOST: i32 = 400;

/// Cuts one page out of `items`, which it sorts by `key`; answers it and the next marker.
///
/// # Errors
/// `ValidationError` for a size outside 1 to 400 and for a marker of another listing.
pub fn page<T>(
    listing: &str,
    mut items: Vec<T>,
    key: impl Fn(&T) -> String,
    size: Option<i32>,
    marker: Option<&str>,
) -> Result<(Vec<T>, Option<String>), AwsError> {
    let size = size.unwrap_or(MOST);
    let most = usize::try_from(size)
        .ok()
        .filter(|_| (1..=MOST).contains(&size))
        .ok_or_else(|| validation(format!("Page size must be between 1 and {MOST}")))?;
    items.sort_by_key(|item| key(item));
    let page = paging::page(listing, items, key, most, marker.filter(|m| !m.is_empty()))
        .map_err(|_| validation("The marker is not valid"))?;
    Ok((page.items, page.next_token))
}
