//! CreateSubnet, DeleteSubnet, ModifySubnetAttribute, CreateDefaultSubnet.

use super::ask::{self, error};
use super::{describe_subnets, vpcs};
use crate::cidr;
use crate::filter::{dry_run, invalid_value};
use crate::interface;
use crate::records::{InterfaceRecord, RouteTableRecord, SubnetRecord, VpcRecord};
use crate::region;
use crate::{Ec2, api};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{Snapshot, Txn, Versioned};

/// The subnet of an id.
///
/// # Errors
/// `InvalidSubnetID.NotFound`.
pub fn find(snapshot: &Snapshot, region: &str, id: &str) -> Result<Versioned<SubnetRecord>, AwsError> {
    snapshot
        .get::<SubnetRecord>(&SubnetRecord::key(region, id))
        .ok_or_else(|| {
            error(
                "InvalidSubnetID.NotFound",
                format!("The subnet ID '{id}' does not exist"),
            )
        })
}

/// # Errors
/// `InvalidVpcID.NotFound`, `InvalidParameterValue`, `InvalidSubnet.Range`, `InvalidSubnet.Conflict`,
/// `MissingParameter`, `UnsupportedOperation`, `DryRunOperation`.
pub async fn create(
    service: &Ec2,
    cx: &RequestContext,
    input: api::CreateSubnetRequest,
) -> Result<api::CreateSubnetResult, AwsError> {
    dry_run(input.dry_run)?;
    ask::refuse(&[
        ("Ipv4IpamPoolId", input.ipv4_ipam_pool_id.is_some()),
        ("Ipv4NetmaskLength", input.ipv4_netmask_length.is_some()),
        ("Ipv6CidrBlock", input.ipv6_cidr_block.is_some()),
        ("Ipv6IpamPoolId", input.ipv6_ipam_pool_id.is_some()),
        ("Ipv6Native", input.ipv6_native == Some(true)),
        ("Ipv6NetmaskLength", input.ipv6_netmask_length.is_some()),
        ("OutpostArn", input.outpost_arn.is_some()),
    ])?;
    let vpc_id = input.vpc_id.unwrap_or_default();
    let text = ask::needed(input.cidr_block, "cidrBlock")?;
    let Some(range) = cidr::parse(&text) else {
        return Err(invalid_value(format!(
            "Value ({text}) for parameter cidrBlock is invalid. This is not a valid CIDR block."
        )));
    };
    let tags = ask::tags(input.tag_specifications, "subnet")?;
    let zone = zone(
        &cx.region,
        input.availability_zone.as_deref(),
        input.availability_zone_id.as_deref(),
    )?;
    let id = format!("subnet-{}", service.ids.hex17());
    let acl_association_id = format!("aclassoc-{}", service.ids.hex17());
    let made = service
        .store
        .transact(|snapshot| {
            let vpc = vpcs::find(snapshot, &cx.region, &vpc_id)?;
            if !(16..=28).contains(&range.1) || !vpc.ranges().iter().any(|r| cidr::within(*r, range)) {
                return Err(error("InvalidSubnet.Range", format!("The CIDR '{text}' is invalid.")));
            }
            let here = format!("{}/", cx.region);
            let mut used = [0u32; region::ZONES.len()];
            for (_, other) in snapshot
                .range::<SubnetRecord>(&here)
                .filter(|(_, s)| s.vpc_id == vpc_id)
            {
                if cidr::overlap(other.cidr, range) {
                    let text = format!("The CIDR '{text}' conflicts with another subnet");
                    return Err(error("InvalidSubnet.Conflict", text));
                }
                for (at, count) in used.iter_mut().enumerate() {
                    *count += u32::from(region::zone_name(&cx.region, at) == other.availability_zone);
                }
            }
            let emptiest = (0..used.len()).min_by_key(|at| used[*at]).unwrap_or(0);
            let at = zone.unwrap_or(emptiest);
            let subnet = SubnetRecord {
                region: cx.region.clone(),
                id: id.clone(),
                vpc_id: vpc_id.clone(),
                vpc_cidr: vpc.cidr,
                cidr: range,
                availability_zone: region::zone_name(&cx.region, at),
                availability_zone_id: region::zone_id(&cx.region, at),
                default_for_az: false,
                map_public_ip_on_launch: false,
                acl_association_id: acl_association_id.clone(),
                hostname_type: "ip-name".to_owned(),
                resource_name_dns: false,
                tags: tags.clone(),
            };
            let mut txn = Txn::new();
            // Touching the VPC keeps two subnets that overlap from being made at once, and the VPC from being deleted.
            let vpc_key = VpcRecord::key(&cx.region, &vpc_id);
            txn.unchanged::<VpcRecord>(snapshot, &vpc_key)
                .put_shared(&vpc_key, vpc.record);
            txn.put(&SubnetRecord::key(&cx.region, &id), subnet.clone());
            Ok((txn, subnet))
        })
        .await?;
    Ok(api::CreateSubnetResult {
        subnet: Some(describe_subnets::shape(
            &service.store.snapshot(),
            &made,
            &service.account,
        )),
    })
}

/// Index of the zone asked for by name or id; none leaves the choice.
fn zone(region: &str, name: Option<&str>, id: Option<&str>) -> Result<Option<usize>, AwsError> {
    let zones = 0..region::ZONES.len();
    let found = match (name.filter(|n| !n.is_empty()), id.filter(|i| !i.is_empty())) {
        (None, None) => return Ok(None),
        (Some(name), id) => zones.clone().find(|at| {
            region::zone_name(region, *at) == name && id.is_none_or(|id| region::zone_id(region, *at) == id)
        }),
        (None, Some(id)) => zones.clone().find(|at| region::zone_id(region, *at) == id),
    };
    let known: Vec<String> = zones.map(|at| region::zone_name(region, at)).collect();
    match found {
        Some(at) => Ok(Some(at)),
        None => Err(invalid_value(format!(
            "Value ({}) for parameter availabilityZone is invalid. Subnets can currently only be created in the following availability zones: {}.",
            name.or(id).unwrap_or_default(),
            known.join(", ")
        ))),
    }
}

/// # Errors
/// `InvalidSubnetID.NotFound`, `DependencyViolation`, `DryRunOperation`.
pub async fn delete(service: &Ec2, cx: &RequestContext, input: api::DeleteSubnetRequest) -> Result<(), AwsError> {
    dry_run(input.dry_run)?;
    let id = input.subnet_id.unwrap_or_default();
    service
        .store
        .transact(|snapshot| Ok::<_, AwsError>((deletion(snapshot, &cx.region, &id)?, ())))
        .await
}

/// Takes away a subnet and its association with a route table, unless an interface is in it by the time it commits.
///
/// # Errors
/// `InvalidSubnetID.NotFound`, `DependencyViolation`.
pub fn deletion(snapshot: &Snapshot, region: &str, id: &str) -> Result<Txn, AwsError> {
    let subnet = find(snapshot, region, id)?;
    // NAT gateways, load balancers and endpoints are in a subnet by an interface.
    if snapshot.count(&InterfaceRecord::in_subnet(region, id)) > 0 {
        return Err(ask::in_use("subnet", id));
    }
    let mut txn = Txn::new();
    interface::none_newer_in(&mut txn, snapshot, subnet.cidr);
    for (key, table) in snapshot.range::<RouteTableRecord>(&format!("{region}/")) {
        if table.associations.iter().any(|a| a.subnet_id == id) {
            let mut next = (*table.record).clone();
            next.associations.retain(|a| a.subnet_id != id);
            txn.unchanged::<RouteTableRecord>(snapshot, key).put(key, next);
        }
    }
    let key = SubnetRecord::key(region, id);
    txn.unchanged::<SubnetRecord>(snapshot, &key)
        .delete::<SubnetRecord>(&key);
    Ok(txn)
}

/// # Errors
/// `InvalidSubnetID.NotFound`, `InvalidParameterCombination`, `UnsupportedOperation`.
pub async fn modify_attribute(
    service: &Ec2,
    cx: &RequestContext,
    input: api::ModifySubnetAttributeRequest,
) -> Result<(), AwsError> {
    let on = |value: &Option<api::AttributeBooleanValue>| value.as_ref().and_then(|v| v.value);
    ask::refuse(&[
        (
            "AssignIpv6AddressOnCreation",
            on(&input.assign_ipv6_address_on_creation) == Some(true),
        ),
        ("CustomerOwnedIpv4Pool", input.customer_owned_ipv4_pool.is_some()),
        (
            "DisableLniAtDeviceIndex",
            on(&input.disable_lni_at_device_index) == Some(true),
        ),
        ("EnableDns64", on(&input.enable_dns64) == Some(true)),
        ("EnableLniAtDeviceIndex", input.enable_lni_at_device_index.is_some()),
        (
            "EnableResourceNameDnsAAAARecordOnLaunch",
            on(&input.enable_resource_name_dns_aaaa_record_on_launch) == Some(true),
        ),
        (
            "MapCustomerOwnedIpOnLaunch",
            on(&input.map_customer_owned_ip_on_launch) == Some(true),
        ),
    ])?;
    let given = [
        input.map_public_ip_on_launch.is_some(),
        input.enable_resource_name_dns_a_record_on_launch.is_some(),
        input.private_dns_hostname_type_on_launch.is_some(),
        input.assign_ipv6_address_on_creation.is_some(),
        input.enable_dns64.is_some(),
        input.enable_resource_name_dns_aaaa_record_on_launch.is_some(),
        input.map_customer_owned_ip_on_launch.is_some(),
        input.disable_lni_at_device_index.is_some(),
    ];
    ask::one_attribute(&given)?;
    let id = input.subnet_id.unwrap_or_default();
    service
        .store
        .transact(|snapshot| {
            let mut next = (*find(snapshot, &cx.region, &id)?.record).clone();
            next.map_public_ip_on_launch = on(&input.map_public_ip_on_launch).unwrap_or(next.map_public_ip_on_launch);
            next.resource_name_dns =
                on(&input.enable_resource_name_dns_a_record_on_launch).unwrap_or(next.resource_name_dns);
            if let Some(kind) = &input.private_dns_hostname_type_on_launch {
                next.hostname_type.clone_from(kind);
            }
            let key = SubnetRecord::key(&cx.region, &id);
            let mut txn = Txn::new();
            txn.unchanged::<SubnetRecord>(snapshot, &key).put(&key, next);
            Ok((txn, ()))
        })
        .await
}

/// # Errors
/// `DefaultVpcDoesNotExist`, `DefaultSubnetAlreadyExistsInAvailabilityZone`, `InvalidSubnet.Conflict`,
/// `InvalidParameterValue`, `UnsupportedOperation`, `DryRunOperation`.
pub async fn create_default(
    service: &Ec2,
    cx: &RequestContext,
    input: api::CreateDefaultSubnetRequest,
) -> Result<api::CreateDefaultSubnetResult, AwsError> {
    dry_run(input.dry_run)?;
    ask::refuse(&[("Ipv6Native", input.ipv6_native == Some(true))])?;
    let at = zone(
        &cx.region,
        input.availability_zone.as_deref(),
        input.availability_zone_id.as_deref(),
    )?;
    let at = at.ok_or_else(|| {
        error(
            "MissingParameter",
            "The request must contain the parameter availabilityZone",
        )
    })?;
    let vpc_id = region::default_vpc_id(&service.account, &cx.region);
    let made = service
        .store
        .transact(|snapshot| {
            let vpc = vpcs::find(snapshot, &cx.region, &vpc_id).map_err(|_| {
                error(
                    "DefaultVpcDoesNotExist",
                    "No default VPC exists for this account in this region.",
                )
            })?;
            let subnet = region::default_subnet(&service.account, &cx.region, &vpc_id, vpc.cidr, at);
            let key = SubnetRecord::key(&cx.region, &subnet.id);
            if snapshot.contains::<SubnetRecord>(&key) {
                let text = format!("'{}' already exists in '{}'", subnet.id, subnet.availability_zone);
                return Err(error("DefaultSubnetAlreadyExistsInAvailabilityZone", text));
            }
            let mut others = snapshot
                .range::<SubnetRecord>(&format!("{}/", cx.region))
                .map(|(_, s)| s)
                .collect::<Vec<_>>();
            others.retain(|s| s.vpc_id == vpc_id && cidr::overlap(s.cidr, subnet.cidr));
            if !others.is_empty() {
                return Err(error(
                    "InvalidSubnet.Conflict",
                    format!(
                        "The default subnet of '{}' conflicts with another subnet",
                        subnet.availability_zone
                    ),
                ));
            }
            let mut txn = Txn::new();
            // Touching the VPC keeps two subnets that overlap from being made at once, and the VPC from being deleted.
            let vpc_key = VpcRecord::key(&cx.region, &vpc_id);
            txn.unchanged::<VpcRecord>(snapshot, &vpc_key)
                .put_shared(&vpc_key, vpc.record);
            txn.unchanged::<SubnetRecord>(snapshot, &key).put(&key, subnet.clone());
            Ok((txn, subnet))
        })
        .await?;
    Ok(api::CreateDefaultSubnetResult {
        subnet: Some(describe_subnets::shape(
            &service.store.snapshot(),
            &made,
            &service.account,
        )),
    })
}
