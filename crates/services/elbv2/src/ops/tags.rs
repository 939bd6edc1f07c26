//! AddTags, RemoveTags and DescribeTags.

use crate::api;
use crate::arns::{self, Named};
use crate::records::{ListenerRecord, LoadBalancerRecord, TargetGroupRecord};
use crate::refusal::validation;
use crate::{Elbv2, find, shapes, tagging};
use neargate_core::{AwsError, RequestContext, Tags};
use neargate_store::{Snapshot, Txn};

/// Resources of one request at most.
const MOST: usize = 20;

/// # Errors
/// `DuplicateTagKeys`, `TooManyTags`, `ValidationError`, and the not-found error of each resource.
pub async fn add(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::AddTagsInput,
) -> Result<api::AddTagsOutput, AwsError> {
    let new = tagging::admit(input.tags)?;
    change(service, cx, input.resource_arns, |tags| {
        tags.merge(new.clone()).map_err(tagging::refuse)
    })
    .await?;
    Ok(api::AddTagsOutput {})
}

/// # Errors
/// `ValidationError`, and the not-found error of each resource.
pub async fn remove(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::RemoveTagsInput,
) -> Result<api::RemoveTagsOutput, AwsError> {
    let keys = input.tag_keys.unwrap_or_default();
    change(service, cx, input.resource_arns, |tags| {
        tags.remove(keys.iter().map(String::as_str));
        Ok(())
    })
    .await?;
    Ok(api::RemoveTagsOutput {})
}

/// # Errors
/// `ValidationError`, and the not-found error of each resource.
pub async fn describe(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::DescribeTagsInput,
) -> Result<api::DescribeTagsOutput, AwsError> {
    let snapshot = service.store.snapshot();
    let mut described = Vec::new();
    for arn in admit(input.resource_arns)? {
        described.push(api::TagDescription {
            tags: Some(shapes::tags(&held(&snapshot, &cx.region, &arn)?)),
            resource_arn: Some(arn),
        });
    }
    Ok(api::DescribeTagsOutput {
        tag_descriptions: Some(described),
    })
}

fn admit(arns: Option<Vec<String>>) -> Result<Vec<String>, AwsError> {
    let arns = arns.unwrap_or_default();
    if arns.is_empty() {
        return Err(validation("At least one resource ARN must be specified"));
    }
    if arns.len() > MOST {
        return Err(validation(format!("At most {MOST} resource ARNs can be specified")));
    }
    Ok(arns)
}

fn held(snapshot: &Snapshot, region: &str, arn: &str) -> Result<Tags, AwsError> {
    Ok(match arns::parse(region, arn) {
        Some(Named::LoadBalancer(_)) => find::load_balancer(snapshot, region, arn)?.tags.clone(),
        Some(Named::TargetGroup(_)) => find::target_group(snapshot, region, arn)?.tags.clone(),
        Some(Named::Listener(_)) => find::listener(snapshot, region, arn)?.1.tags.clone(),
        Some(Named::Rule(_)) => {
            let (_, listener, at) = find::rule(snapshot, region, arn)?;
            listener.rules[at].tags.clone()
        }
        None => return Err(validation(format!("'{arn}' is not a valid ARN"))),
    })
}

/// Changes the tags of every resource, in one commit each.
async fn change(
    service: &Elbv2,
    cx: &RequestContext,
    arns: Option<Vec<String>>,
    mut edit: impl FnMut(&mut Tags) -> Result<(), AwsError>,
) -> Result<(), AwsError> {
    let arns = admit(arns)?;
    // What cannot be done for one resource is done for none.
    let snapshot = service.store.snapshot();
    for arn in &arns {
        edit(&mut held(&snapshot, &cx.region, arn)?)?;
    }
    for arn in &arns {
        service
            .store
            .transact(|snapshot| {
                let mut txn = Txn::new();
                put(snapshot, &mut txn, &cx.region, arn, &mut edit)?;
                Ok::<_, AwsError>((txn, ()))
            })
            .await?;
    }
    Ok(())
}

fn put(
    snapshot: &Snapshot,
    txn: &mut Txn,
    region: &str,
    arn: &str,
    edit: &mut impl FnMut(&mut Tags) -> Result<(), AwsError>,
) -> Result<(), AwsError> {
    match arns::parse(region, arn) {
        Some(Named::LoadBalancer(key)) => {
            let mut next = (*find::load_balancer(snapshot, region, arn)?.record).clone();
            edit(&mut next.tags)?;
            txn.unchanged::<LoadBalancerRecord>(snapshot, &key).put(&key, next);
        }
        Some(Named::TargetGroup(key)) => {
            let mut next = (*find::target_group(snapshot, region, arn)?.record).clone();
            edit(&mut next.tags)?;
            txn.unchanged::<TargetGroupRecord>(snapshot, &key).put(&key, next);
        }
        Some(Named::Listener(_)) => {
            let (key, found) = find::listener(snapshot, region, arn)?;
            let mut next = (*found.record).clone();
            edit(&mut next.tags)?;
            txn.unchanged::<ListenerRecord>(snapshot, &key).put(&key, next);
        }
        Some(Named::Rule(_)) => {
            let (key, found, at) = find::rule(snapshot, region, arn)?;
            let mut next = (*found.record).clone();
            edit(&mut next.rules[at].tags)?;
            txn.unchanged::<ListenerRecord>(snapshot, &key).put(&key, next);
        }
        None => return Err(validation(format!("'{arn}' is not a valid ARN"))),
    }
    Ok(())
}
