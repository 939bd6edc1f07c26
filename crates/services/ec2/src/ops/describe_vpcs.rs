//! DescribeVpcs.

use crate::filter::{self, Values};
use crate::records::{VpcRecord, cidr_text};
use crate::{Ec2, api};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `InvalidVpcID.NotFound`, `InvalidVpcID.Malformed`, `InvalidParameterValue`, `InvalidNextToken`, `DryRunOperation`.
pub async fn handle(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DescribeVpcsRequest,
) -> Result<api::DescribeVpcsResult, AwsError> {
    filter::dry_run(input.dry_run)?;
    service.ensure_region(&cx.region).await?;
    let snapshot = service.store.snapshot();
    let ids = input.vpc_ids.unwrap_or_default();
    filter::well_formed(&ids, "vpc-", "InvalidVpcID.Malformed")?;
    let missing = filter::missing(&ids, |id| {
        snapshot.contains::<VpcRecord>(&VpcRecord::key(&cx.region, id))
    });
    match *missing.as_slice() {
        [] => {}
        [id] => return Err(not_found(format!("The vpc ID '{id}' does not exist"))),
        _ => return Err(not_found(format!("The vpc IDs '{}' do not exist", missing.join(", ")))),
    }
    let filters = input.filters.unwrap_or_default();
    filter::known(&filters, &FILTERS)?;
    let mut vpcs = Vec::new();
    for (_, vpc) in snapshot.range::<VpcRecord>(&format!("{}/", cx.region)) {
        let asked = ids.is_empty() || ids.contains(&vpc.id);
        if asked && filter::passes(&filters, &vpc.tags, |name| values(&vpc, &service.account, name)) {
            vpcs.push(vpc);
        }
    }
    let token = input.next_token.as_deref();
    let page = filter::page(
        "vpcs",
        vpcs,
        |v| v.id.clone(),
        input.max_results,
        token,
        ("vpcIds", !ids.is_empty()),
    )?;
    Ok(api::DescribeVpcsResult {
        vpcs: Some(page.items.iter().map(|vpc| shape(vpc, &service.account)).collect()),
        next_token: page.next_token,
    })
}

fn not_found(message: String) -> AwsError {
    AwsError::new("InvalidVpcID.NotFound", 400, message)
}

/// The filters there are, beside tags.
const FILTERS: [&str; 15] = [
    "cidr",
    "cidrBlock",
    "cidr-block-association.cidr-block",
    "cidr-block-association.association-id",
    "cidr-block-association.state",
    "dhcp-options-id",
    "ipv6-cidr-block-association.ipv6-cidr-block",
    "ipv6-cidr-block-association.ipv6-pool",
    "ipv6-cidr-block-association.association-id",
    "ipv6-cidr-block-association.state",
    "is-default",
    "isDefault",
    "owner-id",
    "state",
    "vpc-id",
];

fn values(vpc: &VpcRecord, account: &str, name: &str) -> Values {
    let one = |value: &str| Some(vec![value.to_owned()]);
    match name {
        "cidr" | "cidrBlock" => one(&cidr_text(vpc.cidr)),
        "cidr-block-association.cidr-block" => Some(vpc.ranges().into_iter().map(cidr_text).collect()),
        "cidr-block-association.association-id" => {
            let more = vpc.more_ranges.iter().map(|(_, id)| id.clone());
            Some(std::iter::once(vpc.cidr_association_id.clone()).chain(more).collect())
        }
        "cidr-block-association.state" => one("associated"),
        "dhcp-options-id" => one(&vpc.dhcp_options_id),
        "ipv6-cidr-block-association.ipv6-cidr-block"
        | "ipv6-cidr-block-association.ipv6-pool"
        | "ipv6-cidr-block-association.association-id"
        | "ipv6-cidr-block-association.state" => Some(Vec::new()),
        "is-default" | "isDefault" => one(if vpc.is_default { "true" } else { "false" }),
        "owner-id" => one(account),
        "state" => one("available"),
        "vpc-id" => one(&vpc.id),
        _ => None,
    }
}

pub fn shape(vpc: &VpcRecord, account: &str) -> api::Vpc {
    api::Vpc {
        vpc_id: Some(vpc.id.clone()),
        state: Some("available".to_owned()),
        cidr_block: Some(cidr_text(vpc.cidr)),
        cidr_block_association_set: Some(
            std::iter::once((&vpc.cidr, &vpc.cidr_association_id))
                .chain(vpc.more_ranges.iter().map(|(range, id)| (range, id)))
                .map(|(range, id)| association(id, *range, "associated"))
                .collect(),
        ),
        dhcp_options_id: Some(vpc.dhcp_options_id.clone()),
        instance_tenancy: Some(vpc.tenancy.clone()),
        is_default: Some(vpc.is_default),
        owner_id: Some(account.to_owned()),
        block_public_access_states: Some(api::BlockPublicAccessStates {
            internet_gateway_block_mode: Some("off".to_owned()),
        }),
        tags: (!vpc.tags.is_empty()).then(|| filter::tags(&vpc.tags)),
        ..Default::default()
    }
}

/// A range of a VPC as it is described.
pub fn association(id: &str, range: (std::net::Ipv4Addr, u8), state: &str) -> api::VpcCidrBlockAssociation {
    api::VpcCidrBlockAssociation {
        association_id: Some(id.to_owned()),
        cidr_block: Some(cidr_text(range)),
        cidr_block_state: Some(api::VpcCidrBlockState {
            state: Some(state.to_owned()),
            status_message: None,
        }),
    }
}
