//! What a VPC has without anybody making it: its network ACL, the region's DHCP options, the account's attributes.

use super::ask::{self, Kind, filtered, one, text};
use super::interfaces;
use crate::filter::{self, Values, dry_run};
use crate::records::{SubnetRecord, VpcRecord};
use crate::region;
use crate::{Ec2, api};
use neargate_core::{AwsError, RequestContext, Tags};
use neargate_store::{Snapshot, Versioned};

const ACL: Kind = Kind {
    prefix: "acl-",
    name: "networkAcl",
    malformed: "InvalidNetworkAclId.Malformed",
    missing: "InvalidNetworkAclID.NotFound",
};

const DHCP_OPTIONS: Kind = Kind {
    prefix: "dopt-",
    name: "dhcpOption",
    malformed: "InvalidDhcpOptionsId.Malformed",
    missing: "InvalidDhcpOptionID.NotFound",
};

static NO_TAGS: Tags = Tags(std::collections::BTreeMap::new());

/// DescribeNetworkAcls: the default one of each VPC, which lets everything pass.
///
/// # Errors
/// `InvalidNetworkAclID.NotFound`, `InvalidParameterValue`, `InvalidNextToken`.
pub async fn describe_network_acls(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DescribeNetworkAclsRequest,
) -> Result<api::DescribeNetworkAclsResult, AwsError> {
    dry_run(input.dry_run)?;
    let snapshot = service.store.snapshot();
    let mut all: Vec<_> = snapshot
        .range::<VpcRecord>(&format!("{}/", cx.region))
        .map(|(_, v)| v)
        .collect();
    all.sort_by(|a, b| a.network_acl_id.cmp(&b.network_acl_id));
    let ids = input.network_acl_ids.as_deref();
    let found = ask::by_ids(all, ids, |v| &v.network_acl_id, &ACL)?;
    let found = filtered(
        &ACL_FILTERS,
        found,
        input.filters.as_deref(),
        |v| &v.network_acl_tags,
        |v, name| acl_values(&snapshot, v, &service.account, name),
    )?;
    let named = ("networkAclIds", ids.is_some_and(|i| !i.is_empty()));
    let page = filter::page(
        "network-acls",
        found,
        |v| v.network_acl_id.clone(),
        input.max_results,
        input.next_token.as_deref(),
        named,
    )?;
    Ok(api::DescribeNetworkAclsResult {
        network_acls: Some(page.items.iter().map(|v| acl(&snapshot, v, &service.account)).collect()),
        next_token: page.next_token,
    })
}

fn subnets(snapshot: &Snapshot, vpc: &VpcRecord) -> Vec<Versioned<SubnetRecord>> {
    crate::lookup::subnets(snapshot, &vpc.region, &vpc.id)
}

/// The filters there are, beside tags.
const ACL_FILTERS: [&str; 17] = [
    "association.association-id",
    "association.network-acl-id",
    "network-acl-id",
    "association.subnet-id",
    "default",
    "entry.cidr",
    "entry.protocol",
    "entry.rule-action",
    "entry.rule-number",
    "entry.egress",
    "entry.icmp.code",
    "entry.icmp.type",
    "entry.ipv6-cidr",
    "entry.port-range.from",
    "entry.port-range.to",
    "owner-id",
    "vpc-id",
];

fn acl_values(snapshot: &Snapshot, vpc: &VpcRecord, account: &str, name: &str) -> Values {
    let each = |pick: fn(&SubnetRecord) -> String| Some(subnets(snapshot, vpc).iter().map(|s| pick(s)).collect());
    match name {
        "association.association-id" => each(|s| s.acl_association_id.clone()),
        "association.network-acl-id" | "network-acl-id" => one(&vpc.network_acl_id),
        "association.subnet-id" => each(|s| s.id.clone()),
        "default" => one("true"),
        "entry.cidr" => one("0.0.0.0/0"),
        "entry.protocol" => one("-1"),
        "entry.rule-action" => Some(vec!["allow".to_owned(), "deny".to_owned()]),
        "entry.rule-number" => Some(vec!["100".to_owned(), "32767".to_owned()]),
        "entry.egress" => Some(vec!["true".to_owned(), "false".to_owned()]),
        "entry.icmp.code" | "entry.icmp.type" | "entry.ipv6-cidr" | "entry.port-range.from" | "entry.port-range.to" => {
            Some(Vec::new())
        }
        "owner-id" => one(account),
        "vpc-id" => one(&vpc.id),
        _ => None,
    }
}

fn acl(snapshot: &Snapshot, vpc: &VpcRecord, account: &str) -> api::NetworkAcl {
    let entry = |egress: bool, number: i32, action: &str| api::NetworkAclEntry {
        cidr_block: text("0.0.0.0/0"),
        egress: Some(egress),
        protocol: text("-1"),
        rule_action: text(action),
        rule_number: Some(number),
        ..Default::default()
    };
    let both = |egress| [entry(egress, 100, "allow"), entry(egress, 32_767, "deny")];
    let associations = subnets(snapshot, vpc);
    let associations = associations.iter().map(|s| api::NetworkAclAssociation {
        network_acl_association_id: text(&s.acl_association_id),
        network_acl_id: text(&vpc.network_acl_id),
        subnet_id: text(&s.id),
    });
    api::NetworkAcl {
        associations: Some(associations.collect()),
        entries: Some([true, false].into_iter().flat_map(both).collect()),
        is_default: Some(true),
        network_acl_id: text(&vpc.network_acl_id),
        owner_id: text(account),
        tags: ask::shown(&vpc.network_acl_tags),
        vpc_id: text(&vpc.id),
    }
}

/// DescribeDhcpOptions: the region's, which name the VPC's resolver.
///
/// # Errors
/// `InvalidDhcpOptionID.NotFound`, `InvalidParameterValue`, `InvalidNextToken`.
pub async fn describe_dhcp_options(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DescribeDhcpOptionsRequest,
) -> Result<api::DescribeDhcpOptionsResult, AwsError> {
    dry_run(input.dry_run)?;
    let id = region::dhcp_options_id(&service.account, &cx.region);
    let domain = match cx.region.as_str() {
        "us-east-1" => "ec2.internal".to_owned(),
        region => format!("{region}.compute.internal"),
    };
    let configuration = |key: &str, value: &str| api::DhcpConfiguration {
        key: text(key),
        values: Some(vec![api::AttributeValue { value: text(value) }]),
    };
    let options = api::DhcpOptions {
        dhcp_configurations: Some(vec![
            configuration("domain-name", &domain),
            configuration("domain-name-servers", "AmazonProvidedDNS"),
        ]),
        dhcp_options_id: Some(id.clone()),
        owner_id: text(&service.account),
        tags: Some(Vec::new()),
    };
    let ids = input.dhcp_options_ids.as_deref();
    let found = ask::by_ids(vec![(id, options)], ids, |(id, _)| id, &DHCP_OPTIONS)?;
    let values = |id: &str, name: &str| match name {
        "dhcp-options-id" => one(id),
        "key" => Some(vec!["domain-name".to_owned(), "domain-name-servers".to_owned()]),
        "value" => Some(vec![domain.clone(), "AmazonProvidedDNS".to_owned()]),
        "owner-id" => one(&service.account),
        _ => None,
    };
    let found = filtered(
        &["dhcp-options-id", "key", "value", "owner-id"],
        found,
        input.filters.as_deref(),
        |_| &NO_TAGS,
        |(id, _), name| values(id, name),
    )?;
    let named = ("dhcpOptionsIds", ids.is_some_and(|i| !i.is_empty()));
    let page = filter::page(
        "dhcp-options",
        found,
        |(id, _)| id.clone(),
        input.max_results,
        input.next_token.as_deref(),
        named,
    )?;
    Ok(api::DescribeDhcpOptionsResult {
        dhcp_options: Some(page.items.into_iter().map(|(_, options)| options).collect()),
        next_token: page.next_token,
    })
}

/// # Errors
/// `InvalidParameterValue`, `DryRunOperation`.
pub async fn describe_account_attributes(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DescribeAccountAttributesRequest,
) -> Result<api::DescribeAccountAttributesResult, AwsError> {
    dry_run(input.dry_run)?;
    let vpc = region::default_vpc_id(&service.account, &cx.region);
    let there = service
        .store
        .snapshot()
        .contains::<VpcRecord>(&VpcRecord::key(&cx.region, &vpc));
    let all = [
        ("supported-platforms", "VPC".to_owned()),
        ("default-vpc", if there { vpc } else { "none".to_owned() }),
        ("max-instances", "0".to_owned()),
        (
            "vpc-max-security-groups-per-interface",
            interfaces::MOST_GROUPS.to_string(),
        ),
        ("max-elastic-ips", "65534".to_owned()),
        ("vpc-max-elastic-ips", "65534".to_owned()),
    ];
    let asked = input.attribute_names.unwrap_or_default();
    if let Some(other) = asked.iter().find(|a| !all.iter().any(|(name, _)| name == a)) {
        return Err(filter::invalid_value(format!(
            "Value ({other}) for parameter attributeName is invalid. Unknown attribute."
        )));
    }
    let shown = all
        .into_iter()
        .filter(|(name, _)| asked.is_empty() || asked.iter().any(|a| a == name));
    Ok(api::DescribeAccountAttributesResult {
        account_attributes: Some(
            shown
                .map(|(name, value)| api::AccountAttribute {
                    attribute_name: text(name),
                    attribute_values: Some(vec![api::AccountAttributeValue {
                        attribute_value: Some(value),
                    }]),
                })
                .collect(),
        ),
    })
}
