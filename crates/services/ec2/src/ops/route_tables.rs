//! Route tables and their associations.

use super::ask::{self, Kind, by_ids, error, filtered, one, text};
use super::{prefix_lists, subnets, vpcs};
use crate::filter::{self, Values, dry_run, invalid_value};
use crate::records::{
    Destination, EndpointRecord, RouteTableAssociation, RouteTableRecord, RouteTarget, SubnetRecord, VpcRecord,
    cidr_text,
};
use crate::routing;
use crate::{Ec2, api};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{Snapshot, Txn, Versioned};

const KIND: Kind = Kind {
    prefix: "rtb-",
    name: "routeTable",
    malformed: "InvalidRouteTableId.Malformed",
    missing: "InvalidRouteTableID.NotFound",
};

/// The table of an id.
///
/// # Errors
/// `InvalidRouteTableID.NotFound`.
pub fn find(snapshot: &Snapshot, region: &str, id: &str) -> Result<Versioned<RouteTableRecord>, AwsError> {
    snapshot
        .get::<RouteTableRecord>(&RouteTableRecord::key(region, id))
        .ok_or_else(|| KIND.not_found(id))
}

/// # Errors
/// `InvalidVpcID.NotFound`, `InvalidParameterValue`, `IdempotentParameterMismatch`, `DryRunOperation`.
pub async fn create(
    service: &Ec2,
    cx: &RequestContext,
    input: api::CreateRouteTableRequest,
) -> Result<api::CreateRouteTableResult, AwsError> {
    dry_run(input.dry_run)?;
    let made_under = ask::client_token(input.client_token.as_ref(), &input);
    let table = RouteTableRecord {
        region: cx.region.clone(),
        id: format!("rtb-{}", service.ids.hex17()),
        vpc_id: input.vpc_id.unwrap_or_default(),
        main_association: None,
        associations: Vec::new(),
        routes: Vec::new(),
        made_under,
        tags: ask::tags(input.tag_specifications, "route-table")?,
    };
    let here = format!("{}/", cx.region);
    let made = service
        .store
        .transact(|snapshot| {
            let all = snapshot.range::<RouteTableRecord>(&here).map(|(_, t)| t);
            if let Some(earlier) = ask::made_under(table.made_under.as_ref(), all, |t| t.made_under.as_ref())? {
                return Ok::<_, AwsError>((Txn::new(), (*earlier.record).clone()));
            }
            let vpc = vpcs::find(snapshot, &cx.region, &table.vpc_id)?;
            let mut txn = Txn::new();
            // Touching the VPC keeps it from being deleted meanwhile.
            let vpc_key = VpcRecord::key(&cx.region, &table.vpc_id);
            txn.unchanged::<VpcRecord>(snapshot, &vpc_key)
                .put_shared(&vpc_key, vpc.record);
            txn.put(&table.own_key(), table.clone());
            Ok((txn, table.clone()))
        })
        .await?;
    Ok(api::CreateRouteTableResult {
        client_token: input.client_token,
        route_table: Some(shape(&service.store.snapshot(), &made, &service.account)),
    })
}

/// # Errors
/// `InvalidRouteTableID.NotFound`, `DependencyViolation`, `DryRunOperation`.
pub async fn delete(service: &Ec2, cx: &RequestContext, input: api::DeleteRouteTableRequest) -> Result<(), AwsError> {
    dry_run(input.dry_run)?;
    let id = input.route_table_id.unwrap_or_default();
    service
        .store
        .transact(|snapshot| {
            let table = find(snapshot, &cx.region, &id)?;
            if table.main_association.is_some() || !table.associations.is_empty() {
                return Err(ask::in_use("routeTable", &id));
            }
            let mut txn = Txn::new();
            for (key, endpoint) in snapshot.range::<EndpointRecord>(&format!("{}/", cx.region)) {
                if endpoint.route_tables.contains(&id) {
                    let mut next = (*endpoint.record).clone();
                    next.route_tables.retain(|t| *t != id);
                    txn.unchanged::<EndpointRecord>(snapshot, key).put(key, next);
                }
            }
            txn.unchanged::<RouteTableRecord>(snapshot, &table.own_key())
                .delete::<RouteTableRecord>(&table.own_key());
            Ok((txn, ()))
        })
        .await
}

/// Changes one table.
pub async fn change(
    service: &Ec2,
    cx: &RequestContext,
    id: &str,
    with: impl Fn(&Snapshot, RouteTableRecord) -> Result<RouteTableRecord, AwsError>,
) -> Result<(), AwsError> {
    service
        .store
        .transact(|snapshot| {
            let table = find(snapshot, &cx.region, id)?;
            let key = table.own_key();
            let next = with(snapshot, (*table.record).clone())?;
            let mut txn = Txn::new();
            for route in next.routes.iter().filter(|route| !table.routes.contains(route)) {
                if let Destination::PrefixList(id) = &route.destination {
                    prefix_lists::lean_on(snapshot, &mut txn, &cx.region, id);
                }
            }
            txn.unchanged::<RouteTableRecord>(snapshot, &key).put(&key, next);
            Ok::<_, AwsError>((txn, ()))
        })
        .await
}

/// # Errors
/// `InvalidRouteTableID.NotFound`, `InvalidSubnetID.NotFound`, `Resource.AlreadyAssociated`, `InvalidParameterValue`,
/// `UnsupportedOperation`, `DryRunOperation`.
pub async fn associate(
    service: &Ec2,
    cx: &RequestContext,
    input: api::AssociateRouteTableRequest,
) -> Result<api::AssociateRouteTableResult, AwsError> {
    dry_run(input.dry_run)?;
    ask::refuse(&[
        ("GatewayId", input.gateway_id.is_some()),
        ("PublicIpv4Pool", input.public_ipv4_pool.is_some()),
    ])?;
    let (id, subnet_id) = (
        input.route_table_id.unwrap_or_default(),
        ask::needed(input.subnet_id, "subnetId")?,
    );
    let fresh = format!("rtbassoc-{}", service.ids.hex17());
    let association = service
        .store
        .transact(|snapshot| {
            let table = find(snapshot, &cx.region, &id)?;
            let subnet = subnets::find(snapshot, &cx.region, &subnet_id)?;
            if subnet.vpc_id != table.vpc_id {
                return Err(invalid_value(format!(
                    "Route table {id} and network {subnet_id} belong to different networks"
                )));
            }
            if let Some(known) = table.associations.iter().find(|a| a.subnet_id == subnet_id) {
                return Ok((Txn::new(), known.id.clone()));
            }
            let mut tables = snapshot
                .range::<RouteTableRecord>(&format!("{}/", cx.region))
                .map(|(_, t)| t)
                .collect::<Vec<_>>();
            tables.retain(|t| t.associations.iter().any(|a| a.subnet_id == subnet_id));
            if !tables.is_empty() {
                return Err(error(
                    "Resource.AlreadyAssociated",
                    format!("the specified association for route table {id} conflicts with an existing association"),
                ));
            }
            let mut next = (*table.record).clone();
            next.associations.push(RouteTableAssociation {
                id: fresh.clone(),
                subnet_id: subnet_id.clone(),
            });
            let mut txn = Txn::new();
            let subnet_key = SubnetRecord::key(&cx.region, &subnet_id);
            // Touching the subnet keeps two tables from taking it at once.
            txn.unchanged::<SubnetRecord>(snapshot, &subnet_key)
                .put_shared(&subnet_key, subnet.record);
            txn.unchanged::<RouteTableRecord>(snapshot, &table.own_key())
                .put(&table.own_key(), next);
            Ok((txn, fresh.clone()))
        })
        .await?;
    Ok(api::AssociateRouteTableResult {
        association_id: Some(association),
        association_state: Some(state("associated")),
    })
}

fn state(state: &str) -> api::RouteTableAssociationState {
    api::RouteTableAssociationState {
        state: text(state),
        status_message: None,
    }
}

/// The table that has the association, and whether it is its main one.
fn of_association(
    snapshot: &Snapshot,
    region: &str,
    id: &str,
) -> Result<(Versioned<RouteTableRecord>, bool), AwsError> {
    let mut tables = snapshot
        .range::<RouteTableRecord>(&format!("{region}/"))
        .map(|(_, t)| t)
        .collect::<Vec<_>>();
    tables.retain(|t| t.main_association.as_deref() == Some(id) || t.associations.iter().any(|a| a.id == id));
    match tables.pop() {
        Some(table) => {
            let main = table.main_association.as_deref() == Some(id);
            Ok((table, main))
        }
        None => Err(error(
            "InvalidAssociationID.NotFound",
            format!("The association ID '{id}' does not exist"),
        )),
    }
}

/// # Errors
/// `InvalidAssociationID.NotFound`, `InvalidParameterValue`, `DryRunOperation`.
pub async fn disassociate(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DisassociateRouteTableRequest,
) -> Result<(), AwsError> {
    dry_run(input.dry_run)?;
    let id = input.association_id.unwrap_or_default();
    service
        .store
        .transact(|snapshot| {
            let (table, main) = of_association(snapshot, &cx.region, &id)?;
            if main {
                return Err(invalid_value(format!(
                    "cannot disassociate the main route table association {id}"
                )));
            }
            let mut next = (*table.record).clone();
            next.associations.retain(|a| a.id != id);
            let mut txn = Txn::new();
            txn.unchanged::<RouteTableRecord>(snapshot, &table.own_key())
                .put(&table.own_key(), next);
            Ok((txn, ()))
        })
        .await
}

/// # Errors
/// `InvalidAssociationID.NotFound`, `InvalidRouteTableID.NotFound`, `InvalidParameterValue`, `DryRunOperation`.
pub async fn replace_association(
    service: &Ec2,
    cx: &RequestContext,
    input: api::ReplaceRouteTableAssociationRequest,
) -> Result<api::ReplaceRouteTableAssociationResult, AwsError> {
    dry_run(input.dry_run)?;
    let (id, table_id) = (
        input.association_id.unwrap_or_default(),
        input.route_table_id.unwrap_or_default(),
    );
    let fresh = format!("rtbassoc-{}", service.ids.hex17());
    service
        .store
        .transact(|snapshot| {
            let (from, main) = of_association(snapshot, &cx.region, &id)?;
            let to = find(snapshot, &cx.region, &table_id)?;
            if from.vpc_id != to.vpc_id {
                return Err(invalid_value(format!(
                    "Route table {table_id} and route table {} belong to different networks",
                    from.id
                )));
            }
            let (mut old, mut new) = ((*from.record).clone(), (*to.record).clone());
            let same = old.id == new.id;
            let moved = if main {
                old.main_association = None;
                None
            } else {
                let at = old.associations.iter().position(|a| a.id == id);
                at.map(|at| old.associations.remove(at))
            };
            if same {
                new = old.clone();
            }
            match moved {
                None => new.main_association = Some(fresh.clone()),
                Some(moved) => new.associations.push(RouteTableAssociation {
                    id: fresh.clone(),
                    ..moved
                }),
            }
            let mut txn = Txn::new();
            if !same {
                txn.unchanged::<RouteTableRecord>(snapshot, &from.own_key())
                    .put(&from.own_key(), old);
            }
            txn.unchanged::<RouteTableRecord>(snapshot, &to.own_key())
                .put(&to.own_key(), new);
            Ok((txn, ()))
        })
        .await?;
    Ok(api::ReplaceRouteTableAssociationResult {
        new_association_id: Some(fresh),
        association_state: Some(state("associated")),
    })
}

/// # Errors
/// `InvalidRouteTableID.NotFound`, `InvalidParameterValue`, `InvalidNextToken`, `DryRunOperation`.
pub async fn describe(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DescribeRouteTablesRequest,
) -> Result<api::DescribeRouteTablesResult, AwsError> {
    dry_run(input.dry_run)?;
    let snapshot = service.store.snapshot();
    let all: Vec<_> = snapshot
        .range::<RouteTableRecord>(&format!("{}/", cx.region))
        .map(|(_, t)| t)
        .collect();
    let ids = input.route_table_ids.as_deref();
    let tables = by_ids(all, ids, |t| &t.id, &KIND)?;
    let tables = filtered(
        &FILTERS,
        tables,
        input.filters.as_deref(),
        |t| &t.tags,
        |t, name| values(&snapshot, t, &service.account, name),
    )?;
    let named = ("routeTableIds", ids.is_some_and(|i| !i.is_empty()));
    let page = filter::page(
        "route-tables",
        tables,
        |t| t.id.clone(),
        input.max_results,
        input.next_token.as_deref(),
        named,
    )?;
    Ok(api::DescribeRouteTablesResult {
        route_tables: Some(
            page.items
                .iter()
                .map(|t| shape(&snapshot, t, &service.account))
                .collect(),
        ),
        next_token: page.next_token,
    })
}

/// The filters there are, beside tags.
const FILTERS: [&str; 19] = [
    "association.gateway-id",
    "route.egress-only-internet-gateway-id",
    "route.instance-id",
    "route.transit-gateway-id",
    "route.vpc-peering-connection-id",
    "route.destination-ipv6-cidr-block",
    "association.main",
    "association.route-table-association-id",
    "association.route-table-id",
    "route-table-id",
    "association.subnet-id",
    "owner-id",
    "route.destination-cidr-block",
    "route.destination-prefix-list-id",
    "route.gateway-id",
    "route.nat-gateway-id",
    "route.origin",
    "route.state",
    "vpc-id",
];

fn values(snapshot: &Snapshot, table: &RouteTableRecord, account: &str, name: &str) -> Values {
    let routes = || shape(snapshot, table, account).routes.unwrap_or_default();
    let of = |pick: fn(api::Route) -> Option<String>| Some(routes().into_iter().filter_map(pick).collect());
    match name {
        "association.gateway-id"
        | "route.egress-only-internet-gateway-id"
        | "route.instance-id"
        | "route.transit-gateway-id"
        | "route.vpc-peering-connection-id"
        | "route.destination-ipv6-cidr-block" => Some(Vec::new()),
        // Tables without an association have neither.
        "association.main" => {
            let main = table.main_association.iter().map(|_| "true".to_owned());
            Some(
                main.chain(table.associations.iter().map(|_| "false".to_owned()))
                    .collect(),
            )
        }
        "association.route-table-association-id" => {
            let others = table.associations.iter().map(|a| a.id.clone());
            Some(table.main_association.iter().cloned().chain(others).collect())
        }
        "association.route-table-id" | "route-table-id" => one(&table.id),
        "association.subnet-id" => Some(table.associations.iter().map(|a| a.subnet_id.clone()).collect()),
        "owner-id" => one(account),
        "route.destination-cidr-block" => of(|r| r.destination_cidr_block),
        "route.destination-prefix-list-id" => of(|r| r.destination_prefix_list_id),
        "route.gateway-id" => of(|r| r.gateway_id),
        "route.nat-gateway-id" => of(|r| r.nat_gateway_id),
        "route.origin" => of(|r| r.origin),
        "route.state" => of(|r| r.state),
        "vpc-id" => one(&table.vpc_id),
        _ => None,
    }
}

pub fn shape(snapshot: &Snapshot, table: &RouteTableRecord, account: &str) -> api::RouteTable {
    let vpc = snapshot.get::<VpcRecord>(&VpcRecord::key(&table.region, &table.vpc_id));
    let local = vpc.iter().flat_map(|v| v.ranges()).map(|range| api::Route {
        destination_cidr_block: Some(cidr_text(range)),
        gateway_id: text("local"),
        origin: text("CreateRouteTable"),
        state: text("active"),
        ..Default::default()
    });
    let routes = table.routes.iter().map(|route| {
        let active = routing::is_active(snapshot, table, route);
        let mut out = api::Route {
            origin: text("CreateRoute"),
            state: text(if active { "active" } else { "blackhole" }),
            ..Default::default()
        };
        match &route.destination {
            Destination::Range(range) => out.destination_cidr_block = Some(cidr_text(*range)),
            Destination::PrefixList(id) => out.destination_prefix_list_id = text(id),
        }
        match &route.target {
            RouteTarget::InternetGateway(id) | RouteTarget::Endpoint(id) => out.gateway_id = text(id),
            RouteTarget::NatGateway(id) => out.nat_gateway_id = text(id),
            RouteTarget::Interface(id) => out.network_interface_id = text(id),
        }
        out
    });
    let association = |id: &String, subnet: Option<&String>| api::RouteTableAssociation {
        association_state: Some(state("associated")),
        main: Some(subnet.is_none()),
        route_table_association_id: text(id),
        route_table_id: text(&table.id),
        subnet_id: subnet.cloned(),
        ..Default::default()
    };
    let main = table.main_association.iter().map(|id| association(id, None));
    let others = table
        .associations
        .iter()
        .map(|a| association(&a.id, Some(&a.subnet_id)));
    api::RouteTable {
        associations: Some(main.chain(others).collect()),
        owner_id: text(account),
        propagating_vgws: Some(Vec::new()),
        route_table_id: text(&table.id),
        routes: Some(local.chain(routes).collect()),
        tags: ask::shown(&table.tags),
        vpc_id: text(&table.vpc_id),
    }
}
