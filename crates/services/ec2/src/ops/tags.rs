//! CreateTags, DeleteTags, DescribeTags, over every resource that has an id here.

use super::ask::{self, error, filtered, one};
use crate::filter::{self, dry_run};
use crate::records::{
    AddressRecord, EndpointRecord, InterfaceRecord, InternetGatewayRecord, NatGatewayRecord, PrefixListRecord,
    RouteTableRecord, SecurityGroupRecord, SubnetRecord, VpcRecord,
};
use crate::{Ec2, api};
use neargate_core::{AwsError, RequestContext, Tags};
use neargate_store::{Record, Snapshot, Txn};

/// Changes the tags of the resource of an id; true when there is one.
fn change(
    snapshot: &Snapshot,
    txn: &mut Txn,
    region: &str,
    id: &str,
    with: &dyn Fn(&mut Tags) -> Result<(), AwsError>,
) -> Result<bool, AwsError> {
    fn plain<R: Record + Clone>(
        snapshot: &Snapshot,
        txn: &mut Txn,
        key: &str,
        tags: fn(&mut R) -> &mut Tags,
        with: &dyn Fn(&mut Tags) -> Result<(), AwsError>,
    ) -> Result<bool, AwsError> {
        let Some(known) = snapshot.get::<R>(key) else {
            return Ok(false);
        };
        let mut next = (*known.record).clone();
        with(tags(&mut next))?;
        txn.unchanged::<R>(snapshot, key).put(key, next);
        Ok(true)
    }
    let key = format!("{region}/{id}");
    let kind = id.split('-').next().unwrap_or_default();
    match kind {
        "vpc" => plain::<VpcRecord>(snapshot, txn, &key, |r| &mut r.tags, with),
        "subnet" => plain::<SubnetRecord>(snapshot, txn, &key, |r| &mut r.tags, with),
        "rtb" => plain::<RouteTableRecord>(snapshot, txn, &key, |r| &mut r.tags, with),
        "igw" => plain::<InternetGatewayRecord>(snapshot, txn, &key, |r| &mut r.tags, with),
        "nat" => plain::<NatGatewayRecord>(snapshot, txn, &key, |r| &mut r.tags, with),
        "pl" => plain::<PrefixListRecord>(snapshot, txn, &key, |r| &mut r.tags, with),
        "vpce" => plain::<EndpointRecord>(snapshot, txn, &key, |r| &mut r.tags, with),
        "sg" => plain::<SecurityGroupRecord>(snapshot, txn, &key, |r| &mut r.tags, with),
        "eni" => {
            let held = crate::lookup::interface(snapshot, region, id).map(|i| InterfaceRecord::key(i.address));
            held.map_or(Ok(false), |key| {
                plain::<InterfaceRecord>(snapshot, txn, &key, |r| &mut r.tags, with)
            })
        }
        "eipalloc" => {
            let found = snapshot
                .indexed::<AddressRecord>(AddressRecord::BY_ALLOCATION, &key)
                .next();
            let held = found.map(|(key, _)| key.to_owned());
            held.map_or(Ok(false), |key| {
                plain::<AddressRecord>(snapshot, txn, &key, |r| &mut r.tags, with)
            })
        }
        "sgr" => {
            let mut groups = snapshot
                .range::<SecurityGroupRecord>(&format!("{region}/"))
                .map(|(k, g)| (k.to_owned(), g))
                .collect::<Vec<_>>();
            groups.retain(|(_, g)| g.rules.iter().any(|r| r.id == id));
            let Some((key, group)) = groups.pop() else {
                return Ok(false);
            };
            let mut next = (*group.record).clone();
            for rule in next.rules.iter_mut().filter(|r| r.id == id) {
                with(&mut rule.tags)?;
            }
            txn.unchanged::<SecurityGroupRecord>(snapshot, &key).put(&key, next);
            Ok(true)
        }
        // It comes with its VPC, and has its tags there.
        "acl" => {
            let mut vpcs = snapshot.range::<VpcRecord>(&format!("{region}/"));
            let held = vpcs
                .find(|(_, vpc)| vpc.network_acl_id == id)
                .map(|(key, _)| key.to_owned());
            held.map_or(Ok(false), |key| {
                plain::<VpcRecord>(snapshot, txn, &key, |r| &mut r.network_acl_tags, with)
            })
        }
        "dopt" => Err(error(
            "UnsupportedOperation",
            format!("Tags of '{id}' are not supported by Neargate yet: all VPCs share it."),
        )),
        _ => Ok(false),
    }
}

/// The code with which AWS misses a resource of this kind.
fn missing(id: &str) -> AwsError {
    let (code, what) = match id.split('-').next().unwrap_or_default() {
        "vpc" => ("InvalidVpcID.NotFound", "vpc"),
        "subnet" => ("InvalidSubnetID.NotFound", "subnet"),
        "rtb" => ("InvalidRouteTableID.NotFound", "routeTable"),
        "igw" => ("InvalidInternetGatewayID.NotFound", "internetGateway"),
        "nat" => ("NatGatewayNotFound", "natGateway"),
        "sg" => ("InvalidGroup.NotFound", "security group"),
        "sgr" => ("InvalidSecurityGroupRuleId.NotFound", "security group rule"),
        "eni" => ("InvalidNetworkInterfaceID.NotFound", "networkInterface"),
        "eipalloc" => ("InvalidAllocationID.NotFound", "allocation"),
        "pl" => ("InvalidPrefixListID.NotFound", "prefix list"),
        "vpce" => ("InvalidVpcEndpointId.NotFound", "Vpc Endpoint"),
        "acl" => ("InvalidNetworkAclID.NotFound", "networkAcl"),
        // Machines are not EC2 instances here.
        "i" => ("InvalidInstanceID.NotFound", "instance"),
        _ => return error("InvalidID", format!("The ID '{id}' is not valid")),
    };
    error(code, format!("The {what} ID '{id}' does not exist"))
}

/// One commit for each resource, so that rules of one group do not meet in one.
async fn change_all(
    service: &Ec2,
    cx: &RequestContext,
    ids: Vec<String>,
    with: impl Fn(&mut Tags) -> Result<(), AwsError>,
) -> Result<(), AwsError> {
    // All are there, or nothing is changed.
    let snapshot = service.store.snapshot();
    for id in &ids {
        if !change(&snapshot, &mut Txn::new(), &cx.region, id, &with)? {
            return Err(missing(id));
        }
    }
    for id in &ids {
        service
            .store
            .transact(|snapshot| {
                let mut txn = Txn::new();
                match change(snapshot, &mut txn, &cx.region, id, &with)? {
                    true => Ok((txn, ())),
                    false => Err(missing(id)),
                }
            })
            .await?;
    }
    Ok(())
}

/// # Errors
/// `Invalid….NotFound`, `InvalidParameterValue`, `TagLimitExceeded`, `MissingParameter`, `DryRunOperation`.
pub async fn create(service: &Ec2, cx: &RequestContext, input: api::CreateTagsRequest) -> Result<(), AwsError> {
    dry_run(input.dry_run)?;
    let tags = input.tags.unwrap_or_default();
    let ids = input.resources.unwrap_or_default();
    change_all(service, cx, ids, |known| ask::add_tags(known, tags.clone())).await
}

/// # Errors
/// `Invalid….NotFound`, `DryRunOperation`.
pub async fn delete(service: &Ec2, cx: &RequestContext, input: api::DeleteTagsRequest) -> Result<(), AwsError> {
    dry_run(input.dry_run)?;
    let tags = input.tags;
    let ids = input.resources.unwrap_or_default();
    change_all(service, cx, ids, |known| {
        match &tags {
            None => known.0.clear(),
            Some(tags) => {
                for tag in tags {
                    let key = tag.key.as_deref().unwrap_or_default();
                    // With a value only that one goes.
                    if tag.value.as_ref().is_none_or(|value| known.0.get(key) == Some(value)) {
                        known.0.remove(key);
                    }
                }
            }
        }
        Ok(())
    })
    .await
}

/// # Errors
/// `InvalidParameterValue`, `InvalidNextToken`, `DryRunOperation`.
pub async fn describe(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DescribeTagsRequest,
) -> Result<api::DescribeTagsResult, AwsError> {
    dry_run(input.dry_run)?;
    // The model leaves the bounds to its documentation.
    if let Some(max) = input.max_results.filter(|max| !(5..=1000).contains(max)) {
        return Err(filter::invalid_value(format!(
            "Value ({max}) for parameter maxResults is invalid. Expecting a value between 5 and 1000."
        )));
    }
    let snapshot = service.store.snapshot();
    let mut found: Vec<api::TagDescription> = Vec::new();
    let mut add = |kind: &str, id: &str, tags: &Tags| {
        found.extend(tags.iter().map(|(key, value)| api::TagDescription {
            key: Some(key.to_owned()),
            value: Some(value.to_owned()),
            resource_id: Some(id.to_owned()),
            resource_type: Some(kind.to_owned()),
        }));
    };
    let here = format!("{}/", cx.region);
    for (_, vpc) in snapshot.range::<VpcRecord>(&here) {
        add("vpc", &vpc.id, &vpc.tags);
        add("network-acl", &vpc.network_acl_id, &vpc.network_acl_tags);
    }
    snapshot
        .range::<SubnetRecord>(&here)
        .for_each(|(_, r)| add("subnet", &r.id, &r.tags));
    snapshot
        .range::<RouteTableRecord>(&here)
        .for_each(|(_, r)| add("route-table", &r.id, &r.tags));
    snapshot
        .range::<InternetGatewayRecord>(&here)
        .for_each(|(_, r)| add("internet-gateway", &r.id, &r.tags));
    snapshot
        .range::<NatGatewayRecord>(&here)
        .for_each(|(_, r)| add("natgateway", &r.id, &r.tags));
    snapshot
        .range::<PrefixListRecord>(&here)
        .for_each(|(_, r)| add("prefix-list", &r.id, &r.tags));
    snapshot
        .range::<EndpointRecord>(&here)
        .for_each(|(_, r)| add("vpc-endpoint", &r.id, &r.tags));
    for (_, group) in snapshot.range::<SecurityGroupRecord>(&here) {
        add("security-group", &group.id, &group.tags);
        group
            .rules
            .iter()
            .for_each(|r| add("security-group-rule", &r.id, &r.tags));
    }
    for (_, interface) in snapshot
        .range::<InterfaceRecord>("")
        .filter(|(_, i)| i.region == cx.region)
    {
        add("network-interface", &interface.id, &interface.tags);
    }
    for (_, address) in snapshot
        .range::<AddressRecord>("")
        .filter(|(_, a)| a.region == cx.region)
    {
        if let Some(id) = &address.allocation_id {
            add("elastic-ip", id, &address.tags);
        }
    }
    let name = |t: &api::TagDescription| {
        format!(
            "{}/{}",
            t.resource_id.as_deref().unwrap_or_default(),
            t.key.as_deref().unwrap_or_default()
        )
    };
    found.sort_by_key(name);
    let found = found
        .into_iter()
        .map(|t| (Tags(t.key.clone().zip(t.value.clone()).into_iter().collect()), t))
        .collect();
    let found = filtered(
        &["key", "resource-id", "resource-type", "value"],
        found,
        input.filters.as_deref(),
        |(tags, _)| tags,
        |(_, t), filter| {
            let value = |v: &Option<String>| one(v.clone().unwrap_or_default());
            match filter {
                "key" => value(&t.key),
                "value" => value(&t.value),
                "resource-id" => value(&t.resource_id),
                "resource-type" => value(&t.resource_type),
                _ => None,
            }
        },
    )?;
    let page = filter::page(
        "tags",
        found.into_iter().map(|(_, tag)| tag).collect(),
        name,
        input.max_results,
        input.next_token.as_deref(),
        ("", false),
    )?;
    Ok(api::DescribeTagsResult {
        tags: Some(page.items),
        next_token: page.next_token,
    })
}
