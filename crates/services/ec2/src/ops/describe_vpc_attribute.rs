//! DescribeVpcAttribute: Terraform asks it of every VPC that it reads.

use crate::filter;
use crate::{Ec2, api};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `InvalidVpcID.NotFound`, `InvalidVpcID.Malformed`, `InvalidParameterValue`, `MissingParameter`, `DryRunOperation`.
pub async fn handle(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DescribeVpcAttributeRequest,
) -> Result<api::DescribeVpcAttributeResult, AwsError> {
    filter::dry_run(input.dry_run)?;
    service.ensure_region(&cx.region).await?;
    let id = input.vpc_id.unwrap_or_default();
    filter::well_formed(std::slice::from_ref(&id), "vpc-", "InvalidVpcID.Malformed")?;
    let vpc = super::vpcs::find(&service.store.snapshot(), &cx.region, &id)?;
    let is = |value| Some(api::AttributeBooleanValue { value: Some(value) });
    let mut reply = api::DescribeVpcAttributeResult {
        vpc_id: Some(id),
        ..Default::default()
    };
    match input.attribute.as_deref().unwrap_or_default() {
        "enableDnsSupport" => reply.enable_dns_support = is(vpc.dns_support),
        "enableDnsHostnames" => reply.enable_dns_hostnames = is(vpc.dns_hostnames),
        "enableNetworkAddressUsageMetrics" => reply.enable_network_address_usage_metrics = is(vpc.usage_metrics),
        "" => {
            let message = "The request must contain the parameter attribute";
            return Err(AwsError::new("MissingParameter", 400, message));
        }
        other => {
            let message = format!("Value ({other}) for parameter attribute is invalid. Unknown attribute.");
            return Err(AwsError::new("InvalidParameterValue", 400, message));
        }
    }
    Ok(reply)
}
