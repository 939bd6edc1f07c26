//! The task metadata endpoint: what a task's own programs may ask about it, at the address in their environment.
//!
//! Tasks keep the `Registry` current; `serve` answers from it. Invariants: a task is told of itself alone, whoever's id it
//! asks for; an answer never waits for control.

mod document;
mod server;
mod stats;
mod storage;

pub use document::Version;
pub use server::{Server, serve};
pub use storage::Storage;

use crate::bundle::launch::runtime_id;
use crate::plan::network_of;
use crate::plan::observed::Observed;
use neargate_link::{NetworkSpec, TaskSpec};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError, RwLock};

/// Where tasks ask. The firewall leads it to the node.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 2);

/// The variables that tell container `index` where to ask, by the host that serves it; none without a network.
pub fn variables(spec: &TaskSpec, index: usize, resolver: Ipv4Addr) -> Vec<(String, String)> {
    let host = match spec.network {
        NetworkSpec::Awsvpc(_) | NetworkSpec::Bridge => ADDRESS.to_string(),
        // What shares the machine's network finds the node where it is.
        NetworkSpec::Host => format!("{resolver}:{}", neargate_netns::METADATA_PORT),
        NetworkSpec::None => return Vec::new(),
    };
    if spec.containers[index].disable_networking {
        return Vec::new();
    }
    let id = runtime_id(spec, index);
    let variable = |name: &str, version| (name.to_owned(), format!("http://{host}/{version}/{id}"));
    vec![
        variable("ECS_CONTAINER_METADATA_URI", "v3"),
        variable("ECS_CONTAINER_METADATA_URI_V4", "v4"),
    ]
}

/// A task, as far as it is known now.
#[derive(Clone, Debug)]
pub struct Known {
    pub spec: Arc<TaskSpec>,
    pub observed: Observed,
}

impl Known {
    /// The address that container `index` is reached by; none on the machine's own network.
    pub fn address(&self, index: usize) -> Option<Ipv4Addr> {
        self.observed.networks.get(network_of(&self.spec, index))?.address
    }

    fn has_address(&self, address: Ipv4Addr) -> bool {
        self.observed.networks.iter().any(|n| n.address == Some(address))
    }
}

/// The tasks of this node.
#[derive(Debug, Default)]
pub struct Registry(RwLock<HashMap<String, Known>>);

/// A container of a task.
#[derive(Clone, Debug)]
pub struct Found {
    pub task: Known,
    pub container: usize,
}

impl Registry {
    /// Notes how far a task is.
    pub fn observe(&self, spec: &Arc<TaskSpec>, observed: &Observed) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(&spec.id) {
            // Control may have said more of it since its actor was started: its tags change.
            Some(known) => known.observed.clone_from(observed),
            None => {
                let known = Known {
                    spec: spec.clone(),
                    observed: observed.clone(),
                };
                all.insert(spec.id.clone(), known);
            }
        }
    }

    /// Notes what control says of a task now.
    pub fn respecify(&self, spec: &Arc<TaskSpec>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get_mut(&spec.id) {
            known.spec = spec.clone();
        }
    }

    pub fn forget(&self, task_id: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(task_id);
    }

    /// The container called `id`, when it is one of the task that asks from `peer`.
    fn container(&self, id: &str, peer: Ipv4Addr) -> Option<Found> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let is_it = |known: &Known, index: usize| runtime_id(&known.spec, index) == id;
        let (known, container) = all.values().find_map(|known| {
            let mut indices = 0..known.spec.containers.len();
            Some((known, indices.find(|index| is_it(known, *index))?))
        })?;
        let asks_itself = match known.spec.network {
            NetworkSpec::Host => !all.values().any(|other| other.has_address(peer)),
            _ => known.has_address(peer),
        };
        asks_itself.then(|| Found {
            task: known.clone(),
            container,
        })
    }

    /// The task whose own interface has the address: version 2 asks by it.
    fn task_at(&self, peer: Ipv4Addr) -> Option<Known> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut own = all
            .values()
            .filter(|k| matches!(k.spec.network, NetworkSpec::Awsvpc(_)));
        own.find(|known| known.has_address(peer)).cloned()
    }
}

#[cfg(test)]
mod tests;
