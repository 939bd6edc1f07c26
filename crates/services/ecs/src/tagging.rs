//! Tags between the wire and the store.

use crate::api::{self, errors};
use neargate_core::tags::TagFault;
use neargate_core::{AwsError, Tags};

/// The tags of a request.
///
/// # Errors
/// `InvalidParameterException` with the first rule broken.
pub fn admit(tags: Option<Vec<api::Tag>>) -> Result<Tags, AwsError> {
    let pairs = tags
        .unwrap_or_default()
        .into_iter()
        .map(|t| (t.key.unwrap_or_default(), t.value.unwrap_or_default()));
    Tags::admit(pairs).map_err(refuse)
}

/// A broken rule as ECS answers it.
pub fn refuse(fault: TagFault) -> AwsError {
    errors::invalid_parameter_exception(fault.to_string())
}

/// The tags of a reply.
pub fn shape(tags: &Tags) -> Vec<api::Tag> {
    tags.iter()
        .map(|(key, value)| api::Tag {
            key: Some(key.to_owned()),
            value: Some(value.to_owned()),
        })
        .collect()
}
