//! RegisterTargets.

use crate::api::{self, errors};
use crate::records::{TargetGroupRecord, TargetRecord};
use crate::refusal::{absent, validation};
use crate::targets::{self, NewTarget};
use crate::{Elbv2, cidr, find, limits};
use neargate_core::{AwsError, RequestContext};
use neargate_ec2::region;
use neargate_store::{Snapshot, Txn};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Targets of one commit, which may hold 128 changes.
const BATCH: usize = 100;

/// Registers targets; those that are registered already stay as they are. More than a hundred are registered in
/// several commits, once all of them are found good.
///
/// # Errors
/// `TargetGroupNotFound`, `InvalidTarget`, `TooManyTargets`, `ValidationError`.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::RegisterTargetsInput,
) -> Result<api::RegisterTargetsOutput, AwsError> {
    let arn = input.target_group_arn.unwrap_or_default();
    let asked = input.targets.unwrap_or_default();
    if asked.is_empty() {
        return Err(validation("At least one target must be specified"));
    }
    let snapshot = service.store.snapshot();
    let group = find::target_group(&snapshot, &cx.region, &arn)?;
    let mut wanted = BTreeMap::new();
    for target in asked {
        let target = admit(service, &snapshot, &group, target)?;
        wanted.insert((target.id.clone(), target.port), target);
    }
    let wanted: Vec<NewTarget> = wanted.into_values().collect();
    for batch in wanted.chunks(BATCH) {
        service
            .store
            .transact(|snapshot| {
                let group = find::target_group(snapshot, &cx.region, &arn)?;
                let fresh = wanted
                    .iter()
                    .filter(|t| targets::target(snapshot, &arn, &t.id, t.port).is_none())
                    .count();
                let fresh = u64::try_from(fresh).unwrap_or(u64::MAX);
                if snapshot.count(&TargetRecord::in_group(&arn)).saturating_add(fresh) > limits::TARGETS_PER_GROUP {
                    return Err(errors::too_many_targets_exception(format!(
                        "The maximum number of targets per target group '{}' has been reached",
                        limits::TARGETS_PER_GROUP
                    )));
                }
                let mut txn = Txn::new();
                for target in batch {
                    targets::register(snapshot, &mut txn, &group, target.clone(), cx.now);
                }
                Ok::<_, AwsError>((txn, ()))
            })
            .await?;
    }
    Ok(api::RegisterTargetsOutput {})
}

fn admit(
    service: &Elbv2,
    snapshot: &Snapshot,
    group: &TargetGroupRecord,
    asked: api::TargetDescription,
) -> Result<NewTarget, AwsError> {
    absent(&asked.quic_server_id, "Targets.QuicServerId")?;
    let id = asked.id.unwrap_or_default();
    let port = super::target_port(group, asked.port)?;
    let zone = asked.availability_zone.filter(|zone| !zone.is_empty());
    let (address, zone) = if group.target_type == "instance" {
        if zone.is_some() {
            return Err(validation(
                "You cannot specify an Availability Zone for targets of a target group with target type 'instance'",
            ));
        }
        if !id.starts_with("i-") {
            return Err(validation(format!("Instance ID '{id}' is not valid")));
        }
        let address = (service.instances)(snapshot, &group.region, &id);
        let address = address.ok_or_else(|| {
            errors::invalid_target_exception(format!(
                "The following targets are not in a running state and cannot be registered: '{id}'"
            ))
        })?;
        (address, None)
    } else {
        let address: Option<IpAddr> = id.parse().ok().filter(IpAddr::is_ipv4);
        let address =
            address.ok_or_else(|| validation(format!("The IP address '{id}' is not a valid IPv4 address")))?;
        (address, Some(place(snapshot, group, address, zone)?))
    };
    Ok(NewTarget {
        // One text for one address.
        id: if group.target_type == "ip" {
            address.to_string()
        } else {
            id
        },
        port,
        address,
        zone,
        owner: None,
    })
}

/// The zone of an address: its subnet's, or what is named for addresses outside the VPC.
fn place(
    snapshot: &Snapshot,
    group: &TargetGroupRecord,
    address: IpAddr,
    named: Option<String>,
) -> Result<String, AwsError> {
    let subnets = neargate_ec2::lookup::subnets(snapshot, &group.region, &group.vpc_id);
    let holds = |range: (std::net::Ipv4Addr, u8)| cidr::contains((range.0.into(), range.1), address);
    if let Some(subnet) = subnets.iter().find(|subnet| holds(subnet.cidr)) {
        let own = &subnet.availability_zone;
        return match named {
            Some(zone) if zone != *own => Err(validation(format!(
                "The IP address '{address}' is within the VPC, and cannot have its Availability Zone overridden to \
                 '{zone}' from '{own}'"
            ))),
            _ => Ok(own.clone()),
        };
    }
    let private = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"];
    let private = private.iter().filter_map(|text| cidr::parse(text));
    if !private.into_iter().any(|range| cidr::contains(range, address)) {
        return Err(errors::invalid_target_exception(format!(
            "The IP address '{address}' is not within a valid IP address range: the subnets of the VPC '{}', RFC 1918 \
             or RFC 6598",
            group.vpc_id
        )));
    }
    let Some(zone) = named else {
        return Err(validation(format!(
            "The Availability Zone is required for IP address '{address}' because it is not in the VPC"
        )));
    };
    let mut zones = (0..region::ZONES.len()).map(|at| region::zone_name(&group.region, at));
    match zone == "all" || zones.any(|known| known == zone) {
        true => Ok(zone),
        false => Err(validation(format!("The Availability Zone '{zone}' is not valid"))),
    }
}
