//! Refusals that many operations share.

use crate::api::errors;
use neargate_core::AwsError;

/// `ValidationError`: ELB's code for members that break its rules, which its model does not list.
pub fn validation(message: impl Into<String>) -> AwsError {
    AwsError::new("ValidationError", 400, message)
}

/// `InvalidConfigurationRequest`.
pub fn configuration(message: impl Into<String>) -> AwsError {
    errors::invalid_configuration_request_exception(message)
}

/// What AWS has and Neargate has not, by name.
pub fn unsupported(what: impl std::fmt::Display) -> AwsError {
    configuration(format!("{what} is not supported by Neargate."))
}

/// Refuses a member that was given at all.
///
/// # Errors
/// `InvalidConfigurationRequest` naming it.
pub fn absent<T>(member: &Option<T>, name: &str) -> Result<(), AwsError> {
    match member {
        Some(_) => Err(unsupported(name)),
        None => Ok(()),
    }
}
