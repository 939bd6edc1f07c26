//! NAT gateways: available at once, described for an hour after they are deleted.

use super::ask::{self, error, filtered, one, some, text};
use super::{addresses, subnets};
use crate::filter::{self, Values, dry_run, invalid_value};
use crate::interface::{self, AllocateRequest, InterfaceOwner};
use crate::records::{AddressRecord, NatGatewayRecord};
use crate::routing;
use crate::{Ec2, api};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;
use std::time::Duration;

/// How long a deleted one is described.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// # Errors
/// `InvalidSubnetID.NotFound`, `InvalidAllocationID.NotFound`, `MissingParameter`, `Gateway.NotAttached`,
/// `Resource.AlreadyAssociated`, `IdempotentParameterMismatch`, `UnsupportedOperation`, `DryRunOperation`.
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
    let subnet_id = ask::needed(input.subnet_id, "subnetId")?;
    let tags = ask::tags(input.tag_specifications, "natgateway")?;
    let id = format!("nat-{}", service.ids.hex17());
    let made = service
        .store
        .transact(|snapshot| {
            let here = format!("{}/", cx.region);
            let token = input.client_token.as_ref().filter(|t| !t.is_empty());
            let earlier = snapshot
                .range::<NatGatewayRecord>(&here)
                .find(|(_, n)| token.is_some() && n.client_token.as_ref() == token);
            if let (Some((_, earlier)), Some(token)) = (earlier, token) {
                let same = earlier.subnet_id == subnet_id && earlier.allocation_id == input.allocation_id;
                return match same {
                    true => Ok((Txn::new(), (*earlier.record).clone())),
                    false => Err(ask::other_parameters(token)),
                };
            }
            let subnet = subnets::find(snapshot, &cx.region, &subnet_id)?;
            if public && !routing::has_internet_gateway(snapshot, &cx.region, &subnet.vpc_id) {
                return Err(error(
                    "Gateway.NotAttached",
                    format!("Network {} has no Internet gateway attached", subnet.vpc_id),
                ));
            }
            let mut txn = Txn::new();
            let request = AllocateRequest {
                region: cx.region.clone(),
                subnet_id: subnet_id.clone(),
                security_groups: Vec::new(),
                description: format!("Interface for NAT Gateway {id}"),
                now: cx.now,
                start_hint: None,
                owner: InterfaceOwner::NatGateway { id: id.clone() },
                public: false,
            };
            let mut held =
                interface::allocate(snapshot, &mut txn, request, &*service.ids).map_err(super::interfaces::refused)?;
            // AWS gives these no groups.
            held.security_groups.clear();
            if let Some(allocation) = &input.allocation_id {
                let address = addresses::by_allocation(snapshot, &cx.region, allocation)?;
                if address.interface_id.is_some() {
                    return Err(error(
                        "Resource.AlreadyAssociated",
                        format!("Elastic IP address [{allocation}] is already associated"),
                    ));
                }
                held.public_address = Some(address.address);
                let mut next = (*address.record).clone();
                next.interface_id = Some(held.id.clone());
                next.private_address = Some(held.address);
                next.association_id = Some(format!("eipassoc-{}", service.ids.hex17()));
                let key = AddressRecord::key(next.address);
                txn.unchanged::<AddressRecord>(snapshot, &key).put(&key, next);
            }
            let nat = NatGatewayRecord {
                region: cx.region.clone(),
                id: id.clone(),
                vpc_id: subnet.vpc_id.clone(),
                subnet_id: subnet_id.clone(),
                interface_id: held.id.clone(),
                private_address: held.address,
                allocation_id: input.allocation_id.clone(),
                public_address: held.public_address,
                created_at: cx.now,
                deleted_at: None,
                client_token: token.cloned(),
                tags: tags.clone(),
            };
            interface::replace(&mut txn, held);
            txn.put(&NatGatewayRecord::key(&cx.region, &id), nat.clone());
            // Those whose hour is over are forgotten along the way.
            for (key, old) in snapshot.range::<NatGatewayRecord>(&here).take(50) {
                if old.deleted_at.is_some_and(|at| cx.now.since(at) >= REMEMBERED) {
                    txn.unchanged::<NatGatewayRecord>(snapshot, key)
                        .delete::<NatGatewayRecord>(key);
                }
            }
            Ok((txn, nat))
        })
        .await?;
    let mut shaped = shape(&made);
    shaped.state = text("pending");
    Ok(api::CreateNatGatewayResult {
        client_token: input.client_token,
        nat_gateway: Some(shaped),
    })
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
            let Some(nat) = snapshot.get::<NatGatewayRecord>(&key) else {
                return Err(not_found(&id));
            };
            let mut txn = Txn::new();
            if nat.is_available() {
                interface::release(snapshot, &mut txn, &cx.region, &nat.interface_id);
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
    let remembered = |n: &NatGatewayRecord| n.deleted_at.is_none_or(|at| cx.now.since(at) < REMEMBERED);
    let all = snapshot.range::<NatGatewayRecord>(&here).map(|(_, n)| n);
    let mut found: Vec<_> = all.filter(|n| remembered(n)).collect();
    let ids = input.nat_gateway_ids.unwrap_or_default();
    if let Some(id) = ids.iter().find(|id| !found.iter().any(|n| n.id == **id)) {
        return Err(not_found(id));
    }
    found.retain(|n| ids.is_empty() || ids.contains(&n.id));
    let found = filtered(found, input.filter.as_deref(), |n| &n.tags, |n, name| values(n, name))?;
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
        nat_gateways: Some(page.items.iter().map(|n| shape(n)).collect()),
        next_token: page.next_token,
    })
}

fn state(nat: &NatGatewayRecord) -> &'static str {
    match nat.is_available() {
        true => "available",
        false => "deleted",
    }
}

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

fn shape(nat: &NatGatewayRecord) -> api::NatGateway {
    let address = api::NatGatewayAddress {
        allocation_id: nat.allocation_id.clone(),
        network_interface_id: text(&nat.interface_id),
        private_ip: Some(nat.private_address.to_string()),
        public_ip: nat.public_address.map(|a| a.to_string()),
        is_primary: Some(true),
        status: text("succeeded"),
        ..Default::default()
    };
    api::NatGateway {
        connectivity_type: text(connectivity(nat)),
        create_time: Some(nat.created_at),
        delete_time: nat.deleted_at,
        nat_gateway_addresses: Some(vec![address]),
        nat_gateway_id: text(&nat.id),
        state: text(state(nat)),
        subnet_id: text(&nat.subnet_id),
        tags: ask::shown(&nat.tags),
        vpc_id: text(&nat.vpc_id),
        ..Default::default()
    }
}
