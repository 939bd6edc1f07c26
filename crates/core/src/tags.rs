//! Tags and the rules AWS applies to them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A resource's tags by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tags(pub BTreeMap<String, String>);

/// Why a set of tags is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagFault {
    TooMany,
    KeyLength(String),
    ValueLength(String),
    ReservedPrefix(String),
    Duplicate(String),
    Characters(String),
}

impl std::fmt::Display for TagFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TagFault::TooMany => write!(f, "Too many tags: at most {MAX_TAGS} tags are allowed on a resource."),
            TagFault::KeyLength(k) => write!(f, "Invalid tag key '{k}': it must have 1 to 128 characters."),
            TagFault::ValueLength(k) => write!(f, "Invalid value of tag '{k}': it must have at most 256 characters."),
            TagFault::ReservedPrefix(k) => {
                write!(f, "Invalid tag key '{k}': the prefix 'aws:' is reserved for AWS use.")
            }
            TagFault::Duplicate(k) => write!(f, "Duplicate tag keys found: '{k}'."),
            TagFault::Characters(k) => {
                write!(
                    f,
                    "Invalid tag '{k}': letters, numbers, spaces and _ . : / = + - @ are allowed."
                )
            }
        }
    }
}

/// The most tags a resource may carry.
pub const MAX_TAGS: usize = 50;

impl Tags {
    /// Checks and collects tags as a request gives them.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn admit(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Tags, TagFault> {
        let mut out = BTreeMap::new();
        for (key, value) in pairs {
            if key.is_empty() || key.chars().count() > 128 {
                return Err(TagFault::KeyLength(key));
            }
            if value.chars().count() > 256 {
                return Err(TagFault::ValueLength(key));
            }
            if key.to_ascii_lowercase().starts_with("aws:") {
                return Err(TagFault::ReservedPrefix(key));
            }
            let allowed = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c);
            if !key.chars().all(allowed) || !value.chars().all(allowed) {
                return Err(TagFault::Characters(key));
            }
            if out.contains_key(&key) {
                return Err(TagFault::Duplicate(key));
            }
            out.insert(key, value);
        }
        if out.len() > MAX_TAGS {
            return Err(TagFault::TooMany);
        }
        Ok(Tags(out))
    }

    /// Adds `more`, replacing values of equal keys.
    ///
    /// # Errors
    /// `TooMany` when the result would exceed the limit (system tags `aws:` do not count).
    pub fn merge(&mut self, more: Tags) -> Result<(), TagFault> {
        let mut merged = self.0.clone();
        merged.extend(more.0);
        if merged.keys().filter(|k| !k.starts_with("aws:")).count() > MAX_TAGS {
            return Err(TagFault::TooMany);
        }
        self.0 = merged;
        Ok(())
    }

    pub fn remove<'a>(&mut self, keys: impl IntoIterator<Item = &'a str>) {
        for key in keys {
            self.0.remove(key);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }
}
