//! CreateVpc, DeleteVpc, ModifyVpcAttribute, AssociateVpcCidrBlock, DisassociateVpcCidrBlock, CreateDefaultVpc.

use super::ask::{self, error};
use super::describe_vpcs;
use crate::cidr::{self, Cidr};
use crate::filter::{dry_run, invalid_value};
use crate::records::{
    EndpointRecord, InterfaceRecord, InternetGatewayRecord, RouteTableRecord, SecurityGroupRecord, SubnetRecord,
    VpcRecord, cidr_text,
};
use crate::region;
use crate::{Ec2, api};
use neargate_core::{AwsError, RequestContext, Tags};
use neargate_store::{Snapshot, Txn, Versioned};

/// Ranges of a VPC at most.
const MOST_RANGES: usize = 5;

/// The VPC of an id.
///
/// # Errors
/// `InvalidVpcID.NotFound`.
pub fn find(snapshot: &Snapshot, region: &str, id: &str) -> Result<Versioned<VpcRecord>, AwsError> {
    snapshot
        .get::<VpcRecord>(&VpcRecord::key(region, id))
        .ok_or_else(|| error("InvalidVpcID.NotFound", format!("The vpc ID '{id}' does not exist")))
}

/// # Errors
/// `InvalidParameterValue`, `InvalidVpc.Range`, `MissingParameter`, `UnsupportedOperation`, `DryRunOperation`.
pub async fn create(
    service: &Ec2,
    cx: &RequestContext,
    input: api::CreateVpcRequest,
) -> Result<api::CreateVpcResult, AwsError> {
    dry_run(input.dry_run)?;
    ask::refuse(&[
        (
            "AmazonProvidedIpv6CidrBlock",
            input.amazon_provided_ipv6_cidr_block == Some(true),
        ),
        ("Ipv4IpamPoolId", input.ipv4_ipam_pool_id.is_some()),
        ("Ipv4NetmaskLength", input.ipv4_netmask_length.is_some()),
        ("Ipv6CidrBlock", input.ipv6_cidr_block.is_some()),
        (
            "Ipv6CidrBlockNetworkBorderGroup",
            input.ipv6_cidr_block_network_border_group.is_some(),
        ),
        ("Ipv6IpamPoolId", input.ipv6_ipam_pool_id.is_some()),
        ("Ipv6NetmaskLength", input.ipv6_netmask_length.is_some()),
        ("Ipv6Pool", input.ipv6_pool.is_some()),
        ("VpcEncryptionControl", input.vpc_encryption_control.is_some()),
    ])?;
    let text = ask::needed(input.cidr_block, "cidrBlock")?;
    let range = vpc_range(service, &text)?;
    let tags = ask::tags(input.tag_specifications, "vpc")?;
    let tenancy = input.instance_tenancy.unwrap_or_else(|| "default".to_owned());
    if tenancy == "host" {
        return Err(invalid_value(
            "Value (host) for parameter instanceTenancy is invalid. A VPC's tenancy is default or dedicated."
                .to_owned(),
        ));
    }
    let id = |prefix: &str| format!("{prefix}-{}", service.ids.hex17());
    let vpc = VpcRecord {
        region: cx.region.clone(),
        id: id("vpc"),
        cidr: range,
        cidr_association_id: id("vpc-cidr-assoc"),
        dhcp_options_id: region::dhcp_options_id(&service.account, &cx.region),
        is_default: false,
        more_ranges: Vec::new(),
        network_acl_id: id("acl"),
        network_acl_tags: Tags::default(),
        tenancy,
        dns_support: true,
        dns_hostnames: false,
        usage_metrics: false,
        tags,
    };
    let table = RouteTableRecord {
        region: cx.region.clone(),
        id: id("rtb"),
        vpc_id: vpc.id.clone(),
        main_association: Some(id("rtbassoc")),
        associations: Vec::new(),
        routes: Vec::new(),
        made_under: None,
        tags: Tags::default(),
    };
    let group_id = id("sg");
    let group = region::default_group(&cx.region, &vpc.id, group_id.clone(), [id("sgr"), id("sgr")]);
    let mut txn = Txn::new();
    txn.put(&VpcRecord::key(&cx.region, &vpc.id), vpc.clone());
    txn.put(&table.own_key(), table);
    txn.put(&SecurityGroupRecord::key(&cx.region, &group_id), group);
    service.store.commit(txn).await?;
    Ok(api::CreateVpcResult {
        vpc: Some(describe_vpcs::shape(&vpc, &service.account)),
    })
}

/// Whether a VPC may have both ranges: of the private ones only those of the same kind. Source: "IPv4 CIDR block association
/// restrictions" of the VPC guide.
fn goes_with(first: Cidr, more: Cidr) -> bool {
    let private: [Cidr; 4] = [
        ([10, 0, 0, 0].into(), 8),
        ([172, 16, 0, 0].into(), 12),
        ([192, 168, 0, 0].into(), 16),
        ([198, 19, 0, 0].into(), 16),
    ];
    let mut of_another_kind = private.iter().filter(|kind| !cidr::within(**kind, first));
    !of_another_kind.any(|kind| cidr::overlap(*kind, more))
}

/// A range that a VPC may have on this machine. Host bits are cut off, as EC2 does.
fn vpc_range(service: &Ec2, text: &str) -> Result<Cidr, AwsError> {
    let range = cidr::parse(text).ok_or_else(|| {
        invalid_value(format!(
            "Value ({text}) for parameter cidrBlock is invalid. This is not a valid CIDR block."
        ))
    })?;
    if !(16..=28).contains(&range.1) {
        return Err(error("InvalidVpc.Range", format!("The CIDR '{text}' is invalid.")));
    }
    let unusable = [
        ([0, 0, 0, 0], 8),
        ([127, 0, 0, 0], 8),
        ([169, 254, 0, 0], 16),
        ([224, 0, 0, 0], 3),
    ];
    if unusable
        .iter()
        .any(|(base, prefix)| cidr::overlap(range, ((*base).into(), *prefix)))
    {
        return Err(error("InvalidVpc.Range", format!("The CIDR '{text}' is invalid.")));
    }
    let clash = (service.foreign_ranges)().into_iter().chain([service.public_cidr]);
    match clash
        .into_iter()
        .find(|other| cidr::overlap(range, *other) && other.1 > 0)
    {
        Some(other) => Err(error(
            "InvalidVpc.Range",
            format!(
                "The CIDR '{text}' overlaps {}, which this machine already uses; choose another range.",
                cidr_text(other)
            ),
        )),
        None => Ok(range),
    }
}

/// # Errors
/// `InvalidVpcID.NotFound`, `DependencyViolation`, `DryRunOperation`.
pub async fn delete(service: &Ec2, cx: &RequestContext, input: api::DeleteVpcRequest) -> Result<(), AwsError> {
    dry_run(input.dry_run)?;
    let id = input.vpc_id.unwrap_or_default();
    service
        .store
        .transact(|snapshot| {
            let vpc = find(snapshot, &cx.region, &id)?;
            let here = format!("{}/", cx.region);
            let mut txn = Txn::new();
            let key = VpcRecord::key(&cx.region, &id);
            txn.unchanged::<VpcRecord>(snapshot, &key).delete::<VpcRecord>(&key);
            for (key, table) in snapshot
                .range::<RouteTableRecord>(&here)
                .filter(|(_, t)| t.vpc_id == id)
            {
                if table.main_association.is_none() || !table.associations.is_empty() {
                    return Err(ask::in_use("vpc", &id));
                }
                txn.unchanged::<RouteTableRecord>(snapshot, key)
                    .delete::<RouteTableRecord>(key);
            }
            for (key, group) in snapshot
                .range::<SecurityGroupRecord>(&here)
                .filter(|(_, g)| g.vpc_id == id)
            {
                if group.name != "default" {
                    return Err(ask::in_use("vpc", &id));
                }
                txn.unchanged::<SecurityGroupRecord>(snapshot, key)
                    .delete::<SecurityGroupRecord>(key);
            }
            let used = snapshot.range::<SubnetRecord>(&here).any(|(_, s)| s.vpc_id == id)
                || snapshot
                    .range::<InternetGatewayRecord>(&here)
                    .any(|(_, g)| g.vpc_id.as_ref() == Some(&id))
                || snapshot.range::<EndpointRecord>(&here).any(|(_, e)| e.vpc_id == id)
                || snapshot.range::<InterfaceRecord>("").any(|(_, i)| i.vpc_id == vpc.id);
            match used {
                true => Err(ask::in_use("vpc", &id)),
                false => Ok((txn, ())),
            }
        })
        .await
}

/// # Errors
/// `InvalidVpcID.NotFound`, `InvalidParameterCombination`.
pub async fn modify_attribute(
    service: &Ec2,
    cx: &RequestContext,
    input: api::ModifyVpcAttributeRequest,
) -> Result<(), AwsError> {
    let id = input.vpc_id.unwrap_or_default();
    let given = [
        ("enableDnsHostnames", &input.enable_dns_hostnames),
        ("enableDnsSupport", &input.enable_dns_support),
        (
            "enableNetworkAddressUsageMetrics",
            &input.enable_network_address_usage_metrics,
        ),
    ];
    let given: Vec<&str> = given
        .iter()
        .filter(|(_, g)| g.is_some())
        .map(|(name, _)| *name)
        .collect();
    let wrong = match given.len() {
        0 => Some("No attributes specified.".to_owned()),
        1 => None,
        _ => Some(format!(
            "Fields for multiple attribute types specified: {}",
            given.join(", ")
        )),
    };
    if let Some(wrong) = wrong {
        return Err(error("InvalidParameterCombination", wrong));
    }
    let value = |given: &Option<api::AttributeBooleanValue>| given.as_ref().and_then(|g| g.value);
    service
        .store
        .transact(|snapshot| {
            let mut vpc = (*find(snapshot, &cx.region, &id)?.record).clone();
            if value(&input.enable_dns_hostnames) == Some(true) && !vpc.dns_support {
                return Err(invalid_value(format!(
                    "DNS hostnames can only be enabled where DNS support is, and it is disabled for '{id}'"
                )));
            }
            vpc.dns_hostnames = value(&input.enable_dns_hostnames).unwrap_or(vpc.dns_hostnames);
            vpc.dns_support = value(&input.enable_dns_support).unwrap_or(vpc.dns_support);
            vpc.usage_metrics = value(&input.enable_network_address_usage_metrics).unwrap_or(vpc.usage_metrics);
            let key = VpcRecord::key(&cx.region, &id);
            let mut txn = Txn::new();
            txn.unchanged::<VpcRecord>(snapshot, &key).put(&key, vpc);
            Ok((txn, ()))
        })
        .await
}

/// # Errors
/// `InvalidVpcID.NotFound`, `InvalidVpc.Range`, `InvalidParameterValue`, `VpcCidrLimitExceeded`,
/// `UnsupportedOperation`.
pub async fn associate_cidr(
    service: &Ec2,
    cx: &RequestContext,
    input: api::AssociateVpcCidrBlockRequest,
) -> Result<api::AssociateVpcCidrBlockResult, AwsError> {
    ask::refuse(&[
        (
            "AmazonProvidedIpv6CidrBlock",
            input.amazon_provided_ipv6_cidr_block == Some(true),
        ),
        ("Ipv4IpamPoolId", input.ipv4_ipam_pool_id.is_some()),
        ("Ipv4NetmaskLength", input.ipv4_netmask_length.is_some()),
        ("Ipv6CidrBlock", input.ipv6_cidr_block.is_some()),
        (
            "Ipv6CidrBlockNetworkBorderGroup",
            input.ipv6_cidr_block_network_border_group.is_some(),
        ),
        ("Ipv6IpamPoolId", input.ipv6_ipam_pool_id.is_some()),
        ("Ipv6NetmaskLength", input.ipv6_netmask_length.is_some()),
        ("Ipv6Pool", input.ipv6_pool.is_some()),
    ])?;
    let id = input.vpc_id.unwrap_or_default();
    let text = ask::needed(input.cidr_block, "cidrBlock")?;
    let range = vpc_range(service, &text)?;
    let association = format!("vpc-cidr-assoc-{}", service.ids.hex17());
    service
        .store
        .transact(|snapshot| {
            let mut vpc = (*find(snapshot, &cx.region, &id)?.record).clone();
            if vpc.ranges().iter().any(|other| cidr::overlap(*other, range)) {
                return Err(error(
                    "InvalidVpc.Range",
                    format!("The CIDR '{text}' conflicts with another subnet"),
                ));
            }
            if !goes_with(vpc.cidr, range) {
                return Err(error(
                    "InvalidVpc.Range",
                    format!(
                        "The CIDR '{text}' is restricted. Use a CIDR from the same private address range as the current VPC \
                         CIDR, or use a publicly-routable (non-RFC 1918) CIDR."
                    ),
                ));
            }
            if vpc.ranges().len() >= MOST_RANGES {
                return Err(error(
                    "VpcCidrLimitExceeded",
                    format!("This network '{id}' has met its maximum number of allowed CIDRs: {MOST_RANGES}"),
                ));
            }
            vpc.more_ranges.push((range, association.clone()));
            let key = VpcRecord::key(&cx.region, &id);
            let mut txn = Txn::new();
            txn.unchanged::<VpcRecord>(snapshot, &key).put(&key, vpc);
            Ok((txn, ()))
        })
        .await?;
    Ok(api::AssociateVpcCidrBlockResult {
        vpc_id: Some(id),
        cidr_block_association: Some(describe_vpcs::association(&association, range, "associating")),
        ..Default::default()
    })
}

/// # Errors
/// `InvalidVpcCidrBlockAssociationID.NotFound`, `OperationNotPermitted`, `InvalidCidrBlock.InUse`.
pub async fn disassociate_cidr(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DisassociateVpcCidrBlockRequest,
) -> Result<api::DisassociateVpcCidrBlockResult, AwsError> {
    let association = input.association_id.unwrap_or_default();
    let (vpc_id, range) = service
        .store
        .transact(|snapshot| {
            let here = format!("{}/", cx.region);
            let mut vpcs = snapshot.range::<VpcRecord>(&here);
            let found = vpcs.find_map(|(key, vpc)| {
                let at = vpc.more_ranges.iter().position(|(_, id)| *id == association);
                let first = vpc.cidr_association_id == association;
                (at.is_some() || first).then(|| (key.to_owned(), vpc, at))
            });
            let Some((key, vpc, at)) = found else {
                return Err(error(
                    "InvalidVpcCidrBlockAssociationID.NotFound",
                    format!("The vpc CIDR block association ID '{association}' does not exist"),
                ));
            };
            let Some(at) = at else {
                return Err(error(
                    "OperationNotPermitted",
                    format!("The vpc CIDR block with association ID {association} may not be disassociated. It is the primary IPv4 CIDR block of the VPC"),
                ));
            };
            let mut next = (*vpc.record).clone();
            let (range, _) = next.more_ranges.remove(at);
            let used = snapshot
                .range::<SubnetRecord>(&here)
                .any(|(_, s)| s.vpc_id == next.id && cidr::overlap(s.cidr, range));
            if used {
                return Err(error(
                    "InvalidCidrBlock.InUse",
                    format!("The vpc CIDR block with association ID {association} has existing subnets"),
                ));
            }
            let id = next.id.clone();
            let mut txn = Txn::new();
            txn.unchanged::<VpcRecord>(snapshot, &key).put(&key, next);
            Ok((txn, (id, range)))
        })
        .await?;
    Ok(api::DisassociateVpcCidrBlockResult {
        vpc_id: Some(vpc_id),
        cidr_block_association: Some(describe_vpcs::association(&association, range, "disassociating")),
        ..Default::default()
    })
}

/// # Errors
/// `DefaultVpcAlreadyExists`, `DryRunOperation`.
pub async fn create_default(
    service: &Ec2,
    cx: &RequestContext,
    input: api::CreateDefaultVpcRequest,
) -> Result<api::CreateDefaultVpcResult, AwsError> {
    dry_run(input.dry_run)?;
    let id = region::default_vpc_id(&service.account, &cx.region);
    let fresh = format!("igw-{}", service.ids.hex17());
    service
        .store
        .transact(|snapshot| {
            let mut txn = Txn::new();
            let key = VpcRecord::key(&cx.region, &id);
            if snapshot.contains::<VpcRecord>(&key) {
                let text = format!("A Default VPC already exists for this account in this region: {id}");
                return Err(error("DefaultVpcAlreadyExists", text));
            }
            txn.unchanged::<VpcRecord>(snapshot, &key);
            let mut gateway = region::default_gateway_id(&service.account, &cx.region);
            let gateway_key = InternetGatewayRecord::key(&cx.region, &gateway);
            txn.unchanged::<InternetGatewayRecord>(snapshot, &gateway_key);
            if snapshot.contains::<InternetGatewayRecord>(&gateway_key) {
                gateway = fresh.clone();
            }
            region::make(&mut txn, &service.account, &cx.region, service.vpc_cidr, gateway);
            Ok((txn, ()))
        })
        .await?;
    let vpc = find(&service.store.snapshot(), &cx.region, &id)?;
    Ok(api::CreateDefaultVpcResult {
        vpc: Some(describe_vpcs::shape(&vpc, &service.account)),
    })
}
