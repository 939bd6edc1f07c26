//! VPC endpoints. Neargate's platform needs none: images and logs go through the node, not through the VPC. They are
//! kept for stacks that have them: a gateway endpoint adds its routes, an interface endpoint its network interfaces.

use super::ask::{self, Kind, error, filtered, one, text};
use super::interfaces::refused;
use super::{prefix_lists, route_tables, security_groups, subnets, vpcs};
use crate::filter::{self, Values, dry_run, invalid_value};
use crate::interface::{self, AllocateRequest, InterfaceOwner};
use crate::records::{
    Destination, EndpointRecord, InterfaceRecord, RouteRecord, RouteTableRecord, RouteTarget, VpcRecord,
};
use crate::{Ec2, api};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{Snapshot, Txn, Versioned};

const EVERYTHING: &str =
    r#"{"Version":"2008-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}"#;

/// Services of interface endpoints that stacks for Fargate have.
const SERVICES: [&str; 16] = [
    "ecr.api",
    "ecr.dkr",
    "ecs",
    "ecs-agent",
    "ecs-telemetry",
    "elasticloadbalancing",
    "events",
    "kms",
    "logs",
    "monitoring",
    "secretsmanager",
    "sns",
    "sqs",
    "ssm",
    "ssmmessages",
    "sts",
];

const KIND: Kind = Kind {
    prefix: "vpce-",
    name: "Vpc Endpoint",
    malformed: "InvalidVpcEndpointId.Malformed",
    missing: "InvalidVpcEndpointId.NotFound",
};

fn find(snapshot: &Snapshot, region: &str, id: &str) -> Result<Versioned<EndpointRecord>, AwsError> {
    snapshot
        .get::<EndpointRecord>(&EndpointRecord::key(region, id))
        .ok_or_else(|| KIND.not_found(id))
}

fn service_names(region: &str) -> Vec<(String, &'static str)> {
    let interface = SERVICES
        .iter()
        .map(|s| (format!("com.amazonaws.{region}.{s}"), "Interface"));
    let gateway = ["dynamodb", "s3"].map(|s| (format!("com.amazonaws.{region}.{s}"), "Gateway"));
    let mut out: Vec<_> = interface.chain(gateway).collect();
    out.sort();
    out
}

/// # Errors
/// `InvalidVpcID.NotFound`, `InvalidServiceName`, `InvalidParameter`, `InvalidRouteTableID.NotFound`,
/// `InvalidSubnetID.NotFound`, `InvalidGroup.NotFound`, `RouteAlreadyExists`, `UnsupportedOperation`.
pub async fn create(
    service: &Ec2,
    cx: &RequestContext,
    input: api::CreateVpcEndpointRequest,
) -> Result<api::CreateVpcEndpointResult, AwsError> {
    dry_run(input.dry_run)?;
    ask::refuse(&[
        ("DnsOptions", input.dns_options.is_some()),
        (
            "IpAddressType",
            input.ip_address_type.as_deref().is_some_and(|t| t != "ipv4"),
        ),
        ("ResourceConfigurationArn", input.resource_configuration_arn.is_some()),
        ("ServiceNetworkArn", input.service_network_arn.is_some()),
        (
            "ServiceRegion",
            input.service_region.as_ref().is_some_and(|r| *r != cx.region),
        ),
        ("SubnetConfiguration", input.subnet_configurations.is_some()),
    ])?;
    let vpc_id = input.vpc_id.clone().unwrap_or_default();
    let name = ask::needed(input.service_name.clone(), "ServiceName")?;
    let kind = input.vpc_endpoint_type.clone().unwrap_or_else(|| "Gateway".to_owned());
    if !service_names(&cx.region)
        .iter()
        .any(|(known, of)| *known == name && *of == kind)
    {
        // AWS has far more of its own than are known here.
        if name.starts_with("com.amazonaws.") {
            let text = format!("The {kind} endpoint of the service '{name}' is not supported by Neargate yet.");
            return Err(error("UnsupportedOperation", text));
        }
        return Err(error(
            "InvalidServiceName",
            format!("The Vpc Endpoint Service '{name}' does not exist or has no endpoint of type {kind}"),
        ));
    }
    let policy = input.policy_document.clone().unwrap_or_else(|| EVERYTHING.to_owned());
    readable(&policy)?;
    let tags = ask::tags(input.tag_specifications.clone(), "vpc-endpoint")?;
    let id = format!("vpce-{}", service.ids.hex17());
    let made_under = ask::client_token(input.client_token.as_ref(), &input);
    let here = format!("{}/", cx.region);
    let made = service
        .store
        .transact(|snapshot| {
            let all = snapshot.range::<EndpointRecord>(&here).map(|(_, e)| e);
            if let Some(earlier) = ask::made_under(made_under.as_ref(), all, |e| e.made_under.as_ref())? {
                return Ok((Txn::new(), (*earlier.record).clone()));
            }
            let vpc = vpcs::find(snapshot, &cx.region, &vpc_id)?;
            let mut record = EndpointRecord {
                region: cx.region.clone(),
                id: id.clone(),
                vpc_id: vpc_id.clone(),
                service_name: name.clone(),
                kind: kind.clone(),
                policy: policy.clone(),
                private_dns: input.private_dns_enabled.unwrap_or(kind == "Interface"),
                route_tables: Vec::new(),
                interfaces: Vec::new(),
                security_groups: input.security_group_ids.clone().unwrap_or_default(),
                created_at: cx.now,
                made_under: made_under.clone(),
                tags: tags.clone(),
            };
            let mut txn = Txn::new();
            let vpc_key = VpcRecord::key(&cx.region, &vpc_id);
            txn.unchanged::<VpcRecord>(snapshot, &vpc_key)
                .put_shared(&vpc_key, vpc.record);
            if kind == "Gateway" {
                if input.subnet_ids.is_some() || input.security_group_ids.is_some() {
                    return Err(error(
                        "InvalidParameter",
                        "SubnetIds and SecurityGroupIds are not valid for Gateway endpoints.",
                    ));
                }
                for table in distinct(&input.route_table_ids) {
                    add_route(snapshot, &mut txn, &mut record, table)?;
                }
            } else {
                if input.route_table_ids.is_some() {
                    return Err(error(
                        "InvalidParameter",
                        "RouteTableIds are not valid for Interface endpoints.",
                    ));
                }
                if record.security_groups.is_empty() {
                    let default = crate::lookup::default_security_group(snapshot, &cx.region, &vpc_id);
                    record.security_groups.extend(default.map(|g| g.id.clone()));
                }
                groups_fit(snapshot, &record)?;
                private_dns_fits(snapshot, &record)?;
                for subnet in input.subnet_ids.iter().flatten() {
                    add_interface(service, snapshot, &mut txn, &mut record, subnet, cx)?;
                }
            }
            txn.put(&EndpointRecord::key(&cx.region, &id), record.clone());
            Ok((txn, record))
        })
        .await?;
    Ok(api::CreateVpcEndpointResult {
        client_token: input.client_token,
        vpc_endpoint: Some(shape(&service.store.snapshot(), &made, &service.account)),
    })
}

fn groups_fit(snapshot: &Snapshot, record: &EndpointRecord) -> Result<(), AwsError> {
    for id in &record.security_groups {
        if security_groups::find(snapshot, &record.region, id)?.vpc_id != record.vpc_id {
            return Err(error(
                "InvalidGroup.NotFound",
                format!("The security group '{id}' does not exist in VPC '{}'", record.vpc_id),
            ));
        }
    }
    Ok(())
}

/// # Errors
/// `InvalidParameter`.
fn private_dns_fits(snapshot: &Snapshot, record: &EndpointRecord) -> Result<(), AwsError> {
    if !record.private_dns {
        return Ok(());
    }
    let vpc = vpcs::find(snapshot, &record.region, &record.vpc_id)?;
    if !vpc.dns_support || !vpc.dns_hostnames {
        return Err(error(
            "InvalidParameter",
            format!(
                "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true for {}",
                record.vpc_id
            ),
        ));
    }
    let mut all = snapshot
        .range::<EndpointRecord>(&format!("{}/", record.region))
        .map(|(_, e)| e)
        .collect::<Vec<_>>();
    all.retain(|e| {
        e.id != record.id && e.vpc_id == record.vpc_id && e.private_dns && e.service_name == record.service_name
    });
    match all.is_empty() {
        true => Ok(()),
        false => Err(error(
            "InvalidParameter",
            format!(
                "private-dns-enabled cannot be set because there is already a conflicting DNS domain for {} in the VPC {}",
                record.service_name, record.vpc_id
            ),
        )),
    }
}

fn add_route(snapshot: &Snapshot, txn: &mut Txn, record: &mut EndpointRecord, table_id: &str) -> Result<(), AwsError> {
    let table = route_tables::find(snapshot, &record.region, table_id)?;
    if table.vpc_id != record.vpc_id {
        return Err(invalid_value(format!(
            "Route table {table_id} belongs to another network"
        )));
    }
    let Some(list) = prefix_lists::of_service(&record.region, &record.service_name) else {
        return Err(AwsError::internal());
    };
    let destination = Destination::PrefixList(list);
    if table.routes.iter().any(|r| r.destination == destination) {
        return Err(error(
            "RouteAlreadyExists",
            format!(
                "route table {table_id} already has a route with the destination of {}",
                record.service_name
            ),
        ));
    }
    let mut next = (*table.record).clone();
    next.routes.push(RouteRecord {
        destination,
        target: RouteTarget::Endpoint(record.id.clone()),
    });
    txn.unchanged::<RouteTableRecord>(snapshot, &table.own_key())
        .put(&table.own_key(), next);
    record.route_tables.push(table_id.to_owned());
    Ok(())
}

fn remove_route(snapshot: &Snapshot, txn: &mut Txn, record: &mut EndpointRecord, table_id: &str) {
    record.route_tables.retain(|t| t != table_id);
    if let Ok(table) = route_tables::find(snapshot, &record.region, table_id) {
        let mut next = (*table.record).clone();
        next.routes
            .retain(|r| r.target != RouteTarget::Endpoint(record.id.clone()));
        txn.unchanged::<RouteTableRecord>(snapshot, &table.own_key())
            .put(&table.own_key(), next);
    }
}

fn add_interface(
    service: &Ec2,
    snapshot: &Snapshot,
    txn: &mut Txn,
    record: &mut EndpointRecord,
    subnet_id: &str,
    cx: &RequestContext,
) -> Result<(), AwsError> {
    let subnet = subnets::find(snapshot, &record.region, subnet_id)?;
    if subnet.vpc_id != record.vpc_id {
        return Err(error(
            "InvalidSubnetId.NotFound",
            format!("The subnet ID '{subnet_id}' does not exist in VPC '{}'", record.vpc_id),
        ));
    }
    let mut zones = record
        .interfaces
        .iter()
        .filter_map(|(s, _)| crate::lookup::subnet(snapshot, &record.region, s));
    if zones.any(|other| other.availability_zone == subnet.availability_zone) {
        return Err(error(
            "DuplicateSubnetsInSameZone",
            format!(
                "Found another VPC endpoint subnet in the availability zone of {subnet_id}. VPC endpoint subnets should be in different availability zones supported by the VPC endpoint service."
            ),
        ));
    }
    let request = AllocateRequest {
        region: record.region.clone(),
        subnet_id: subnet_id.to_owned(),
        security_groups: record.security_groups.clone(),
        description: format!("VPC Endpoint Interface {}", record.id),
        now: cx.now,
        start_hint: None,
        owner: InterfaceOwner::Endpoint { id: record.id.clone() },
        public: false,
    };
    let made = interface::allocate(snapshot, txn, request, &*service.ids).map_err(refused)?;
    record.interfaces.push((subnet_id.to_owned(), made.id));
    Ok(())
}

fn distinct(ids: &Option<Vec<String>>) -> Vec<&String> {
    let mut out: Vec<&String> = ids.iter().flatten().collect();
    out.sort_unstable();
    out.dedup();
    out
}

/// Changes the groups as asked; true when they are others now.
fn change_groups(
    snapshot: &Snapshot,
    record: &mut EndpointRecord,
    input: &api::ModifyVpcEndpointRequest,
) -> Result<bool, AwsError> {
    let before = record.security_groups.clone();
    let removed = distinct(&input.remove_security_group_ids);
    record.security_groups.retain(|g| !removed.contains(&g));
    for added in distinct(&input.add_security_group_ids) {
        if !record.security_groups.contains(added) {
            record.security_groups.push(added.clone());
        }
    }
    groups_fit(snapshot, record)?;
    if record.kind == "Interface" && record.security_groups.is_empty() {
        return Err(error(
            "InvalidParameter",
            "An endpoint of type Interface must have at least one security group.",
        ));
    }
    Ok(record.security_groups != before)
}

/// # Errors
/// As `create`, and `InvalidVpcEndpointId.NotFound`.
pub async fn modify(
    service: &Ec2,
    cx: &RequestContext,
    input: api::ModifyVpcEndpointRequest,
) -> Result<api::ModifyVpcEndpointResult, AwsError> {
    dry_run(input.dry_run)?;
    ask::refuse(&[
        ("DnsOptions", input.dns_options.is_some()),
        (
            "IpAddressType",
            input.ip_address_type.as_deref().is_some_and(|t| t != "ipv4"),
        ),
        ("SubnetConfiguration", input.subnet_configurations.is_some()),
    ])?;
    let id = input.vpc_endpoint_id.clone().unwrap_or_default();
    service
        .store
        .transact(|snapshot| {
            let known = find(snapshot, &cx.region, &id)?;
            let mut record = (*known.record).clone();
            let mut txn = Txn::new();
            let gateway = record.kind == "Gateway";
            let of_interfaces = [
                input.add_subnet_ids.is_some(),
                input.remove_subnet_ids.is_some(),
                input.add_security_group_ids.is_some(),
                input.remove_security_group_ids.is_some(),
            ];
            let of_gateways = [
                input.add_route_table_ids.is_some(),
                input.remove_route_table_ids.is_some(),
            ];
            if gateway && of_interfaces.contains(&true) || !gateway && of_gateways.contains(&true) {
                return Err(error(
                    "InvalidParameter",
                    format!(
                        "The endpoint {id} is of type {}, for which a parameter of the request is not valid.",
                        record.kind
                    ),
                ));
            }
            for table in distinct(&input.remove_route_table_ids) {
                remove_route(snapshot, &mut txn, &mut record, table);
            }
            for table in distinct(&input.add_route_table_ids) {
                add_route(snapshot, &mut txn, &mut record, table)?;
            }
            for subnet in distinct(&input.remove_subnet_ids) {
                let (gone, kept): (Vec<_>, Vec<_>) = record.interfaces.drain(..).partition(|(s, _)| s == subnet);
                record.interfaces = kept;
                for (_, interface) in gone {
                    interface::release(snapshot, &mut txn, &cx.region, &interface);
                }
            }
            if change_groups(snapshot, &mut record, &input)? {
                interface::lean_on_groups(&mut txn, &cx.region, &record.security_groups);
                for (_, interface) in &record.interfaces {
                    if let Some(held) = crate::lookup::interface(snapshot, &cx.region, interface) {
                        let mut next = (*held.record).clone();
                        next.security_groups.clone_from(&record.security_groups);
                        let key = InterfaceRecord::key(next.address);
                        txn.unchanged::<InterfaceRecord>(snapshot, &key).put(&key, next);
                    }
                }
            }
            for subnet in distinct(&input.add_subnet_ids) {
                add_interface(service, snapshot, &mut txn, &mut record, subnet, cx)?;
            }
            if let Some(policy) = &input.policy_document {
                readable(policy)?;
                record.policy.clone_from(policy);
            }
            if input.reset_policy == Some(true) {
                record.policy = EVERYTHING.to_owned();
            }
            record.private_dns = input.private_dns_enabled.unwrap_or(record.private_dns);
            private_dns_fits(snapshot, &record)?;
            let key = EndpointRecord::key(&cx.region, &id);
            txn.unchanged::<EndpointRecord>(snapshot, &key).put(&key, record);
            Ok::<_, AwsError>((txn, ()))
        })
        .await?;
    Ok(api::ModifyVpcEndpointResult { r#return: Some(true) })
}

/// # Errors
/// `DryRunOperation`; endpoints that are not there come in the answer.
pub async fn delete(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DeleteVpcEndpointsRequest,
) -> Result<api::DeleteVpcEndpointsResult, AwsError> {
    dry_run(input.dry_run)?;
    let mut unsuccessful = Vec::new();
    for id in input.vpc_endpoint_ids.unwrap_or_default() {
        let done = service
            .store
            .transact(|snapshot| {
                let known = find(snapshot, &cx.region, &id)?;
                let mut record = (*known.record).clone();
                let mut txn = Txn::new();
                for table in record.route_tables.clone() {
                    remove_route(snapshot, &mut txn, &mut record, &table);
                }
                for (_, interface) in &record.interfaces {
                    interface::release(snapshot, &mut txn, &cx.region, interface);
                }
                let key = EndpointRecord::key(&cx.region, &id);
                txn.unchanged::<EndpointRecord>(snapshot, &key)
                    .delete::<EndpointRecord>(&key);
                Ok::<_, AwsError>((txn, ()))
            })
            .await;
        if let Err(cause) = done {
            unsuccessful.push(api::UnsuccessfulItem {
                error: Some(api::UnsuccessfulItemError {
                    code: text(&cause.code),
                    message: Some(cause.message),
                }),
                resource_id: Some(id),
            });
        }
    }
    Ok(api::DeleteVpcEndpointsResult {
        unsuccessful: Some(unsuccessful),
    })
}

/// # Errors
/// `InvalidVpcEndpointId.NotFound`, `InvalidParameterValue`, `InvalidNextToken`.
pub async fn describe(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DescribeVpcEndpointsRequest,
) -> Result<api::DescribeVpcEndpointsResult, AwsError> {
    dry_run(input.dry_run)?;
    let snapshot = service.store.snapshot();
    let all: Vec<_> = snapshot
        .range::<EndpointRecord>(&format!("{}/", cx.region))
        .map(|(_, e)| e)
        .collect();
    let ids = input.vpc_endpoint_ids.as_deref();
    let found = ask::by_ids(all, ids, |e| &e.id, &KIND)?;
    let found = filtered(
        &FILTERS,
        found,
        input.filters.as_deref(),
        |e| &e.tags,
        |e, name| values(e, name),
    )?;
    let named = ("vpcEndpointIds", ids.is_some_and(|i| !i.is_empty()));
    let page = filter::page(
        "vpc-endpoints",
        found,
        |e| e.id.clone(),
        input.max_results,
        input.next_token.as_deref(),
        named,
    )?;
    Ok(api::DescribeVpcEndpointsResult {
        vpc_endpoints: Some(
            page.items
                .iter()
                .map(|e| shape(&snapshot, e, &service.account))
                .collect(),
        ),
        next_token: page.next_token,
    })
}

fn readable(policy: &str) -> Result<(), AwsError> {
    match serde_json::from_str::<serde_json::Value>(policy) {
        Ok(_) => Ok(()),
        Err(_) => Err(error("InvalidPolicyDocument", "The policy is not valid JSON.")),
    }
}

/// The filters there are, beside tags.
const FILTERS: [&str; 6] = [
    "service-name",
    "vpc-endpoint-id",
    "vpc-endpoint-state",
    "vpc-endpoint-type",
    "vpc-id",
    "ip-address-type",
];

fn values(endpoint: &EndpointRecord, name: &str) -> Values {
    match name {
        "service-name" => one(&endpoint.service_name),
        "vpc-endpoint-id" => one(&endpoint.id),
        "vpc-endpoint-state" => one("available"),
        "vpc-endpoint-type" => one(&endpoint.kind),
        "vpc-id" => one(&endpoint.vpc_id),
        "ip-address-type" => one("ipv4"),
        _ => None,
    }
}

fn shape(snapshot: &Snapshot, endpoint: &EndpointRecord, account: &str) -> api::VpcEndpoint {
    let groups = endpoint.security_groups.iter().map(|id| api::SecurityGroupIdentifier {
        group_id: text(id),
        group_name: security_groups::find(snapshot, &endpoint.region, id)
            .ok()
            .map(|g| g.name.clone()),
    });
    api::VpcEndpoint {
        creation_timestamp: Some(endpoint.created_at),
        dns_entries: Some(Vec::new()),
        groups: Some(groups.collect()),
        ip_address_type: text("ipv4"),
        network_interface_ids: Some(endpoint.interfaces.iter().map(|(_, i)| i.clone()).collect()),
        owner_id: text(account),
        policy_document: text(&endpoint.policy),
        private_dns_enabled: Some(endpoint.private_dns),
        requester_managed: Some(false),
        route_table_ids: Some(endpoint.route_tables.clone()),
        service_name: text(&endpoint.service_name),
        state: text("available"),
        subnet_ids: Some(endpoint.interfaces.iter().map(|(s, _)| s.clone()).collect()),
        tags: Some(filter::tags(&endpoint.tags)),
        vpc_endpoint_id: text(&endpoint.id),
        vpc_endpoint_type: text(&endpoint.kind),
        vpc_id: text(&endpoint.vpc_id),
        ..Default::default()
    }
}

/// # Errors
/// `InvalidServiceName`, `InvalidParameterValue`, `InvalidNextToken`, `UnsupportedOperation`.
pub async fn describe_services(
    _: &Ec2,
    cx: &RequestContext,
    input: api::DescribeVpcEndpointServicesRequest,
) -> Result<api::DescribeVpcEndpointServicesResult, AwsError> {
    dry_run(input.dry_run)?;
    let elsewhere = input.service_regions.iter().flatten().any(|r| *r != cx.region);
    ask::refuse(&[("ServiceRegion", elsewhere)])?;
    let asked = input.service_names.unwrap_or_default();
    let all = service_names(&cx.region);
    if let Some(name) = asked.iter().find(|n| !all.iter().any(|(known, _)| known == *n)) {
        return Err(error(
            "InvalidServiceName",
            format!("The Vpc Endpoint Service '{name}' does not exist"),
        ));
    }
    let tags = neargate_core::Tags::default();
    let found: Vec<_> = all
        .into_iter()
        .filter(|(n, _)| asked.is_empty() || asked.contains(n))
        .collect();
    let found = filtered(
        &[
            "owner",
            "service-name",
            "service-region",
            "service-type",
            "supported-ip-address-types",
        ],
        found,
        input.filters.as_deref(),
        |_| &tags,
        |(service, kind), name| match name {
            "owner" => one("amazon"),
            "service-name" => one(service),
            "service-region" => one(&cx.region),
            "service-type" => one(*kind),
            "supported-ip-address-types" => one("ipv4"),
            _ => None,
        },
    )?;
    let page = filter::page(
        "vpc-endpoint-services",
        found,
        |(n, _)| n.clone(),
        input.max_results,
        input.next_token.as_deref(),
        ("", false),
    )?;
    let zones: Vec<String> = (0..crate::region::ZONES.len())
        .map(|at| crate::region::zone_name(&cx.region, at))
        .collect();
    Ok(api::DescribeVpcEndpointServicesResult {
        service_names: Some(page.items.iter().map(|(n, _)| n.clone()).collect()),
        service_details: Some(
            page.items
                .iter()
                .map(|(name, kind)| api::ServiceDetail {
                    acceptance_required: Some(false),
                    availability_zones: Some(zones.clone()),
                    owner: text("amazon"),
                    service_name: text(name),
                    service_type: Some(vec![api::ServiceTypeDetail {
                        service_type: text(kind),
                    }]),
                    vpc_endpoint_policy_supported: Some(true),
                    ..Default::default()
                })
                .collect(),
        ),
        next_token: page.next_token,
    })
}
