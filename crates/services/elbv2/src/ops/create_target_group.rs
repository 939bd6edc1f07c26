//! CreateTargetGroup.

use crate::api::{self, errors};
use crate::health_check::{self, Asked};
use crate::records::TargetGroupRecord;
use crate::refusal::{absent, unsupported, validation};
use crate::{Elbv2, arns, attributes, limits, naming, shapes, tagging};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{Condition, Snapshot, Txn};

/// Idempotent: the same settings again answer the target group that is there.
///
/// # Errors
/// `ValidationError`, `DuplicateTargetGroupName`, `TooManyTargetGroups`, `InvalidConfigurationRequest`, `TooManyTags`,
/// `DuplicateTagKeys`.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::CreateTargetGroupInput,
) -> Result<api::CreateTargetGroupOutput, AwsError> {
    let id = super::random_id(service);
    let record = service
        .store
        .transact(|snapshot| {
            let asked = admit(snapshot, cx, input.clone(), &id)?;
            create(snapshot, asked)
        })
        .await?;
    Ok(api::CreateTargetGroupOutput {
        target_groups: Some(vec![shapes::target_group(&service.store.snapshot(), &record)]),
    })
}

fn admit(
    snapshot: &Snapshot,
    cx: &RequestContext,
    input: api::CreateTargetGroupInput,
    id: &str,
) -> Result<TargetGroupRecord, AwsError> {
    absent(&input.target_control_port, "TargetControlPort")?;
    if let Some(other) = input.ip_address_type.as_deref().filter(|t| *t != "ipv4") {
        return Err(unsupported(format!("The IP address type '{other}'")));
    }
    let name = input.name.unwrap_or_default();
    naming::admit("Target group", &name)?;
    let target_type = input.target_type.unwrap_or_else(|| "instance".to_owned());
    if !matches!(target_type.as_str(), "instance" | "ip") {
        return Err(unsupported(format!("The target type '{target_type}'")));
    }
    let protocol = input
        .protocol
        .ok_or_else(|| validation("A protocol must be specified"))?;
    let protocol_version = health_check::protocol(&protocol, given(&input.protocol_version))?;
    let port = input.port.ok_or_else(|| validation("A port must be specified"))?;
    let port = u16::try_from(port).ok().filter(|p| *p > 0);
    let port = port.ok_or_else(|| validation("Port must be between 1 and 65535"))?;
    let vpc_id = input.vpc_id.filter(|id| !id.is_empty());
    let vpc_id = vpc_id.ok_or_else(|| validation("A VPC ID must be specified"))?;
    if neargate_ec2::vpc(snapshot, &cx.region, &vpc_id).is_none() {
        return Err(validation(format!("The VPC ID '{vpc_id}' is not found")));
    }
    let asked = Asked {
        enabled: input.health_check_enabled,
        protocol: input.health_check_protocol,
        port: input.health_check_port,
        path: input.health_check_path,
        interval: input.health_check_interval_seconds,
        timeout: input.health_check_timeout_seconds,
        healthy_threshold: input.healthy_threshold_count,
        unhealthy_threshold: input.unhealthy_threshold_count,
        matcher: input.matcher,
    };
    Ok(TargetGroupRecord {
        region: cx.region.clone(),
        arn: arns::arn(&cx.region, &cx.account, &format!("targetgroup/{name}/{id}")),
        name,
        target_type,
        health_check: health_check::admit(&protocol, protocol_version.as_deref(), asked)?,
        attributes: attributes::defaults(attributes::target_group::table(&protocol)),
        protocol: Some(protocol),
        protocol_version,
        port,
        vpc_id,
        created_at: cx.now,
        tags: tagging::admit(input.tags)?,
    })
}

/// Terraform sends an empty text for what is not set.
fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn create(snapshot: &Snapshot, record: TargetGroupRecord) -> Result<(Txn, TargetGroupRecord), AwsError> {
    let mut txn = Txn::new();
    let key = TargetGroupRecord::key(&record.region, &record.name);
    if let Some(there) = snapshot.get::<TargetGroupRecord>(&key) {
        let same = TargetGroupRecord {
            arn: there.arn.clone(),
            attributes: there.attributes.clone(),
            created_at: there.created_at,
            ..record.clone()
        };
        if same == *there.record {
            return Ok((txn, same));
        }
        return Err(errors::duplicate_target_group_name_exception(format!(
            "A target group with the same name '{}' exists, but with different settings",
            record.name
        )));
    }
    if snapshot
        .range::<TargetGroupRecord>(&format!("{}/", record.region))
        .count()
        >= limits::TARGET_GROUPS
    {
        return Err(errors::too_many_target_groups_exception(format!(
            "The maximum number of target groups '{}' has been reached",
            limits::TARGET_GROUPS
        )));
    }
    txn.expect::<TargetGroupRecord>(&key, Condition::Absent)
        .put(&key, record.clone());
    Ok((txn, record))
}
