//! What every node has left, kept as tasks come and go.
//!
//! The caller feeds it node and task records; every question is then answered without looking at tasks again. One task
//! is counted at most once, whatever the order and number of times it is told.

use crate::plan::expression::Instance;
use crate::records::{HostPort, NodeRecord, TaskRecord};
use neargate_core::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One node and what is left of it.
#[derive(Clone, Debug)]
pub struct NodeView {
    record: Arc<NodeRecord>,
    ec2_instance_id: String,
    attributes: BTreeMap<String, Option<String>>,
    used_cpu: u64,
    used_memory: u64,
    tasks: u32,
    ports: Vec<HostPort>,
}

impl NodeView {
    pub fn id(&self) -> &str {
        &self.record.hello.node_id
    }

    pub fn connected(&self) -> bool {
        self.record.connected
    }

    pub fn architecture(&self) -> &str {
        &self.record.hello.cpu_architecture
    }

    pub fn zone(&self, region: &str) -> String {
        self.record.availability_zone(region)
    }

    /// 0 is zone `a` of a region.
    pub fn zone_index(&self) -> u32 {
        self.record.availability_zone_index
    }

    /// cpu units; below zero when the machine came back smaller.
    pub fn free_cpu(&self) -> i64 {
        i64::from(self.record.hello.cpu.0) - self.used_cpu as i64
    }

    /// MiB; below zero when the machine came back smaller.
    pub fn free_memory(&self) -> i64 {
        i64::from(self.record.hello.memory.0) - self.used_memory as i64
    }

    /// Tasks that hold resources.
    pub fn tasks(&self) -> u32 {
        self.tasks
    }

    pub fn ports(&self) -> &[HostPort] {
        &self.ports
    }

    fn slot(&self) -> Slot {
        let share = |used: u64, total: u32| used.saturating_mul(1000) / u64::from(total.max(1));
        let hello = &self.record.hello;
        Slot {
            connected: self.record.connected,
            zone_index: self.record.availability_zone_index,
            free_cpu: self.free_cpu(),
            free_memory: self.free_memory(),
            fullness: share(self.used_cpu, hello.cpu.0).max(share(self.used_memory, hello.memory.0)),
            tasks: self.tasks,
        }
    }

    /// An attribute's value in `region`; the zone is the one attribute that differs by region.
    pub fn attribute(&self, region: &str, name: &str) -> Option<Option<String>> {
        match name {
            "ecs.availability-zone" => Some(Some(self.zone(region))),
            _ => self.attributes.get(name).cloned(),
        }
    }
}

/// What choosing among thousands of nodes looks at, kept small so that all of it stays in the processor's cache.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    pub connected: bool,
    pub zone_index: u32,
    pub free_cpu: i64,
    pub free_memory: i64,
    /// In thousandths of the scarcer resource.
    pub fullness: u64,
    pub tasks: u32,
}

/// What one task holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub node: String,
    /// `{region}/{cluster}/{group}`.
    pub group: String,
    pub subnet: Option<String>,
    pub cpu: u32,
    pub memory: u32,
    pub ports: Vec<HostPort>,
}

impl Held {
    /// What `task` holds; none while it has no node, and once it is STOPPED.
    pub fn of(task: &TaskRecord) -> Option<Held> {
        let node = task.node.clone().filter(|_| task.holds_resources())?;
        Some(Held {
            node,
            group: format!("{}/{}/{}", task.region, task.cluster, task.group),
            subnet: task.interface.as_ref().map(|i| i.subnet_id.clone()),
            cpu: task.reserved_cpu,
            memory: task.reserved_memory,
            ports: task.host_ports.clone(),
        })
    }
}

/// Where the tasks of one group are.
#[derive(Clone, Debug, Default)]
pub struct GroupView {
    by_node: BTreeMap<usize, u32>,
    by_subnet: BTreeMap<String, u32>,
}

impl GroupView {
    pub fn on_node(&self, at: usize) -> u32 {
        self.by_node.get(&at).copied().unwrap_or(0)
    }

    pub fn in_subnet(&self, id: &str) -> u32 {
        self.by_subnet.get(id).copied().unwrap_or(0)
    }

    pub fn nodes(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        self.by_node.iter().map(|(at, n)| (*at, *n))
    }
}

/// Every node and what the tasks hold of it.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    nodes: Vec<NodeView>,
    /// Of the node at the same place.
    slots: Vec<Slot>,
    by_id: BTreeMap<String, usize>,
    held: BTreeMap<String, Held>,
    groups: BTreeMap<String, GroupView>,
    /// Group keys by node, for `task:group`.
    on_node: BTreeMap<usize, BTreeMap<String, u32>>,
    /// Tasks on nodes that no record speaks of yet.
    homeless: BTreeSet<String>,
    freed: u64,
}

impl Fleet {
    pub fn nodes(&self) -> &[NodeView] {
        &self.nodes
    }

    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub fn node(&self, id: &str) -> Option<&NodeView> {
        self.index(id).map(|at| &self.nodes[at])
    }

    pub fn index(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    pub fn group(&self, key: &str) -> Option<&GroupView> {
        self.groups.get(key)
    }

    /// What the task at `key` holds.
    pub fn held(&self, key: &str) -> Option<&Held> {
        self.held.get(key)
    }

    /// Grows whenever something that could not be placed might now be.
    pub fn freed(&self) -> u64 {
        self.freed
    }

    /// Takes over a node as it is now.
    pub fn set_node(&mut self, record: Arc<NodeRecord>) {
        let id = record.hello.node_id.clone();
        // The zone is answered by region; which region these are computed for does not matter.
        let attributes = record.attributes("");
        let ec2_instance_id = record.ec2_instance_id();
        self.freed += 1;
        match self.index(&id) {
            Some(at) => {
                self.nodes[at].record = record;
                self.nodes[at].attributes = attributes;
                self.slots[at] = self.nodes[at].slot();
            }
            None => {
                let at = self.nodes.len();
                self.nodes.push(NodeView {
                    record,
                    ec2_instance_id,
                    attributes,
                    used_cpu: 0,
                    used_memory: 0,
                    tasks: 0,
                    ports: Vec::new(),
                });
                self.slots.push(self.nodes[at].slot());
                self.by_id.insert(id.clone(), at);
                let waiting: Vec<String> = self
                    .homeless
                    .iter()
                    .filter(|k| self.held[*k].node == id)
                    .cloned()
                    .collect();
                for key in waiting {
                    self.homeless.remove(&key);
                    if let Some(held) = self.held.get(&key).cloned() {
                        self.count(at, &held, true);
                    }
                }
            }
        }
    }

    /// Takes over what the task at `key` holds now.
    pub fn set_held(&mut self, key: &str, held: Option<Held>) {
        if self.held.get(key) == held.as_ref() {
            return;
        }
        if let Some(old) = self.held.remove(key) {
            self.freed += 1;
            if !self.homeless.remove(key)
                && let Some(at) = self.index(&old.node)
            {
                self.count(at, &old, false);
            }
        }
        if let Some(held) = held {
            match self.index(&held.node) {
                Some(at) => self.count(at, &held, true),
                None => {
                    self.homeless.insert(key.to_owned());
                }
            }
            self.held.insert(key.to_owned(), held);
        }
    }

    fn count(&mut self, at: usize, held: &Held, add: bool) {
        let node = &mut self.nodes[at];
        let group = self.groups.entry(held.group.clone()).or_default();
        let on_node = self.on_node.entry(at).or_default();
        if add {
            node.used_cpu += u64::from(held.cpu);
            node.used_memory += u64::from(held.memory);
            node.tasks += 1;
            node.ports.extend(held.ports.iter().copied());
            *group.by_node.entry(at).or_default() += 1;
            *on_node.entry(held.group.clone()).or_default() += 1;
            if let Some(subnet) = &held.subnet {
                *group.by_subnet.entry(subnet.clone()).or_default() += 1;
            }
        } else {
            node.used_cpu = node.used_cpu.saturating_sub(u64::from(held.cpu));
            node.used_memory = node.used_memory.saturating_sub(u64::from(held.memory));
            node.tasks = node.tasks.saturating_sub(1);
            for port in &held.ports {
                if let Some(i) = node.ports.iter().position(|p| p == port) {
                    node.ports.swap_remove(i);
                }
            }
            less(&mut group.by_node, &at);
            less(on_node, &held.group);
            if let Some(subnet) = &held.subnet {
                less(&mut group.by_subnet, subnet);
            }
            if group.by_node.is_empty() {
                self.groups.remove(&held.group);
            }
        }
        self.slots[at] = self.nodes[at].slot();
    }

    /// A node as an expression sees it from `region`; `cluster` is the `{region}/{cluster}/` that `task:group` is of.
    pub fn instance<'a>(&'a self, at: usize, region: &'a str, cluster: &'a str) -> InstanceView<'a> {
        InstanceView {
            fleet: self,
            at,
            region,
            cluster,
        }
    }
}

fn less<K: Ord + Clone>(counts: &mut BTreeMap<K, u32>, key: &K) {
    if let Some(n) = counts.get_mut(key) {
        *n -= 1;
        if *n == 0 {
            counts.remove(key);
        }
    }
}

/// A node as an expression sees it.
pub struct InstanceView<'a> {
    fleet: &'a Fleet,
    at: usize,
    region: &'a str,
    cluster: &'a str,
}

impl Instance for InstanceView<'_> {
    fn attribute(&self, name: &str) -> Option<Option<String>> {
        self.fleet.nodes[self.at].attribute(self.region, name)
    }

    fn hosts_group(&self, wanted: &dyn Fn(&str) -> bool) -> bool {
        let groups = self.fleet.on_node.get(&self.at);
        groups.is_some_and(|g| g.keys().any(|key| key.strip_prefix(self.cluster).is_some_and(wanted)))
    }

    fn agent_connected(&self) -> bool {
        self.fleet.nodes[self.at].connected()
    }

    fn agent_version(&self) -> &str {
        &self.fleet.nodes[self.at].record.hello.version
    }

    fn instance_id(&self) -> &str {
        &self.fleet.nodes[self.at].ec2_instance_id
    }

    fn registered_at(&self) -> Timestamp {
        self.fleet.nodes[self.at].record.registered_at
    }

    fn running_tasks(&self) -> u32 {
        let groups = self.fleet.on_node.get(&self.at).into_iter().flatten();
        let own = groups.filter(|(key, _)| key.starts_with(self.cluster));
        own.map(|(_, tasks)| tasks).sum()
    }
}
