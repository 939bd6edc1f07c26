//! Targets: registered, deregistered, drained, and what gateways say of them.
//!
//! ECS calls this within the commits that change its tasks; RegisterTargets and DeregisterTargets do the same for
//! people. Everything here is pure over a snapshot and a transaction. Invariants: a target belongs to a group that was
//! there when it was registered; what a gateway says of an older registration changes nothing.

mod draining;
mod reports;

pub use reports::apply_reports;

use crate::arns::{self, Named};
use crate::attributes::target_group::is_http;
use crate::cidr;
use crate::records::{ListenerRecord, LoadBalancerRecord, TargetGroupRecord, TargetHealth, TargetRecord};
use neargate_core::Timestamp;
use neargate_ec2::records::{InterfaceOwner, InterfaceRecord};
use neargate_link::gateway::TargetState;
use neargate_store::{Condition, Snapshot, Txn, Versioned, full_key};
use std::net::IpAddr;
use std::time::Duration;

/// A target to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTarget {
    /// An address, or a container instance's `i-…`.
    pub id: String,
    pub port: u16,
    pub address: IpAddr,
    pub zone: Option<String>,
    /// ECS service key `{region}/{cluster}/{service}`; none for targets that a person registers.
    pub owner: Option<String>,
}

/// The target group of `arn` in `region`.
pub fn target_group(snapshot: &Snapshot, region: &str, arn: &str) -> Option<Versioned<TargetGroupRecord>> {
    let Some(Named::TargetGroup(key)) = arns::parse(region, arn) else {
        return None;
    };
    snapshot.get::<TargetGroupRecord>(&key).filter(|group| group.arn == arn)
}

/// True when a listener or rule forwards to the group.
pub fn in_use(snapshot: &Snapshot, group_arn: &str) -> bool {
    snapshot
        .indexed::<ListenerRecord>(ListenerRecord::BY_GROUP, group_arn)
        .next()
        .is_some()
}

/// The load balancer whose listeners forward to the group.
pub fn load_balancer_of(snapshot: &Snapshot, group_arn: &str) -> Option<Versioned<LoadBalancerRecord>> {
    let (_, listener) = snapshot
        .indexed::<ListenerRecord>(ListenerRecord::BY_GROUP, group_arn)
        .next()?;
    let Some(Named::LoadBalancer(key)) = arns::parse(&listener.region, &listener.load_balancer_arn) else {
        return None;
    };
    snapshot.get(&key)
}

/// A target as it is registered.
pub fn target(snapshot: &Snapshot, group_arn: &str, id: &str, port: u16) -> Option<Versioned<TargetRecord>> {
    snapshot.get(&TargetRecord::key(group_arn, id, port)?)
}

/// The targets of a group, ascending by id and port.
pub fn targets_of_group(snapshot: &Snapshot, group_arn: &str) -> Vec<Versioned<TargetRecord>> {
    let Some(prefix) = TargetRecord::group_prefix(group_arn) else {
        return Vec::new();
    };
    snapshot
        .range::<TargetRecord>(&prefix)
        .map(|(_, target)| target)
        .collect()
}

/// The targets that an ECS service registered.
pub fn targets_of_owner(snapshot: &Snapshot, owner: &str) -> Vec<Versioned<TargetRecord>> {
    snapshot
        .indexed::<TargetRecord>(TargetRecord::BY_OWNER, owner)
        .map(|(_, target)| target)
        .collect()
}

/// AWS's descriptions of targets that get no traffic: one that the group does not know, ...
pub const NOT_REGISTERED: &str = "Target is not registered to the target group";
/// ... one that is draining, ...
pub const DEREGISTRATION_IN_PROGRESS: &str = "Target deregistration is in progress";
/// ... and one that `is_in_enabled_zone` denies.
pub const ZONE_NOT_ENABLED: &str = "Target is in an Availability Zone that is not enabled for the load balancer";

/// ... one that is `is_a_balancers`, ...
pub const IP_UNUSABLE: &str = "The target IP address is reserved for use by a load balancer";

/// True for an address of an Application Load Balancer in a group of one: it would call itself.
pub fn is_a_balancers(snapshot: &Snapshot, group: &TargetGroupRecord, target: &TargetRecord) -> bool {
    let (true, IpAddr::V4(address)) = (group.protocol.as_deref().is_some_and(is_http), target.address) else {
        return false;
    };
    let interface = snapshot.get::<InterfaceRecord>(&InterfaceRecord::key(address));
    interface.is_some_and(|i| {
        i.vpc_id == group.vpc_id
            && matches!(&i.owner, InterfaceOwner::LoadBalancer { arn } if arn.contains(":loadbalancer/app/"))
    })
}

/// False for an address in a zone where the group's load balancer has no subnet: it gets no traffic there. Machines of
/// container instances stand in whatever zone they were started with, and are reached from every one. So is an address
/// outside the VPC by an Application Load Balancer, while it sends across zones. Source: `TargetDescription` of the model.
pub fn is_in_enabled_zone(snapshot: &Snapshot, group: &TargetGroupRecord, target: &TargetRecord) -> bool {
    let Some(zone) = target
        .zone
        .as_deref()
        .filter(|z| *z != "all" && group.target_type == "ip")
    else {
        return true;
    };
    let across = || {
        group
            .attributes
            .get("load_balancing.cross_zone.enabled")
            .is_none_or(|v| v != "false")
    };
    let http = group.protocol.as_deref().is_some_and(is_http);
    if http && across() && !is_in_vpc(snapshot, group, target.address) {
        return true;
    }
    load_balancer_of(snapshot, &group.arn).is_none_or(|balancer| balancer.seats.iter().any(|seat| seat.zone == zone))
}

fn is_in_vpc(snapshot: &Snapshot, group: &TargetGroupRecord, address: IpAddr) -> bool {
    let subnets = neargate_ec2::lookup::subnets(snapshot, &group.region, &group.vpc_id);
    subnets
        .iter()
        .any(|subnet| cidr::contains((subnet.cidr.0.into(), subnet.cidr.1), address))
}

/// Adds to `txn` that the target is registered; what is registered already stays as it is, and what drains becomes a
/// fresh registration. Commits only while the group is there.
pub fn register(snapshot: &Snapshot, txn: &mut Txn, group: &TargetGroupRecord, new: NewTarget, now: Timestamp) {
    let Some(key) = TargetRecord::key(&group.arn, &new.id, new.port) else {
        return;
    };
    let known = snapshot.get::<TargetRecord>(&key);
    if let Some(known) = &known
        && known.draining_until.is_none()
        && known.address == new.address
        && (new.owner.is_none() || known.owner == new.owner)
    {
        return;
    }
    let fresh = |known: &Versioned<TargetRecord>| known.draining_until.is_some() || known.address != new.address;
    let (registered_at, health) = match &known {
        Some(known) if fresh(known) => (
            now.max(Timestamp(known.registered_at.0 + 1)),
            TargetHealth::registering(),
        ),
        Some(known) => (known.registered_at, known.health.clone()),
        None => (now, TargetHealth::registering()),
    };
    let record = TargetRecord {
        region: group.region.clone(),
        group_arn: group.arn.clone(),
        id: new.id,
        port: new.port,
        address: new.address,
        zone: new.zone,
        owner: new.owner,
        registered_at,
        draining_until: None,
        health,
    };
    // Once for all targets of the commit, which may hold 128 conditions.
    let group_key = TargetGroupRecord::key(&group.region, &group.name);
    let full = full_key::<TargetGroupRecord>(&group_key);
    if !txn.compares.iter().any(|compare| compare.key == full) {
        txn.expect::<TargetGroupRecord>(&group_key, Condition::Exists);
    }
    txn.unchanged::<TargetRecord>(snapshot, &key).put(&key, record);
}

/// Adds to `txn` that the target is deregistered: at once when nothing can be in flight to it, otherwise it drains for
/// the group's deregistration delay. What is not registered, or drains already, is left alone.
pub fn deregister(snapshot: &Snapshot, txn: &mut Txn, group_arn: &str, id: &str, port: u16, now: Timestamp) {
    let Some(key) = TargetRecord::key(group_arn, id, port) else {
        return;
    };
    let Some(known) = snapshot
        .get::<TargetRecord>(&key)
        .filter(|t| t.draining_until.is_none())
    else {
        return;
    };
    txn.unchanged::<TargetRecord>(snapshot, &key);
    match drains_for(snapshot, &known) {
        None => {
            txn.delete::<TargetRecord>(&key);
        }
        Some(delay) => {
            let mut next = (*known.record).clone();
            next.draining_until = Some(now.plus(delay));
            txn.put(&key, next);
        }
    }
}

/// How long requests may go on to a target that is deregistered; none when there can be none.
fn drains_for(snapshot: &Snapshot, target: &TargetRecord) -> Option<Duration> {
    let group = target_group(snapshot, &target.region, &target.group_arn)?;
    if !in_use(snapshot, &group.arn) || target.health.state == TargetState::Initial {
        return None;
    }
    let seconds = group
        .number(TargetGroupRecord::DEREGISTRATION_DELAY)
        .filter(|s| *s > 0)?;
    Some(Duration::from_secs(seconds))
}
