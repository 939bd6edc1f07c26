//! Tasks and target groups: a task joins when it runs, and leaves before it is stopped.
//!
//! `reports` calls `enter` and `left` within the commit that changes the task's state; `reconcile::targets` calls `leave`
//! for tasks that are asked to stop. The invariant: a task's record and its targets' change in one commit, so that no
//! target outlives its task by more than its draining.

use crate::api;
use crate::records::{NodeRecord, Registered, TaskRecord, TaskTarget, Told};
use neargate_core::Timestamp;
use neargate_elbv2::targets::{self, NewTarget};
use neargate_link::gateway::TargetState;
use neargate_link::{NetworkBinding, Transport};
use neargate_store::{Snapshot, Txn};
use std::net::{IpAddr, Ipv4Addr};

/// The target that a service's `loadBalancers` entry asks for.
pub fn wanted(asked: &api::LoadBalancer) -> Option<TaskTarget> {
    Some(TaskTarget {
        group_arn: asked.target_group_arn.clone()?,
        container: asked.container_name.clone()?,
        container_port: u16::try_from(asked.container_port?).ok()?,
        registered: None,
        group_gone: false,
        left_healthy: None,
        told: Told::Nothing,
    })
}

/// The machine's own address, where ports of containers without a network interface of their own are published.
const MACHINE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Registers a task that runs now with its target groups. A group that is gone, or a port that is not published, is
/// passed over: the task never counts as healthy then.
pub fn enter(snapshot: &Snapshot, txn: &mut Txn, task: &mut TaskRecord, now: Timestamp) {
    let owner = task
        .service
        .as_ref()
        .map(|s| crate::records::ServiceRecord::key(&task.region, &task.cluster, &s.name));
    let mut targets = std::mem::take(&mut task.targets);
    for target in targets
        .iter_mut()
        .filter(|t| t.registered.is_none() && t.left_healthy.is_none())
    {
        let Some(group) = targets::target_group(snapshot, &task.region, &target.group_arn) else {
            target.group_gone = true;
            continue;
        };
        let Some((id, address, port)) = place(snapshot, task, target) else {
            tracing::warn!(
                task = task.id,
                group = target.group_arn,
                "a task publishes no such port"
            );
            continue;
        };
        let new = NewTarget {
            id: id.clone(),
            port,
            address,
            // Machines are reached from every zone.
            zone: task.availability_zone.clone().filter(|_| task.interface.is_some()),
            owner: owner.clone(),
        };
        targets::register(snapshot, txn, &group, new, now);
        target.registered = Some(Registered { id, port });
    }
    task.targets = targets;
}

/// Id, address and port under which a task's container is reached.
fn place(snapshot: &Snapshot, task: &TaskRecord, target: &TaskTarget) -> Option<(String, IpAddr, u16)> {
    if let Some(interface) = &task.interface {
        let address = interface.address;
        return Some((address.to_string(), address.into(), target.container_port));
    }
    let node = snapshot.get::<NodeRecord>(task.node.as_deref()?)?;
    let port = match task.network_mode.as_str() {
        "host" => target.container_port,
        _ => {
            let container = task.containers.iter().find(|c| c.name == target.container)?;
            let bound = |b: &NetworkBinding| {
                let (_, host_port) = b.ports().find(|(port, _)| *port == target.container_port)?;
                Some(host_port)
            };
            let bindings = || container.network_bindings.iter();
            let of_tcp = bindings().filter(|b| b.transport == Transport::Tcp).find_map(bound);
            of_tcp.or_else(|| bindings().find_map(bound))?
        }
    };
    Some((node.ec2_instance_id(), MACHINE, port))
}

/// Begins the draining of a task that is to stop; true when no target group knows it any more.
pub fn leave(snapshot: &Snapshot, txn: &mut Txn, task: &mut TaskRecord, now: Timestamp) -> bool {
    for target in &mut task.targets {
        let Some(Registered { id, port }) = target.registered.clone() else {
            continue;
        };
        let known = targets::target(snapshot, &target.group_arn, &id, port);
        target
            .left_healthy
            .get_or_insert(known.as_ref().is_some_and(|t| is_healthy(t.health.state)));
        match known {
            None => target.registered = None,
            Some(t) if t.draining_until.is_none() => {
                targets::deregister(snapshot, txn, &target.group_arn, &id, port, now);
            }
            Some(_) => {}
        }
    }
    !task.takes_traffic()
}

/// Takes a task that has ended, or is ending, off its target groups: what is in flight there ends as it may.
pub fn left(snapshot: &Snapshot, txn: &mut Txn, task: &mut TaskRecord, now: Timestamp) {
    leave(snapshot, txn, task, now);
    for target in &mut task.targets {
        target.registered = None;
    }
}

/// Health checks that are off speak for the target.
pub fn is_healthy(state: TargetState) -> bool {
    matches!(state, TargetState::Healthy | TargetState::Unavailable)
}
