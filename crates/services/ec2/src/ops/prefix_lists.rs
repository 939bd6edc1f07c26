//! Managed prefix lists: a person's own, and AWS's for S3, DynamoDB and CloudFront, which are described and stand for nothing
//! here.

use super::ask::{self, Kind, error, filtered, one, text};
use super::group_rules;
use crate::cidr;
use crate::filter::{self, Values, dry_run, invalid_value};
use crate::records::{Destination, PrefixListEntry, PrefixListRecord, RouteTableRecord, SecurityGroupRecord};
use crate::{Ec2, api};
use neargate_core::{AwsError, RequestContext, Tags};
use neargate_store::{Snapshot, Txn, Versioned};
use std::collections::BTreeSet;

/// Versions whose entries can still be asked for.
const KEPT_VERSIONS: usize = 16;
/// Most characters of a name and of a description.
const LONGEST: usize = 255;
/// Entries added or removed at once at most.
const MOST_AT_ONCE: usize = 100;

/// CloudFront's, which stacks let into their load balancers, and how many rules it counts for. Source: "AWS-managed prefix
/// lists" of the VPC guide.
const CLOUDFRONT: &str = "pl-3b927c52";
const CLOUDFRONT_WEIGHT: usize = 55;

/// AWS's own lists: id and name, the same in every region here.
fn awss(region: &str) -> [PrefixListRecord; 3] {
    let list = |id: &str, service: &str, cidr: &str| PrefixListRecord {
        region: region.to_owned(),
        id: id.to_owned(),
        name: format!("com.amazonaws.{service}"),
        address_family: "IPv4".to_owned(),
        max_entries: 0,
        version: 1,
        modified: false,
        entries: vec![PrefixListEntry {
            cidr: cidr.to_owned(),
            description: None,
        }],
        history: Vec::new(),
        made_under: None,
        tags: Tags::default(),
    };
    // Ranges for documentation (RFC 5737): nothing is ever sent there.
    [
        list("pl-02cd2c6b", &format!("{region}.dynamodb"), "198.51.100.0/25"),
        list(CLOUDFRONT, "global.cloudfront.origin-facing", "203.0.113.0/24"),
        list("pl-63a5400a", &format!("{region}.s3"), "198.51.100.128/25"),
    ]
}

/// How many rules of a security group one of AWS's lists counts for.
pub fn weight_of_awss(id: &str) -> usize {
    if id == CLOUDFRONT { CLOUDFRONT_WEIGHT } else { 1 }
}

pub fn is_awss(region: &str, id: &str) -> bool {
    awss(region).iter().any(|l| l.id == id)
}

/// The id of AWS's list for the service of a gateway endpoint.
pub fn of_service(region: &str, service_name: &str) -> Option<String> {
    awss(region).into_iter().find(|l| l.name == service_name).map(|l| l.id)
}

const KIND: Kind = Kind {
    prefix: "pl-",
    name: "prefix list",
    malformed: "InvalidPrefixListId.Malformed",
    missing: "InvalidPrefixListID.NotFound",
};

fn find(snapshot: &Snapshot, region: &str, id: &str) -> Result<Versioned<PrefixListRecord>, AwsError> {
    if is_awss(region, id) {
        return Err(AwsError::new(
            "UnauthorizedOperation",
            403,
            "You are not authorized to change this prefix list: it is AWS's.",
        ));
    }
    snapshot
        .get::<PrefixListRecord>(&PrefixListRecord::key(region, id))
        .ok_or_else(|| KIND.not_found(id))
}

fn all(snapshot: &Snapshot, region: &str) -> Vec<PrefixListRecord> {
    let own = snapshot
        .range::<PrefixListRecord>(&format!("{region}/"))
        .map(|(_, l)| (*l.record).clone());
    let mut out: Vec<_> = own.chain(awss(region)).collect();
    out.sort_by(|a, b| a.id.cmp(&b.id));
    out
}

/// # Errors
/// `InvalidParameterValue`, `InvalidPrefixListEntry`, `PrefixListMaxEntriesExceeded`, `MissingParameter`,
/// `IdempotentParameterMismatch`.
pub async fn create(
    service: &Ec2,
    cx: &RequestContext,
    input: api::CreateManagedPrefixListRequest,
) -> Result<api::CreateManagedPrefixListResult, AwsError> {
    dry_run(input.dry_run)?;
    let made_under = ask::client_token(input.client_token.as_ref(), &input);
    let name = ask::needed(input.prefix_list_name, "PrefixListName")?;
    its_own(&name)?;
    let family = input.address_family.unwrap_or_default();
    if !matches!(family.as_str(), "IPv4" | "IPv6") {
        return Err(invalid_value(format!(
            "Value ({family}) for parameter AddressFamily is invalid."
        )));
    }
    let max = input.max_entries.unwrap_or_default();
    if !(1..=1000).contains(&max) {
        return Err(invalid_value(format!(
            "Value ({max}) for parameter MaxEntries must be between 1 and 1000."
        )));
    }
    let mut list = PrefixListRecord {
        region: cx.region.clone(),
        id: format!("pl-{}", service.ids.hex17()),
        name,
        address_family: family,
        max_entries: max,
        version: 1,
        modified: false,
        entries: Vec::new(),
        history: Vec::new(),
        made_under,
        tags: ask::tags(input.tag_specifications, "prefix-list")?,
    };
    add(&mut list, input.entries.unwrap_or_default())?;
    let here = format!("{}/", cx.region);
    let made = service
        .store
        .transact(|snapshot| {
            let own = snapshot.range::<PrefixListRecord>(&here).map(|(_, l)| l);
            if let Some(earlier) = ask::made_under(list.made_under.as_ref(), own, |l| l.made_under.as_ref())? {
                return Ok((Txn::new(), (*earlier.record).clone()));
            }
            let mut txn = Txn::new();
            txn.put(&PrefixListRecord::key(&cx.region, &list.id), list.clone());
            Ok::<_, AwsError>((txn, list.clone()))
        })
        .await?;
    Ok(api::CreateManagedPrefixListResult {
        prefix_list: Some(shape(&made, &service.account, state(&made))),
    })
}

fn add(list: &mut PrefixListRecord, entries: Vec<api::AddPrefixListEntry>) -> Result<(), AwsError> {
    if entries.len() > MOST_AT_ONCE {
        return Err(invalid_value(format!(
            "At most {MOST_AT_ONCE} entries can be added at once."
        )));
    }
    let mut added = BTreeSet::new();
    for entry in entries {
        let text = entry.cidr.unwrap_or_default();
        if entry
            .description
            .as_ref()
            .is_some_and(|text| text.chars().count() > LONGEST)
        {
            return Err(invalid_value(format!(
                "The description of the entry {text} is longer than {LONGEST} characters."
            )));
        }
        let canonical = match list.address_family.as_str() {
            "IPv6" => cidr::parse_v6(&text),
            _ => cidr::parse(&text).map(crate::records::cidr_text),
        };
        let Some(cidr) = canonical else {
            return Err(invalid_value(format!(
                "The CIDR '{text}' is not a valid {} range.",
                list.address_family
            )));
        };
        if !added.insert(cidr.clone()) {
            return Err(invalid_value(format!(
                "Request cannot contain Cidr {cidr} more than once"
            )));
        }
        match list.entries.iter_mut().find(|e| e.cidr == cidr) {
            Some(known) if known.description == entry.description => {
                return Err(error(
                    "InvalidPrefixListModification",
                    format!(
                        "An entry with the CIDR ({cidr}) and description ({}) already exists.",
                        entry.description.unwrap_or_default()
                    ),
                ));
            }
            Some(known) => known.description = entry.description,
            None => list.entries.push(PrefixListEntry {
                cidr,
                description: entry.description,
            }),
        }
    }
    if list.entries.len() > usize::try_from(list.max_entries).unwrap_or(0) {
        return Err(error(
            "PrefixListMaxEntriesExceeded",
            format!(
                "You've reached the maximum number of entries for the prefix list: {}",
                list.max_entries
            ),
        ));
    }
    list.entries.sort_by(|a, b| a.cidr.cmp(&b.cidr));
    Ok(())
}

/// # Errors
/// `InvalidPrefixListID.NotFound`, `PrefixListVersionMismatch`, `PrefixListMaxEntriesExceeded`,
/// `InvalidPrefixListModification`, `InvalidParameterCombination`, `InvalidParameterValue`, `UnsupportedOperation`.
pub async fn modify(
    service: &Ec2,
    cx: &RequestContext,
    input: api::ModifyManagedPrefixListRequest,
) -> Result<api::ModifyManagedPrefixListResult, AwsError> {
    dry_run(input.dry_run)?;
    ask::refuse(&[(
        "IpamPrefixListResolverSyncEnabled",
        input.ipam_prefix_list_resolver_sync_enabled == Some(true),
    )])?;
    let id = input.prefix_list_id.unwrap_or_default();
    let (added, removed) = (
        input.add_entries.unwrap_or_default(),
        input.remove_entries.unwrap_or_default(),
    );
    if input.max_entries.is_some() && (!added.is_empty() || !removed.is_empty()) {
        return Err(error(
            "InvalidParameterCombination",
            "You cannot modify the entries and the maximum entries for the prefix list in the same request.",
        ));
    }
    if let Some(both) = added.iter().find(|a| removed.iter().any(|r| r.cidr == a.cidr)) {
        return Err(invalid_value(format!(
            "Request cannot contain Cidr {} in both AddPrefixListEntries and RemovePrefixListEntries",
            both.cidr.as_deref().unwrap_or_default()
        )));
    }
    let made = service
        .store
        .transact(|snapshot| {
            let known = find(snapshot, &cx.region, &id)?;
            let mut next = (*known.record).clone();
            let entries = !added.is_empty() || !removed.is_empty();
            if input.current_version.is_some_and(|v| v != next.version) || entries && input.current_version.is_none() {
                return Err(error(
                    "PrefixListVersionMismatch",
                    "The prefix list has the incorrect version number.",
                ));
            }
            next.modified = true;
            if let Some(name) = &input.prefix_list_name {
                its_own(name)?;
                next.name.clone_from(name);
            }
            if let Some(max) = input.max_entries {
                if !(1..=1000).contains(&max) || usize::try_from(max).unwrap_or(0) < next.entries.len() {
                    return Err(invalid_value(format!(
                        "Value ({max}) for parameter MaxEntries is invalid."
                    )));
                }
                next.max_entries = max;
                group_rules::still_few_enough(service, snapshot, &known.record, max)?;
            }
            if entries {
                next.history.push((next.version, next.entries.clone()));
                if next.history.len() > KEPT_VERSIONS {
                    next.history.remove(0);
                }
                for gone in &removed {
                    let cidr = gone.cidr.as_deref().unwrap_or_default();
                    let before = next.entries.len();
                    next.entries.retain(|e| e.cidr != cidr);
                    if next.entries.len() == before {
                        return Err(invalid_value(format!("The entry '{cidr}' is not in the prefix list.")));
                    }
                }
                add(&mut next, added.clone())?;
                next.version += 1;
            }
            let key = PrefixListRecord::key(&cx.region, &id);
            let mut txn = Txn::new();
            txn.unchanged::<PrefixListRecord>(snapshot, &key)
                .put(&key, next.clone());
            Ok((txn, next))
        })
        .await?;
    Ok(api::ModifyManagedPrefixListResult {
        prefix_list: Some(shape(&made, &service.account, state(&made))),
    })
}

/// # Errors
/// `InvalidPrefixListID.NotFound`, `DependencyViolation`.
pub async fn delete(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DeleteManagedPrefixListRequest,
) -> Result<api::DeleteManagedPrefixListResult, AwsError> {
    dry_run(input.dry_run)?;
    let id = input.prefix_list_id.unwrap_or_default();
    let gone = service
        .store
        .transact(|snapshot| {
            let known = find(snapshot, &cx.region, &id)?;
            Ok::<_, AwsError>((deletion(snapshot, &cx.region, &id)?, (*known.record).clone()))
        })
        .await?;
    Ok(api::DeleteManagedPrefixListResult {
        prefix_list: Some(shape(&gone, &service.account, "delete-complete")),
    })
}

/// Takes away a list that neither a rule nor a route names, unless one does by the time it commits.
///
/// # Errors
/// `DependencyViolation`.
pub fn deletion(snapshot: &Snapshot, region: &str, id: &str) -> Result<Txn, AwsError> {
    let key = PrefixListRecord::key(region, id);
    let here = format!("{region}/");
    let named = snapshot.count_indexed::<SecurityGroupRecord>(SecurityGroupRecord::BY_PREFIX_LIST, &key) > 0;
    let destination = Destination::PrefixList(id.to_owned());
    let mut tables = snapshot.range::<RouteTableRecord>(&here);
    if named || tables.any(|(_, table)| table.routes.iter().any(|r| r.destination == destination)) {
        return Err(error(
            "DependencyViolation",
            format!("The prefix list '{id}' is in use and cannot be deleted."),
        ));
    }
    let mut txn = Txn::new();
    txn.none_newer::<SecurityGroupRecord>(snapshot, &here)
        .none_newer::<RouteTableRecord>(snapshot, &here)
        .unchanged::<PrefixListRecord>(snapshot, &key)
        .delete::<PrefixListRecord>(&key);
    Ok(txn)
}

/// Commits `txn`, which names the list, only while it is there; AWS's own always are.
pub fn lean_on(snapshot: &Snapshot, txn: &mut Txn, region: &str, id: &str) {
    let key = PrefixListRecord::key(region, id);
    if snapshot.contains::<PrefixListRecord>(&key) {
        txn.exists::<PrefixListRecord>(&key);
    }
}

/// # Errors
/// `InvalidPrefixListID.NotFound`, `InvalidPrefixListVersion`, `InvalidNextToken`.
pub async fn entries(
    service: &Ec2,
    cx: &RequestContext,
    input: api::GetManagedPrefixListEntriesRequest,
) -> Result<api::GetManagedPrefixListEntriesResult, AwsError> {
    dry_run(input.dry_run)?;
    let id = input.prefix_list_id.unwrap_or_default();
    let lists = all(&service.store.snapshot(), &cx.region);
    let list = lists
        .into_iter()
        .find(|l| l.id == id)
        .ok_or_else(|| KIND.not_found(&id))?;
    let entries = match input.target_version.filter(|v| *v != list.version) {
        None => list.entries,
        Some(version) => {
            let found = list.history.into_iter().find(|(v, _)| *v == version);
            found.map(|(_, entries)| entries).ok_or_else(|| {
                error(
                    "InvalidPrefixListVersion",
                    format!("The prefix list has no version {version} any more."),
                )
            })?
        }
    };
    let page = filter::page(
        "prefix-list-entries",
        entries,
        |e| e.cidr.clone(),
        input.max_results,
        input.next_token.as_deref(),
        ("", false),
    )?;
    Ok(api::GetManagedPrefixListEntriesResult {
        entries: Some(
            page.items
                .into_iter()
                .map(|e| api::PrefixListEntry {
                    cidr: Some(e.cidr),
                    description: e.description,
                })
                .collect(),
        ),
        next_token: page.next_token,
    })
}

/// # Errors
/// `InvalidPrefixListID.NotFound`, `InvalidParameterValue`, `InvalidNextToken`.
pub async fn describe_managed(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DescribeManagedPrefixListsRequest,
) -> Result<api::DescribeManagedPrefixListsResult, AwsError> {
    dry_run(input.dry_run)?;
    let ids = input.prefix_list_ids.as_deref();
    let lists = all(&service.store.snapshot(), &cx.region);
    let found = ask::by_ids(lists, ids, |l| &l.id, &KIND)?;
    let found = filtered(
        &FILTERS,
        found,
        input.filters.as_deref(),
        |l| &l.tags,
        |l, name| values(l, &service.account, name),
    )?;
    let named = ("prefixListIds", ids.is_some_and(|i| !i.is_empty()));
    let page = filter::page(
        "managed-prefix-lists",
        found,
        |l| l.id.clone(),
        input.max_results,
        input.next_token.as_deref(),
        named,
    )?;
    Ok(api::DescribeManagedPrefixListsResult {
        prefix_lists: Some(
            page.items
                .iter()
                .map(|l| shape(l, &service.account, state(l)))
                .collect(),
        ),
        next_token: page.next_token,
    })
}

/// DescribePrefixLists: those of AWS's services with gateway endpoints.
///
/// # Errors
/// `InvalidPrefixListID.NotFound`, `InvalidParameterValue`, `InvalidNextToken`.
pub async fn describe(
    _: &Ec2,
    cx: &RequestContext,
    input: api::DescribePrefixListsRequest,
) -> Result<api::DescribePrefixListsResult, AwsError> {
    dry_run(input.dry_run)?;
    let ids = input.prefix_list_ids.as_deref();
    let services = awss(&cx.region).into_iter().filter(|list| list.id != CLOUDFRONT);
    let found = ask::by_ids(services.collect(), ids, |l| &l.id, &KIND)?;
    let found = filtered(
        &FILTERS,
        found,
        input.filters.as_deref(),
        |l| &l.tags,
        |l, name| values(l, "AWS", name),
    )?;
    let named = ("prefixListIds", ids.is_some_and(|i| !i.is_empty()));
    let page = filter::page(
        "prefix-lists",
        found,
        |l| l.id.clone(),
        input.max_results,
        input.next_token.as_deref(),
        named,
    )?;
    Ok(api::DescribePrefixListsResult {
        prefix_lists: Some(
            page.items
                .into_iter()
                .map(|l| api::PrefixList {
                    cidrs: Some(l.entries.into_iter().map(|e| e.cidr).collect()),
                    prefix_list_id: Some(l.id),
                    prefix_list_name: Some(l.name),
                })
                .collect(),
        ),
        next_token: page.next_token,
    })
}

fn owner<'a>(list: &PrefixListRecord, account: &'a str) -> &'a str {
    match is_awss(&list.region, &list.id) {
        true => "AWS",
        false => account,
    }
}

/// That a person's list may have the name.
fn its_own(name: &str) -> Result<(), AwsError> {
    if name.chars().count() > LONGEST {
        return Err(invalid_value(format!(
            "The prefix list name is longer than {LONGEST} characters."
        )));
    }
    match name.starts_with("com.amazonaws") {
        true => Err(invalid_value(format!(
            "The prefix list name '{name}' cannot begin with com.amazonaws"
        ))),
        false => Ok(()),
    }
}

/// The filters there are, beside tags.
const FILTERS: [&str; 3] = ["owner-id", "prefix-list-id", "prefix-list-name"];

fn values(list: &PrefixListRecord, account: &str, name: &str) -> Values {
    match name {
        "owner-id" => one(owner(list, account)),
        "prefix-list-id" => one(&list.id),
        "prefix-list-name" => one(&list.name),
        _ => None,
    }
}

fn state(list: &PrefixListRecord) -> &'static str {
    match list.modified {
        true => "modify-complete",
        false => "create-complete",
    }
}

fn shape(list: &PrefixListRecord, account: &str, state: &str) -> api::ManagedPrefixList {
    let owner = owner(list, account);
    let of = if owner == "AWS" { "aws" } else { owner };
    api::ManagedPrefixList {
        address_family: text(&list.address_family),
        max_entries: (list.max_entries > 0).then_some(list.max_entries),
        owner_id: text(owner),
        prefix_list_arn: Some(
            neargate_core::Arn::new("ec2", &list.region, of, format!("prefix-list/{}", list.id)).to_string(),
        ),
        prefix_list_id: text(&list.id),
        prefix_list_name: text(&list.name),
        state: text(state),
        tags: Some(filter::tags(&list.tags)),
        version: (owner != "AWS").then_some(list.version),
        ..Default::default()
    }
}
