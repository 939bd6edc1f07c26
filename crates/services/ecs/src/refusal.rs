//! What Neargate does not do yet is refused by its name, never silently ignored.

use crate::api::errors;
use neargate_core::AwsError;

/// `ClientException` naming the field.
pub fn unsupported(field: impl std::fmt::Display) -> AwsError {
    errors::client_exception(format!("{field} is not supported by Neargate yet."))
}
