//! CreateLoadBalancer.

use crate::api::{self, errors};
use crate::records::LoadBalancerRecord;
use crate::refusal::{absent, configuration, unsupported, validation};
use crate::seats::{self, Sitter, Wanted};
use crate::{Elbv2, arns, attributes, limits, naming, shapes, tagging};
use neargate_core::{AwsError, RequestContext, Tags};
use neargate_link::gateway::BalancerKind;
use neargate_store::{Condition, Snapshot, Txn};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Idempotent: the same settings again answer the load balancer that is there.
///
/// # Errors
/// `ValidationError`, `DuplicateLoadBalancerName`, `TooManyLoadBalancers`, `SubnetNotFound`, `InvalidSubnet`,
/// `InvalidSecurityGroup`, `InvalidConfigurationRequest`, `TooManyTags`, `DuplicateTagKeys`.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::CreateLoadBalancerInput,
) -> Result<api::CreateLoadBalancerOutput, AwsError> {
    let record = service
        .store
        .transact(|snapshot| {
            let asked = admit(snapshot, cx, input.clone())?;
            create(service, cx, snapshot, asked)
        })
        .await?;
    Ok(api::CreateLoadBalancerOutput {
        load_balancers: Some(vec![shapes::load_balancer(&record)]),
    })
}

/// A request, checked.
struct Asked {
    name: String,
    kind: BalancerKind,
    internal: bool,
    vpc_id: String,
    wanted: Vec<Wanted>,
    security_groups: Vec<String>,
    tags: Tags,
}

fn admit(snapshot: &Snapshot, cx: &RequestContext, input: api::CreateLoadBalancerInput) -> Result<Asked, AwsError> {
    absent(&input.customer_owned_ipv4_pool, "CustomerOwnedIpv4Pool")?;
    absent(&input.ipam_pools, "IpamPools")?;
    if input
        .enable_prefix_for_ipv6_source_nat
        .as_deref()
        .is_some_and(|v| v != "off")
    {
        return Err(unsupported("EnablePrefixForIpv6SourceNat"));
    }
    if let Some(other) = input.ip_address_type.as_deref().filter(|t| *t != "ipv4") {
        return Err(unsupported(format!("The IP address type '{other}'")));
    }
    let kind = match input.r#type.as_deref() {
        None | Some("application") => BalancerKind::Application,
        Some("network") => BalancerKind::Network,
        Some(other) => return Err(unsupported(format!("The load balancer type '{other}'"))),
    };
    let name = input.name.unwrap_or_default();
    naming::admit("Load balancer", &name)?;
    if name.starts_with("internal-") {
        return Err(validation(format!(
            "Load balancer name '{name}' cannot begin with 'internal-'"
        )));
    }
    let internal = input.scheme.as_deref() == Some("internal");
    let sitter = Sitter {
        region: &cx.region,
        kind,
        internal,
    };
    let wanted = seats::admit(snapshot, &sitter, input.subnets, input.subnet_mappings)?;
    let vpc_id = wanted.first().map(|w| w.subnet.vpc_id.clone()).unwrap_or_default();
    let asked = input.security_groups.unwrap_or_default();
    let mut security_groups = seats::security_groups(snapshot, &cx.region, &vpc_id, &asked)?;
    if security_groups.is_empty() && kind == BalancerKind::Application {
        let default = neargate_ec2::default_security_group(snapshot, &cx.region, &vpc_id);
        let default = default.ok_or_else(|| configuration("The VPC has no default security group"))?;
        security_groups.push(default.id.clone());
    }
    Ok(Asked {
        name,
        kind,
        internal,
        vpc_id,
        wanted,
        security_groups,
        tags: tagging::admit(input.tags)?,
    })
}

fn create(
    service: &Elbv2,
    cx: &RequestContext,
    snapshot: &Snapshot,
    asked: Asked,
) -> Result<(Txn, LoadBalancerRecord), AwsError> {
    let mut txn = Txn::new();
    let key = LoadBalancerRecord::key(&cx.region, &asked.name);
    if let Some(there) = snapshot.get::<LoadBalancerRecord>(&key) {
        if is_same(&there, &asked) {
            return Ok((txn, (*there.record).clone()));
        }
        return Err(errors::duplicate_load_balancer_name_exception(format!(
            "A load balancer with the same name '{}' exists, but with different settings",
            asked.name
        )));
    }
    let all = snapshot.range::<LoadBalancerRecord>(&format!("{}/", cx.region));
    if all.filter(|(_, balancer)| balancer.kind == asked.kind).count() >= limits::LOAD_BALANCERS {
        return Err(errors::too_many_load_balancers_exception(format!(
            "The maximum number of {} load balancers '{}' has been reached",
            shapes::kind(asked.kind),
            limits::LOAD_BALANCERS
        )));
    }
    let Asked {
        name,
        kind,
        internal,
        vpc_id,
        wanted,
        security_groups,
        tags,
    } = asked;
    let path = match kind {
        BalancerKind::Application => "app",
        BalancerKind::Network => "net",
    };
    let id = super::random_id(service);
    let digits = u128::from_be_bytes(service.ids.bytes()) % 10_000_000_000;
    let prefix = if internal { "internal-" } else { "" };
    let mut record = LoadBalancerRecord {
        region: cx.region.clone(),
        arn: arns::arn(&cx.region, &cx.account, &format!("loadbalancer/{path}/{name}/{id}")),
        kind,
        internal,
        dns_name: format!("{prefix}{name}-{digits:010}.{}.elb.localhost", cx.region).to_ascii_lowercase(),
        name,
        vpc_id,
        seats: Vec::new(),
        security_groups,
        enforce_on_private_link: None,
        attributes: attributes::defaults(attributes::load_balancer::table(kind)),
        listeners: BTreeMap::new(),
        created_at: cx.now,
        tags,
    };
    record.seats = seats::take(snapshot, &mut txn, &record, wanted, &*service.ids, cx.now)?;
    txn.expect::<LoadBalancerRecord>(&key, Condition::Absent)
        .put(&key, record.clone());
    Ok((txn, record))
}

fn is_same(there: &LoadBalancerRecord, asked: &Asked) -> bool {
    type Places<'a> = BTreeSet<(&'a str, Option<&'a str>, Option<Ipv4Addr>)>;
    let seats: Places<'_> = there
        .seats
        .iter()
        .map(|s| {
            (
                s.subnet_id.as_str(),
                s.allocation_id.as_deref(),
                s.chosen.then_some(s.address),
            )
        })
        .collect();
    let wanted: Places<'_> = asked
        .wanted
        .iter()
        .map(|w| (w.subnet.id.as_str(), w.allocation_id.as_deref(), w.address))
        .collect();
    let groups = |ids: &[String]| ids.iter().cloned().collect::<BTreeSet<_>>();
    there.kind == asked.kind
        && there.internal == asked.internal
        && seats == wanted
        && groups(&there.security_groups) == groups(&asked.security_groups)
        && there.tags == asked.tags
}
