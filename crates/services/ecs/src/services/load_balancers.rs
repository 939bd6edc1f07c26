//! A service's `loadBalancers`: target groups that exist, fit the task definition's network mode, and take traffic.
//!
//! Source: `LoadBalancer` of the ECS model and "Use load balancing to distribute Amazon ECS service traffic" of the
//! developer guide.

use super::{invalid, unsupported};
use crate::api;
use crate::records::TaskDefinitionRecord;
use neargate_core::{AwsError, RequestContext};
use neargate_elbv2::targets;
use neargate_store::Snapshot;

/// Target groups of one service at most.
const MOST: usize = 5;

/// The entries as asked, checked. `kept`: they are those that the service has, and need only fit the definition still, so that
/// a service whose load balancer is gone can be scaled down and mended.
///
/// # Errors
/// `InvalidParameterException`, `UnsupportedFeatureException` naming the member.
pub fn admit(
    snapshot: &Snapshot,
    cx: &RequestContext,
    definition: &TaskDefinitionRecord,
    asked: &[api::LoadBalancer],
    kept: bool,
) -> Result<Vec<api::LoadBalancer>, AwsError> {
    if asked.len() > MOST {
        return Err(invalid(format!("load balancers can have at most {MOST} items.")));
    }
    for (at, entry) in asked.iter().enumerate() {
        admit_one(snapshot, cx, definition, entry, kept)?;
        if asked[..at].contains(entry) {
            return Err(invalid("Duplicate load balancers are not supported."));
        }
    }
    Ok(asked.to_vec())
}

fn admit_one(
    snapshot: &Snapshot,
    cx: &RequestContext,
    definition: &TaskDefinitionRecord,
    entry: &api::LoadBalancer,
    kept: bool,
) -> Result<(), AwsError> {
    if entry.load_balancer_name.as_deref().is_some_and(|n| !n.is_empty()) {
        return Err(unsupported("loadBalancers.loadBalancerName (Classic Load Balancers)"));
    }
    if entry.advanced_configuration.is_some() {
        return Err(unsupported("loadBalancers.advancedConfiguration"));
    }
    let Some(arn) = entry.target_group_arn.as_deref().filter(|a| !a.is_empty()) else {
        return Err(invalid("targetGroupArn can not be blank."));
    };
    let Some(container) = entry.container_name.as_deref().filter(|c| !c.is_empty()) else {
        return Err(invalid("Container name cannot be blank for load balancers."));
    };
    let Some(port) = entry.container_port else {
        return Err(invalid("Container port cannot be blank for load balancers."));
    };
    let d = &definition.definition;
    let found = d
        .container_definitions
        .iter()
        .flatten()
        .find(|c| c.name.as_deref() == Some(container));
    let Some(found) = found else {
        return Err(invalid(format!(
            "The container {container} does not exist in the task definition."
        )));
    };
    let mapped = found
        .port_mappings
        .iter()
        .flatten()
        .find(|m| m.container_port == Some(port));
    let Some(mapping) = mapped else {
        return Err(invalid(format!(
            "The container {container} did not have a container port {port} defined."
        )));
    };
    let Some(group) = targets::target_group(snapshot, &cx.region, arn) else {
        if kept {
            return Ok(());
        }
        return Err(invalid(format!("The target group {arn} does not exist.")));
    };
    if !kept && !neargate_elbv2::in_use(snapshot, arn) {
        return Err(invalid(format!(
            "The target group with targetGroupArn {arn} does not have an associated load balancer."
        )));
    }
    let mode = d.network_mode.as_deref().unwrap_or("bridge");
    let wanted = match mode {
        "awsvpc" => "ip",
        "none" => {
            return Err(invalid("Load balancers are not supported with the none network mode."));
        }
        _ => "instance",
    };
    if group.target_type != wanted {
        return Err(invalid(format!(
            "The provided target group {arn} has target type {}, which is incompatible with the {mode} network mode \
             specified in the task definition.",
            group.target_type
        )));
    }
    let udp = mapping.protocol.as_deref() == Some("udp");
    let fits = match group.protocol.as_deref().unwrap_or_default() {
        "UDP" => udp,
        "TCP_UDP" => true,
        _ => !udp,
    };
    if !fits {
        return Err(invalid(format!(
            "The target group {arn} has protocol {}, which is incompatible with the protocol {} of container port {port}.",
            group.protocol.as_deref().unwrap_or_default(),
            if udp { "udp" } else { "tcp" }
        )));
    }
    Ok(())
}

/// Target groups reach the tasks: both are in one VPC. `network` has been admitted; its subnets are in one VPC.
///
/// # Errors
/// `InvalidParameterException`.
pub fn admit_vpc(
    snapshot: &Snapshot,
    cx: &RequestContext,
    entries: &[api::LoadBalancer],
    network: Option<&api::AwsVpcConfiguration>,
) -> Result<(), AwsError> {
    let subnet = network.and_then(|n| n.subnets.as_ref()?.first());
    let Some(subnet) = subnet.and_then(|id| neargate_ec2::subnet(snapshot, &cx.region, id)) else {
        return Ok(());
    };
    for arn in entries.iter().filter_map(|e| e.target_group_arn.as_deref()) {
        let group = targets::target_group(snapshot, &cx.region, arn);
        if group.is_some_and(|g| g.vpc_id != subnet.vpc_id) {
            return Err(invalid(format!(
                "The target group with targetGroupArn {arn} is in a different VPC than the subnets in the network \
                 configuration."
            )));
        }
    }
    Ok(())
}

/// `healthCheckGracePeriodSeconds`, of load balancers' checks and of containers' own; without either it is unused.
///
/// # Errors
/// `InvalidParameterException`.
pub fn admit_grace_period(given: Option<i32>) -> Result<Option<u32>, AwsError> {
    given
        .map(|n| {
            u32::try_from(n).map_err(|_| invalid("healthCheckGracePeriodSeconds must be between 0 and 2,147,483,647."))
        })
        .transpose()
}
