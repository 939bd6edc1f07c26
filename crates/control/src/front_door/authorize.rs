//! May this caller do this: the one place where that is decided.
//!
//! Until IAM comes, the account's root may do everything and nobody else anything.

use super::verify::Caller;
use neargate_core::AwsError;
use neargate_wire::Protocol;

/// Decides whether `caller` may call `operation` of the service called `service`.
///
/// # Errors
/// `AccessDeniedException`; `AccessDenied` in the query protocol and `UnauthorizedOperation` in EC2's.
pub fn authorize(caller: &Caller, protocol: Protocol, service: &str, operation: &str) -> Result<(), AwsError> {
    if caller.arn.ends_with(":root") {
        return Ok(());
    }
    let message = format!(
        "User: {} is not authorized to perform: {service}:{operation}",
        caller.arn
    );
    let (code, status) = match protocol {
        Protocol::AwsJson10 | Protocol::AwsJson11 | Protocol::RpcV2Cbor => ("AccessDeniedException", 400),
        Protocol::RestJson => ("AccessDeniedException", 403),
        Protocol::Query | Protocol::RestXml => ("AccessDenied", 403),
        Protocol::Ec2Query => ("UnauthorizedOperation", 403),
    };
    Err(AwsError::new(code, status, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_passes() {
        let caller = |name: &str| Caller {
            arn: format!("arn:aws:iam::000000000000:{name}"),
            id: String::new(),
            access_key: String::new(),
            region: String::new(),
        };
        assert!(authorize(&caller("root"), Protocol::AwsJson11, "ecs", "ListClusters").is_ok());
        let error = authorize(&caller("user/eve"), Protocol::AwsJson11, "ecs", "ListClusters").unwrap_err();
        assert!(
            error
                .message
                .ends_with("is not authorized to perform: ecs:ListClusters"),
            "{error}"
        );
        assert!(authorize(&caller("user/root"), Protocol::Query, "sts", "AssumeRole").is_err());
    }
}
