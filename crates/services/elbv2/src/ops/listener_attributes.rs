//! DescribeListenerAttributes and ModifyListenerAttributes.

use crate::api;
use crate::attributes::listener;
use crate::records::ListenerRecord;
use crate::{Elbv2, find, shapes};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;
use std::collections::BTreeMap;

/// # Errors
/// `ListenerNotFound`, `ValidationError`.
pub async fn describe(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::DescribeListenerAttributesInput,
) -> Result<api::DescribeListenerAttributesOutput, AwsError> {
    let arn = input.listener_arn.unwrap_or_default();
    let (_, found) = find::listener(&service.store.snapshot(), &cx.region, &arn)?;
    Ok(api::DescribeListenerAttributesOutput {
        attributes: shape(&found.attributes),
    })
}

/// # Errors
/// `ListenerNotFound`, `ValidationError`, `InvalidConfigurationRequest`.
pub async fn modify(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::ModifyListenerAttributesInput,
) -> Result<api::ModifyListenerAttributesOutput, AwsError> {
    let arn = input.listener_arn.unwrap_or_default();
    let asked: Vec<_> = input
        .attributes
        .unwrap_or_default()
        .into_iter()
        .map(|a| (a.key, a.value))
        .collect();
    let attributes = service
        .store
        .transact(|snapshot| {
            let (key, found) = find::listener(snapshot, &cx.region, &arn)?;
            let mut next = (*found.record).clone();
            listener::set(&next.protocol, &mut next.attributes, asked.clone())?;
            let attributes = next.attributes.clone();
            let mut txn = Txn::new();
            txn.unchanged::<ListenerRecord>(snapshot, &key).put(&key, next);
            Ok::<_, AwsError>((txn, attributes))
        })
        .await?;
    Ok(api::ModifyListenerAttributesOutput {
        attributes: shape(&attributes),
    })
}

fn shape(attributes: &BTreeMap<String, String>) -> Option<Vec<api::ListenerAttribute>> {
    shapes::attributes(attributes, |key, value| api::ListenerAttribute {
        key: Some(key),
        value: Some(value),
    })
}
