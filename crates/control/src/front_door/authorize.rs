//! May this caller do this: the one place where that is decided.
//!
//! Until IAM comes, the account's root may do everything and nobody else anything.

use super::verify::Caller;
use neargate_core::AwsError;

/// Decides whether `caller` may call `operation` of the service called `service`.
///
/// # Errors
/// `AccessDeniedException`.
pub fn authorize(caller: &Caller, service: &str, operation: &str) -> Result<(), AwsError> {
    if caller.arn.ends_with(":root") {
        return Ok(());
    }
    let message = format!(
        "User: {} is not authorized to perform: {service}:{operation}",
        caller.arn
    );
    Err(AwsError::new("AccessDeniedException", 400, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_passes() {
        let caller = |arn: &str| Caller {
            arn: arn.to_owned(),
            id: String::new(),
            access_key: String::new(),
            region: String::new(),
        };
        assert!(authorize(&caller("arn:aws:iam::000000000000:root"), "ecs", "ListClusters").is_ok());
        let error = authorize(&caller("arn:aws:iam::000000000000:user/eve"), "ecs", "ListClusters").unwrap_err();
        assert!(
            error
                .message
                .ends_with("is not authorized to perform: ecs:ListClusters"),
            "{error}"
        );
    }
}
