//! DescribeLoadBalancerAttributes and ModifyLoadBalancerAttributes.

use crate::api;
use crate::attributes::load_balancer;
use crate::records::LoadBalancerRecord;
use crate::{Elbv2, find, shapes};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;
use std::collections::BTreeMap;

/// # Errors
/// `LoadBalancerNotFound`, `ValidationError`.
pub async fn describe(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::DescribeLoadBalancerAttributesInput,
) -> Result<api::DescribeLoadBalancerAttributesOutput, AwsError> {
    let arn = input.load_balancer_arn.unwrap_or_default();
    let balancer = find::load_balancer(&service.store.snapshot(), &cx.region, &arn)?;
    Ok(api::DescribeLoadBalancerAttributesOutput {
        attributes: shape(&balancer.attributes),
    })
}

/// # Errors
/// `LoadBalancerNotFound`, `ValidationError`, `InvalidConfigurationRequest`.
pub async fn modify(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::ModifyLoadBalancerAttributesInput,
) -> Result<api::ModifyLoadBalancerAttributesOutput, AwsError> {
    let arn = input.load_balancer_arn.unwrap_or_default();
    let asked: Vec<_> = input
        .attributes
        .unwrap_or_default()
        .into_iter()
        .map(|a| (a.key, a.value))
        .collect();
    let attributes = service
        .store
        .transact(|snapshot| {
            let balancer = find::load_balancer(snapshot, &cx.region, &arn)?;
            let mut next = (*balancer.record).clone();
            load_balancer::set(next.kind, &mut next.attributes, asked.clone())?;
            let attributes = next.attributes.clone();
            let key = LoadBalancerRecord::key(&next.region, &next.name);
            let mut txn = Txn::new();
            txn.unchanged::<LoadBalancerRecord>(snapshot, &key).put(&key, next);
            Ok::<_, AwsError>((txn, attributes))
        })
        .await?;
    Ok(api::ModifyLoadBalancerAttributesOutput {
        attributes: shape(&attributes),
    })
}

fn shape(attributes: &BTreeMap<String, String>) -> Option<Vec<api::LoadBalancerAttribute>> {
    shapes::attributes(attributes, |key, value| api::LoadBalancerAttribute {
        key: Some(key),
        value: Some(value),
    })
}
