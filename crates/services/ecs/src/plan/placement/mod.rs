//! Which node takes a task, and in which subnet.
//!
//! Pure: the fleet as it is, what the task needs and a seed come in; a node or every reason why none will do goes out.
//! Callers: `reconcile::placement` for waiting tasks, RunTask and StartTask for new ones. The invariant: a placement
//! never asks more of a node than it has free.

mod fleet;
mod strategy;

pub use fleet::{Fleet, Held, NodeView, Slot};

use crate::api;
use crate::plan::expression::{self, Expression};
use crate::records::node::zone_index;
use crate::records::{HostPort, TaskRecord};

/// What a task asks of a node.
#[derive(Clone, Debug)]
pub struct Needs {
    pub region: String,
    /// `{region}/{cluster}/{group}`: who it is spread apart from.
    pub group: String,
    /// `{region}/{cluster}/`: whose groups `task:group` speaks of.
    pub cluster: String,
    pub fargate: bool,
    pub cpu: u32,
    pub memory: u32,
    pub ports: Vec<HostPort>,
    /// `X86_64` or `ARM64`.
    pub architecture: Option<String>,
    /// With their zones, in the request's order; empty unless awsvpc.
    pub subnets: Vec<(String, String)>,
    pub distinct_instance: bool,
    pub member_of: Vec<Expression>,
    pub strategy: Vec<api::PlacementStrategy>,
}

impl Needs {
    /// What `task` needs; `zone_of` names a subnet's zone. Constraints were checked when the task was made: one that
    /// cannot be read (written by another version) is met by no node.
    pub fn of(task: &TaskRecord, zone_of: &dyn Fn(&str) -> Option<String>) -> Needs {
        let subnets = task.network.iter().flat_map(|n| n.subnets.iter().flatten());
        let is = |c: &api::PlacementConstraint, kind: &str| c.r#type.as_deref() == Some(kind);
        Needs {
            region: task.region.clone(),
            group: format!("{}/{}/{}", task.region, task.cluster, task.group),
            cluster: format!("{}/{}/", task.region, task.cluster),
            fargate: task.is_fargate(),
            cpu: task.reserved_cpu,
            memory: task.reserved_memory,
            ports: task.host_ports.clone(),
            architecture: task.cpu_architecture.clone(),
            subnets: subnets.filter_map(|id| Some((id.clone(), zone_of(id)?))).collect(),
            distinct_instance: task.placement_constraints.iter().any(|c| is(c, "distinctInstance")),
            member_of: task
                .placement_constraints
                .iter()
                .filter(|c| is(c, "memberOf"))
                .map(|c| {
                    expression::parse(c.expression.as_deref().unwrap_or_default())
                        .unwrap_or(Expression::Any(Vec::new()))
                })
                .collect(),
            strategy: task.placement_strategy.clone(),
        }
    }

    /// Equal tasks have equal texts: when one cannot be placed, none of them can.
    pub fn shape(task: &TaskRecord) -> String {
        format!(
            "{}/{}/{}\0{}\0{}\0{}\0{:?}\0{:?}\0{:?}\0{:?}\0{:?}",
            task.region,
            task.cluster,
            task.group,
            task.launch_type,
            task.reserved_cpu,
            task.reserved_memory,
            task.host_ports,
            task.cpu_architecture,
            task.network.as_ref().and_then(|n| n.subnets.as_ref()),
            task.placement_constraints,
            task.placement_strategy,
        )
    }
}

/// Where a task goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub node: String,
    /// The node's zone in the task's region.
    pub zone: String,
    /// Best first; empty unless awsvpc.
    pub subnets: Vec<String>,
}

/// Why a node does not take a task, from the plainest to the narrowest miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Miss {
    Agent,
    Attribute,
    MemberOf,
    DistinctInstance,
    Ports,
    Cpu,
    Memory,
}

impl Miss {
    /// As a failure of RunTask names it.
    pub fn reason(self) -> &'static str {
        match self {
            Miss::Agent => "AGENT",
            Miss::Attribute => "ATTRIBUTE",
            Miss::MemberOf => "MemberOf placement constraint unsatisfied.",
            Miss::DistinctInstance => "DistinctInstance placement constraint unsatisfied.",
            Miss::Ports => "RESOURCE:PORTS",
            Miss::Cpu => "RESOURCE:CPU",
            Miss::Memory => "RESOURCE:MEMORY",
        }
    }

    /// As a service event goes on after `The closest matching (container-instance X)`.
    fn told(self) -> &'static str {
        match self {
            Miss::Agent => "encountered error \"AGENT\"",
            Miss::Attribute => "is missing an attribute required by your task",
            Miss::MemberOf => "does not satisfy the memberOf placement constraint of your task",
            Miss::DistinctInstance => "is already running a task of the same group",
            Miss::Ports => "is already using a port required by your task",
            Miss::Cpu => "has insufficient CPU units available",
            Miss::Memory => "has insufficient memory available",
        }
    }
}

/// No node takes the task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub fargate: bool,
    /// Each node's reason, at most `Refused::LISTED`, ascending by node id.
    pub misses: Vec<(String, Miss)>,
    /// The node that comes closest.
    pub closest: Option<(String, Miss)>,
    /// A node was found, but no interface in any of the task's subnets: why not.
    pub network: Option<NetworkFault>,
}

/// Why there is no interface for a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFault {
    /// As a failure of RunTask names it.
    pub reason: String,
    pub message: String,
}

impl Refused {
    /// Nodes named in a refusal.
    pub const LISTED: usize = 100;

    /// A node was found, but no interface.
    pub fn no_interface(fargate: bool, fault: NetworkFault) -> Refused {
        Refused {
            fargate,
            misses: Vec::new(),
            closest: None,
            network: Some(fault),
        }
    }

    /// What the closest node lacks, for a person.
    pub fn detail(&self) -> Option<String> {
        let closest = self.closest.as_ref();
        let told = closest.map(|(node, miss)| format!("The closest container instance {node} {}.", miss.told()));
        self.network.as_ref().map(|fault| fault.message.clone()).or(told)
    }

    /// How a service event goes on after `was unable to place a task`.
    pub fn event(&self) -> String {
        match (&self.network, self.fargate, &self.closest) {
            (Some(fault), ..) => format!(". Reason: {}", fault.message),
            (None, true, _) => format!(". Reason: {FARGATE_CAPACITY}. {TROUBLESHOOTING}"),
            (None, false, None) => format!("{NO_INSTANCE_FITS} Reason: {NO_INSTANCES} {TROUBLESHOOTING}"),
            (None, false, Some((node, miss))) => format!(
                "{NO_INSTANCE_FITS} The closest matching (container-instance {node}) {}. {TROUBLESHOOTING}",
                miss.told()
            ),
        }
    }

    /// The reason in one word, as a failure of RunTask.
    pub fn reason(&self) -> String {
        match (&self.network, self.fargate, &self.closest) {
            (Some(fault), ..) => fault.reason.clone(),
            (None, true, _) => FARGATE_CAPACITY.to_owned(),
            (None, false, None) => NO_INSTANCES.to_owned(),
            (None, false, Some((_, miss))) => miss.reason().to_owned(),
        }
    }
}

/// AWS's words when Fargate has no room.
pub const FARGATE_CAPACITY: &str =
    "Capacity is unavailable at this time. Please try again later or in a different availability zone";
/// AWS's words when there is no machine at all.
pub const NO_INSTANCES: &str = "No Container Instances were found in your cluster.";

const NO_INSTANCE_FITS: &str = " because no container instance met all of its requirements.";
/// How AWS ends the service events that name a remedy's place.
const TROUBLESHOOTING: &str =
    "For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.";

/// Chooses a node. `seed` decides between equals, and for the random strategy.
pub fn place(fleet: &Fleet, needs: &Needs, seed: u64) -> Result<Placed, Refused> {
    let group = fleet.group(&needs.group);
    let plain = needs.architecture.is_none()
        && needs.member_of.is_empty()
        && !needs.distinct_instance
        && needs.ports.is_empty();
    let candidates: Vec<usize> = fleet
        .slots()
        .iter()
        .enumerate()
        .filter(|(_, s)| s.connected && i64::from(needs.cpu) <= s.free_cpu && i64::from(needs.memory) <= s.free_memory)
        .map(|(at, _)| at)
        .filter(|at| plain || miss(fleet, *at, needs).is_none())
        .collect();
    if candidates.is_empty() {
        return Err(refuse(fleet, needs));
    }
    if needs.fargate {
        let subnets = strategy::subnets_by_count(needs, group);
        let wanted = subnets.first().and_then(|(_, zone)| zone_index(&needs.region, zone));
        let at = strategy::emptiest(fleet, group, &candidates, |slot| {
            wanted.is_some_and(|index| slot.zone_index != index)
        });
        return Ok(placed(fleet, at, needs, subnets));
    }
    let at = strategy::choose(fleet, group, candidates, needs, seed);
    let zone = fleet.nodes()[at].zone(&needs.region);
    let mut subnets = strategy::subnets_by_count(needs, group);
    // The machine's own zone first; another when it has none of the request's subnets, since every subnet reaches
    // every machine here.
    subnets.sort_by_key(|(_, z)| *z != zone);
    Ok(placed(fleet, at, needs, subnets))
}

/// The same for one given node: StartTask.
///
/// # Errors
/// What the node lacks.
pub fn place_on(fleet: &Fleet, node: &str, needs: &Needs) -> Result<Placed, Miss> {
    let at = fleet.index(node).ok_or(Miss::Agent)?;
    if let Some(miss) = miss(fleet, at, needs) {
        return Err(miss);
    }
    let subnets = strategy::subnets_by_count(needs, fleet.group(&needs.group));
    Ok(placed(fleet, at, needs, subnets))
}

fn placed(fleet: &Fleet, at: usize, needs: &Needs, subnets: Vec<(String, String)>) -> Placed {
    let node = &fleet.nodes()[at];
    Placed {
        node: node.id().to_owned(),
        zone: node.zone(&needs.region),
        subnets: subnets.into_iter().map(|(id, _)| id).collect(),
    }
}

/// What keeps the node from taking the task; none when nothing does.
fn miss(fleet: &Fleet, at: usize, needs: &Needs) -> Option<Miss> {
    let node = &fleet.nodes()[at];
    if !node.connected() {
        return Some(Miss::Agent);
    }
    if needs.architecture.as_deref().is_some_and(|a| a != node.architecture()) {
        return Some(Miss::Attribute);
    }
    if !needs.member_of.is_empty() {
        let instance = fleet.instance(at, &needs.region, &needs.cluster);
        if !needs.member_of.iter().all(|e| e.holds(&instance)) {
            return Some(Miss::MemberOf);
        }
    }
    if needs.distinct_instance && fleet.group(&needs.group).is_some_and(|g| g.on_node(at) > 0) {
        return Some(Miss::DistinctInstance);
    }
    if !needs.ports.is_empty()
        && node
            .ports()
            .iter()
            .any(|held| needs.ports.iter().any(|p| p.overlaps(held)))
    {
        return Some(Miss::Ports);
    }
    if i64::from(needs.cpu) > node.free_cpu() {
        return Some(Miss::Cpu);
    }
    if i64::from(needs.memory) > node.free_memory() {
        return Some(Miss::Memory);
    }
    None
}

fn refuse(fleet: &Fleet, needs: &Needs) -> Refused {
    let mut misses: Vec<(String, Miss)> = fleet
        .nodes()
        .iter()
        .enumerate()
        .filter_map(|(at, node)| Some((node.id().to_owned(), miss(fleet, at, needs)?)))
        .collect();
    misses.sort();
    let closest = misses.iter().rev().max_by_key(|(_, miss)| *miss).cloned();
    misses.truncate(Refused::LISTED);
    Refused {
        fargate: needs.fargate,
        misses,
        closest,
        network: None,
    }
}

#[cfg(test)]
mod tests;
