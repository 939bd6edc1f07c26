//! DescribeSSLPolicies.

use crate::{Elbv2, api, paging, ssl_policies};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `SSLPolicyNotFound`, `ValidationError`, `InvalidConfigurationRequest` for policies that are not served.
pub async fn handle(
    _service: &Elbv2,
    _cx: &RequestContext,
    input: api::DescribeSSLPoliciesInput,
) -> Result<api::DescribeSSLPoliciesOutput, AwsError> {
    let names = input.names.unwrap_or_default();
    for name in &names {
        ssl_policies::admit(name)?;
    }
    let mut policies = ssl_policies::shapes();
    policies.retain(|policy| {
        let named = names.is_empty() || policy.name.as_ref().is_some_and(|name| names.contains(name));
        let kinds = policy.supported_load_balancer_types.as_deref().unwrap_or_default();
        named
            && input
                .load_balancer_type
                .as_ref()
                .is_none_or(|kind| kinds.contains(kind))
    });
    let name = |policy: &api::SslPolicy| policy.name.clone().unwrap_or_default();
    let (page, next_marker) = paging::page("ssl-policies", policies, name, input.page_size, input.marker.as_deref())?;
    Ok(api::DescribeSSLPoliciesOutput {
        ssl_policies: Some(page),
        next_marker,
    })
}
