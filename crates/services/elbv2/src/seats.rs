//! A load balancer's places in subnets: which there may be, and the interfaces that hold them.
//!
//! CreateLoadBalancer, SetSubnets and DeleteLoadBalancer call it within their own commit, so that a load balancer and
//! its interfaces come and go together.

use crate::api::{self, errors};
use crate::records::{LoadBalancerRecord, Seat};
use crate::refusal::{absent, configuration, validation};
use neargate_core::{AwsError, Ids, Timestamp};
use neargate_ec2::interface::{self, AllocateError, AllocateRequest, InterfaceOwner};
use neargate_ec2::records::{AddressRecord, InternetGatewayRecord};
use neargate_ec2::{InterfaceRecord, SubnetRecord, lookup};
use neargate_link::gateway::BalancerKind;
use neargate_store::{Snapshot, Txn, Versioned, full_key};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Free addresses that ELB wants in a subnet.
const FREE_ADDRESSES: u32 = 8;

/// A subnet as asked, checked.
pub struct Wanted {
    pub subnet: Versioned<SubnetRecord>,
    pub allocation_id: Option<String>,
    pub address: Option<Ipv4Addr>,
}

/// Who asks for subnets.
pub struct Sitter<'a> {
    pub region: &'a str,
    pub kind: BalancerKind,
    pub internal: bool,
}

/// The subnets of a request, ascending by zone: in one VPC, one in each zone, at least two for an ALB.
///
/// # Errors
/// `ValidationError`, `SubnetNotFound`, `InvalidSubnet`, `InvalidConfigurationRequest`.
pub fn admit(
    snapshot: &Snapshot,
    sitter: &Sitter<'_>,
    subnets: Option<Vec<String>>,
    mappings: Option<Vec<api::SubnetMapping>>,
) -> Result<Vec<Wanted>, AwsError> {
    let subnets = subnets.unwrap_or_default();
    let mappings = mappings.unwrap_or_default();
    let asked = match (subnets.is_empty(), mappings.is_empty()) {
        (false, false) => {
            return Err(validation(
                "You can specify either subnets or subnet mappings, not both",
            ));
        }
        (true, true) => return Err(validation("At least one subnet must be specified")),
        (true, false) => mappings,
        (false, true) => subnets
            .into_iter()
            .map(|id| api::SubnetMapping {
                subnet_id: Some(id),
                ..Default::default()
            })
            .collect(),
    };
    let mut out = asked
        .into_iter()
        .map(|mapping| one(snapshot, sitter, mapping))
        .collect::<Result<Vec<_>, _>>()?;
    out.sort_by(|a, b| a.subnet.availability_zone.cmp(&b.subnet.availability_zone));
    if out
        .windows(2)
        .any(|pair| pair[0].subnet.vpc_id != pair[1].subnet.vpc_id)
    {
        return Err(configuration("All subnets must belong to the same VPC"));
    }
    if let Some(first) = out.first().filter(|_| !sitter.internal) {
        let vpc_id = &first.subnet.vpc_id;
        if lookup::internet_gateway(snapshot, sitter.region, vpc_id).is_none() {
            return Err(errors::invalid_subnet_exception(format!(
                "VPC {vpc_id} has no internet gateway"
            )));
        }
    }
    if out
        .windows(2)
        .any(|pair| pair[0].subnet.availability_zone == pair[1].subnet.availability_zone)
    {
        return Err(configuration(
            "A load balancer cannot be attached to multiple subnets in the same Availability Zone",
        ));
    }
    if sitter.kind == BalancerKind::Application && out.len() < 2 {
        return Err(validation(
            "At least two subnets in two different Availability Zones must be specified",
        ));
    }
    Ok(out)
}

fn one(snapshot: &Snapshot, sitter: &Sitter<'_>, mapping: api::SubnetMapping) -> Result<Wanted, AwsError> {
    absent(&mapping.i_pv6_address, "SubnetMappings.IPv6Address")?;
    absent(&mapping.source_nat_ipv6_prefix, "SubnetMappings.SourceNatIpv6Prefix")?;
    let id = mapping
        .subnet_id
        .ok_or_else(|| validation("A subnet ID must be specified"))?;
    let subnet = neargate_ec2::subnet(snapshot, sitter.region, &id)
        .ok_or_else(|| errors::subnet_not_found_exception(format!("The subnet ID '{id}' does not exist")))?;
    let allocation_id = mapping.allocation_id.filter(|id| !id.is_empty());
    let chosen = mapping.private_i_pv4_address.filter(|a| !a.is_empty());
    let network = sitter.kind == BalancerKind::Network;
    if allocation_id.is_some() && (!network || sitter.internal) {
        return Err(configuration(
            "Elastic IP addresses can only be specified for internet-facing network load balancers",
        ));
    }
    if chosen.is_some() && (!network || !sitter.internal) {
        return Err(configuration(
            "Private IPv4 addresses can only be specified for internal network load balancers",
        ));
    }
    let address = match chosen {
        None => None,
        Some(text) => {
            let offset = text
                .parse()
                .ok()
                .and_then(|address: Ipv4Addr| Some((address, place(&subnet, address)?)));
            let (address, _) = offset.ok_or_else(|| {
                configuration(format!(
                    "The private IPv4 address '{text}' is not valid for the subnet '{id}'"
                ))
            })?;
            Some(address)
        }
    };
    Ok(Wanted {
        subnet,
        allocation_id,
        address,
    })
}

/// Where among the usable addresses of the subnet the address stands.
fn place(subnet: &SubnetRecord, address: Ipv4Addr) -> Option<u32> {
    let offset = u32::from(address).checked_sub(u32::from(subnet.cidr.0))?;
    let place = offset.checked_sub(SubnetRecord::RESERVED_FIRST)?;
    (place < subnet.usable()).then_some(place)
}

/// Takes an interface for every subnet that the load balancer does not sit in as asked already, gives back those of
/// the others, and answers the seats. `record` carries everything but its seats.
///
/// # Errors
/// `InvalidSubnet`, `InvalidConfigurationRequest`, `AllocationIdNotFound`.
pub fn take(
    snapshot: &Snapshot,
    txn: &mut Txn,
    record: &LoadBalancerRecord,
    wanted: Vec<Wanted>,
    ids: &dyn Ids,
    now: Timestamp,
) -> Result<Vec<Seat>, AwsError> {
    let same = |seat: &Seat, wanted: &Wanted| {
        seat.subnet_id == wanted.subnet.id
            && seat.allocation_id == wanted.allocation_id
            && wanted.address.is_none_or(|address| address == seat.address)
    };
    for seat in &record.seats {
        if !wanted.iter().any(|wanted| same(seat, wanted)) {
            interface::release(snapshot, txn, &record.region, &seat.interface_id);
        }
    }
    let gateway = lookup::internet_gateway(snapshot, &record.region, &record.vpc_id);
    if let Some(gateway) = gateway.filter(|_| !record.internal) {
        // It is not detached while public addresses come.
        txn.unchanged::<InternetGatewayRecord>(snapshot, &InternetGatewayRecord::key(&record.region, &gateway.id));
    }
    let mut seats = Vec::new();
    for wanted in wanted {
        match record.seats.iter().find(|seat| same(seat, &wanted)) {
            Some(seat) => seats.push(seat.clone()),
            None => seats.push(sit(snapshot, txn, record, wanted, ids, now)?),
        }
    }
    Ok(seats)
}

fn sit(
    snapshot: &Snapshot,
    txn: &mut Txn,
    record: &LoadBalancerRecord,
    wanted: Wanted,
    ids: &dyn Ids,
    now: Timestamp,
) -> Result<Seat, AwsError> {
    let subnet = &wanted.subnet;
    if interface::available(snapshot, subnet) < FREE_ADDRESSES {
        return Err(errors::invalid_subnet_exception(format!(
            "Not enough IP space available in {}. ELB requires at least {FREE_ADDRESSES} free IP addresses in each \
             subnet.",
            subnet.id
        )));
    }
    let request = AllocateRequest {
        region: record.region.clone(),
        subnet_id: subnet.id.clone(),
        security_groups: record.security_groups.clone(),
        description: format!("ELB {}", record.id()),
        now,
        start_hint: wanted.address.and_then(|address| place(subnet, address)),
        owner: InterfaceOwner::LoadBalancer {
            arn: record.arn.clone(),
        },
        public: !record.internal && wanted.allocation_id.is_none(),
    };
    let mut taken = interface::allocate(snapshot, txn, request, ids).map_err(refuse)?;
    if let Some(asked) = wanted.address.filter(|asked| *asked != taken.address) {
        return Err(configuration(format!(
            "The private IPv4 address '{asked}' in the subnet '{}' is already in use",
            subnet.id
        )));
    }
    if let Some(id) = &wanted.allocation_id {
        taken.public_address = Some(associate(snapshot, txn, &taken, id, ids)?);
    }
    // Without groups a load balancer admits everyone; `allocate` gives such interfaces the VPC's default group.
    taken.security_groups.clone_from(&record.security_groups);
    interface::replace(txn, taken.clone());
    Ok(Seat {
        subnet_id: subnet.id.clone(),
        zone: subnet.availability_zone.clone(),
        interface_id: taken.id,
        address: taken.address,
        public_address: taken.public_address,
        allocation_id: wanted.allocation_id,
        chosen: wanted.address.is_some(),
    })
}

/// Gives the interface the elastic address of an allocation that nobody has.
fn associate(
    snapshot: &Snapshot,
    txn: &mut Txn,
    interface: &InterfaceRecord,
    allocation_id: &str,
    ids: &dyn Ids,
) -> Result<Ipv4Addr, AwsError> {
    let of_allocation = format!("{}/{allocation_id}", interface.region);
    let found = snapshot
        .indexed::<AddressRecord>(AddressRecord::BY_ALLOCATION, &of_allocation)
        .next();
    let (key, address) = found.ok_or_else(|| {
        errors::allocation_id_not_found_exception(format!("The allocation ID '{allocation_id}' does not exist"))
    })?;
    let full = full_key::<AddressRecord>(key);
    if address.interface_id.is_some() || txn.ops.iter().any(|op| *op.key() == full) {
        return Err(errors::resource_in_use_exception(format!(
            "The allocation ID '{allocation_id}' is already in use"
        )));
    }
    let mut next = (*address.record).clone();
    next.association_id = Some(format!("eipassoc-{}", ids.hex17()));
    next.interface_id = Some(interface.id.clone());
    next.private_address = Some(interface.address);
    txn.unchanged::<AddressRecord>(snapshot, key).put(key, next);
    Ok(address.address)
}

fn refuse(error: AllocateError) -> AwsError {
    let text = error.to_string();
    match error {
        AllocateError::SubnetNotFound(_) => errors::subnet_not_found_exception(text),
        AllocateError::SecurityGroupNotFound(_) => errors::invalid_security_group_exception(text),
        AllocateError::OtherVpc { .. } => configuration("One or more security groups are invalid"),
        _ => errors::invalid_subnet_exception(text),
    }
}

/// The security groups of a request: of the VPC, each once.
///
/// # Errors
/// `InvalidSecurityGroup`, `InvalidConfigurationRequest`.
pub fn security_groups(
    snapshot: &Snapshot,
    region: &str,
    vpc_id: &str,
    asked: &[String],
) -> Result<Vec<String>, AwsError> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for id in asked {
        let group = neargate_ec2::security_group(snapshot, region, id);
        let group = group.ok_or_else(|| {
            errors::invalid_security_group_exception(format!("The security group '{id}' does not exist"))
        })?;
        if group.vpc_id != vpc_id {
            return Err(configuration("One or more security groups are invalid"));
        }
        if seen.insert(id) {
            out.push(id.clone());
        }
    }
    if out.len() > crate::limits::SECURITY_GROUPS {
        return Err(configuration(format!(
            "A load balancer can have at most '{}' security groups",
            crate::limits::SECURITY_GROUPS
        )));
    }
    Ok(out)
}
