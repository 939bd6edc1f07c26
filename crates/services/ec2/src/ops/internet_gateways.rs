//! Internet gateways: created, attached to a VPC, detached, deleted, described.

use super::ask::{self, Kind, by_ids, error, filtered, one, some, text};
use super::vpcs;
use crate::filter::{self, Values, dry_run};
use crate::interface;
use crate::records::{InterfaceRecord, InternetGatewayRecord, VpcRecord};
use crate::{Ec2, api};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{Snapshot, Txn, Versioned};

const KIND: Kind = Kind {
    prefix: "igw-",
    name: "internetGateway",
    malformed: "InvalidInternetGatewayId.Malformed",
    missing: "InvalidInternetGatewayID.NotFound",
};

fn find(snapshot: &Snapshot, region: &str, id: &str) -> Result<Versioned<InternetGatewayRecord>, AwsError> {
    snapshot
        .get::<InternetGatewayRecord>(&InternetGatewayRecord::key(region, id))
        .ok_or_else(|| KIND.not_found(id))
}

/// # Errors
/// `InvalidParameterValue`, `DryRunOperation`.
pub async fn create(
    service: &Ec2,
    cx: &RequestContext,
    input: api::CreateInternetGatewayRequest,
) -> Result<api::CreateInternetGatewayResult, AwsError> {
    dry_run(input.dry_run)?;
    let gateway = InternetGatewayRecord {
        region: cx.region.clone(),
        id: format!("igw-{}", service.ids.hex17()),
        vpc_id: None,
        tags: ask::tags(input.tag_specifications, "internet-gateway")?,
    };
    let mut txn = Txn::new();
    txn.put(&InternetGatewayRecord::key(&cx.region, &gateway.id), gateway.clone());
    service.store.commit(txn).await?;
    Ok(api::CreateInternetGatewayResult {
        internet_gateway: Some(shape(&gateway, &service.account)),
    })
}

/// # Errors
/// `InvalidInternetGatewayID.NotFound`, `InvalidVpcID.NotFound`, `Resource.AlreadyAssociated`, `InvalidParameterValue`.
pub async fn attach(
    service: &Ec2,
    cx: &RequestContext,
    input: api::AttachInternetGatewayRequest,
) -> Result<(), AwsError> {
    dry_run(input.dry_run)?;
    let (id, vpc_id) = (
        input.internet_gateway_id.unwrap_or_default(),
        input.vpc_id.unwrap_or_default(),
    );
    service
        .store
        .transact(|snapshot| {
            let gateway = find(snapshot, &cx.region, &id)?;
            let vpc = vpcs::find(snapshot, &cx.region, &vpc_id)?;
            if let Some(held) = &gateway.vpc_id {
                return Err(error(
                    "Resource.AlreadyAssociated",
                    format!("resource {id} is already attached to network {held}"),
                ));
            }
            let here = format!("{}/", cx.region);
            let mut others = snapshot.range::<InternetGatewayRecord>(&here).map(|(_, g)| g);
            if let Some(other) = others.find(|g| g.vpc_id.as_ref() == Some(&vpc_id)) {
                return Err(filter::invalid_value(format!(
                    "Network {vpc_id} already has an internet gateway attached: {}",
                    other.id
                )));
            }
            let mut next = (*gateway.record).clone();
            next.vpc_id = Some(vpc_id.clone());
            let key = InternetGatewayRecord::key(&cx.region, &id);
            let vpc_key = VpcRecord::key(&cx.region, &vpc_id);
            let mut txn = Txn::new();
            // Touching the VPC keeps two gateways from being attached at once.
            txn.unchanged::<VpcRecord>(snapshot, &vpc_key)
                .put_shared(&vpc_key, vpc.record);
            txn.unchanged::<InternetGatewayRecord>(snapshot, &key).put(&key, next);
            Ok((txn, ()))
        })
        .await
}

/// # Errors
/// `InvalidInternetGatewayID.NotFound`, `Gateway.NotAttached`, `DependencyViolation`.
pub async fn detach(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DetachInternetGatewayRequest,
) -> Result<(), AwsError> {
    dry_run(input.dry_run)?;
    let (id, vpc_id) = (
        input.internet_gateway_id.unwrap_or_default(),
        input.vpc_id.unwrap_or_default(),
    );
    service
        .store
        .transact(|snapshot| Ok::<_, AwsError>((detachment(snapshot, &cx.region, &id, &vpc_id)?, ())))
        .await
}

/// Detaches the gateway, unless something in its VPC has a public address by the time it commits.
///
/// # Errors
/// `InvalidInternetGatewayID.NotFound`, `Gateway.NotAttached`, `DependencyViolation`.
pub fn detachment(snapshot: &Snapshot, region: &str, id: &str, vpc_id: &str) -> Result<Txn, AwsError> {
    let gateway = find(snapshot, region, id)?;
    if gateway.vpc_id.as_deref() != Some(vpc_id) {
        return Err(error(
            "Gateway.NotAttached",
            format!("resource {id} is not attached to network {vpc_id}"),
        ));
    }
    let vpc = vpcs::find(snapshot, region, vpc_id)?;
    let mapped = snapshot
        .range::<InterfaceRecord>("")
        .any(|(_, i)| i.vpc_id == vpc_id && i.public_address.is_some());
    if mapped {
        return Err(error(
            "DependencyViolation",
            format!(
                "Network {vpc_id} has some mapped public address(es). Please unmap those public address(es) before detaching the gateway."
            ),
        ));
    }
    let mut next = (*gateway.record).clone();
    next.vpc_id = None;
    let key = InternetGatewayRecord::key(region, id);
    let mut txn = Txn::new();
    interface::none_newer_of(&mut txn, snapshot, &vpc);
    txn.unchanged::<InternetGatewayRecord>(snapshot, &key).put(&key, next);
    Ok(txn)
}

/// # Errors
/// `InvalidInternetGatewayID.NotFound`, `DependencyViolation`.
pub async fn delete(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DeleteInternetGatewayRequest,
) -> Result<(), AwsError> {
    dry_run(input.dry_run)?;
    let id = input.internet_gateway_id.unwrap_or_default();
    service
        .store
        .transact(|snapshot| {
            if find(snapshot, &cx.region, &id)?.vpc_id.is_some() {
                return Err(ask::in_use("internetGateway", &id));
            }
            let key = InternetGatewayRecord::key(&cx.region, &id);
            let mut txn = Txn::new();
            txn.unchanged::<InternetGatewayRecord>(snapshot, &key)
                .delete::<InternetGatewayRecord>(&key);
            Ok((txn, ()))
        })
        .await
}

/// # Errors
/// `InvalidInternetGatewayID.NotFound`, `InvalidParameterValue`, `InvalidNextToken`.
pub async fn describe(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DescribeInternetGatewaysRequest,
) -> Result<api::DescribeInternetGatewaysResult, AwsError> {
    dry_run(input.dry_run)?;
    let snapshot = service.store.snapshot();
    let here = format!("{}/", cx.region);
    let all: Vec<_> = snapshot.range::<InternetGatewayRecord>(&here).map(|(_, g)| g).collect();
    let ids = input.internet_gateway_ids.as_deref();
    let found = by_ids(all, ids, |g| &g.id, &KIND)?;
    let found = filtered(
        &FILTERS,
        found,
        input.filters.as_deref(),
        |g| &g.tags,
        |g, name| values(g, &service.account, name),
    )?;
    let named = ("internetGatewayIds", ids.is_some_and(|i| !i.is_empty()));
    let page = filter::page(
        "internet-gateways",
        found,
        |g| g.id.clone(),
        input.max_results,
        input.next_token.as_deref(),
        named,
    )?;
    Ok(api::DescribeInternetGatewaysResult {
        internet_gateways: Some(page.items.iter().map(|g| shape(g, &service.account)).collect()),
        next_token: page.next_token,
    })
}

/// The filters there are, beside tags.
const FILTERS: [&str; 4] = [
    "attachment.state",
    "attachment.vpc-id",
    "internet-gateway-id",
    "owner-id",
];

fn values(gateway: &InternetGatewayRecord, account: &str, name: &str) -> Values {
    match name {
        "attachment.state" => some(gateway.vpc_id.as_ref().map(|_| "available")),
        "attachment.vpc-id" => some(gateway.vpc_id.clone()),
        "internet-gateway-id" => one(&gateway.id),
        "owner-id" => one(account),
        _ => None,
    }
}

fn shape(gateway: &InternetGatewayRecord, account: &str) -> api::InternetGateway {
    let attachments = gateway.vpc_id.iter().map(|vpc| api::InternetGatewayAttachment {
        state: text("available"),
        vpc_id: text(vpc),
    });
    api::InternetGateway {
        attachments: Some(attachments.collect()),
        internet_gateway_id: text(&gateway.id),
        owner_id: text(account),
        tags: ask::shown(&gateway.tags),
    }
}
