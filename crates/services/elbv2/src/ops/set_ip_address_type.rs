//! SetIpAddressType.

use crate::api;
use crate::refusal::unsupported;
use crate::{Elbv2, find};
use neargate_core::{AwsError, RequestContext};

/// Neargate's load balancers have IPv4 addresses, so that this changes nothing.
///
/// # Errors
/// `LoadBalancerNotFound`, `InvalidConfigurationRequest` for other types.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::SetIpAddressTypeInput,
) -> Result<api::SetIpAddressTypeOutput, AwsError> {
    let arn = input.load_balancer_arn.unwrap_or_default();
    find::load_balancer(&service.store.snapshot(), &cx.region, &arn)?;
    match input.ip_address_type.as_deref() {
        Some("ipv4") => Ok(api::SetIpAddressTypeOutput {
            ip_address_type: input.ip_address_type,
        }),
        other => Err(unsupported(format!(
            "The IP address type '{}'",
            other.unwrap_or_default()
        ))),
    }
}
