//! SetSecurityGroups.

use crate::api;
use crate::records::LoadBalancerRecord;
use crate::refusal::{configuration, validation};
use crate::{Elbv2, find, seats};
use neargate_core::{AwsError, RequestContext};
use neargate_ec2::InterfaceRecord;
use neargate_link::gateway::BalancerKind;
use neargate_store::{Snapshot, Txn};

/// Changes the groups of a load balancer and of its interfaces together.
///
/// # Errors
/// `LoadBalancerNotFound`, `InvalidSecurityGroup`, `InvalidConfigurationRequest`.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::SetSecurityGroupsInput,
) -> Result<api::SetSecurityGroupsOutput, AwsError> {
    let arn = input.load_balancer_arn.unwrap_or_default();
    let asked = input.security_groups.unwrap_or_default();
    let enforce = input.enforce_security_group_inbound_rules_on_private_link_traffic;
    let next = service
        .store
        .transact(|snapshot| {
            let balancer = find::load_balancer(snapshot, &cx.region, &arn)?;
            let mut next = (*balancer.record).clone();
            admit(&next, &asked, enforce.is_some())?;
            next.security_groups = seats::security_groups(snapshot, &cx.region, &next.vpc_id, &asked)?;
            if enforce.is_some() {
                next.enforce_on_private_link = enforce.clone();
            }
            let mut txn = Txn::new();
            regroup(snapshot, &mut txn, &next);
            neargate_ec2::interface::lean_on_groups(&mut txn, &next.region, &next.security_groups);
            let key = LoadBalancerRecord::key(&next.region, &next.name);
            txn.unchanged::<LoadBalancerRecord>(snapshot, &key)
                .put(&key, next.clone());
            Ok::<_, AwsError>((txn, next))
        })
        .await?;
    Ok(api::SetSecurityGroupsOutput {
        security_group_ids: Some(next.security_groups),
        enforce_security_group_inbound_rules_on_private_link_traffic: next.enforce_on_private_link,
    })
}

fn admit(balancer: &LoadBalancerRecord, asked: &[String], enforce: bool) -> Result<(), AwsError> {
    if balancer.kind == BalancerKind::Network && balancer.security_groups.is_empty() {
        return Err(configuration(
            "You cannot set security groups on a network load balancer that was created without security groups",
        ));
    }
    if asked.is_empty() {
        return Err(validation("At least one security group must be specified"));
    }
    if enforce && balancer.kind == BalancerKind::Application {
        return Err(validation(
            "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic is not supported by application load balancers",
        ));
    }
    Ok(())
}

fn regroup(snapshot: &Snapshot, txn: &mut Txn, balancer: &LoadBalancerRecord) {
    for seat in &balancer.seats {
        if let Some(interface) = neargate_ec2::lookup::interface(snapshot, &balancer.region, &seat.interface_id) {
            let mut next = (*interface.record).clone();
            next.security_groups.clone_from(&balancer.security_groups);
            let key = InterfaceRecord::key(next.address);
            txn.unchanged::<InterfaceRecord>(snapshot, &key).put(&key, next);
        }
    }
}
