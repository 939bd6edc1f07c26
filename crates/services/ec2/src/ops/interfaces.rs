//! Network interfaces: those of tasks, load balancers and gateways are described, a person's own are made and changed.

use super::ask::{self, Kind, error, filtered, one, some, text};
use super::subnets;
use crate::cidr;
use crate::filter::{self, Values, dry_run, invalid_value};
use crate::interface::{self, AllocateError, AllocateRequest, InterfaceOwner};
use crate::records::{AddressRecord, InterfaceRecord, SecurityGroupRecord, SubnetRecord};
use crate::{Ec2, api, lookup};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{Snapshot, Txn, Versioned};
use std::net::Ipv4Addr;

pub const KIND: Kind = Kind {
    prefix: "eni-",
    name: "networkInterface",
    malformed: "InvalidNetworkInterfaceId.Malformed",
    missing: "InvalidNetworkInterfaceID.NotFound",
};

/// What a requester-managed interface, or the address of one, answers who would change it.
pub fn not_yours() -> AwsError {
    error(
        "AuthFailure",
        "You do not have permission to access the specified resource.",
    )
}

/// The interface of an id.
///
/// # Errors
/// `InvalidNetworkInterfaceID.NotFound`.
pub fn find(snapshot: &Snapshot, region: &str, id: &str) -> Result<Versioned<InterfaceRecord>, AwsError> {
    lookup::interface(snapshot, region, id).ok_or_else(|| KIND.not_found(id))
}

/// Why no interface could be had, in AWS's codes.
pub fn refused(cause: AllocateError) -> AwsError {
    let code = match &cause {
        AllocateError::SubnetNotFound(_) => "InvalidSubnetID.NotFound",
        AllocateError::SecurityGroupNotFound(_) => "InvalidGroup.NotFound",
        AllocateError::OtherVpc { .. } => "InvalidParameter",
        AllocateError::NoFreeAddress(_) | AllocateError::NoFreePublicAddress => "InsufficientFreeAddressesInSubnet",
    };
    error(code, cause.to_string())
}

/// # Errors
/// `InvalidSubnetID.NotFound`, `InvalidGroup.NotFound`, `InvalidIPAddress.InUse`, `InvalidParameterValue`,
/// `SecurityGroupsPerInterfaceLimitExceeded`, `InvalidParameterCombination`, `IdempotentParameterMismatch`,
/// `UnsupportedOperation`, `DryRunOperation`.
pub async fn create(
    service: &Ec2,
    cx: &RequestContext,
    input: api::CreateNetworkInterfaceRequest,
) -> Result<api::CreateNetworkInterfaceResult, AwsError> {
    dry_run(input.dry_run)?;
    let made_under = ask::client_token(input.client_token.as_ref(), &input);
    let listed = input.private_ip_addresses.unwrap_or_default();
    ask::refuse(&[
        (
            "ConnectionTrackingSpecification",
            input.connection_tracking_specification.is_some(),
        ),
        ("EnablePrimaryIpv6", input.enable_primary_ipv6 == Some(true)),
        (
            "InterfaceType",
            input.interface_type.as_deref().is_some_and(|t| t != "interface"),
        ),
        ("Ipv4PrefixCount", input.ipv4_prefix_count.is_some_and(|n| n > 0)),
        ("Ipv4Prefix", input.ipv4_prefixes.is_some()),
        ("Ipv6AddressCount", input.ipv6_address_count.is_some_and(|n| n > 0)),
        ("Ipv6Addresses", input.ipv6_addresses.is_some()),
        ("Ipv6PrefixCount", input.ipv6_prefix_count.is_some_and(|n| n > 0)),
        ("Ipv6Prefix", input.ipv6_prefixes.is_some()),
        ("Operator", input.operator.is_some()),
        ("PrivateIpAddresses (more than one)", listed.len() > 1),
        (
            "SecondaryPrivateIpAddressCount",
            input.secondary_private_ip_address_count.is_some_and(|n| n > 0),
        ),
    ])?;
    let subnet_id = ask::needed(input.subnet_id, "subnetId")?;
    ask::not_both(
        ("privateIpAddress", input.private_ip_address.is_some()),
        ("privateIpAddresses", !listed.is_empty()),
    )?;
    let wanted = match listed.into_iter().next() {
        None => input.private_ip_address,
        Some(one) if one.primary == Some(true) => one.private_ip_address,
        Some(_) => return Err(ask::unsupported("PrivateIpAddresses (a secondary one)")),
    };
    let tags = ask::tags(input.tag_specifications, "network-interface")?;
    let groups = admitted(&input.groups.unwrap_or_default())?;
    let made = service
        .store
        .transact(|snapshot| {
            let all = snapshot.range::<InterfaceRecord>("").map(|(_, i)| i);
            let all = all.filter(|i| i.region == cx.region);
            if let Some(earlier) = ask::made_under(made_under.as_ref(), all, |i| i.made_under.as_ref())? {
                return Ok((Txn::new(), (*earlier.record).clone()));
            }
            let subnet = subnets::find(snapshot, &cx.region, &subnet_id)?;
            let mut txn = Txn::new();
            let request = AllocateRequest {
                region: cx.region.clone(),
                subnet_id: subnet_id.clone(),
                security_groups: groups.clone(),
                description: input.description.clone().unwrap_or_default(),
                now: cx.now,
                start_hint: wanted.as_deref().map(|ip| place(&subnet, ip)).transpose()?,
                owner: InterfaceOwner::User,
                public: false,
            };
            let mut made = interface::allocate(snapshot, &mut txn, request, &*service.ids).map_err(refused)?;
            if let Some(ip) = wanted.as_ref().filter(|ip| **ip != made.address.to_string()) {
                return Err(error("InvalidIPAddress.InUse", format!("Address {ip} is in use.")));
            }
            made.tags = tags.clone();
            made.made_under = made_under.clone();
            interface::replace(&mut txn, made.clone());
            Ok((txn, made))
        })
        .await?;
    Ok(api::CreateNetworkInterfaceResult {
        client_token: input.client_token,
        network_interface: Some(shape(&service.store.snapshot(), &made, &service.account)),
    })
}

/// Where the address stands among those that interfaces may take.
fn place(subnet: &SubnetRecord, address: &str) -> Result<u32, AwsError> {
    let parsed: Option<Ipv4Addr> = address.parse().ok();
    let inside = parsed.filter(|a| cidr::contains(subnet.cidr, *a));
    let Some(inside) = inside else {
        return Err(error(
            "InvalidParameterValue",
            format!("Address {address} does not fall within the subnet's address range"),
        ));
    };
    let offset = u32::from(inside) - u32::from(subnet.cidr.0);
    match offset
        .checked_sub(SubnetRecord::RESERVED_FIRST)
        .filter(|at| *at < subnet.usable())
    {
        Some(at) => Ok(at),
        None => Err(error(
            "InvalidParameterValue",
            format!("Address {address} is in subnet's reserved address range"),
        )),
    }
}

/// AWS's quota: "Security groups per network interface".
pub const MOST_GROUPS: usize = 5;

/// The groups, each of them once.
fn admitted(groups: &[String]) -> Result<Vec<String>, AwsError> {
    let mut out: Vec<String> = Vec::new();
    for group in groups {
        if !out.contains(group) {
            out.push(group.clone());
        }
    }
    match out.len() {
        0..=MOST_GROUPS => Ok(out),
        _ => Err(error(
            "SecurityGroupsPerInterfaceLimitExceeded",
            "The maximum number of security groups per interface has been reached.",
        )),
    }
}

/// # Errors
/// `InvalidNetworkInterfaceID.NotFound`, `InvalidParameterValue`, `DryRunOperation`.
pub async fn delete(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DeleteNetworkInterfaceRequest,
) -> Result<(), AwsError> {
    dry_run(input.dry_run)?;
    let id = input.network_interface_id.unwrap_or_default();
    service
        .store
        .transact(|snapshot| {
            let held = find(snapshot, &cx.region, &id)?;
            if held.owner != InterfaceOwner::User {
                return Err(invalid_value(format!("Network interface '{id}' is currently in use.")));
            }
            let mut txn = Txn::new();
            interface::release(snapshot, &mut txn, &cx.region, &id);
            Ok((txn, ()))
        })
        .await
}

/// AttachNetworkInterface: there are no EC2 instances to attach one to.
///
/// # Errors
/// `InvalidNetworkInterfaceID.NotFound`, `InvalidInstanceID.NotFound`, `DryRunOperation`.
pub async fn attach(
    service: &Ec2,
    cx: &RequestContext,
    input: api::AttachNetworkInterfaceRequest,
) -> Result<api::AttachNetworkInterfaceResult, AwsError> {
    dry_run(input.dry_run)?;
    find(
        &service.store.snapshot(),
        &cx.region,
        input.network_interface_id.as_deref().unwrap_or_default(),
    )?;
    let id = input.instance_id.unwrap_or_default();
    Err(error(
        "InvalidInstanceID.NotFound",
        format!("The instance ID '{id}' does not exist"),
    ))
}

/// DetachNetworkInterface: attachments are those of tasks, load balancers and gateways, which go with them.
///
/// # Errors
/// `InvalidAttachmentID.NotFound`, `OperationNotPermitted`, `DryRunOperation`.
pub async fn detach(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DetachNetworkInterfaceRequest,
) -> Result<(), AwsError> {
    dry_run(input.dry_run)?;
    let id = input.attachment_id.unwrap_or_default();
    let snapshot = service.store.snapshot();
    let mut all = snapshot.range::<InterfaceRecord>("");
    match all.any(|(_, i)| i.region == cx.region && attachment_id(&i).is_some_and(|a| a == id)) {
        true => {
            let kind = id.rsplit_once('-').map_or("", |(kind, _)| kind);
            Err(error(
                "OperationNotPermitted",
                format!("You are not allowed to manage '{kind}' attachments."),
            ))
        }
        false => Err(error(
            "InvalidAttachmentID.NotFound",
            format!("The attachment ID '{id}' does not exist"),
        )),
    }
}

/// Changes a person's own interface; those of tasks, load balancers, gateways and endpoints change with who has them.
///
/// # Errors
/// `InvalidNetworkInterfaceID.NotFound`, `AuthFailure`, `InvalidGroup.NotFound`, `InvalidParameterCombination`,
/// `SecurityGroupsPerInterfaceLimitExceeded`, `UnsupportedOperation`, `DryRunOperation`.
pub async fn modify_attribute(
    service: &Ec2,
    cx: &RequestContext,
    input: api::ModifyNetworkInterfaceAttributeRequest,
) -> Result<(), AwsError> {
    dry_run(input.dry_run)?;
    ask::refuse(&[
        ("AssociatePublicIpAddress", input.associate_public_ip_address.is_some()),
        ("AssociatedSubnetId", input.associated_subnet_ids.is_some()),
        ("Attachment", input.attachment.is_some()),
        (
            "ConnectionTrackingSpecification",
            input.connection_tracking_specification.is_some(),
        ),
        ("EnaSrdSpecification", input.ena_srd_specification.is_some()),
        ("EnablePrimaryIpv6", input.enable_primary_ipv6.is_some()),
        (
            "SourceDestCheck false",
            input.source_dest_check.as_ref().is_some_and(|c| c.value == Some(false)),
        ),
    ])?;
    let given = [
        input.groups.as_ref().is_some_and(|g| !g.is_empty()),
        input.description.is_some(),
        input.source_dest_check.is_some(),
    ];
    ask::one_attribute(&given)?;
    let id = input.network_interface_id.unwrap_or_default();
    service
        .store
        .transact(|snapshot| {
            let held = find(snapshot, &cx.region, &id)?;
            if held.owner != InterfaceOwner::User {
                return Err(not_yours());
            }
            let mut next = (*held.record).clone();
            let mut txn = Txn::new();
            if let Some(groups) = input.groups.as_ref().filter(|g| !g.is_empty()) {
                let groups = admitted(groups)?;
                for group in &groups {
                    let found = lookup::security_group(snapshot, &cx.region, group);
                    if found.is_none_or(|g| g.vpc_id != next.vpc_id) {
                        let text = format!("The security group '{group}' does not exist");
                        return Err(error("InvalidGroup.NotFound", text));
                    }
                }
                interface::lean_on_groups(&mut txn, &cx.region, &groups);
                next.security_groups = groups;
            }
            if let Some(description) = input.description.as_ref().and_then(|d| d.value.clone()) {
                next.description = description;
            }
            let key = InterfaceRecord::key(next.address);
            txn.unchanged::<InterfaceRecord>(snapshot, &key).put(&key, next);
            Ok((txn, ()))
        })
        .await
}

/// # Errors
/// `InvalidNetworkInterfaceID.NotFound`, `InvalidParameterValue`.
pub async fn describe_attribute(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DescribeNetworkInterfaceAttributeRequest,
) -> Result<api::DescribeNetworkInterfaceAttributeResult, AwsError> {
    dry_run(input.dry_run)?;
    let snapshot = service.store.snapshot();
    let id = input.network_interface_id.unwrap_or_default();
    let interface = find(&snapshot, &cx.region, &id)?;
    let whole = shape(&snapshot, &interface, &service.account);
    let mut out = api::DescribeNetworkInterfaceAttributeResult {
        network_interface_id: Some(id),
        ..Default::default()
    };
    match input.attribute.as_deref().unwrap_or_default() {
        "description" => {
            out.description = Some(api::AttributeValue {
                value: whole.description,
            })
        }
        "groupSet" => out.groups = whole.groups,
        "sourceDestCheck" => {
            out.source_dest_check = Some(api::AttributeBooleanValue {
                value: whole.source_dest_check,
            });
        }
        "attachment" => out.attachment = whole.attachment,
        "associatePublicIpAddress" => out.associate_public_ip_address = Some(interface.public_address.is_some()),
        other => {
            return Err(invalid_value(format!(
                "Value ({other}) for parameter attribute is invalid. Unknown attribute."
            )));
        }
    }
    Ok(out)
}

/// # Errors
/// `InvalidNetworkInterfaceID.NotFound`, `InvalidParameterValue`, `InvalidNextToken`, `DryRunOperation`.
pub async fn describe(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DescribeNetworkInterfacesRequest,
) -> Result<api::DescribeNetworkInterfacesResult, AwsError> {
    dry_run(input.dry_run)?;
    let snapshot = service.store.snapshot();
    let mut all: Vec<_> = snapshot.range::<InterfaceRecord>("").map(|(_, i)| i).collect();
    all.retain(|i| i.region == cx.region);
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let ids = input.network_interface_ids.as_deref();
    let found = ask::by_ids(all, ids, |i| &i.id, &KIND)?;
    let found = filtered(
        &FILTERS,
        found,
        input.filters.as_deref(),
        |i| &i.tags,
        |i, name| values(&snapshot, i, &service.account, name),
    )?;
    let named = ("networkInterfaceIds", ids.is_some_and(|i| !i.is_empty()));
    let page = filter::page(
        "network-interfaces",
        found,
        |i| i.id.clone(),
        input.max_results,
        input.next_token.as_deref(),
        named,
    )?;
    Ok(api::DescribeNetworkInterfacesResult {
        network_interfaces: Some(
            page.items
                .iter()
                .map(|i| shape(&snapshot, i, &service.account))
                .collect(),
        ),
        next_token: page.next_token,
    })
}

/// `eni-attach-` and the digits of the interface, for those that something uses.
fn attachment_id(interface: &InterfaceRecord) -> Option<String> {
    let digits = interface.id.strip_prefix("eni-")?;
    match interface.owner {
        InterfaceOwner::User => None,
        InterfaceOwner::LoadBalancer { .. } => Some(format!("ela-attach-{digits}")),
        _ => Some(format!("eni-attach-{digits}")),
    }
}

fn kind(interface: &InterfaceRecord) -> &'static str {
    match &interface.owner {
        InterfaceOwner::NatGateway { .. } => "nat_gateway",
        InterfaceOwner::Endpoint { .. } => "vpc_endpoint",
        InterfaceOwner::LoadBalancer { arn } if arn.contains(":loadbalancer/net/") => "network_load_balancer",
        _ => "interface",
    }
}

fn requester(interface: &InterfaceRecord, account: &str) -> Option<String> {
    match interface.owner {
        InterfaceOwner::User => None,
        InterfaceOwner::LoadBalancer { .. } => text("amazon-elb"),
        _ => text(account),
    }
}

fn status(interface: &InterfaceRecord) -> &'static str {
    match interface.owner {
        InterfaceOwner::User => "available",
        _ => "in-use",
    }
}

/// The filters there are, beside tags.
const FILTERS: [&str; 36] = [
    "addresses.association.public-ip",
    "association.public-ip",
    "addresses.primary",
    "addresses.private-ip-address",
    "private-ip-address",
    "association.allocation-id",
    "association.association-id",
    "addresses.association.owner-id",
    "association.ip-owner-id",
    "association.public-dns-name",
    "attachment.attach-time",
    "attachment.attachment-id",
    "attachment.delete-on-termination",
    "attachment.device-index",
    "attachment.instance-id",
    "attachment.instance-owner-id",
    "attachment.status",
    "availability-zone",
    "availability-zone-id",
    "description",
    "group-id",
    "group-name",
    "interface-type",
    "ipv6-addresses.ipv6-address",
    "mac-address",
    "network-interface-id",
    "operator.managed",
    "operator.principal",
    "owner-id",
    "private-dns-name",
    "requester-id",
    "requester-managed",
    "source-dest-check",
    "status",
    "subnet-id",
    "vpc-id",
];

fn values(snapshot: &Snapshot, interface: &InterfaceRecord, account: &str, name: &str) -> Values {
    let address = || held_address(snapshot, interface);
    let attached = attachment_id(interface);
    match name {
        "addresses.association.public-ip" | "association.public-ip" => {
            some(interface.public_address.map(|a| a.to_string()))
        }
        "addresses.primary" => one("true"),
        "addresses.private-ip-address" | "private-ip-address" => one(interface.address.to_string()),
        "association.allocation-id" => some(address().and_then(|a| a.allocation_id.clone())),
        "association.association-id" => some(address().and_then(|a| a.association_id.clone())),
        "addresses.association.owner-id" | "association.ip-owner-id" => some(
            interface
                .public_address
                .map(|_| owner_of(address().as_deref(), account)),
        ),
        "association.public-dns-name" => some(interface.public_address.map(|a| public_name(a, &interface.region))),
        "attachment.attach-time" => some(attached.map(|_| interface.created_at.iso8601())),
        "attachment.attachment-id" => some(attached),
        "attachment.delete-on-termination" => some(attached.map(|_| "false")),
        "attachment.device-index" => some(attached.map(|_| "1")),
        "attachment.instance-id" => Some(Vec::new()),
        "attachment.instance-owner-id" => some(attached.and_then(|_| requester(interface, account))),
        "attachment.status" => some(attached.map(|_| "attached")),
        "availability-zone" => one(&interface.availability_zone),
        "availability-zone-id" => {
            let subnet = lookup::subnet(snapshot, &interface.region, &interface.subnet_id);
            some(subnet.map(|s| s.availability_zone_id.clone()))
        }
        "description" => one(&interface.description),
        "group-id" => Some(interface.security_groups.clone()),
        "group-name" => {
            let names = interface.security_groups.iter();
            Some(
                names
                    .filter_map(|id| Some(lookup::security_group(snapshot, &interface.region, id)?.name.clone()))
                    .collect(),
            )
        }
        "interface-type" => one(kind(interface)),
        "ipv6-addresses.ipv6-address" => Some(Vec::new()),
        "mac-address" => one(&interface.mac),
        "network-interface-id" => one(&interface.id),
        // No service provider manages any here.
        "operator.managed" => one("false"),
        "operator.principal" => Some(Vec::new()),
        "owner-id" => one(account),
        "private-dns-name" => one(interface.private_dns_name()),
        "requester-id" => some(requester(interface, account)),
        "requester-managed" => one(if interface.owner == InterfaceOwner::User {
            "false"
        } else {
            "true"
        }),
        "source-dest-check" => one(interface.source_dest_check.to_string()),
        "status" => one(status(interface)),
        "subnet-id" => one(&interface.subnet_id),
        "vpc-id" => one(&interface.vpc_id),
        _ => None,
    }
}

fn held_address(snapshot: &Snapshot, interface: &InterfaceRecord) -> Option<Versioned<AddressRecord>> {
    snapshot.get::<AddressRecord>(&AddressRecord::key(interface.public_address?))
}

/// Whose a public address is: an elastic one is the account's.
fn owner_of<'a>(address: Option<&AddressRecord>, account: &'a str) -> &'a str {
    if address.is_some_and(AddressRecord::is_elastic) {
        account
    } else {
        "amazon"
    }
}

/// `ec2-198-19-0-5.compute-1.amazonaws.com` on AWS; here under a name that stays on the machine.
fn public_name(address: Ipv4Addr, region: &str) -> String {
    format!(
        "ec2-{}.{region}.compute.localhost",
        address.to_string().replace('.', "-")
    )
}

fn shape(snapshot: &Snapshot, interface: &InterfaceRecord, account: &str) -> api::NetworkInterface {
    let association = interface.public_address.map(|public| {
        let held = held_address(snapshot, interface);
        api::NetworkInterfaceAssociation {
            allocation_id: held.as_ref().and_then(|a| a.allocation_id.clone()),
            association_id: held
                .as_ref()
                .and_then(|a| a.association_id.clone().filter(|_| a.is_elastic())),
            ip_owner_id: text(owner_of(held.as_deref(), account)),
            public_dns_name: Some(public_name(public, &interface.region)),
            public_ip: Some(public.to_string()),
            ..Default::default()
        }
    });
    let groups = interface.security_groups.iter().map(|id| {
        let group = snapshot.get::<SecurityGroupRecord>(&SecurityGroupRecord::key(&interface.region, id));
        api::GroupIdentifier {
            group_id: text(id),
            group_name: group.map(|g| g.name.clone()),
        }
    });
    let attachment = attachment_id(interface).map(|id| api::NetworkInterfaceAttachment {
        attach_time: Some(interface.created_at),
        attachment_id: Some(id),
        delete_on_termination: Some(false),
        device_index: Some(1),
        instance_owner_id: requester(interface, account),
        status: text("attached"),
        ..Default::default()
    });
    let subnet = lookup::subnet(snapshot, &interface.region, &interface.subnet_id);
    api::NetworkInterface {
        association: association.clone(),
        attachment,
        availability_zone: text(&interface.availability_zone),
        availability_zone_id: subnet.map(|s| s.availability_zone_id.clone()),
        description: text(&interface.description),
        groups: Some(groups.collect()),
        interface_type: text(kind(interface)),
        ipv6_addresses: Some(Vec::new()),
        mac_address: text(&interface.mac),
        network_interface_id: text(&interface.id),
        owner_id: text(account),
        private_dns_name: Some(interface.private_dns_name()),
        private_ip_address: Some(interface.address.to_string()),
        private_ip_addresses: Some(vec![api::NetworkInterfacePrivateIpAddress {
            association,
            primary: Some(true),
            private_dns_name: Some(interface.private_dns_name()),
            private_ip_address: Some(interface.address.to_string()),
        }]),
        requester_id: requester(interface, account),
        requester_managed: Some(interface.owner != InterfaceOwner::User),
        source_dest_check: Some(interface.source_dest_check),
        status: text(status(interface)),
        subnet_id: text(&interface.subnet_id),
        tag_set: Some(filter::tags(&interface.tags)),
        vpc_id: text(&interface.vpc_id),
        ..Default::default()
    }
}
