//! CreateSecurityGroup, DeleteSecurityGroup.

use super::ask::{self, error, text};
use super::vpcs;
use crate::filter::{dry_run, invalid_value};
use crate::interface;
use crate::records::{GroupRule, InterfaceRecord, RulePeer, SecurityGroupRecord, VpcRecord};
use crate::region;
use crate::{Ec2, api};
use neargate_core::{AwsError, RequestContext, Tags};
use neargate_store::{Snapshot, Txn, Versioned};

/// Groups of a VPC at most.
const MOST_GROUPS: usize = 500;

/// The group of an id.
///
/// # Errors
/// `InvalidGroup.NotFound`, `InvalidGroupId.Malformed`.
pub fn find(snapshot: &Snapshot, region: &str, id: &str) -> Result<Versioned<SecurityGroupRecord>, AwsError> {
    ask::malformed(id, "sg-", "InvalidGroupId.Malformed")?;
    snapshot
        .get::<SecurityGroupRecord>(&SecurityGroupRecord::key(region, id))
        .ok_or_else(|| {
            error(
                "InvalidGroup.NotFound",
                format!("The security group '{id}' does not exist"),
            )
        })
}

/// The group that a request names: by id, or by name in the default VPC.
///
/// # Errors
/// `InvalidGroup.NotFound`, `InvalidParameterCombination`, `MissingParameter`.
pub fn named(
    service: &Ec2,
    snapshot: &Snapshot,
    region: &str,
    id: Option<&str>,
    name: Option<&str>,
) -> Result<Versioned<SecurityGroupRecord>, AwsError> {
    let (id, name) = (id.filter(|i| !i.is_empty()), name.filter(|n| !n.is_empty()));
    ask::not_both(("groupId", id.is_some()), ("groupName", name.is_some()))?;
    match (id, name) {
        (Some(id), _) => find(snapshot, region, id),
        (None, Some(name)) => {
            let vpc = region::default_vpc_id(&service.account, region);
            let value = format!("{region}/{vpc}/{name}");
            let found = snapshot
                .indexed::<SecurityGroupRecord>(SecurityGroupRecord::BY_NAME, &value)
                .next();
            found.map(|(_, group)| group).ok_or_else(|| {
                error(
                    "InvalidGroup.NotFound",
                    format!("The security group '{name}' does not exist in default VPC '{vpc}'"),
                )
            })
        }
        (None, None) => Err(error(
            "MissingParameter",
            "The request must contain the parameter groupName or groupId",
        )),
    }
}

/// Letters, digits, spaces and these, as AWS allows in names and descriptions.
fn allowed(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || "._-:/()#,@[]+=&;{}!$* ".contains(c))
}

/// # Errors
/// `InvalidGroup.Duplicate`, `InvalidParameterValue`, `InvalidVpcID.NotFound`, `SecurityGroupLimitExceeded`,
/// `VPCIdNotSpecified`, `DryRunOperation`.
pub async fn create(
    service: &Ec2,
    cx: &RequestContext,
    input: api::CreateSecurityGroupRequest,
) -> Result<api::CreateSecurityGroupResult, AwsError> {
    dry_run(input.dry_run)?;
    // Spaces behind a name are not kept.
    let name = input.group_name.map(|name| name.trim_end().to_owned());
    let name = ask::needed(name, "groupName")?;
    let description = ask::needed(input.description, "groupDescription")?;
    for (what, noun, value) in [
        ("groupName", "name", &name),
        ("groupDescription", "description", &description),
    ] {
        if !value.is_ascii() {
            return Err(invalid_value(format!(
                "Value ({value}) for parameter {what} is invalid. Character sets beyond ASCII are not supported."
            )));
        }
        if value.len() > 255 || !allowed(value) {
            return Err(invalid_value(format!(
                "Invalid security group {noun}. Valid {noun}s are strings less than 256 characters from the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{{}}!$*"
            )));
        }
    }
    if name.starts_with("sg-") {
        return Err(invalid_value(format!(
            "Value ({name}) for parameter groupName is invalid. Group names may not be in the format sg-*."
        )));
    }
    if name == "default" {
        return Err(error(
            "InvalidParameterValue",
            "Cannot use reserved security group name: default",
        ));
    }
    let tags = ask::tags(input.tag_specifications, "security-group")?;
    let asked = input.vpc_id.filter(|v| !v.is_empty());
    let vpc_id = asked
        .clone()
        .unwrap_or_else(|| region::default_vpc_id(&service.account, &cx.region));
    let id = format!("sg-{}", service.ids.hex17());
    let group = SecurityGroupRecord {
        region: cx.region.clone(),
        id: id.clone(),
        vpc_id: vpc_id.clone(),
        name: name.clone(),
        description,
        rules: vec![GroupRule {
            id: format!("sgr-{}", service.ids.hex17()),
            egress: true,
            protocol: "-1".to_owned(),
            from_port: None,
            to_port: None,
            peer: RulePeer::Ipv4("0.0.0.0/0".to_owned()),
            description: None,
            tags: Tags::default(),
        }],
        tags: tags.clone(),
    };
    service
        .store
        .transact(|snapshot| {
            let vpc = match vpcs::find(snapshot, &cx.region, &vpc_id) {
                Err(_) if asked.is_none() => {
                    return Err(error("VPCIdNotSpecified", "No default VPC for this user"));
                }
                found => found?,
            };
            let here = format!("{}/", cx.region);
            let held = snapshot.range::<SecurityGroupRecord>(&here).map(|(_, group)| group);
            let held: Vec<_> = held.filter(|group| group.vpc_id == vpc_id).collect();
            if held.iter().any(|group| group.name.eq_ignore_ascii_case(&name)) {
                return Err(error(
                    "InvalidGroup.Duplicate",
                    format!("The security group '{name}' already exists for VPC '{vpc_id}'"),
                ));
            }
            if held.len() >= MOST_GROUPS {
                return Err(error(
                    "SecurityGroupLimitExceeded",
                    "The maximum number of security groups for this VPC has been reached.",
                ));
            }
            let mut txn = Txn::new();
            // Touching the VPC keeps two groups of one name from being made at once.
            let vpc_key = VpcRecord::key(&cx.region, &vpc_id);
            txn.unchanged::<VpcRecord>(snapshot, &vpc_key)
                .put_shared(&vpc_key, vpc.record);
            txn.put(&SecurityGroupRecord::key(&cx.region, &id), group.clone());
            Ok((txn, ()))
        })
        .await?;
    Ok(api::CreateSecurityGroupResult {
        security_group_arn: Some(cx.arn("ec2", format!("security-group/{id}"))),
        group_id: Some(id),
        tags: ask::shown(&tags),
    })
}

/// # Errors
/// `InvalidGroup.NotFound`, `DependencyViolation`, `CannotDelete`, `MissingParameter`, `DryRunOperation`.
pub async fn delete(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DeleteSecurityGroupRequest,
) -> Result<api::DeleteSecurityGroupResult, AwsError> {
    dry_run(input.dry_run)?;
    let id = service
        .store
        .transact(|snapshot| {
            let (id, name) = (input.group_id.as_deref(), input.group_name.as_deref());
            let group = named(service, snapshot, &cx.region, id, name)?;
            Ok::<_, AwsError>((deletion(snapshot, &group)?, group.id.clone()))
        })
        .await?;
    Ok(api::DeleteSecurityGroupResult {
        group_id: text(&id),
        r#return: Some(true),
    })
}

/// Takes away a group that neither an interface nor another group's rule names, unless one does by the time it commits.
///
/// # Errors
/// `CannotDelete`, `DependencyViolation`.
pub fn deletion(snapshot: &Snapshot, group: &SecurityGroupRecord) -> Result<Txn, AwsError> {
    if group.name == "default" {
        return Err(error(
            "CannotDelete",
            format!(
                "the specified group: \"{}\" name: \"default\" cannot be deleted by a user",
                group.id
            ),
        ));
    }
    let vpc = vpcs::find(snapshot, &group.region, &group.vpc_id)?;
    let value = format!("{}/{}", group.region, group.id);
    let referenced = snapshot.count_indexed::<SecurityGroupRecord>(SecurityGroupRecord::BY_REFERENCE, &value) > 0;
    let held = snapshot
        .range::<InterfaceRecord>("")
        .any(|(_, i)| i.region == group.region && i.security_groups.contains(&group.id));
    if referenced || held {
        return Err(error(
            "DependencyViolation",
            format!("resource {} has a dependent object", group.id),
        ));
    }
    let mut txn = Txn::new();
    txn.none_newer::<SecurityGroupRecord>(snapshot, &format!("{}/", group.region));
    interface::none_newer_of(&mut txn, snapshot, &vpc);
    let key = SecurityGroupRecord::key(&group.region, &group.id);
    txn.unchanged::<SecurityGroupRecord>(snapshot, &key)
        .delete::<SecurityGroupRecord>(&key);
    Ok(txn)
}
