//! NAT gateways: available or failed at once, described for an hour after their end.
//!
//! CreateNatGateway refuses what is wrong in the request itself and answers `pending` otherwise; what AWS finds out
//! only while it makes the gateway (`equip`) is read in DescribeNatGateways, as waiters and Terraform do.

use super::ask::{self, error, filtered, one, some, text};
use super::{addresses, subnets};
use crate::filter::{self, Values, dry_run, invalid_value};
use crate::interface::{self, AllocateRequest, InterfaceOwner};
use crate::records::{AddressRecord, InterfaceRecord, InternetGatewayRecord, NatFailure, NatGatewayRecord, NatState};
use crate::{Ec2, api, lookup};
use neargate_core::{AwsError, Ids, RequestContext};
use neargate_store::{Snapshot, Txn, Versioned};

/// # Errors
/// `InvalidSubnetID.NotFound`, `InvalidAllocationID.NotFound`, `MissingParameter`, `IdempotentParameterMismatch`,
/// `UnsupportedOperation`, `DryRunOperation`.
pub async fn create(
    service: &Ec2,
    cx: &RequestContext,
    input: api::CreateNatGatewayRequest,
) -> Result<api::CreateNatGatewayResult, AwsError> {
    dry_run(input.dry_run)?;
    ask::refuse(&[
        (
            "AvailabilityMode",
            input.availability_mode.as_deref().is_some_and(|m| m != "zonal"),
        ),
        ("AvailabilityZoneAddress", input.availability_zone_addresses.is_some()),
        ("PrivateIpAddress", input.private_ip_address.is_some()),
        ("SecondaryAllocationId", input.secondary_allocation_ids.is_some()),
        (
            "SecondaryPrivateIpAddressCount",
            input.secondary_private_ip_address_count.is_some(),
        ),
        (
            "SecondaryPrivateIpAddress",
            input.secondary_private_ip_addresses.is_some(),
        ),
        ("VpcId", input.vpc_id.is_some()),
    ])?;
    let public = match input.connectivity_type.as_deref() {
        None | Some("public") => true,
        Some("private") => false,
        Some(other) => {
            return Err(invalid_value(format!(
                "Value ({other}) for parameter connectivityType is invalid."
            )));
        }
    };
    if public && input.allocation_id.is_none() {
        return Err(error(
            "MissingParameter",
            "The request must include the AllocationId parameter. Add the required parameter and retry the request.",
        ));
    }
    if !public && input.allocation_id.is_some() {
        return Err(error(
            "InvalidParameter",
            "Allocation ID is not allowed for a private NAT gateway",
        ));
    }
    let made_under = ask::client_token(input.client_token.as_ref(), &input);
    let subnet_id = ask::needed(input.subnet_id, "subnetId")?;
    let tags = ask::tags(input.tag_specifications, "natgateway")?;
    let id = format!("nat-{}", service.ids.hex17());
    let made = service
        .store
        .transact(|snapshot| {
            let here = format!("{}/", cx.region);
            let all = snapshot.range::<NatGatewayRecord>(&here).map(|(_, n)| n);
            let all = all.filter(|n| n.is_remembered(cx.now));
            if let Some(earlier) = ask::made_under(made_under.as_ref(), all, |n| n.made_under.as_ref())? {
                return Ok::<_, AwsError>((Txn::new(), (*earlier.record).clone()));
            }
            let subnet = subnets::find(snapshot, &cx.region, &subnet_id)?;
            let address = input.allocation_id.as_deref();
            let address = address.map(|id| addresses::by_allocation(snapshot, &cx.region, id));
            let mut nat = NatGatewayRecord {
                region: cx.region.clone(),
                id: id.clone(),
                vpc_id: subnet.vpc_id.clone(),
                subnet_id: subnet_id.clone(),
                interface_id: None,
                private_address: None,
                allocation_id: input.allocation_id.clone(),
                public_address: None,
                created_at: cx.now,
                deleted_at: None,
                failure: None,
                made_under: made_under.clone(),
                tags: tags.clone(),
            };
            let mut txn = Txn::new();
            match equip(snapshot, &mut txn, &nat, address.transpose()?, &*service.ids) {
                Ok(held) => {
                    nat.interface_id = Some(held.id);
                    nat.private_address = Some(held.address);
                    nat.public_address = held.public_address;
                }
                Err(failure) => nat.failure = Some(failure),
            }
            txn.put(&NatGatewayRecord::key(&cx.region, &id), nat.clone());
            // Those whose hour is over are forgotten along the way.
            for (key, old) in snapshot.range::<NatGatewayRecord>(&here).take(50) {
                if !old.is_remembered(cx.now) {
                    txn.unchanged::<NatGatewayRecord>(snapshot, key)
                        .delete::<NatGatewayRecord>(key);
                }
            }
            Ok((txn, nat))
        })
        .await?;
    Ok(api::CreateNatGatewayResult {
        client_token: input.client_token,
        nat_gateway: Some(pending(made)),
    })
}

/// Gives a new gateway its interface and its elastic address within `txn`, which stays without either when that fails.
fn equip(
    snapshot: &Snapshot,
    txn: &mut Txn,
    nat: &NatGatewayRecord,
    address: Option<Versioned<AddressRecord>>,
    ids: &dyn Ids,
) -> Result<InterfaceRecord, NatFailure> {
    let mut gateway = None;
    if let Some(address) = &address {
        let attached = lookup::internet_gateway(snapshot, &nat.region, &nat.vpc_id);
        gateway = Some(attached.ok_or(NatFailure::NotAttached)?);
        if address.interface_id.is_some() {
            return Err(NatFailure::AlreadyAssociated);
        }
    }
    let request = AllocateRequest {
        region: nat.region.clone(),
        subnet_id: nat.subnet_id.clone(),
        security_groups: Vec::new(),
        description: format!("Interface for NAT Gateway {}", nat.id),
        now: nat.created_at,
        start_hint: None,
        owner: InterfaceOwner::NatGateway { id: nat.id.clone() },
        public: false,
    };
    // The subnet is there, and neither groups nor a public address are asked for: nothing else can be missing.
    let held = interface::allocate(snapshot, txn, request, ids);
    let mut held = held.map_err(|_| NatFailure::NoFreeAddress)?;
    // AWS gives these no groups.
    held.security_groups.clear();
    if let Some(address) = address {
        held.public_address = Some(address.address);
        let mut next = (*address.record).clone();
        next.interface_id = Some(held.id.clone());
        next.private_address = Some(held.address);
        next.association_id = Some(format!("eipassoc-{}", ids.hex17()));
        let key = AddressRecord::key(next.address);
        txn.unchanged::<AddressRecord>(snapshot, &key).put(&key, next);
    }
    if let Some(gateway) = gateway {
        // It is not detached meanwhile.
        txn.unchanged::<InternetGatewayRecord>(snapshot, &InternetGatewayRecord::key(&nat.region, &gateway.id));
    }
    interface::replace(txn, held.clone());
    Ok(held)
}

/// `FailureCode` and `FailureMessage`.
fn told(nat: &NatGatewayRecord, failure: NatFailure) -> (&'static str, String) {
    match failure {
        NatFailure::NotAttached => (
            "Gateway.NotAttached",
            format!("Network {} has no Internet gateway attached", nat.vpc_id),
        ),
        NatFailure::AlreadyAssociated => (
            "Resource.AlreadyAssociated",
            format!(
                "Elastic IP address [{}] is already associated",
                nat.allocation_id.as_deref().unwrap_or_default()
            ),
        ),
        NatFailure::NoFreeAddress => (
            "InsufficientFreeAddressesInSubnet",
            "Subnet has insufficient free addresses to create this NAT gateway".to_owned(),
        ),
    }
}

fn not_found(id: &str) -> AwsError {
    error("NatGatewayNotFound", format!("The Nat Gateway {id} was not found"))
}

/// # Errors
/// `NatGatewayNotFound`, `DryRunOperation`.
pub async fn delete(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DeleteNatGatewayRequest,
) -> Result<api::DeleteNatGatewayResult, AwsError> {
    dry_run(input.dry_run)?;
    let id = input.nat_gateway_id.unwrap_or_default();
    let key = NatGatewayRecord::key(&cx.region, &id);
    service
        .store
        .transact(|snapshot| {
            let nat = snapshot.get::<NatGatewayRecord>(&key);
            let Some(nat) = nat.filter(|nat| nat.is_remembered(cx.now)) else {
                return Err(not_found(&id));
            };
            let mut txn = Txn::new();
            if nat.state() != NatState::Deleted {
                if let Some(interface) = &nat.interface_id {
                    interface::release(snapshot, &mut txn, &cx.region, interface);
                }
                let mut next = (*nat.record).clone();
                next.deleted_at = Some(cx.now);
                txn.unchanged::<NatGatewayRecord>(snapshot, &key).put(&key, next);
            }
            Ok((txn, ()))
        })
        .await?;
    Ok(api::DeleteNatGatewayResult {
        nat_gateway_id: Some(id),
    })
}

/// # Errors
/// `NatGatewayNotFound`, `InvalidParameterValue`, `InvalidNextToken`, `DryRunOperation`.
pub async fn describe(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DescribeNatGatewaysRequest,
) -> Result<api::DescribeNatGatewaysResult, AwsError> {
    dry_run(input.dry_run)?;
    let snapshot = service.store.snapshot();
    let here = format!("{}/", cx.region);
    let all = snapshot.range::<NatGatewayRecord>(&here).map(|(_, n)| n);
    let mut found: Vec<_> = all.filter(|n| n.is_remembered(cx.now)).collect();
    let ids = input.nat_gateway_ids.unwrap_or_default();
    if let Some(id) = ids.iter().find(|id| !found.iter().any(|n| n.id == **id)) {
        return Err(not_found(id));
    }
    found.retain(|n| ids.is_empty() || ids.contains(&n.id));
    let found = filtered(
        &FILTERS,
        found,
        input.filter.as_deref(),
        |n| &n.tags,
        |n, name| values(n, name),
    )?;
    let named = ("natGatewayIds", !ids.is_empty());
    let page = filter::page(
        "nat-gateways",
        found,
        |n| n.id.clone(),
        input.max_results,
        input.next_token.as_deref(),
        named,
    )?;
    Ok(api::DescribeNatGatewaysResult {
        nat_gateways: Some(page.items.iter().map(|n| associated(&snapshot, n)).collect()),
        next_token: page.next_token,
    })
}

fn state(nat: &NatGatewayRecord) -> &'static str {
    match nat.state() {
        NatState::Available => "available",
        NatState::Failed => "failed",
        NatState::Deleted => "deleted",
    }
}

/// The filters there are, beside tags.
const FILTERS: [&str; 6] = [
    "nat-gateway-id",
    "state",
    "subnet-id",
    "vpc-id",
    "connectivity-type",
    "nat-gateway-address.allocation-id",
];

fn values(nat: &NatGatewayRecord, name: &str) -> Values {
    match name {
        "nat-gateway-id" => one(&nat.id),
        "state" => one(state(nat)),
        "subnet-id" => one(&nat.subnet_id),
        "vpc-id" => one(&nat.vpc_id),
        "connectivity-type" => one(connectivity(nat)),
        "nat-gateway-address.allocation-id" => some(nat.allocation_id.clone()),
        _ => None,
    }
}

fn connectivity(nat: &NatGatewayRecord) -> &'static str {
    match nat.allocation_id {
        Some(_) => "public",
        None => "private",
    }
}

/// The gateway with the association of its elastic address.
fn associated(snapshot: &Snapshot, nat: &NatGatewayRecord) -> api::NatGateway {
    let mut shaped = shape(nat);
    let held = nat
        .public_address
        .and_then(|a| snapshot.get::<AddressRecord>(&AddressRecord::key(a)));
    let held = held.filter(|held| nat.interface_id.is_some() && held.interface_id == nat.interface_id);
    for address in shaped.nat_gateway_addresses.iter_mut().flatten() {
        address.association_id = held.as_ref().and_then(|held| held.association_id.clone());
    }
    shaped
}

/// The gateway as CreateNatGateway answers it, which does not say yet how it went.
fn pending(nat: NatGatewayRecord) -> api::NatGateway {
    let mut shaped = shape(&NatGatewayRecord { failure: None, ..nat });
    shaped.state = text("pending");
    for address in shaped.nat_gateway_addresses.iter_mut().flatten() {
        address.status = text(match address.allocation_id {
            Some(_) => "associating",
            None => "assigning",
        });
    }
    shaped
}

fn shape(nat: &NatGatewayRecord) -> api::NatGateway {
    let address = api::NatGatewayAddress {
        allocation_id: nat.allocation_id.clone(),
        network_interface_id: nat.interface_id.clone(),
        private_ip: nat.private_address.map(|a| a.to_string()),
        public_ip: nat.public_address.map(|a| a.to_string()),
        is_primary: Some(true),
        status: text(match nat.failure {
            None => "succeeded",
            Some(_) => "failed",
        }),
        ..Default::default()
    };
    let failure = nat.failure.map(|failure| told(nat, failure));
    api::NatGateway {
        connectivity_type: text(connectivity(nat)),
        create_time: Some(nat.created_at),
        delete_time: nat.deleted_at,
        failure_code: failure.as_ref().and_then(|(code, _)| text(code)),
        failure_message: failure.map(|(_, message)| message),
        nat_gateway_addresses: Some(vec![address]),
        nat_gateway_id: text(&nat.id),
        state: text(state(nat)),
        subnet_id: text(&nat.subnet_id),
        tags: ask::shown(&nat.tags),
        vpc_id: text(&nat.vpc_id),
        ..Default::default()
    }
}
