//! Filters, ids, tags and paging as every EC2 describe operation has them.

use crate::api;
use neargate_core::{AwsError, Tags, paging};

/// `DryRunOperation` when the caller asks only whether it would be allowed.
pub fn dry_run(asked: Option<bool>) -> Result<(), AwsError> {
    match asked {
        Some(true) => Err(AwsError::new(
            "DryRunOperation",
            412,
            "Request would have succeeded, but DryRun flag is set.",
        )),
        _ => Ok(()),
    }
}

/// Most filters in a request, and most values of all of them. Source: "Error codes for the Amazon EC2 API".
const FILTERS: usize = 50;
const FILTER_VALUES: usize = 200;

/// That every filter is one of `names` or about tags, and has a value, and that there are not too many.
///
/// # Errors
/// `InvalidParameterValue` naming the first that is not, `FilterLimitExceeded`.
pub fn known(filters: &[api::Filter], names: &[&str]) -> Result<(), AwsError> {
    let values = filters.iter().flat_map(|filter| &filter.values).map(Vec::len).sum();
    for (what, asked, most) in [
        ("filters", filters.len(), FILTERS),
        ("filter values", values, FILTER_VALUES),
    ] {
        if asked > most {
            let text = format!("The maximum number of {what} specified on a single call is {most}");
            return Err(AwsError::new("FilterLimitExceeded", 400, text));
        }
    }
    for filter in filters {
        let name = filter.name.as_deref().unwrap_or_default();
        if name != "tag-key" && !name.starts_with("tag:") && !names.contains(&name) {
            return Err(invalid_value(format!("The filter '{name}' is invalid")));
        }
        if filter.values.as_deref().unwrap_or_default().is_empty() {
            return Err(invalid_value(format!(
                "The filter '{name}' must have at least one value"
            )));
        }
    }
    Ok(())
}

/// The values a record has under a filter's name; none when no such filter exists.
pub type Values = Option<Vec<String>>;

/// True when the record passes every filter, all `known`: of each, one value matches one of the record's.
pub fn passes(filters: &[api::Filter], tags: &Tags, values: impl Fn(&str) -> Values) -> bool {
    filters.iter().all(|filter| {
        let name = filter.name.as_deref().unwrap_or_default();
        let have = match (name, name.strip_prefix("tag:")) {
            ("tag-key", _) => tags.0.keys().cloned().collect(),
            (_, Some(key)) => tags.0.get(key).cloned().into_iter().collect(),
            _ => values(name).unwrap_or_default(),
        };
        let mut wanted = filter.values.iter().flatten();
        wanted.any(|pattern| have.iter().any(|value| like(pattern, value)))
    })
}

/// EC2's `*` (any text) and `?` (any character); a backslash takes the next character as it is.
fn like(pattern: &str, text: &str) -> bool {
    #[derive(PartialEq)]
    enum Part {
        Any,
        One,
        Char(char),
    }
    let mut parts = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '*' => Part::Any,
            '?' => Part::One,
            '\\' => Part::Char(chars.next().unwrap_or('\\')),
            c => Part::Char(c),
        });
    }
    let text: Vec<char> = text.chars().collect();
    // Greedy match that returns to the last `*` only, hence at most pattern × text steps.
    let (mut p, mut t, mut back) = (0, 0, None);
    while t < text.len() {
        match parts.get(p) {
            Some(Part::Any) => {
                back = Some((p, t));
                p += 1;
            }
            Some(Part::One) => (p, t) = (p + 1, t + 1),
            Some(Part::Char(c)) if *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match back {
                Some((star, at)) => {
                    back = Some((star, at + 1));
                    (p, t) = (star + 1, at + 1);
                }
                None => return false,
            },
        }
    }
    parts[p..].iter().all(|part| *part == Part::Any)
}

pub fn invalid_value(message: String) -> AwsError {
    AwsError::new("InvalidParameterValue", 400, message)
}

/// One page of `items`, which ascend by `key`. EC2 takes no `MaxResults` beside ids.
///
/// # Errors
/// `InvalidParameterCombination`, `InvalidNextToken`.
pub fn page<T>(
    listing: &str,
    items: Vec<T>,
    key: impl Fn(&T) -> String,
    max: Option<i32>,
    token: Option<&str>,
    ids: (&str, bool),
) -> Result<paging::Page<T>, AwsError> {
    if max.is_some() && ids.1 {
        let text = format!("The parameter {} cannot be used with the parameter maxResults", ids.0);
        return Err(AwsError::new("InvalidParameterCombination", 400, text));
    }
    let max = max.and_then(|m| usize::try_from(m).ok()).unwrap_or(1000);
    paging::page(listing, items, key, max, token.filter(|t| !t.is_empty()))
        .map_err(|_| AwsError::new("InvalidNextToken", 400, "The token is not valid."))
}

/// The ids asked for that were not found, in the order asked: what a NotFound error names.
pub fn missing(asked: &[String], found: impl Fn(&str) -> bool) -> Vec<&str> {
    asked.iter().map(String::as_str).filter(|id| !found(id)).collect()
}

/// `code` (`…Malformed`) when an id cannot be one of `prefix`.
pub fn well_formed(asked: &[String], prefix: &str, code: &'static str) -> Result<(), AwsError> {
    let fits = |id: &str| {
        id.strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric()))
    };
    match asked.iter().find(|id| !fits(id)) {
        Some(id) => Err(AwsError::new(
            code,
            400,
            format!("Invalid id: \"{id}\" (expecting \"{prefix}...\")"),
        )),
        None => Ok(()),
    }
}

/// Tags as EC2 answers them.
pub fn tags(tags: &Tags) -> Vec<api::Tag> {
    tags.iter()
        .map(|(k, v)| api::Tag {
            key: Some(k.to_owned()),
            value: Some(v.to_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_question_marks_and_escapes_match_as_ec2_says() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("vpc-*", "vpc-1", true),
            ("*a*b", "xaxxb", true),
            ("*a*b", "xaxxbc", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("\\*amazon\\?\\\\", "*amazon?\\", true),
            ("Default", "default", false),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(like(pattern, text), expected, "{pattern} ~ {text}");
        }
    }
}
