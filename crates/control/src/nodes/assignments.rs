//! Assignments on their way: commits mark tasks as changed, each connection's pusher sends what that means for its nodes.
//!
//! `follow` reads the store's changes once for all nodes and only marks; a pusher computes and sends, and waits when its
//! peer is slow. Meanwhile marks of a task fall together, so that memory stays bounded by the tasks of the nodes.

use super::Shared;
use super::networks::{NetworkMarks, NetworkOffer};
use neargate_ecs::records::TaskRecord;
use neargate_link::{LinkError, Offer, Sender, TaskSpec, ToNode};
use neargate_store::{Change, Record, Snapshot};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, broadcast};

/// What a connection's pusher has to do.
#[derive(Default)]
pub(super) struct Pushes {
    wanted: Mutex<Wanted>,
    wake: Notify,
    closed: AtomicBool,
}

#[derive(Default)]
struct Wanted {
    nodes: HashMap<Arc<str>, Marks>,
}

/// What happened to one node since its last push.
#[derive(Default)]
struct Marks {
    /// It needs its whole set: it joined, or asked.
    whole: bool,
    /// Changes were missed: compare everything.
    rebuild: bool,
    /// It joined over another connection.
    forget: bool,
    /// Generation it said it holds.
    acknowledged: u64,
    /// Keys of changed tasks.
    tasks: HashSet<Arc<str>>,
    network: NetworkMarks,
}

impl Marks {
    /// Only the network changed: there is nothing to say of tasks.
    fn tasks_untouched(&self) -> bool {
        !self.whole && !self.rebuild && !self.forget && self.tasks.is_empty()
    }
}

impl Pushes {
    fn mark(&self, node: &Arc<str>, with: impl FnOnce(&mut Marks)) {
        with(
            self.wanted
                .lock()
                .expect("no holder panics")
                .nodes
                .entry(node.clone())
                .or_default(),
        );
        self.wake.notify_one();
    }

    pub(super) fn whole(&self, node: &Arc<str>) {
        self.mark(node, |marks| marks.whole = true);
    }

    pub(super) fn whole_network(&self, node: &Arc<str>) {
        self.mark(node, |marks| marks.network.whole = true);
    }

    pub(super) fn forget(&self, node: &Arc<str>) {
        self.mark(node, |marks| marks.forget = true);
    }

    pub(super) fn acknowledged(&self, node: &Arc<str>, generation: u64) {
        // Nothing to send for it: no wake.
        let mut wanted = self.wanted.lock().expect("no holder panics");
        let marks = wanted.nodes.entry(node.clone()).or_default();
        marks.acknowledged = marks.acknowledged.max(generation);
    }

    /// The connection is over; whoever still wants to route a node over it is told by `is_closed`.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}

/// Marks what each commit changes, for the nodes connected here.
pub(super) async fn follow(shared: Arc<Shared>, mut changes: broadcast::Receiver<Arc<Vec<Change>>>) {
    loop {
        match changes.recv().await {
            Ok(commit) => {
                mark_networks(&shared, &commit);
                commit.iter().for_each(|change| mark_change(&shared, change));
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::warn!(
                    missed,
                    "commits came faster than assignments could follow; comparing every node's set"
                );
                for (node, pushes) in shared.roster.routes() {
                    pushes.mark(&node, |marks| marks.rebuild = true);
                }
                for (node, pushes) in shared.roster.machines() {
                    pushes.whole_network(&node);
                }
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Networks before tasks, so that what a task stands on is there first.
fn mark_networks(shared: &Shared, commit: &[Change]) {
    let machines = shared.roster.machines();
    if machines.is_empty() {
        return;
    }
    let snapshot = shared.store.snapshot();
    let changed = commit
        .iter()
        .flat_map(|change| shared.networks.changes(&snapshot, change));
    let changed: Vec<_> = changed.collect();
    if changed.is_empty() {
        return;
    }
    for (node, pushes) in machines {
        pushes.mark(&node, |marks| marks.network.changed.extend(changed.iter().cloned()));
    }
}

fn mark_change(shared: &Shared, change: &Change) {
    if !change.key.starts_with(TaskRecord::PREFIX) {
        return;
    }
    let [new, old] = [change.get::<TaskRecord>(), change.previous::<TaskRecord>()];
    let node_of = |task: &Option<Arc<TaskRecord>>| task.as_ref().and_then(|task| task.node.clone());
    let (new, old) = (node_of(&new), node_of(&old));
    let moved_from = old.filter(|old| new.as_ref() != Some(old));
    for node in new.into_iter().chain(moved_from) {
        if let Some((node, pushes)) = shared.roster.route(&node) {
            pushes.mark(&node, |marks| {
                marks.tasks.insert(change.key.clone());
            });
        }
    }
}

/// Sends the nodes of one connection what they must run, until the connection fails.
pub(super) async fn push(shared: Arc<Shared>, pushes: Arc<Pushes>, sender: Sender<ToNode>) -> LinkError {
    let mut offers: HashMap<Arc<str>, Offer> = HashMap::new();
    let mut networks: HashMap<Arc<str>, NetworkOffer> = HashMap::new();
    loop {
        pushes.wake.notified().await;
        let wanted = std::mem::take(&mut *pushes.wanted.lock().expect("no holder panics"));
        for (node, mut marks) in wanted.nodes {
            if marks.forget && !marks.whole {
                offers.remove(&node);
                networks.remove(&node);
                continue;
            }
            if !marks.network.is_empty() {
                let marks = std::mem::take(&mut marks.network);
                let offer = networks.entry(node.clone()).or_default();
                let table = || shared.networks.table(&shared.store.snapshot());
                if let Some(message) = offer.next(marks, table)
                    && let Err(error) = sender.send(&node, &message).await
                {
                    return error;
                }
            }
            if marks.tasks_untouched() && marks.acknowledged == 0 {
                continue;
            }
            // A snapshot of its own for each node: sending may have waited long for the one before.
            let snapshot = shared.store.snapshot();
            let offer = offers.entry(node.clone()).or_default();
            offer.acknowledged(marks.acknowledged);
            if let Some(message) = next_message(&shared, offer, &snapshot, &node, &marks)
                && let Err(error) = sender.send(&node, &message).await
            {
                return error;
            }
        }
    }
}

fn next_message(shared: &Shared, offer: &mut Offer, snapshot: &Snapshot, node: &str, marks: &Marks) -> Option<ToNode> {
    let revision = snapshot.revision();
    if marks.whole {
        return Some(offer.whole(revision, whole_set(shared, snapshot, node)));
    }
    if marks.rebuild {
        return offer.delta_to(revision, whole_set(shared, snapshot, node));
    }
    offer.delta(
        revision,
        marks.tasks.iter().map(|key| {
            let key = &key[TaskRecord::PREFIX.len()..];
            let id = key.rsplit_once('/').map_or(key, |(_, id)| id);
            let task = snapshot
                .get::<TaskRecord>(key)
                .filter(|task| task.node.as_deref() == Some(node));
            (
                id.into(),
                task.and_then(|task| shared.plane.assignment(snapshot, &task)),
            )
        }),
    )
}

fn whole_set(shared: &Shared, snapshot: &Snapshot, node: &str) -> Vec<Arc<TaskSpec>> {
    let tasks = snapshot.indexed::<TaskRecord>(TaskRecord::BY_NODE, node);
    tasks
        .filter_map(|(_, task)| shared.plane.assignment(snapshot, &task))
        .collect()
}
