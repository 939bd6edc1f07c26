//! DescribeSubnets.

use crate::filter::{self, Values};
use crate::interface;
use crate::records::{SubnetRecord, cidr_text};
use crate::{Ec2, api};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Snapshot;

/// # Errors
/// `InvalidSubnetID.NotFound`, `InvalidSubnetID.Malformed`, `InvalidParameterValue`, `InvalidNextToken`,
/// `DryRunOperation`.
pub async fn handle(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DescribeSubnetsRequest,
) -> Result<api::DescribeSubnetsResult, AwsError> {
    filter::dry_run(input.dry_run)?;
    service.ensure_region(&cx.region).await?;
    let snapshot = service.store.snapshot();
    let ids = input.subnet_ids.unwrap_or_default();
    filter::well_formed(&ids, "subnet-", "InvalidSubnetID.Malformed")?;
    let missing = filter::missing(&ids, |id| {
        snapshot.contains::<SubnetRecord>(&SubnetRecord::key(&cx.region, id))
    });
    match *missing.as_slice() {
        [] => {}
        [id] => return Err(not_found(format!("The subnet ID '{id}' does not exist"))),
        _ => {
            return Err(not_found(format!(
                "The subnet IDs '{}' do not exist",
                missing.join(", ")
            )));
        }
    }
    let filters = input.filters.unwrap_or_default();
    filter::known(&filters, &FILTERS)?;
    let mut subnets = Vec::new();
    for (_, subnet) in snapshot.range::<SubnetRecord>(&format!("{}/", cx.region)) {
        let asked = ids.is_empty() || ids.contains(&subnet.id);
        let values = |name: &str| values(&snapshot, &subnet, &service.account, name);
        if asked && filter::passes(&filters, &subnet.tags, values) {
            subnets.push(subnet);
        }
    }
    let token = input.next_token.as_deref();
    let ids = ("subnetIds", !ids.is_empty());
    let page = filter::page("subnets", subnets, |s| s.id.clone(), input.max_results, token, ids)?;
    Ok(api::DescribeSubnetsResult {
        subnets: Some(
            page.items
                .iter()
                .map(|subnet| shape(&snapshot, subnet, &service.account))
                .collect(),
        ),
        next_token: page.next_token,
    })
}

fn not_found(message: String) -> AwsError {
    AwsError::new("InvalidSubnetID.NotFound", 400, message)
}

fn arn(subnet: &SubnetRecord, account: &str) -> String {
    neargate_core::Arn::new("ec2", &subnet.region, account, format!("subnet/{}", subnet.id)).to_string()
}

/// The filters there are, beside tags.
const FILTERS: [&str; 28] = [
    "availability-zone",
    "availabilityZone",
    "availability-zone-id",
    "availabilityZoneId",
    "available-ip-address-count",
    "cidr-block",
    "cidr",
    "cidrBlock",
    "default-for-az",
    "defaultForAz",
    "enable-dns64",
    "ipv6-native",
    "map-customer-owned-ip-on-launch",
    "map-public-ip-on-launch",
    "customer-owned-ipv4-pool",
    "enable-lni-at-device-index",
    "ipv6-cidr-block-association.ipv6-cidr-block",
    "ipv6-cidr-block-association.association-id",
    "ipv6-cidr-block-association.state",
    "outpost-arn",
    "owner-id",
    "private-dns-name-options-on-launch.hostname-type",
    "private-dns-name-options-on-launch.enable-resource-name-dns-a-record",
    "private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record",
    "state",
    "subnet-arn",
    "subnet-id",
    "vpc-id",
];

fn values(snapshot: &Snapshot, subnet: &SubnetRecord, account: &str, name: &str) -> Values {
    let one = |value: &str| Some(vec![value.to_owned()]);
    let flag = |value: bool| one(if value { "true" } else { "false" });
    match name {
        "availability-zone" | "availabilityZone" => one(&subnet.availability_zone),
        "availability-zone-id" | "availabilityZoneId" => one(&subnet.availability_zone_id),
        "available-ip-address-count" => one(&interface::available(snapshot, subnet).to_string()),
        "cidr-block" | "cidr" | "cidrBlock" => one(&cidr_text(subnet.cidr)),
        "default-for-az" | "defaultForAz" => flag(subnet.default_for_az),
        "enable-dns64" | "ipv6-native" | "map-customer-owned-ip-on-launch" => flag(false),
        "map-public-ip-on-launch" => flag(subnet.map_public_ip_on_launch),
        "customer-owned-ipv4-pool"
        | "enable-lni-at-device-index"
        | "ipv6-cidr-block-association.ipv6-cidr-block"
        | "ipv6-cidr-block-association.association-id"
        | "ipv6-cidr-block-association.state"
        | "outpost-arn" => Some(Vec::new()),
        "owner-id" => one(account),
        "private-dns-name-options-on-launch.hostname-type" => one(&subnet.hostname_type),
        "private-dns-name-options-on-launch.enable-resource-name-dns-a-record" => flag(subnet.resource_name_dns),
        "private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record" => flag(false),
        "state" => one("available"),
        "subnet-arn" => one(&arn(subnet, account)),
        "subnet-id" => one(&subnet.id),
        "vpc-id" => one(&subnet.vpc_id),
        _ => None,
    }
}

pub fn shape(snapshot: &Snapshot, subnet: &SubnetRecord, account: &str) -> api::Subnet {
    let text = |value: &str| Some(value.to_owned());
    api::Subnet {
        subnet_id: text(&subnet.id),
        subnet_arn: Some(arn(subnet, account)),
        state: text("available"),
        vpc_id: text(&subnet.vpc_id),
        owner_id: text(account),
        cidr_block: Some(cidr_text(subnet.cidr)),
        available_ip_address_count: i32::try_from(interface::available(snapshot, subnet)).ok(),
        availability_zone: text(&subnet.availability_zone),
        availability_zone_id: text(&subnet.availability_zone_id),
        default_for_az: Some(subnet.default_for_az),
        map_public_ip_on_launch: Some(subnet.map_public_ip_on_launch),
        map_customer_owned_ip_on_launch: Some(false),
        assign_ipv6_address_on_creation: Some(false),
        ipv6_cidr_block_association_set: Some(Vec::new()),
        enable_dns64: Some(false),
        ipv6_native: Some(false),
        private_dns_name_options_on_launch: Some(api::PrivateDnsNameOptionsOnLaunch {
            hostname_type: text(&subnet.hostname_type),
            enable_resource_name_dns_a_record: Some(subnet.resource_name_dns),
            enable_resource_name_dns_aaaa_record: Some(false),
        }),
        block_public_access_states: Some(api::BlockPublicAccessStates {
            internet_gateway_block_mode: text("off"),
        }),
        tags: (!subnet.tags.is_empty()).then(|| filter::tags(&subnet.tags)),
        ..Default::default()
    }
}
