//! Which nodes are connected, over which connection, and which are awaited back.
//!
//! Invariants: a node has at most one route, the newest connection's; `node_joined` and `node_lost` of one node never
//! run at the same time; a node is declared lost only when no connection routed it since the loss was scheduled.

use super::assignments::Pushes;
use super::{Shared, until_stored};
use neargate_core::AwsError;
use neargate_link::NodeHello;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::time::Instant;

#[derive(Default)]
pub(super) struct Roster {
    members: Mutex<HashMap<Arc<str>, Arc<Member>>>,
    /// Routes of the nodes that run containers: they alone are told of networks.
    machines: Mutex<HashMap<Arc<str>, Arc<Pushes>>>,
}

struct Member {
    /// Held while ECS is told that the node joined or is lost.
    gate: tokio::sync::Mutex<()>,
    place: Mutex<Place>,
}

#[derive(Default)]
struct Place {
    route: Option<Arc<Pushes>>,
    /// Grows whenever the route changes.
    epoch: u64,
}

impl Roster {
    fn member(&self, node: &Arc<str>) -> Arc<Member> {
        let mut members = self.members.lock().expect("no holder panics");
        let fresh = || {
            Arc::new(Member {
                gate: tokio::sync::Mutex::new(()),
                place: Mutex::default(),
            })
        };
        members.entry(node.clone()).or_insert_with(fresh).clone()
    }

    /// The connection over which `node` gets its assignments.
    pub(super) fn route(&self, node: &str) -> Option<(Arc<str>, Arc<Pushes>)> {
        let members = self.members.lock().expect("no holder panics");
        let (id, member) = members.get_key_value(node)?;
        let route = member.place.lock().expect("no holder panics").route.clone()?;
        Some((id.clone(), route))
    }

    /// Every connection that routes a node, with each node it routes.
    pub(super) fn routes(&self) -> Vec<(Arc<str>, Arc<Pushes>)> {
        let members = self.members.lock().expect("no holder panics");
        let routed = |(id, member): (&Arc<str>, &Arc<Member>)| {
            let route = member.place.lock().expect("no holder panics").route.clone()?;
            Some((id.clone(), route))
        };
        members.iter().filter_map(routed).collect()
    }

    /// Connections of the nodes that run containers.
    pub(super) fn machines(&self) -> Vec<(Arc<str>, Arc<Pushes>)> {
        let machines = self.machines.lock().expect("no holder panics");
        machines
            .iter()
            .map(|(id, pushes)| (id.clone(), pushes.clone()))
            .collect()
    }

    fn set_machine(&self, node: &Arc<str>, route: Option<Arc<Pushes>>) {
        let mut machines = self.machines.lock().expect("no holder panics");
        match route {
            Some(route) => machines.insert(node.clone(), route),
            None => machines.remove(node),
        };
    }

    pub(super) fn connected(&self) -> Vec<String> {
        let mut out: Vec<String> = self.routes().into_iter().map(|(id, _)| id.to_string()).collect();
        out.sort();
        out
    }
}

/// Tells ECS that `node` is here, then routes it over `pushes`, which sends its whole set first.
///
/// # Errors
/// What ECS refuses about the hello.
pub(super) async fn join(
    shared: &Arc<Shared>,
    node: &Arc<str>,
    hello: NodeHello,
    pushes: &Arc<Pushes>,
) -> Result<(), AwsError> {
    let member = shared.roster.member(node);
    let _gate = member.gate.lock().await;
    until_stored("that a node joined", node, || shared.plane.node_joined(hello.clone())).await?;
    let mut place = member.place.lock().expect("no holder panics");
    let already = place.route.as_ref().is_some_and(|route| Arc::ptr_eq(route, pushes));
    if already {
        return Ok(());
    }
    if let Some(older) = &place.route {
        tracing::warn!(%node, "the node connected again; its older connection gets no more assignments");
        older.forget(node);
    }
    place.epoch += 1;
    if pushes.is_closed() {
        // The connection ended while ECS was told: its end found nothing to unroute.
        place.route = None;
        drop(place);
        expect_back(shared, node.clone(), Instant::now());
    } else {
        place.route = Some(pushes.clone());
        if !hello.simulated {
            shared.roster.set_machine(node, Some(pushes.clone()));
            pushes.whole_network(node);
        }
        pushes.whole(node);
    }
    Ok(())
}

/// The connection of `node` ended; `heard` is when the node last said anything.
pub(super) fn leave(shared: &Arc<Shared>, node: &Arc<str>, pushes: &Arc<Pushes>, heard: Instant) {
    let member = shared.roster.member(node);
    {
        let mut place = member.place.lock().expect("no holder panics");
        if !place.route.as_ref().is_some_and(|route| Arc::ptr_eq(route, pushes)) {
            return;
        }
        place.route = None;
        place.epoch += 1;
        shared.roster.set_machine(node, None);
    }
    expect_back(shared, node.clone(), heard);
}

/// Declares `node` lost unless it is routed again within the silence allowed after `heard`.
pub(super) fn expect_back(shared: &Arc<Shared>, node: Arc<str>, heard: Instant) {
    let member = shared.roster.member(&node);
    let epoch = member.place.lock().expect("no holder panics").epoch;
    let silence = shared.options.silence;
    let shared = Arc::downgrade(shared);
    tokio::spawn(async move {
        tokio::time::sleep_until(heard + silence).await;
        // Control may have been shut down meanwhile; the next one asks anew.
        let Some(shared) = shared.upgrade() else { return };
        let _gate = member.gate.lock().await;
        let away = || {
            let place = member.place.lock().expect("no holder panics");
            place.epoch == epoch && place.route.is_none()
        };
        if !away() {
            return;
        }
        tracing::warn!(%node, "the node has been silent for {silence:?} and is taken for lost");
        if let Err(error) = until_stored("that a node is lost", &node, || shared.plane.node_lost(&node)).await {
            tracing::error!(%error, %node, "ECS would not take the node for lost");
        }
    });
}
