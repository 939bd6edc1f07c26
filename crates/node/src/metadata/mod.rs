//! The task metadata endpoint: what a task's own programs may ask about it, at the address in their environment.
//!
//! Tasks keep the `Registry` current; `serve` answers from it. Invariants: a task is told of itself alone, whoever's id it
//! asks for, and acts for itself alone, whoever's token it has; only what it asks of control waits for control, and not long.

mod agent;
mod document;
mod protection;
mod server;
mod stats;
mod storage;
mod tokens;

pub use document::Version;
pub use server::{Server, serve};
pub use storage::Storage;
pub use tokens::Tokens;

use crate::bundle::launch::runtime_id;
use crate::plan::network_of;
use crate::plan::observed::Observed;
use neargate_link::{NetworkSpec, TaskSpec};
use protection::Questions;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError, RwLock};

/// Where tasks ask. The firewall leads it to the node.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 2);

/// The variables that tell container `index` where to ask and, with its token, to act, by the host that serves it; none
/// without a network.
pub fn variables(spec: &TaskSpec, index: usize, resolver: Ipv4Addr, tokens: &Tokens) -> Vec<(String, String)> {
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
        (
            "ECS_AGENT_URI".to_owned(),
            format!("http://{host}/api/{}", tokens.of(&id)),
        ),
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

    /// Whether what comes from `peer` may be this task's. On the machine's own network that is all that is no other task's.
    fn asks_from(&self, peer: Ipv4Addr, all: &HashMap<String, Known>) -> bool {
        match self.spec.network {
            NetworkSpec::Host => !all.values().any(|other| other.has_address(peer)),
            _ => self.has_address(peer),
        }
    }

    fn has_address(&self, address: Ipv4Addr) -> bool {
        self.observed.networks.iter().any(|n| n.address == Some(address))
    }
}

/// The tasks of this node, and what they ask of control.
#[derive(Debug, Default)]
pub struct Registry {
    tasks: RwLock<HashMap<String, Known>>,
    pub tokens: Tokens,
    pub questions: Questions,
}

/// A container of a task.
#[derive(Clone, Debug)]
pub struct Found {
    pub task: Known,
    pub container: usize,
}

impl Registry {
    pub fn new(tokens: Tokens) -> Registry {
        Registry {
            tokens,
            ..Registry::default()
        }
    }

    /// Notes how far a task is.
    pub fn observe(&self, spec: &Arc<TaskSpec>, observed: &Observed) {
        let mut all = self.tasks.write().unwrap_or_else(PoisonError::into_inner);
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
        let mut all = self.tasks.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get_mut(&spec.id) {
            known.spec = spec.clone();
        }
    }

    pub fn forget(&self, task_id: &str) {
        self.tasks
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(task_id);
    }

    /// The container called `id`, when it is one of the task that asks from `peer`.
    fn container(&self, id: &str, peer: Ipv4Addr) -> Option<Found> {
        let all = self.tasks.read().unwrap_or_else(PoisonError::into_inner);
        let is_it = |known: &Known, index: usize| runtime_id(&known.spec, index) == id;
        let (known, container) = all.values().find_map(|known| {
            let mut indices = 0..known.spec.containers.len();
            Some((known, indices.find(|index| is_it(known, *index))?))
        })?;
        known.asks_from(peer, &all).then(|| Found {
            task: known.clone(),
            container,
        })
    }

    /// The task that asks from `peer` and one of whose containers has the token.
    fn acting(&self, token: &str, peer: Ipv4Addr) -> Option<Arc<TaskSpec>> {
        let all = self.tasks.read().unwrap_or_else(PoisonError::into_inner);
        let is_its = |known: &&Known| {
            let mut containers = 0..known.spec.containers.len();
            containers.any(|index| self.tokens.is_of(token, &runtime_id(&known.spec, index)))
        };
        let mut asking = all.values().filter(|known| known.asks_from(peer, &all));
        asking.find(is_its).map(|known| known.spec.clone())
    }

    /// The task whose own interface has the address: version 2 asks by it.
    fn task_at(&self, peer: Ipv4Addr) -> Option<Known> {
        let all = self.tasks.read().unwrap_or_else(PoisonError::into_inner);
        let mut own = all
            .values()
            .filter(|k| matches!(k.spec.network, NetworkSpec::Awsvpc(_)));
        own.find(|known| known.has_address(peer)).cloned()
    }
}

#[cfg(test)]
mod tests;
