//! Paging with opaque tokens: a token names the last key answered and the listing it belongs to.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;

/// One page and the token of the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next_token: Option<String>,
}

/// The token was not made by this listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadToken;

/// Makes a token for `listing` that continues after `last`.
pub fn token(listing: &str, last: &str) -> String {
    B64.encode(format!("1\0{listing}\0{last}"))
}

/// The key after which `listing` continues.
///
/// # Errors
/// `BadToken` when the text is no token or belongs to another listing.
pub fn resume(listing: &str, token: &str) -> Result<String, BadToken> {
    let bytes = B64.decode(token).map_err(|_| BadToken)?;
    let text = String::from_utf8(bytes).map_err(|_| BadToken)?;
    let mut parts = text.splitn(3, '\0');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("1"), Some(l), Some(last)) if l == listing => Ok(last.to_owned()),
        _ => Err(BadToken),
    }
}

/// Cuts one page out of `items`, which must ascend by `key`.
///
/// # Errors
/// `BadToken` when `next_token` does not belong to `listing`.
pub fn page<T>(
    listing: &str,
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> String,
    max: usize,
    next_token: Option<&str>,
) -> Result<Page<T>, BadToken> {
    let after = next_token.map(|t| resume(listing, t)).transpose()?;
    let mut rest = items
        .into_iter()
        .filter(|item| after.as_ref().is_none_or(|a| key(item) > *a));
    let out: Vec<T> = rest.by_ref().take(max).collect();
    let more = rest.next().is_some();
    let next_token = if more {
        out.last().map(|item| token(listing, &key(item)))
    } else {
        None
    };
    Ok(Page { items: out, next_token })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_everything_once_and_foreign_tokens_are_refused() {
        let all = ["a", "b", "c", "d", "e"];
        let mut seen = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let p = page("letters", all, |s| (*s).to_owned(), 2, next.as_deref()).unwrap();
            seen.extend(p.items);
            next = p.next_token;
            if next.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
        assert_eq!(resume("digits", &token("letters", "b")), Err(BadToken));
        assert_eq!(resume("letters", "not a token"), Err(BadToken));
    }
}
