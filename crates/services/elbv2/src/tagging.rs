//! Tags between the wire and the store.

use crate::api::{self, errors};
use crate::refusal::validation;
use neargate_core::tags::TagFault;
use neargate_core::{AwsError, Tags};

/// The tags of a request.
///
/// # Errors
/// `DuplicateTagKeys`, `TooManyTags`, `ValidationError`.
pub fn admit(tags: Option<Vec<api::Tag>>) -> Result<Tags, AwsError> {
    let pairs = tags.unwrap_or_default().into_iter();
    let pairs = pairs.map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()));
    Tags::admit(pairs).map_err(refuse)
}

/// A broken rule as ELB answers it.
pub fn refuse(fault: TagFault) -> AwsError {
    match &fault {
        TagFault::TooMany => errors::too_many_tags_exception(fault.to_string()),
        TagFault::Duplicate(_) => errors::duplicate_tag_keys_exception(fault.to_string()),
        _ => validation(fault.to_string()),
    }
}
