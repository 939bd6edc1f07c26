//! Placement: gives every waiting task a node and an address.
//!
//! `Placer` keeps the fleet as the store's changes tell it and decides with `plan::placement`. RunTask and StartTask use
//! it to place in their own commit; `run` places whatever waits. The invariant: what one caller has chosen but not yet
//! committed is counted as taken for every other, so that no node is promised twice.

use crate::Ecs;
use crate::plan::placement::{Fleet, Held, Miss, Needs, NetworkFault, Placed, Refused, place, place_on};
use crate::records::{
    DesiredStatus, NodeRecord, ServiceRecord, ServiceStatus, TaskInterface, TaskRecord, TaskState, Waiting,
};
use neargate_core::{Ids, Timestamp};
use neargate_ec2::interface::{self, AllocateRequest, InterfaceOwner};
use neargate_store::{Change, CommitError, MAX_OPS, Record, Revision, Snapshot, Store, Txn};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// Tasks placed in one commit: each is three changes (itself, interface, public address), of the 128 a commit may have.
const BATCH: usize = 40;
/// Conditions that one more task may need, of the 128 a commit may have: itself, interface, public address, and a subnet
/// and five security groups that no task before it leans on.
const CONDITIONS: usize = 9;
/// Shapes of tasks that share one commit.
const SHAPES: usize = 6;
/// How long the place of a DAEMON's task that stopped is kept for its successor, if none comes.
const SUCCESSION: Duration = Duration::from_secs(10);
/// Placement looks again after this long even if nothing woke it.
const TIMER: Duration = Duration::from_secs(10);

/// The fleet in memory, shared by everything that places.
pub struct Placer {
    state: Mutex<State>,
}

struct State {
    fleet: Fleet,
    changes: broadcast::Receiver<Arc<Vec<Change>>>,
    /// Changes up to here are in the fleet.
    revision: Revision,
    /// Chosen, not committed: the store's word on these tasks does not count until it is settled.
    tentative: BTreeSet<String>,
    /// Waiting tasks by shape, oldest first.
    waiting: BTreeMap<String, Shape>,
    /// Shape of each waiting task, with its place in it.
    shape_of: BTreeMap<String, (String, Timestamp)>,
    /// Tasks that stopped and hold their place still, by the `Place` that it is, with when they give it up.
    vacated: BTreeMap<Place, (String, Timestamp)>,
}

/// A DAEMON's place on a machine: group (`{region}/{cluster}/{group}`) and instance id.
type Place = (String, String);

#[derive(Default)]
struct Shape {
    tasks: BTreeSet<(Timestamp, String)>,
    /// The fleet's `freed` when the oldest was last refused: nothing has changed for it since then.
    refused_at: Option<u64>,
    /// For one machine only.
    pinned: bool,
}

/// Choices that are not committed yet: they go into `Placer::commit`, or `Placer::settle` when nothing is committed.
#[must_use]
#[derive(Debug, Default)]
pub struct Choices {
    keys: Vec<String>,
}

/// Why a task got no node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unplaceable {
    Refused(Refused),
    /// The one node that was named does not take it.
    Node(Miss),
}

impl Placer {
    pub fn new(store: &Store) -> Placer {
        Placer {
            state: Mutex::new(State::read(store)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held would have been in this file; the maps are then still whole.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The fleet now, as `look` reads it.
    pub fn with_fleet<T>(&self, store: &Store, look: impl FnOnce(&Fleet) -> T) -> T {
        let mut state = self.lock();
        state.sync(store);
        look(&state.fleet)
    }

    /// Chooses a node and takes an address for `task`, which becomes PENDING; the interface goes into `txn`, the task
    /// does not. With `node` it goes there or nowhere.
    ///
    /// # Errors
    /// `Unplaceable`; then `task` and `txn` are as they were.
    #[allow(clippy::too_many_arguments)]
    pub fn place(
        &self,
        store: &Store,
        snapshot: &Snapshot,
        txn: &mut Txn,
        choices: &mut Choices,
        task: &mut TaskRecord,
        node: Option<&str>,
        ids: &dyn Ids,
        now: Timestamp,
    ) -> Result<(), Unplaceable> {
        let mut state = self.lock();
        state.sync(store);
        let key = task.own_key();
        state.place(snapshot, txn, &key, task, node, ids, now)?;
        choices.keys.push(key);
        Ok(())
    }

    /// Commits `txn` and settles the choices it was made of, even when the caller is dropped meanwhile.
    ///
    /// # Errors
    /// `CommitError`; nothing was changed then.
    pub async fn commit(self: &Arc<Self>, store: &Store, txn: Txn, choices: Choices) -> Result<(), CommitError> {
        let (placer, store) = (self.clone(), store.clone());
        let committing = tokio::spawn(async move {
            let outcome = store.commit(txn).await;
            placer.settle(&store, choices);
            outcome.map(drop)
        });
        committing
            .await
            .unwrap_or_else(|error| Err(CommitError::Storage(error.to_string())))
    }

    /// Forgets the choices: what the store says of these tasks counts again.
    pub fn settle(&self, store: &Store, choices: Choices) {
        if choices.keys.is_empty() {
            return;
        }
        let mut state = self.lock();
        let snapshot = store.snapshot();
        for key in choices.keys {
            state.tentative.remove(&key);
            let task = snapshot.get::<TaskRecord>(&key).map(|t| t.record);
            state.take_task(&snapshot, &key, task.as_deref());
        }
    }
}

impl State {
    fn read(store: &Store) -> State {
        // Subscribed before the snapshot, so that no change is in neither.
        let changes = store.changes();
        let snapshot = store.snapshot();
        let mut state = State {
            fleet: Fleet::default(),
            changes,
            revision: snapshot.revision(),
            tentative: BTreeSet::new(),
            waiting: BTreeMap::new(),
            shape_of: BTreeMap::new(),
            vacated: BTreeMap::new(),
        };
        for (_, node) in snapshot.range::<NodeRecord>("") {
            state.fleet.set_node(node.record);
        }
        for (key, task) in snapshot.range::<TaskRecord>("") {
            state.take_task(&snapshot, key, Some(&task));
        }
        state
    }

    /// Takes over every change told since the last time; reads everything again when some were missed.
    fn sync(&mut self, store: &Store) {
        loop {
            match self.changes.try_recv() {
                Ok(changes) => {
                    let known = self.revision;
                    for change in changes.iter().filter(|c| c.revision > known) {
                        self.take(store, change);
                    }
                }
                Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => return,
                Err(broadcast::error::TryRecvError::Lagged(missed)) => {
                    tracing::info!(missed, "placement reads the store again");
                    let chosen: Vec<(String, Option<Held>)> = self
                        .tentative
                        .iter()
                        .map(|k| (k.clone(), self.fleet.held(k).cloned()))
                        .collect();
                    *self = State::read(store);
                    for (key, held) in chosen {
                        self.wait_no_more(&key);
                        self.fleet.set_held(&key, held);
                        self.tentative.insert(key);
                    }
                }
            }
        }
    }

    fn take(&mut self, store: &Store, change: &Change) {
        if let Some(key) = change.key.strip_prefix(TaskRecord::PREFIX) {
            if !self.tentative.contains(key) {
                let task = change
                    .record
                    .clone()
                    .and_then(|r| r.into_any().downcast::<TaskRecord>().ok());
                self.take_task(&store.snapshot(), key, task.as_deref());
            }
        } else if change.key.starts_with(NodeRecord::PREFIX)
            && let Some(node) = change
                .record
                .clone()
                .and_then(|r| r.into_any().downcast::<NodeRecord>().ok())
        {
            self.fleet.set_node(node);
        }
    }

    fn take_task(&mut self, snapshot: &Snapshot, key: &str, task: Option<&TaskRecord>) {
        if !task.is_some_and(|task| self.keeps_place(snapshot, key, task)) {
            self.fleet.set_held(key, task.and_then(Held::of));
        }
        match task {
            Some(task) if waits(task) => {
                if let Some((stopped, _)) = place_of(task).and_then(|place| self.vacated.remove(&place)) {
                    self.fleet.set_held(&stopped, None);
                }
                if !self.shape_of.contains_key(key) {
                    let shape = Needs::shape(task);
                    let entry = self.waiting.entry(shape.clone()).or_default();
                    entry.pinned = task.pinned_to().is_some();
                    entry.tasks.insert((task.created_at, key.to_owned()));
                    self.shape_of.insert(key.to_owned(), (shape, task.created_at));
                }
            }
            _ => self.wait_no_more(key),
        }
    }

    /// True for a DAEMON's task that stopped and whose place is its successor's, which the service is about to make: what
    /// waits for room must not come first.
    fn keeps_place(&mut self, snapshot: &Snapshot, key: &str, task: &TaskRecord) -> bool {
        let (Some(place), Some(link)) = (place_of(task), &task.service) else {
            return false;
        };
        let service = ServiceRecord::key(&task.region, &task.cluster, &link.name);
        let follows = snapshot
            .get::<ServiceRecord>(&service)
            .is_some_and(|s| s.is_daemon() && s.status == ServiceStatus::Active);
        let (TaskState::Stopped, Some(at), true) = (task.state, task.stopped_at, follows) else {
            return false;
        };
        if self.fleet.held(key).is_none() {
            return false;
        }
        self.vacated
            .entry(place)
            .or_insert((key.to_owned(), at.plus(SUCCESSION)));
        true
    }

    /// Frees the places for which no successor came.
    fn give_places_up(&mut self, now: Timestamp) {
        for (_, (key, _)) in self.vacated.extract_if(.., |_, (_, until)| *until <= now) {
            self.fleet.set_held(&key, None);
        }
    }

    fn wait_no_more(&mut self, key: &str) {
        if let Some((shape, at)) = self.shape_of.remove(key)
            && let Some(entry) = self.waiting.get_mut(&shape)
        {
            entry.tasks.remove(&(at, key.to_owned()));
            if entry.tasks.is_empty() {
                self.waiting.remove(&shape);
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn place(
        &mut self,
        snapshot: &Snapshot,
        txn: &mut Txn,
        key: &str,
        task: &mut TaskRecord,
        node: Option<&str>,
        ids: &dyn Ids,
        now: Timestamp,
    ) -> Result<(), Unplaceable> {
        self.give_places_up(now);
        let zone_of = |id: &str| neargate_ec2::subnet(snapshot, &task.region, id).map(|s| s.availability_zone.clone());
        let needs = Needs::of(task, &zone_of);
        let seed = seed(&task.id);
        let placed = match node {
            Some(node) => place_on(&self.fleet, node, &needs).map_err(Unplaceable::Node)?,
            None => place(&self.fleet, &needs, seed).map_err(Unplaceable::Refused)?,
        };
        let interface = match &task.network {
            Some(network) => {
                let groups = network.security_groups.clone().unwrap_or_default();
                let taken = take_interface(snapshot, txn, task, &placed, &groups, ids, now);
                let no_interface = |fault| Unplaceable::Refused(Refused::no_interface(needs.fargate, fault));
                Some(taken.map_err(no_interface)?)
            }
            None => None,
        };
        task.availability_zone = Some(match &interface {
            Some((_, zone)) => zone.clone(),
            None => placed.zone.clone(),
        });
        task.interface = interface.map(|(interface, _)| interface);
        task.node = Some(placed.node);
        task.state = TaskState::Pending;
        task.waiting = None;
        self.wait_no_more(key);
        self.tentative.insert(key.to_owned());
        self.fleet.set_held(key, Held::of(task));
        Ok(())
    }

    /// The next tasks to try: those for one machine first, then of the shapes whose oldest task waits longest, a few each, so that no service's thousands
    /// keep another's one waiting. Shapes that nothing has changed for since they were refused are left out.
    fn next(&self, limit: usize) -> Vec<(String, String)> {
        let freed = self.fleet.freed();
        let mut shapes: Vec<(&(Timestamp, String), &String, &Shape)> = self
            .waiting
            .iter()
            .filter(|(_, shape)| shape.refused_at != Some(freed))
            .filter_map(|(name, shape)| Some((shape.tasks.first()?, name, shape)))
            .collect();
        shapes.sort_unstable_by_key(|(oldest, _, shape)| (!shape.pinned, *oldest));
        let each = limit.div_ceil(shapes.len().clamp(1, SHAPES));
        shapes
            .into_iter()
            .flat_map(|(_, name, shape)| {
                shape
                    .tasks
                    .iter()
                    .take(each)
                    .map(move |(_, key)| (name.clone(), key.clone()))
            })
            .take(limit)
            .collect()
    }
}

/// The place that a DAEMON's task was made for.
fn place_of(task: &TaskRecord) -> Option<Place> {
    let group = format!("{}/{}/{}", task.region, task.cluster, task.group);
    Some((group, task.pinned_to()?.to_owned()))
}

/// True for a task that placement is to give a node.
fn waits(task: &TaskRecord) -> bool {
    task.node.is_none() && task.state == TaskState::Provisioning && task.desired == DesiredStatus::Running
}

fn seed(id: &str) -> u64 {
    // FNV-1a.
    id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, b| {
        (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// An address in the first subnet that has one, with the subnet's zone.
fn take_interface(
    snapshot: &Snapshot,
    txn: &mut Txn,
    task: &TaskRecord,
    placed: &Placed,
    security_groups: &[String],
    ids: &dyn Ids,
    now: Timestamp,
) -> Result<(TaskInterface, String), NetworkFault> {
    let mut fault = NetworkFault {
        reason: "RESOURCE:ENI".to_owned(),
        message: "None of the task's subnets exists any more.".to_owned(),
    };
    for subnet_id in &placed.subnets {
        let request = AllocateRequest {
            region: task.region.clone(),
            subnet_id: subnet_id.clone(),
            security_groups: security_groups.to_vec(),
            description: task
                .attachment_id
                .as_ref()
                .map_or_else(String::new, |id| task.sibling_arn(&format!("attachment/{id}"))),
            now,
            start_hint: None,
            owner: InterfaceOwner::Task { arn: task.arn.clone() },
            public: task.network.as_ref().and_then(|n| n.assign_public_ip.as_deref()) == Some("ENABLED"),
        };
        match interface::allocate(snapshot, txn, request, ids) {
            Ok(record) => {
                let interface = TaskInterface {
                    interface_id: record.id.clone(),
                    subnet_id: record.subnet_id.clone(),
                    mac: record.mac.clone(),
                    address: record.address,
                    subnet_prefix: record.subnet_cidr.1,
                    gateway: record.gateway(),
                    vpc_cidr: record.vpc_cidr,
                    private_dns_name: record.private_dns_name(),
                    vpc_id: record.vpc_id.clone(),
                    groups: record.security_groups.clone(),
                    released: false,
                };
                return Ok((interface, record.availability_zone));
            }
            Err(error) => fault.message = sentence(&error.to_string()),
        }
    }
    Err(fault)
}

/// With one full stop at its end.
fn sentence(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}

/// Places waiting tasks until `shutdown`: woken by every change, and by a timer.
pub async fn run(ecs: Arc<Ecs>, mut shutdown: watch::Receiver<bool>) {
    let mut revisions = ecs.store.revisions();
    loop {
        revisions.borrow_and_update();
        if let Err(error) = place_waiting(&ecs).await {
            tracing::error!(%error, "placement could not be stored; it is tried again");
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
            continue;
        }
        tokio::select! {
            changed = revisions.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(TIMER) => {}
            _ = shutdown.wait_for(|stop| *stop) => return,
        }
    }
}

/// Places what can be placed now; what cannot is told why. Answers how many tasks got a node.
///
/// # Errors
/// When the store could not write.
pub async fn place_waiting(ecs: &Ecs) -> Result<usize, CommitError> {
    let mut done = 0;
    loop {
        let mut choices = Choices::default();
        let (txn, placed, more) = plan_batch(ecs, &mut choices);
        if txn.is_empty() {
            ecs.placer.settle(&ecs.store, choices);
            if more {
                continue;
            }
            return Ok(done);
        }
        match ecs.placer.commit(&ecs.store, txn, choices).await {
            Ok(()) => done += placed,
            // Another commit came first: what it left is tried again.
            Err(CommitError::Conflict { .. }) => tokio::task::yield_now().await,
            Err(error) => return Err(error),
        }
    }
}

/// One commit's worth of placements, how many tasks get a node in it, and whether more may be had at once.
fn plan_batch(ecs: &Ecs, choices: &mut Choices) -> (Txn, usize, bool) {
    let now = ecs.clock.now();
    let mut txn = Txn::new();
    let mut placed = 0;
    let mut refused: BTreeSet<String> = BTreeSet::new();
    let mut state = ecs.placer.lock();
    state.sync(&ecs.store);
    state.give_places_up(now);
    let snapshot = ecs.store.snapshot();
    let batch = state.next(BATCH);
    for (shape, key) in &batch {
        if txn.compares.len() + CONDITIONS > MAX_OPS {
            break;
        }
        if refused.contains(shape) {
            continue;
        }
        let Some(current) = snapshot.get::<TaskRecord>(key).filter(|t| waits(t)) else {
            // The change that says so is on its way; until then it is not looked at again.
            state.wait_no_more(key);
            continue;
        };
        let mut task = TaskRecord::clone(&current);
        match state.place(&snapshot, &mut txn, key, &mut task, None, &*ecs.ids, now) {
            Ok(()) => {
                task.version += 1;
                choices.keys.push(key.clone());
                placed += 1;
                txn.unchanged::<TaskRecord>(&snapshot, key).put(key, task);
            }
            Err(Unplaceable::Node(_)) => {}
            Err(Unplaceable::Refused(why)) => {
                let freed = state.fleet.freed();
                if let Some(entry) = state.waiting.get_mut(shape) {
                    entry.refused_at = Some(freed);
                }
                refused.insert(shape.clone());
                if tell(&mut task, &why, now) {
                    txn.unchanged::<TaskRecord>(&snapshot, key).put(key, task);
                }
            }
        }
    }
    (txn, placed, !batch.is_empty())
}

/// Writes down why the task waits; false when it says so already.
fn tell(task: &mut TaskRecord, why: &Refused, now: Timestamp) -> bool {
    let (event, reason) = (why.event(), why.reason());
    if task
        .waiting
        .as_ref()
        .is_some_and(|w| w.event == event && w.reason == reason)
    {
        return false;
    }
    let since = task.waiting.as_ref().map_or(now, |w| w.since);
    task.waiting = Some(Waiting { event, reason, since });
    true
}

#[cfg(test)]
mod tests;
