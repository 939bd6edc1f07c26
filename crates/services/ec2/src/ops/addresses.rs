//! Elastic addresses: allocated from the pool, associated with interfaces, given back.

use super::ask::{self, error, filtered, one, some, text};
use super::interfaces::{self, not_yours};
use crate::filter::{Values, dry_run, invalid_value};
use crate::public;
use crate::records::{AddressRecord, InterfaceOwner, InterfaceRecord, InternetGatewayRecord};
use crate::{Ec2, api, lookup};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{Snapshot, Txn, Versioned};
use std::net::Ipv4Addr;

/// The elastic address of an allocation.
///
/// # Errors
/// `InvalidAllocationID.NotFound`.
pub fn by_allocation(snapshot: &Snapshot, region: &str, id: &str) -> Result<Versioned<AddressRecord>, AwsError> {
    let found = snapshot
        .indexed::<AddressRecord>(AddressRecord::BY_ALLOCATION, &format!("{region}/{id}"))
        .next();
    found.map(|(_, address)| address).ok_or_else(|| {
        error(
            "InvalidAllocationID.NotFound",
            format!("The allocation ID '{id}' does not exist"),
        )
    })
}

fn by_text(snapshot: &Snapshot, region: &str, address: &str) -> Result<Versioned<AddressRecord>, AwsError> {
    let parsed: Option<Ipv4Addr> = address.parse().ok();
    parsed
        .and_then(|a| snapshot.get::<AddressRecord>(&AddressRecord::key(a)))
        .filter(|a| a.region == region && a.is_elastic())
        .ok_or_else(|| not_found(address))
}

fn not_found(address: &str) -> AwsError {
    error("InvalidAddress.NotFound", format!("Address '{address}' not found."))
}

/// The id, called `what`, by which a request names an address. By the address itself they were named in EC2-Classic:
/// `by_ip`, once it is known to exist.
fn named<'a>(
    snapshot: &Snapshot,
    region: &str,
    (what, id, ip): (&str, Option<&'a String>, Option<&String>),
    by_ip: AwsError,
) -> Result<&'a str, AwsError> {
    match (id, ip) {
        (Some(id), None) => Ok(id),
        (Some(_), Some(_)) => Err(error(
            "InvalidParameterCombination",
            format!("You may specify public IP or {what}, but not both in the same call"),
        )),
        (None, Some(ip)) => by_text(snapshot, region, ip).and(Err(by_ip)),
        (None, None) => Err(error(
            "MissingParameter",
            format!("Either public IP or {what} must be specified"),
        )),
    }
}

/// # Errors
/// `AddressLimitExceeded`, `InvalidParameterValue`, `UnsupportedOperation`, `DryRunOperation`.
pub async fn allocate(
    service: &Ec2,
    cx: &RequestContext,
    input: api::AllocateAddressRequest,
) -> Result<api::AllocateAddressResult, AwsError> {
    dry_run(input.dry_run)?;
    ask::refuse(&[
        ("Address", input.address.is_some()),
        ("CustomerOwnedIpv4Pool", input.customer_owned_ipv4_pool.is_some()),
        ("IpamPoolId", input.ipam_pool_id.is_some()),
        (
            "NetworkBorderGroup",
            input.network_border_group.as_ref().is_some_and(|g| *g != cx.region),
        ),
        (
            "PublicIpv4Pool",
            input.public_ipv4_pool.as_ref().is_some_and(|p| p != "amazon"),
        ),
        (
            "Domain standard (EC2-Classic)",
            input.domain.as_deref() == Some("standard"),
        ),
    ])?;
    let tags = ask::tags(input.tag_specifications, "elastic-ip")?;
    let id = format!("eipalloc-{}", service.ids.hex17());
    let address = service
        .store
        .transact(|snapshot| {
            let mut txn = Txn::new();
            let taken = public::take(
                snapshot,
                &mut txn,
                &cx.region,
                None,
                Some(id.clone()),
                tags.clone(),
                &*service.ids,
            );
            let address = taken.ok_or_else(|| {
                error(
                    "AddressLimitExceeded",
                    "The maximum number of addresses has been reached.",
                )
            })?;
            Ok::<_, AwsError>((txn, address))
        })
        .await?;
    Ok(api::AllocateAddressResult {
        allocation_id: Some(id),
        domain: text("vpc"),
        network_border_group: Some(cx.region.clone()),
        public_ip: Some(address.to_string()),
        public_ipv4_pool: text("amazon"),
        ..Default::default()
    })
}

/// # Errors
/// `InvalidAllocationID.NotFound`, `InvalidAddress.NotFound`, `InvalidNetworkInterfaceID.NotFound`,
/// `Resource.AlreadyAssociated`, `Gateway.NotAttached`, `InvalidInstanceID.NotFound`, `UnsupportedOperation`.
pub async fn associate(
    service: &Ec2,
    cx: &RequestContext,
    input: api::AssociateAddressRequest,
) -> Result<api::AssociateAddressResult, AwsError> {
    dry_run(input.dry_run)?;
    ask::not_both(
        ("instanceId", input.instance_id.is_some()),
        ("networkInterfaceId", input.network_interface_id.is_some()),
    )?;
    if let Some(id) = &input.instance_id {
        return Err(error(
            "InvalidInstanceID.NotFound",
            format!("The instance ID '{id}' does not exist"),
        ));
    }
    let interface_id = ask::needed(input.network_interface_id, "networkInterfaceId")?;
    let association = format!("eipassoc-{}", service.ids.hex17());
    let answered = service
        .store
        .transact(|snapshot| {
            let asked = ("allocation id", input.allocation_id.as_ref(), input.public_ip.as_ref());
            let by_ip = error(
                "InvalidParameterCombination",
                "You must specify an allocation id when mapping an address to a network interface",
            );
            let id = named(snapshot, &cx.region, asked, by_ip)?;
            let address = by_allocation(snapshot, &cx.region, id)?;
            let interface = interfaces::find(snapshot, &cx.region, &interface_id)?;
            if input
                .private_ip_address
                .as_ref()
                .is_some_and(|ip| *ip != interface.address.to_string())
            {
                return Err(invalid_value(format!(
                    "The private IP address '{}' is not assigned to interface {interface_id}",
                    input.private_ip_address.as_deref().unwrap_or_default()
                )));
            }
            let gateway = lookup::internet_gateway(snapshot, &cx.region, &interface.vpc_id).ok_or_else(|| {
                error(
                    "Gateway.NotAttached",
                    format!("Network {} is not attached to any internet gateway", interface.vpc_id),
                )
            })?;
            if address.interface_id.as_deref() == Some(&interface_id) {
                let known = address.association_id.clone().unwrap_or_default();
                return Ok((Txn::new(), known));
            }
            let mut txn = Txn::new();
            // It is not detached meanwhile.
            txn.unchanged::<InternetGatewayRecord>(snapshot, &InternetGatewayRecord::key(&cx.region, &gateway.id));
            if !may_change(&interface.owner) {
                return Err(not_yours());
            }
            if let Some(held) = &address.interface_id {
                let owner = crate::lookup::interface(snapshot, &cx.region, held).map(|i| i.owner.clone());
                if owner.is_some_and(|owner| !may_change(&owner)) {
                    return Err(not_yours());
                }
                if input.allow_reassociation == Some(false) {
                    return Err(error(
                        "Resource.AlreadyAssociated",
                        format!(
                            "resource {} is already associated with associate-id {}",
                            address.allocation_id.as_deref().unwrap_or_default(),
                            address.association_id.as_deref().unwrap_or_default()
                        ),
                    ));
                }
                unlink(snapshot, &mut txn, &cx.region, held);
            }
            if interface.public_address.is_some() && input.allow_reassociation == Some(false) {
                return Err(error(
                    "Resource.AlreadyAssociated",
                    format!("resource {interface_id} is already associated with a public address"),
                ));
            }
            public::give_back(snapshot, &mut txn, &interface);
            let mut next = (*address.record).clone();
            next.interface_id = Some(interface.id.clone());
            next.private_address = Some(interface.address);
            next.association_id = Some(association.clone());
            let key = AddressRecord::key(next.address);
            txn.unchanged::<AddressRecord>(snapshot, &key).put(&key, next);
            let mut held = (*interface.record).clone();
            held.public_address = Some(address.address);
            let key = InterfaceRecord::key(held.address);
            txn.unchanged::<InterfaceRecord>(snapshot, &key).put(&key, held);
            Ok((txn, association.clone()))
        })
        .await?;
    Ok(api::AssociateAddressResult {
        association_id: Some(answered),
    })
}

/// Addresses of tasks, NAT gateways, load balancers and endpoints are theirs to change.
fn may_change(owner: &InterfaceOwner) -> bool {
    matches!(owner, InterfaceOwner::User)
}

/// Takes the public address off an interface's record.
fn unlink(snapshot: &Snapshot, txn: &mut Txn, region: &str, interface_id: &str) {
    if let Some(interface) = crate::lookup::interface(snapshot, region, interface_id) {
        let mut next = (*interface.record).clone();
        next.public_address = None;
        let key = InterfaceRecord::key(next.address);
        txn.unchanged::<InterfaceRecord>(snapshot, &key).put(&key, next);
    }
}

/// # Errors
/// `InvalidAssociationID.NotFound`, `InvalidAddress.NotFound`, `MissingParameter`, `AuthFailure`.
pub async fn disassociate(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DisassociateAddressRequest,
) -> Result<(), AwsError> {
    dry_run(input.dry_run)?;
    service
        .store
        .transact(|snapshot| {
            let asked = (
                "association id",
                input.association_id.as_ref(),
                input.public_ip.as_ref(),
            );
            let by_ip = invalid_value(
                "You must specify an association id when unmapping an address from a VPC instance".to_owned(),
            );
            let id = named(snapshot, &cx.region, asked, by_ip)?;
            let found = snapshot
                .indexed::<AddressRecord>(AddressRecord::BY_ASSOCIATION, &format!("{}/{id}", cx.region))
                .next();
            let found = found.map(|(_, a)| a).filter(|a| a.is_elastic());
            let address = found.ok_or_else(|| {
                error(
                    "InvalidAssociationID.NotFound",
                    format!("The association ID '{id}' does not exist"),
                )
            })?;
            let mut txn = Txn::new();
            let Some(held) = &address.interface_id else {
                return Ok((txn, ()));
            };
            let owner = crate::lookup::interface(snapshot, &cx.region, held).map(|i| i.owner.clone());
            if owner.is_some_and(|owner| !may_change(&owner)) {
                return Err(not_yours());
            }
            unlink(snapshot, &mut txn, &cx.region, held);
            let mut next = (*address.record).clone();
            (next.association_id, next.interface_id, next.private_address) = (None, None, None);
            let key = AddressRecord::key(next.address);
            txn.unchanged::<AddressRecord>(snapshot, &key).put(&key, next);
            Ok::<_, AwsError>((txn, ()))
        })
        .await
}

/// # Errors
/// `InvalidAllocationID.NotFound`, `InvalidAddress.NotFound`, `InvalidIPAddress.InUse`, `MissingParameter`.
pub async fn release(service: &Ec2, cx: &RequestContext, input: api::ReleaseAddressRequest) -> Result<(), AwsError> {
    dry_run(input.dry_run)?;
    let elsewhere = input.network_border_group.as_ref().is_some_and(|g| *g != cx.region);
    service
        .store
        .transact(|snapshot| {
            let asked = ("allocation id", input.allocation_id.as_ref(), input.public_ip.as_ref());
            let by_ip =
                invalid_value("You must specify an allocation id when releasing a VPC elastic IP address".to_owned());
            let id = named(snapshot, &cx.region, asked, by_ip)?;
            let address = by_allocation(snapshot, &cx.region, id)?;
            if elsewhere {
                return Err(not_found(&address.address.to_string()));
            }
            if address.interface_id.is_some() {
                return Err(error(
                    "InvalidIPAddress.InUse",
                    format!("Address {} is in use.", address.address),
                ));
            }
            let key = AddressRecord::key(address.address);
            let mut txn = Txn::new();
            txn.unchanged::<AddressRecord>(snapshot, &key)
                .delete::<AddressRecord>(&key);
            Ok::<_, AwsError>((txn, ()))
        })
        .await
}

/// Elastic addresses of the region, by allocation.
fn all(snapshot: &Snapshot, region: &str) -> Vec<Versioned<AddressRecord>> {
    let mut out: Vec<_> = snapshot.range::<AddressRecord>("").map(|(_, a)| a).collect();
    out.retain(|a| a.region == region && a.is_elastic());
    out.sort_by(|a, b| a.allocation_id.cmp(&b.allocation_id));
    out
}

/// # Errors
/// `InvalidAllocationID.NotFound`, `InvalidAddress.NotFound`, `InvalidParameterValue`, `DryRunOperation`.
pub async fn describe(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DescribeAddressesRequest,
) -> Result<api::DescribeAddressesResult, AwsError> {
    dry_run(input.dry_run)?;
    let snapshot = service.store.snapshot();
    let ids = input.allocation_ids.unwrap_or_default();
    for id in &ids {
        by_allocation(&snapshot, &cx.region, id)?;
    }
    let ips = input.public_ips.unwrap_or_default();
    for ip in &ips {
        by_text(&snapshot, &cx.region, ip)?;
    }
    let mut found = all(&snapshot, &cx.region);
    found.retain(|a| ids.is_empty() || a.allocation_id.as_ref().is_some_and(|id| ids.contains(id)));
    found.retain(|a| ips.is_empty() || ips.contains(&a.address.to_string()));
    let found = filtered(
        &FILTERS,
        found,
        input.filters.as_deref(),
        |a| &a.tags,
        |a, name| values(a, &service.account, name),
    )?;
    Ok(api::DescribeAddressesResult {
        addresses: Some(found.iter().map(|a| shape(a, &service.account)).collect()),
    })
}

/// The filters there are, beside tags.
const FILTERS: [&str; 9] = [
    "allocation-id",
    "association-id",
    "domain",
    "instance-id",
    "network-border-group",
    "network-interface-id",
    "network-interface-owner-id",
    "private-ip-address",
    "public-ip",
];

fn values(address: &AddressRecord, account: &str, name: &str) -> Values {
    match name {
        "allocation-id" => some(address.allocation_id.clone()),
        "association-id" => some(address.association_id.clone()),
        "domain" => one("vpc"),
        "instance-id" => Some(Vec::new()),
        "network-border-group" => one(&address.region),
        "network-interface-id" => some(address.interface_id.clone()),
        "network-interface-owner-id" => some(address.interface_id.as_ref().map(|_| account)),
        "private-ip-address" => some(address.private_address.map(|a| a.to_string())),
        "public-ip" => one(address.address.to_string()),
        _ => None,
    }
}

fn shape(address: &AddressRecord, account: &str) -> api::Address {
    api::Address {
        allocation_id: address.allocation_id.clone(),
        association_id: address.association_id.clone(),
        domain: text("vpc"),
        network_border_group: text(&address.region),
        network_interface_id: address.interface_id.clone(),
        network_interface_owner_id: address.interface_id.as_ref().map(|_| account.to_owned()),
        private_ip_address: address.private_address.map(|a| a.to_string()),
        public_ip: Some(address.address.to_string()),
        public_ipv4_pool: text("amazon"),
        tags: ask::shown(&address.tags),
        ..Default::default()
    }
}

/// DescribeAddressesAttribute: domain names of addresses, of which there are none here.
///
/// # Errors
/// `InvalidAllocationID.NotFound`, `DryRunOperation`.
pub async fn describe_attribute(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DescribeAddressesAttributeRequest,
) -> Result<api::DescribeAddressesAttributeResult, AwsError> {
    dry_run(input.dry_run)?;
    let snapshot = service.store.snapshot();
    let ids = input.allocation_ids.unwrap_or_default();
    let mut found = Vec::new();
    for id in &ids {
        found.push(by_allocation(&snapshot, &cx.region, id)?);
    }
    if ids.is_empty() {
        found = all(&snapshot, &cx.region);
    }
    let named = ("allocationIds", !ids.is_empty());
    let page = crate::filter::page(
        "addresses-attribute",
        found,
        |a| a.allocation_id.clone().unwrap_or_default(),
        input.max_results,
        input.next_token.as_deref(),
        named,
    )?;
    Ok(api::DescribeAddressesAttributeResult {
        addresses: Some(
            page.items
                .iter()
                .map(|a| api::AddressAttribute {
                    allocation_id: a.allocation_id.clone(),
                    public_ip: Some(a.address.to_string()),
                    ..Default::default()
                })
                .collect(),
        ),
        next_token: page.next_token,
    })
}
