//! The parts of a request that RunTask, StartTask and the service operations check alike.

use crate::api::{self, errors};
use crate::plan::expression;
use neargate_core::{AwsError, RequestContext};
use neargate_store::Snapshot;

const MAX_SUBNETS: usize = 16;
const MAX_SECURITY_GROUPS: usize = 5;
const MAX_CONSTRAINTS: usize = 10;
const MAX_STRATEGIES: usize = 5;

/// The network that tasks of `definition` get: required for awsvpc, refused otherwise. Subnets and groups must exist and
/// share a VPC. Without groups an interface gets its VPC's default group when it is made, and the answer shows none, as on
/// AWS: Terraform compares the two.
///
/// `assignPublicIp=ENABLED` is taken for Fargate: what it is for, reaching the internet, every task can do through the
/// machine's address. No public address is attached.
///
/// # Errors
/// `InvalidParameterException` as AWS words it.
pub fn admit_network(
    snapshot: &Snapshot,
    cx: &RequestContext,
    definition: &api::TaskDefinition,
    fargate: bool,
    network: Option<&api::NetworkConfiguration>,
) -> Result<Option<api::AwsVpcConfiguration>, AwsError> {
    let bad = |message: String| Err(errors::invalid_parameter_exception(message));
    let given = network.and_then(|n| n.awsvpc_configuration.as_ref());
    let awsvpc = definition.network_mode.as_deref() == Some("awsvpc");
    let given = match (awsvpc, given) {
        (true, None) => {
            return bad("Network Configuration must be provided when networkMode 'awsvpc' is specified.".to_owned());
        }
        (false, Some(_)) => {
            return bad(
                "Network Configuration is not valid for the given networkMode of this task definition.".to_owned(),
            );
        }
        (false, None) => return Ok(None),
        (true, Some(given)) => given,
    };
    let subnets: &[String] = given.subnets.as_deref().unwrap_or_default();
    let groups: &[String] = given.security_groups.as_deref().unwrap_or_default();
    if subnets.is_empty() {
        return bad("subnets can not be empty.".to_owned());
    }
    if subnets.len() > MAX_SUBNETS {
        return bad(format!("subnets can have at most {MAX_SUBNETS} items."));
    }
    if groups.len() > MAX_SECURITY_GROUPS {
        return bad(format!("securityGroups can have at most {MAX_SECURITY_GROUPS} items."));
    }
    match given.assign_public_ip.as_deref() {
        None | Some("DISABLED") => {}
        Some("ENABLED") if fargate => {}
        Some("ENABLED") => return bad("Assign public IP is not supported for this launch type.".to_owned()),
        Some(other) => return bad(format!("Unknown value for assignPublicIp: {other}")),
    }

    let mut vpc: Option<(String, &str)> = None;
    for id in subnets {
        let Some(subnet) = neargate_ec2::subnet(snapshot, &cx.region, id) else {
            return bad(format!(
                "Error retrieving subnet information for [{id}]: The subnet ID '{id}' does not exist (ErrorCode: InvalidSubnetID.NotFound)"
            ));
        };
        match &vpc {
            Some((first, of)) if *first != subnet.vpc_id => {
                return bad(format!(
                    "Subnets must be in the same VPC: {of} is in {first}, {id} in {}.",
                    subnet.vpc_id
                ));
            }
            _ => vpc = Some((subnet.vpc_id.clone(), id)),
        }
    }
    let (vpc, _) = vpc.unwrap_or_default();
    for id in groups {
        let Some(group) = neargate_ec2::security_group(snapshot, &cx.region, id) else {
            return bad(format!(
                "Error retrieving security group information for [{id}]: The security group '{id}' does not exist (ErrorCode: InvalidGroup.NotFound)"
            ));
        };
        if group.vpc_id != vpc {
            return bad(format!(
                "Security group {id} does not appear to belong to the same VPC as the input subnets."
            ));
        }
    }
    let mut unique: Vec<String> = Vec::new();
    for id in groups {
        if !unique.contains(id) {
            unique.push(id.clone());
        }
    }
    Ok(Some(api::AwsVpcConfiguration {
        subnets: Some(subnets.to_vec()),
        security_groups: Some(unique),
        assign_public_ip: Some(given.assign_public_ip.clone().unwrap_or_else(|| "DISABLED".to_owned())),
    }))
}

/// Placement constraints and strategy of a request.
///
/// # Errors
/// `InvalidParameterException`; both are refused for Fargate.
pub fn admit_placement(
    fargate: bool,
    constraints: &[api::PlacementConstraint],
    strategy: &[api::PlacementStrategy],
) -> Result<(), AwsError> {
    let bad = |message: String| Err(errors::invalid_parameter_exception(message));
    if fargate {
        if !constraints.is_empty() {
            return bad("Placement constraints are not supported with FARGATE launch type.".to_owned());
        }
        if !strategy.is_empty() {
            return bad("Placement strategies are not supported with FARGATE launch type.".to_owned());
        }
    }
    if constraints.len() > MAX_CONSTRAINTS {
        return bad(format!(
            "placementConstraints can have at most {MAX_CONSTRAINTS} items."
        ));
    }
    if strategy.len() > MAX_STRATEGIES {
        return bad(format!("placementStrategy can have at most {MAX_STRATEGIES} items."));
    }
    for c in constraints {
        admit_constraint(c)?;
    }
    for s in strategy {
        let field = s.field.as_deref().unwrap_or_default();
        match s.r#type.as_deref() {
            Some("random") if field.is_empty() => {}
            Some("random") => return bad("The random placement strategy has no field.".to_owned()),
            Some("spread") if field.is_empty() => {
                return bad("Placement strategy 'spread' must have a field.".to_owned());
            }
            Some("spread")
                if matches!(field, "instanceId" | "host")
                    || field.strip_prefix("attribute:").is_some_and(|n| !n.is_empty()) => {}
            Some("spread") => return bad(format!("Invalid field for the spread placement strategy: {field}")),
            Some("binpack") if matches!(field.to_ascii_lowercase().as_str(), "cpu" | "memory") => {}
            Some("binpack") => return bad(format!("Invalid field for the binpack placement strategy: {field}")),
            other => {
                return bad(format!("Unknown placement strategy type: {}", other.unwrap_or("none")));
            }
        }
    }
    Ok(())
}

/// One placement constraint.
///
/// # Errors
/// `InvalidParameterException`.
pub fn admit_constraint(constraint: &api::PlacementConstraint) -> Result<(), AwsError> {
    let bad = |message: String| Err(errors::invalid_parameter_exception(message));
    let expression = constraint.expression.as_deref().unwrap_or_default();
    match constraint.r#type.as_deref() {
        Some("distinctInstance") if expression.is_empty() => Ok(()),
        Some("distinctInstance") => bad("The distinctInstance placement constraint has no expression.".to_owned()),
        Some("memberOf") if expression.is_empty() => {
            bad("The memberOf placement constraint must have an expression.".to_owned())
        }
        Some("memberOf") if expression.chars().count() > 2000 => {
            bad("The expression of a placement constraint can have at most 2000 characters.".to_owned())
        }
        Some("memberOf") => match expression::parse(expression) {
            Ok(_) => Ok(()),
            Err(error) => bad(format!("Invalid expression in placement constraint: {error}")),
        },
        other => bad(format!(
            "Unknown placement constraint type: {}",
            other.unwrap_or("none")
        )),
    }
}
