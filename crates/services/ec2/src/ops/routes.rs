//! CreateRoute, ReplaceRoute, DeleteRoute.

use super::ask::{self, error};
use super::route_tables::change;
use super::{prefix_lists, vpcs};
use crate::cidr::{self, Cidr};
use crate::filter::{dry_run, invalid_value};
use crate::records::{
    Destination, InternetGatewayRecord, NatGatewayRecord, PrefixListRecord, RouteRecord, RouteTableRecord, RouteTarget,
    VpcRecord, cidr_text,
};
use crate::{Ec2, api};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Snapshot;

/// Where AWS's services answer in every subnet. Source: "Route tables" of the VPC guide, "Example routing options".
const RESERVED: Cidr = (std::net::Ipv4Addr::new(169, 254, 168, 0), 22);

/// What CreateRoute and ReplaceRoute name as a target.
struct Targets {
    gateway: Option<String>,
    nat: Option<String>,
    interface: Option<String>,
}

fn destination(
    snapshot: &Snapshot,
    region: &str,
    range: Option<&str>,
    list: Option<&str>,
) -> Result<Destination, AwsError> {
    match (range, list) {
        (Some(text), None) => match cidr::parse(text) {
            Some(range) => Ok(Destination::Range(range)),
            None => Err(invalid_value(format!(
                "Value ({text}) for parameter destinationCidrBlock is invalid. This is not a valid CIDR block."
            ))),
        },
        (None, Some(id)) => match snapshot.contains::<PrefixListRecord>(&PrefixListRecord::key(region, id)) {
            true => Ok(Destination::PrefixList(id.to_owned())),
            false if prefix_lists::is_awss(region, id) => Err(invalid_value(format!(
                "The prefix list '{id}' is AWS's: routes to it come with a gateway endpoint."
            ))),
            false => Err(error(
                "InvalidPrefixListId.NotFound",
                format!("The prefix list ID '{id}' does not exist"),
            )),
        },
        _ => Err(error(
            "MissingParameter",
            "The request must contain exactly one of destinationCidrBlock, destinationIpv6CidrBlock, destinationPrefixListId",
        )),
    }
}

fn target(snapshot: &Snapshot, table: &RouteTableRecord, targets: &Targets) -> Result<RouteTarget, AwsError> {
    let region = &table.region;
    let given = [&targets.gateway, &targets.nat, &targets.interface];
    // EC2 takes a NAT gateway's id in GatewayId, too.
    let (nats, gateways): (Vec<_>, Vec<_>) = [&targets.gateway, &targets.nat]
        .into_iter()
        .flatten()
        .partition(|id| targets.nat.as_ref() == Some(id) || id.starts_with("nat-"));
    if given.iter().filter(|t| t.is_some()).count() != 1 {
        return Err(error(
            "InvalidParameterCombination",
            "The request must contain exactly one of gatewayId, natGatewayId, networkInterfaceId",
        ));
    }
    if let Some(&id) = gateways.first() {
        let gateway = snapshot.get::<InternetGatewayRecord>(&InternetGatewayRecord::key(region, id));
        let Some(gateway) = gateway else {
            let text = format!("The gateway ID '{id}' does not exist");
            return Err(error("InvalidGatewayID.NotFound", text));
        };
        if gateway.vpc_id.as_ref() != Some(&table.vpc_id) {
            return Err(invalid_value(format!(
                "route table {} and network gateway {id} belong to different networks",
                table.id
            )));
        }
        return Ok(RouteTarget::InternetGateway(id.clone()));
    }
    if let Some(&id) = nats.first() {
        let nat = snapshot.get::<NatGatewayRecord>(&NatGatewayRecord::key(region, id));
        let Some(nat) = nat.filter(|n| n.is_available()) else {
            let text = format!("The natGateway ID '{id}' does not exist");
            return Err(error("InvalidNatGatewayID.NotFound", text));
        };
        if nat.vpc_id != table.vpc_id {
            return Err(invalid_value(format!(
                "route table {} and nat gateway {id} belong to different networks",
                table.id
            )));
        }
        return Ok(RouteTarget::NatGateway(id.clone()));
    }
    let id = targets.interface.clone().unwrap_or_default();
    match crate::lookup::interface(snapshot, region, &id) {
        Some(interface) if interface.vpc_id == table.vpc_id => Ok(RouteTarget::Interface(id)),
        Some(_) => Err(invalid_value(format!(
            "route table {} and interface {id} belong to different networks",
            table.id
        ))),
        None => Err(super::interfaces::KIND.not_found(&id)),
    }
}

/// Routes of a table at most.
const MOST_ROUTES: usize = 500;

/// # Errors
/// `InvalidRouteTableID.NotFound`, `RouteAlreadyExists`, `InvalidGatewayID.NotFound`, `InvalidNatGatewayID.NotFound`,
/// `InvalidNetworkInterfaceID.NotFound`, `InvalidParameterValue`, `RouteLimitExceeded`, `UnsupportedOperation`.
pub async fn create_route(
    service: &Ec2,
    cx: &RequestContext,
    input: api::CreateRouteRequest,
) -> Result<api::CreateRouteResult, AwsError> {
    dry_run(input.dry_run)?;
    ask::refuse(&[
        ("CarrierGatewayId", input.carrier_gateway_id.is_some()),
        ("CoreNetworkArn", input.core_network_arn.is_some()),
        ("DestinationIpv6CidrBlock", input.destination_ipv6_cidr_block.is_some()),
        (
            "EgressOnlyInternetGatewayId",
            input.egress_only_internet_gateway_id.is_some(),
        ),
        ("InstanceId", input.instance_id.is_some()),
        ("LocalGatewayId", input.local_gateway_id.is_some()),
        ("OdbNetworkArn", input.odb_network_arn.is_some()),
        ("TransitGatewayId", input.transit_gateway_id.is_some()),
        ("VpcEndpointId", input.vpc_endpoint_id.is_some()),
        ("VpcPeeringConnectionId", input.vpc_peering_connection_id.is_some()),
    ])?;
    let targets = Targets {
        gateway: input.gateway_id,
        nat: input.nat_gateway_id,
        interface: input.network_interface_id,
    };
    let (range, list) = (input.destination_cidr_block, input.destination_prefix_list_id);
    let id = input.route_table_id.unwrap_or_default();
    change(service, cx, &id, |snapshot, mut table| {
        let destination = destination(snapshot, &cx.region, range.as_deref(), list.as_deref())?;
        let vpc = vpcs::find(snapshot, &cx.region, &table.vpc_id)?;
        if let Destination::Range(range) = &destination
            && vpc.ranges().contains(range)
        {
            return Err(exists(&destination));
        }
        let target = target(snapshot, &table, &targets)?;
        fits(&vpc, &destination, &target)?;
        if let Some(known) = table.routes.iter().find(|r| r.destination == destination) {
            if known.target == target {
                return Ok(table);
            }
            return Err(exists(&destination));
        }
        if table.routes.len() >= MOST_ROUTES {
            return Err(error(
                "RouteLimitExceeded",
                format!("The maximum number of routes is {MOST_ROUTES}"),
            ));
        }
        table.routes.push(RouteRecord { destination, target });
        table.routes.sort_by(|a, b| a.destination.cmp(&b.destination));
        Ok(table)
    })
    .await?;
    Ok(api::CreateRouteResult { r#return: Some(true) })
}

fn exists(destination: &Destination) -> AwsError {
    error(
        "RouteAlreadyExists",
        format!("The route identified by {} already exists.", name(destination)),
    )
}

/// Inside a VPC only an interface can be put in the way, and nothing where AWS's own services answer.
fn fits(vpc: &VpcRecord, destination: &Destination, target: &RouteTarget) -> Result<(), AwsError> {
    match (destination, target) {
        (Destination::Range(range), _) if cidr::within(RESERVED, *range) => Err(invalid_value(format!(
            "The destination CIDR block {} is reserved: no route can lead to {} or a part of it.",
            cidr_text(*range),
            cidr_text(RESERVED)
        ))),
        (Destination::Range(range), RouteTarget::InternetGateway(_) | RouteTarget::NatGateway(_))
            if vpc.ranges().iter().any(|own| cidr::within(*own, *range)) =>
        {
            Err(invalid_value(format!(
                "The destination CIDR block {} is equal to or more specific than one of this VPC's CIDR blocks. This route can target only an interface or an instance.",
                cidr_text(*range)
            )))
        }
        _ => Ok(()),
    }
}

fn name(destination: &Destination) -> String {
    match destination {
        Destination::Range(range) => cidr_text(*range),
        Destination::PrefixList(id) => id.clone(),
    }
}

fn no_route(id: &str, destination: &Destination) -> AwsError {
    error(
        "InvalidRoute.NotFound",
        format!(
            "no route with destination-cidr-block {} in route table {id}",
            name(destination)
        ),
    )
}

/// # Errors
/// As `create_route`, and `InvalidRoute.NotFound`.
pub async fn replace_route(
    service: &Ec2,
    cx: &RequestContext,
    input: api::ReplaceRouteRequest,
) -> Result<(), AwsError> {
    dry_run(input.dry_run)?;
    ask::refuse(&[
        ("CarrierGatewayId", input.carrier_gateway_id.is_some()),
        ("CoreNetworkArn", input.core_network_arn.is_some()),
        ("DestinationIpv6CidrBlock", input.destination_ipv6_cidr_block.is_some()),
        (
            "EgressOnlyInternetGatewayId",
            input.egress_only_internet_gateway_id.is_some(),
        ),
        ("InstanceId", input.instance_id.is_some()),
        ("LocalGatewayId", input.local_gateway_id.is_some()),
        ("LocalTarget", input.local_target == Some(true)),
        ("OdbNetworkArn", input.odb_network_arn.is_some()),
        ("TransitGatewayId", input.transit_gateway_id.is_some()),
        ("VpcEndpointId", input.vpc_endpoint_id.is_some()),
        ("VpcPeeringConnectionId", input.vpc_peering_connection_id.is_some()),
    ])?;
    let targets = Targets {
        gateway: input.gateway_id,
        nat: input.nat_gateway_id,
        interface: input.network_interface_id,
    };
    let (range, list) = (input.destination_cidr_block, input.destination_prefix_list_id);
    let id = input.route_table_id.unwrap_or_default();
    change(service, cx, &id, |snapshot, mut table| {
        let destination = destination(snapshot, &cx.region, range.as_deref(), list.as_deref())?;
        let target = target(snapshot, &table, &targets)?;
        let vpc = vpcs::find(snapshot, &cx.region, &table.vpc_id)?;
        fits(&vpc, &destination, &target)?;
        let route = table.routes.iter_mut().find(|r| r.destination == destination);
        let route = route.ok_or_else(|| {
            invalid_value(format!(
                "There is no route defined for '{}' in the route table. Use CreateRoute instead.",
                name(&destination)
            ))
        })?;
        route.target = target;
        Ok(table)
    })
    .await
}

/// # Errors
/// `InvalidRouteTableID.NotFound`, `InvalidRoute.NotFound`, `InvalidParameterValue`, `UnsupportedOperation`.
pub async fn delete_route(service: &Ec2, cx: &RequestContext, input: api::DeleteRouteRequest) -> Result<(), AwsError> {
    dry_run(input.dry_run)?;
    ask::refuse(&[("DestinationIpv6CidrBlock", input.destination_ipv6_cidr_block.is_some())])?;
    let (range, list) = (input.destination_cidr_block, input.destination_prefix_list_id);
    let id = input.route_table_id.unwrap_or_default();
    change(service, cx, &id, |snapshot, mut table| {
        let destination = match (&range, &list) {
            // A list that is gone may still stand in a route.
            (None, Some(list)) => Destination::PrefixList(list.clone()),
            _ => destination(snapshot, &cx.region, range.as_deref(), list.as_deref())?,
        };
        let vpc = snapshot.get::<VpcRecord>(&VpcRecord::key(&cx.region, &table.vpc_id));
        if let Destination::Range(range) = &destination
            && vpc.is_some_and(|vpc| vpc.ranges().contains(range))
        {
            return Err(invalid_value(format!(
                "cannot remove local route {} in route table {id}",
                cidr_text(*range)
            )));
        }
        let before = table.routes.len();
        table
            .routes
            .retain(|r| r.destination != destination || matches!(r.target, RouteTarget::Endpoint(_)));
        if table.routes.len() == before {
            return Err(no_route(&id, &destination));
        }
        Ok(table)
    })
    .await
}
