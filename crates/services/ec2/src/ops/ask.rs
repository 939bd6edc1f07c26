//! What requests of many operations have in common: tags on creation, members that are not served, errors by id.

use crate::api;
use crate::filter::invalid_value;
use neargate_core::{AwsError, Tags};
use std::collections::BTreeSet;

/// Tags of a resource at most.
const MOST_TAGS: usize = 50;

/// The tags that a creation asks for.
///
/// # Errors
/// `InvalidParameterValue`, `TagLimitExceeded`.
pub fn tags(specifications: Option<Vec<api::TagSpecification>>, kind: &str) -> Result<Tags, AwsError> {
    let mut out = Tags::default();
    for specification in specifications.unwrap_or_default() {
        let of = specification.resource_type.unwrap_or_default();
        if of != kind {
            return Err(invalid_value(format!(
                "'{of}' is not a valid taggable resource type for this operation."
            )));
        }
        let tags = specification.tags.unwrap_or_default();
        let mut keys: Vec<_> = tags.iter().map(|tag| &tag.key).collect();
        keys.sort_unstable();
        if let Some(twice) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
            let key = twice[0].as_deref().unwrap_or_default();
            return Err(invalid_value(format!("Duplicate tag key '{key}' specified.")));
        }
        add_tags(&mut out, tags)?;
    }
    Ok(out)
}

/// Adds tags, or replaces those of the same key.
///
/// # Errors
/// `InvalidParameterValue`, `TagLimitExceeded`.
pub fn add_tags(tags: &mut Tags, more: Vec<api::Tag>) -> Result<(), AwsError> {
    let mut keys = BTreeSet::new();
    for tag in more {
        if !keys.insert(tag.key.clone()) {
            let key = tag.key.unwrap_or_default();
            return Err(invalid_value(format!("Duplicate tag key '{key}' specified.")));
        }
        let (key, value) = (tag.key.unwrap_or_default(), tag.value.unwrap_or_default());
        if key.is_empty() || key.chars().count() > 127 {
            return Err(invalid_value(format!(
                "Tag key '{key}' must have between 1 and 127 characters."
            )));
        }
        if value.chars().count() > 256 {
            return Err(invalid_value(format!(
                "The value of tag '{key}' exceeds the maximum length of 256."
            )));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid_value(
                "Tag keys starting with 'aws:' are reserved for internal use".to_owned(),
            ));
        }
        tags.0.insert(key, value);
    }
    if tags.0.len() > MOST_TAGS {
        return Err(AwsError::new(
            "TagLimitExceeded",
            400,
            "More than 50 tags are specified",
        ));
    }
    Ok(())
}

/// Refuses the first member that was given and asks for what is not here.
///
/// # Errors
/// `UnsupportedOperation` naming the member.
pub fn refuse(members: &[(&str, bool)]) -> Result<(), AwsError> {
    match members.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(AwsError::new(
            "UnsupportedOperation",
            400,
            format!("The parameter {name} is not supported by Neargate yet."),
        )),
        None => Ok(()),
    }
}

/// An error of the caller.
pub fn error(code: &'static str, message: impl Into<String>) -> AwsError {
    AwsError::new(code, 400, message)
}

/// The member, which the model does not call required and the operation needs.
///
/// # Errors
/// `MissingParameter`.
pub fn needed(value: Option<String>, name: &str) -> Result<String, AwsError> {
    value.filter(|v| !v.is_empty()).ok_or_else(|| {
        error(
            "MissingParameter",
            format!("The request must contain the parameter {name}"),
        )
    })
}

/// `DependencyViolation`, as every deletion of what is in use answers.
pub fn in_use(kind: &str, id: &str) -> AwsError {
    error(
        "DependencyViolation",
        format!("The {kind} '{id}' has dependencies and cannot be deleted."),
    )
}

/// A second request under a client token asks for something else than the first.
pub fn other_parameters(token: &str) -> AwsError {
    error(
        "IdempotentParameterMismatch",
        format!("The client token '{token}' was used before with other parameters."),
    )
}

/// A list's items that were asked for by id, in the order they are kept.
///
/// # Errors
/// `code` naming the ids that are not there.
pub fn by_ids<T>(
    items: Vec<T>,
    ids: Option<&[String]>,
    id: impl Fn(&T) -> &str,
    code: &'static str,
    what: &str,
) -> Result<Vec<T>, AwsError> {
    let ids = ids.unwrap_or_default();
    if ids.is_empty() {
        return Ok(items);
    }
    let missing: Vec<&str> = ids
        .iter()
        .map(String::as_str)
        .filter(|wanted| !items.iter().any(|item| id(item) == *wanted))
        .collect();
    if !missing.is_empty() {
        let text = match missing.as_slice() {
            [one] => format!("The {what} ID '{one}' does not exist"),
            _ => format!("The {what} IDs '{}' do not exist", missing.join(", ")),
        };
        return Err(error(code, text));
    }
    Ok(items
        .into_iter()
        .filter(|item| ids.iter().any(|i| i == id(item)))
        .collect())
}

/// Those of `items` that pass every filter; `known`: those that there are.
///
/// # Errors
/// `InvalidParameterValue` naming an unknown filter.
pub fn filtered<T>(
    known: &[&str],
    items: Vec<T>,
    filters: Option<&[api::Filter]>,
    tags: impl Fn(&T) -> &Tags,
    values: impl Fn(&T, &str) -> crate::filter::Values,
) -> Result<Vec<T>, AwsError> {
    let filters = filters.unwrap_or_default();
    crate::filter::known(filters, known)?;
    let mut out = Vec::new();
    for item in items {
        if crate::filter::passes(filters, tags(&item), |name| values(&item, name)) {
            out.push(item);
        }
    }
    Ok(out)
}

/// That one attribute of those that can be modified is given.
///
/// # Errors
/// `InvalidParameterCombination`
pub fn one_attribute(given: &[bool]) -> Result<(), AwsError> {
    let text = match given.iter().filter(|g| **g).count() {
        0 => "No attributes specified.",
        1 => return Ok(()),
        _ => "Exactly one attribute must be given at a time",
    };
    Err(error("InvalidParameterCombination", text))
}

/// One value of a filter.
pub fn one(value: impl Into<String>) -> crate::filter::Values {
    Some(vec![value.into()])
}

/// The value of a filter that the resource may lack.
pub fn some(value: Option<impl Into<String>>) -> crate::filter::Values {
    Some(value.map(Into::into).into_iter().collect())
}

/// Tags as they are described: left out when there are none.
pub fn shown(tags: &Tags) -> Option<Vec<api::Tag>> {
    (!tags.is_empty()).then(|| crate::filter::tags(tags))
}

pub fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}
