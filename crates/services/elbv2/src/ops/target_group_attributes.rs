//! DescribeTargetGroupAttributes and ModifyTargetGroupAttributes.

use crate::api;
use crate::attributes::target_group;
use crate::records::TargetGroupRecord;
use crate::{Elbv2, find, shapes};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;
use std::collections::BTreeMap;

/// # Errors
/// `TargetGroupNotFound`, `ValidationError`.
pub async fn describe(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::DescribeTargetGroupAttributesInput,
) -> Result<api::DescribeTargetGroupAttributesOutput, AwsError> {
    let arn = input.target_group_arn.unwrap_or_default();
    let group = find::target_group(&service.store.snapshot(), &cx.region, &arn)?;
    Ok(api::DescribeTargetGroupAttributesOutput {
        attributes: shape(&group.attributes),
    })
}

/// # Errors
/// `TargetGroupNotFound`, `ValidationError`, `InvalidConfigurationRequest`.
pub async fn modify(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::ModifyTargetGroupAttributesInput,
) -> Result<api::ModifyTargetGroupAttributesOutput, AwsError> {
    let arn = input.target_group_arn.unwrap_or_default();
    let asked: Vec<_> = input
        .attributes
        .unwrap_or_default()
        .into_iter()
        .map(|a| (a.key, a.value))
        .collect();
    let attributes = service
        .store
        .transact(|snapshot| {
            let group = find::target_group(snapshot, &cx.region, &arn)?;
            let mut next = (*group.record).clone();
            let protocol = next.protocol.clone().unwrap_or_default();
            target_group::set(&protocol, &mut next.attributes, asked.clone())?;
            let attributes = next.attributes.clone();
            let key = TargetGroupRecord::key(&next.region, &next.name);
            let mut txn = Txn::new();
            txn.unchanged::<TargetGroupRecord>(snapshot, &key).put(&key, next);
            Ok::<_, AwsError>((txn, attributes))
        })
        .await?;
    Ok(api::ModifyTargetGroupAttributesOutput {
        attributes: shape(&attributes),
    })
}

fn shape(attributes: &BTreeMap<String, String>) -> Option<Vec<api::TargetGroupAttribute>> {
    shapes::attributes(attributes, |key, value| api::TargetGroupAttribute {
        key: Some(key),
        value: Some(value),
    })
}
