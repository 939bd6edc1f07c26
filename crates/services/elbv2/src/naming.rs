//! Names of load balancers and target groups.

use crate::refusal::validation;
use neargate_core::AwsError;

/// The most characters of a name.
const LONGEST: usize = 32;

/// Checks a name; `what` is e.g. `Load balancer`.
///
/// # Errors
/// `ValidationError`.
pub fn admit(what: &str, name: &str) -> Result<(), AwsError> {
    if name.is_empty() {
        return Err(validation(format!("{what} name cannot be empty")));
    }
    if name.chars().count() > LONGEST {
        return Err(validation(format!(
            "{what} name '{name}' cannot be longer than '{LONGEST}' characters"
        )));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(validation(format!(
            "{what} name '{name}' can only contain characters that are alphanumeric characters and hyphens(-)"
        )));
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err(validation(format!(
            "{what} name '{name}' cannot begin or end with a hyphen(-)"
        )));
    }
    Ok(())
}
