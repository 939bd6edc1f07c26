//! SetSubnets.

use crate::api;
use crate::records::LoadBalancerRecord;
use crate::refusal::{configuration, unsupported};
use crate::seats::{self, Sitter};
use crate::{Elbv2, find, shapes};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;

/// Replaces the subnets of a load balancer: it keeps its addresses in those that stay.
///
/// # Errors
/// `LoadBalancerNotFound`, `SubnetNotFound`, `InvalidSubnet`, `InvalidConfigurationRequest`, `ValidationError`.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::SetSubnetsInput,
) -> Result<api::SetSubnetsOutput, AwsError> {
    if let Some(other) = input.ip_address_type.as_deref().filter(|t| *t != "ipv4") {
        return Err(unsupported(format!("The IP address type '{other}'")));
    }
    if input
        .enable_prefix_for_ipv6_source_nat
        .as_deref()
        .is_some_and(|v| v != "off")
    {
        return Err(unsupported("EnablePrefixForIpv6SourceNat"));
    }
    let arn = input.load_balancer_arn.unwrap_or_default();
    let next = service
        .store
        .transact(|snapshot| {
            let balancer = find::load_balancer(snapshot, &cx.region, &arn)?;
            let mut next = (*balancer.record).clone();
            let sitter = Sitter {
                region: &cx.region,
                kind: next.kind,
                internal: next.internal,
            };
            let wanted = seats::admit(snapshot, &sitter, input.subnets.clone(), input.subnet_mappings.clone())?;
            if wanted.iter().any(|wanted| wanted.subnet.vpc_id != next.vpc_id) {
                return Err(configuration("The subnets must belong to the VPC of the load balancer"));
            }
            let mut txn = Txn::new();
            next.seats = seats::take(snapshot, &mut txn, &next, wanted, &*service.ids, cx.now)?;
            let key = LoadBalancerRecord::key(&next.region, &next.name);
            txn.unchanged::<LoadBalancerRecord>(snapshot, &key)
                .put(&key, next.clone());
            Ok::<_, AwsError>((txn, next))
        })
        .await?;
    Ok(api::SetSubnetsOutput {
        availability_zones: Some(shapes::zones(&next)),
        ip_address_type: Some("ipv4".to_owned()),
        enable_prefix_for_ipv6_source_nat: None,
    })
}
