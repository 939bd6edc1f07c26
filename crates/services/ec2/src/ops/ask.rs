//! What requests of many operations have in common: tags on creation, members that are not served, errors by id.

use crate::api;
use crate::filter::invalid_value;
use crate::records::ClientToken;
use neargate_core::{AwsError, Tags};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
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
        Some((name, _)) => Err(unsupported(name)),
        None => Ok(()),
    }
}

/// A member that asks for what is not here.
pub fn unsupported(name: &str) -> AwsError {
    error(
        "UnsupportedOperation",
        format!("The parameter {name} is not supported by Neargate yet."),
    )
}

/// Refuses a request that names one thing in two ways, the first of which is given.
///
/// # Errors
/// `InvalidParameterCombination`.
pub fn not_both(first: (&str, bool), second: (&str, bool)) -> Result<(), AwsError> {
    match first.1 && second.1 {
        true => Err(error(
            "InvalidParameterCombination",
            format!(
                "The parameter {} cannot be used with the parameter {}",
                first.0, second.0
            ),
        )),
        false => Ok(()),
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
    value.filter(|v| !v.is_empty()).ok_or_else(|| missing(name))
}

/// A member that the operation needs was not given.
pub fn missing(name: &str) -> AwsError {
    error(
        "MissingParameter",
        format!("The request must contain the parameter {name}"),
    )
}

/// Refuses what cannot be an id of the kind that begins with `prefix`.
///
/// # Errors
/// `code` (`…Malformed`).
pub fn malformed(id: &str, prefix: &str, code: &'static str) -> Result<(), AwsError> {
    match id.starts_with(prefix) {
        true => Ok(()),
        false => Err(error(code, format!("Invalid id: \"{id}\" (expecting \"{prefix}...\")"))),
    }
}

/// `DependencyViolation`, as every deletion of what is in use answers.
pub fn in_use(kind: &str, id: &str) -> AwsError {
    error(
        "DependencyViolation",
        format!("The {kind} '{id}' has dependencies and cannot be deleted."),
    )
}

/// The client token of a request, with what it asks for. None: it has none.
pub fn client_token(token: Option<&String>, request: &impl Serialize) -> Option<ClientToken> {
    let token = token.filter(|token| !token.is_empty())?;
    let request = serde_json::to_vec(request).unwrap_or_default();
    Some(ClientToken {
        token: token.clone(),
        request: hex::encode(Sha256::digest(request)),
    })
}

/// What was made under the same token before.
///
/// # Errors
/// `IdempotentParameterMismatch`: it was made by another request.
pub fn made_under<R>(
    asked: Option<&ClientToken>,
    mut all: impl Iterator<Item = R>,
    of: impl Fn(&R) -> Option<&ClientToken>,
) -> Result<Option<R>, AwsError> {
    let Some(asked) = asked else {
        return Ok(None);
    };
    let earlier = all.find(|r| of(r).is_some_and(|known| known.token == asked.token));
    if earlier.as_ref().is_some_and(|r| of(r) != Some(asked)) {
        let text = format!(
            "The client token '{}' was used before with other parameters.",
            asked.token
        );
        return Err(error("IdempotentParameterMismatch", text));
    }
    Ok(earlier)
}

/// A kind of resource, as errors name it.
pub struct Kind {
    /// Of its ids.
    pub prefix: &'static str,
    pub name: &'static str,
    /// Codes of an id that cannot be, and of one that there is not.
    pub malformed: &'static str,
    pub missing: &'static str,
}

impl Kind {
    /// # Errors
    /// `malformed`.
    pub fn admit(&self, id: &str) -> Result<(), AwsError> {
        malformed(id, self.prefix, self.malformed)
    }

    pub fn not_found(&self, id: &str) -> AwsError {
        match self.admit(id) {
            Ok(()) => error(self.missing, format!("The {} ID '{id}' does not exist", self.name)),
            Err(error) => error,
        }
    }
}

/// A list's items that were asked for by id, in the order they are kept.
///
/// # Errors
/// The kind's `malformed`, or its `missing`, naming the ids that are not there.
pub fn by_ids<T>(
    items: Vec<T>,
    ids: Option<&[String]>,
    id: impl Fn(&T) -> &str,
    kind: &Kind,
) -> Result<Vec<T>, AwsError> {
    let ids = ids.unwrap_or_default();
    if ids.is_empty() {
        return Ok(items);
    }
    ids.iter().try_for_each(|id| kind.admit(id))?;
    let missing: Vec<&str> = ids
        .iter()
        .map(String::as_str)
        .filter(|wanted| !items.iter().any(|item| id(item) == *wanted))
        .collect();
    match missing.as_slice() {
        [] => {}
        [one] => return Err(kind.not_found(one)),
        _ => {
            let text = format!("The {} IDs '{}' do not exist", kind.name, missing.join(", "));
            return Err(error(kind.missing, text));
        }
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
