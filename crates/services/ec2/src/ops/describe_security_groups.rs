//! DescribeSecurityGroups.

use crate::filter::{self, Values};
use crate::records::{SecurityGroupRecord, VpcRecord};
use crate::{Ec2, api, region};
use neargate_core::{AwsError, RequestContext};

/// # Errors
/// `InvalidGroup.NotFound`, `InvalidGroupId.Malformed`, `InvalidParameterValue`, `InvalidNextToken`, `VPCIdNotSpecified`,
/// `DryRunOperation`.
pub async fn handle(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DescribeSecurityGroupsRequest,
) -> Result<api::DescribeSecurityGroupsResult, AwsError> {
    filter::dry_run(input.dry_run)?;
    service.ensure_region(&cx.region).await?;
    let snapshot = service.store.snapshot();
    let ids = input.group_ids.unwrap_or_default();
    let names = input.group_names.unwrap_or_default();
    filter::well_formed(&ids, "sg-", "InvalidGroupId.Malformed")?;
    let key = |id: &str| SecurityGroupRecord::key(&cx.region, id);
    let missing = filter::missing(&ids, |id| snapshot.contains::<SecurityGroupRecord>(&key(id)));
    match *missing.as_slice() {
        [] => {}
        [id] => return Err(not_found(format!("The security group '{id}' does not exist"))),
        _ => {
            let all = missing
                .iter()
                .map(|id| format!("'{id}'"))
                .collect::<Vec<_>>()
                .join(", ");
            return Err(not_found(format!("The security groups {all} do not exist")));
        }
    }
    let default_vpc = region::default_vpc_id(&service.account, &cx.region);
    let named = |name: &str| format!("{}/{default_vpc}/{name}", cx.region);
    let unknown = filter::missing(&names, |name| {
        snapshot.count_indexed::<SecurityGroupRecord>(SecurityGroupRecord::BY_NAME, &named(name)) > 0
    });
    if !names.is_empty() && !snapshot.contains::<VpcRecord>(&VpcRecord::key(&cx.region, &default_vpc)) {
        return Err(AwsError::new("VPCIdNotSpecified", 400, "No default VPC for this user"));
    }
    if let Some(name) = unknown.first() {
        let text = format!("The security group '{name}' does not exist in default VPC '{default_vpc}'");
        return Err(not_found(text));
    }

    let filters = input.filters.unwrap_or_default();
    filter::known(&filters, &FILTERS)?;
    let mut groups = Vec::new();
    for (_, group) in snapshot.range::<SecurityGroupRecord>(&format!("{}/", cx.region)) {
        let by_name = group.vpc_id == default_vpc && names.contains(&group.name);
        let asked = (ids.is_empty() && names.is_empty()) || ids.contains(&group.id) || by_name;
        if asked && filter::passes(&filters, &group.tags, |name| values(&group, &service.account, name)) {
            groups.push(group);
        }
    }
    let token = input.next_token.as_deref();
    let ids = ("groupIds", !ids.is_empty() || !names.is_empty());
    let page = filter::page(
        "security-groups",
        groups,
        |g| g.id.clone(),
        input.max_results,
        token,
        ids,
    )?;
    Ok(api::DescribeSecurityGroupsResult {
        security_groups: Some(page.items.iter().map(|group| shape(group, &service.account)).collect()),
        next_token: page.next_token,
    })
}

fn not_found(message: String) -> AwsError {
    AwsError::new("InvalidGroup.NotFound", 400, message)
}

/// The filters there are, beside tags.
const FILTERS: [&str; 23] = [
    "description",
    "group-id",
    "group-name",
    "owner-id",
    "vpc-id",
    "ip-permission.cidr",
    "ip-permission.from-port",
    "ip-permission.group-id",
    "ip-permission.group-name",
    "ip-permission.ipv6-cidr",
    "ip-permission.prefix-list-id",
    "ip-permission.protocol",
    "ip-permission.to-port",
    "ip-permission.user-id",
    "egress.ip-permission.cidr",
    "egress.ip-permission.from-port",
    "egress.ip-permission.group-id",
    "egress.ip-permission.group-name",
    "egress.ip-permission.ipv6-cidr",
    "egress.ip-permission.prefix-list-id",
    "egress.ip-permission.protocol",
    "egress.ip-permission.to-port",
    "egress.ip-permission.user-id",
];

fn values(group: &SecurityGroupRecord, account: &str, name: &str) -> Values {
    let one = |value: &str| Some(vec![value.to_owned()]);
    let rule = |egress: bool, name: &str| rule_values(&crate::permissions::grouped(group, egress, account), name);
    match name {
        "description" => one(&group.description),
        "group-id" => one(&group.id),
        "group-name" => one(&group.name),
        "owner-id" => one(account),
        "vpc-id" => one(&group.vpc_id),
        _ => match (
            name.strip_prefix("egress.ip-permission."),
            name.strip_prefix("ip-permission."),
        ) {
            (Some(name), _) => rule(true, name),
            (None, Some(name)) => rule(false, name),
            (None, None) => None,
        },
    }
}

fn rule_values(rules: &[api::IpPermission], name: &str) -> Values {
    fn each<'a, T: 'a>(
        rules: &'a [api::IpPermission],
        list: impl Fn(&'a api::IpPermission) -> &'a Option<Vec<T>>,
        value: impl Fn(&'a T) -> Option<String>,
    ) -> Values {
        Some(
            rules
                .iter()
                .flat_map(|r| list(r).as_deref().unwrap_or_default())
                .filter_map(value)
                .collect(),
        )
    }
    match name {
        "cidr" => each(rules, |r| &r.ip_ranges, |range| range.cidr_ip.clone()),
        "ipv6-cidr" => each(rules, |r| &r.ipv6_ranges, |range| range.cidr_ipv6.clone()),
        "prefix-list-id" => each(rules, |r| &r.prefix_list_ids, |list| list.prefix_list_id.clone()),
        "group-id" => each(rules, |r| &r.user_id_group_pairs, |pair| pair.group_id.clone()),
        "group-name" => each(rules, |r| &r.user_id_group_pairs, |pair| pair.group_name.clone()),
        "user-id" => each(rules, |r| &r.user_id_group_pairs, |pair| pair.user_id.clone()),
        "protocol" => Some(rules.iter().filter_map(|r| r.ip_protocol.clone()).collect()),
        "from-port" => Some(
            rules
                .iter()
                .filter_map(|r| r.from_port.map(|p| p.to_string()))
                .collect(),
        ),
        "to-port" => Some(rules.iter().filter_map(|r| r.to_port.map(|p| p.to_string())).collect()),
        _ => None,
    }
}

fn shape(group: &SecurityGroupRecord, account: &str) -> api::SecurityGroup {
    let resource = format!("security-group/{}", group.id);
    api::SecurityGroup {
        group_id: Some(group.id.clone()),
        group_name: Some(group.name.clone()),
        description: Some(group.description.clone()),
        owner_id: Some(account.to_owned()),
        vpc_id: Some(group.vpc_id.clone()),
        security_group_arn: Some(neargate_core::Arn::new("ec2", &group.region, account, resource).to_string()),
        ip_permissions: Some(crate::permissions::grouped(group, false, account)),
        ip_permissions_egress: Some(crate::permissions::grouped(group, true, account)),
        tags: (!group.tags.is_empty()).then(|| filter::tags(&group.tags)),
    }
}
