//! The desired set of a node on both ends of the link, without the link: what control sends, what a node accepts.
//!
//! Control keeps an `Offer` for each connected node, a node keeps a `DesiredSet`. Invariants: a node's set is only ever
//! one that control held under the same generation; generations grow; nothing is sent that changes nothing.

use crate::{TaskSpec, ToNode};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

/// What control has told one node on the present connection.
///
/// It remembers a fingerprint of each task, not the task: of 100,000 tasks the specs alone would take hundreds of MiB.
/// Messages of a connection arrive in order, so a delta stands on what was last sent and need not wait for its
/// acknowledgement.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// Generation last sent or known to be held by the node, 0 before the first.
    generation: u64,
    /// The node has been sent a whole set on this connection.
    started: bool,
    tasks: BTreeMap<Arc<str>, u64>,
}

impl Offer {
    pub fn new() -> Offer {
        Offer::default()
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    pub fn contains(&self, task_id: &str) -> bool {
        self.tasks.contains_key(task_id)
    }

    /// The node said that it holds `generation`: whatever comes next is newer.
    pub fn acknowledged(&mut self, generation: u64) {
        self.generation = self.generation.max(generation);
    }

    /// The whole set: first message of a connection, and the answer to `Resync`. `revision` is the store's, which makes
    /// generations grow across restarts of control.
    pub fn whole(&mut self, revision: u64, tasks: Vec<Arc<TaskSpec>>) -> ToNode {
        self.generation = revision.max(self.generation + 1);
        self.started = true;
        self.tasks = tasks
            .iter()
            .map(|task| (Arc::from(task.id.as_str()), fingerprint(task)))
            .collect();
        ToNode::Desired {
            generation: self.generation,
            base: None,
            upsert: tasks,
            remove: Vec::new(),
        }
    }

    /// The set after some tasks changed (`Some`) or left (`None`); none when the node knows all of it already.
    /// Before the first whole set nothing is sent.
    pub fn delta(
        &mut self,
        revision: u64,
        changes: impl IntoIterator<Item = (Arc<str>, Option<Arc<TaskSpec>>)>,
    ) -> Option<ToNode> {
        if !self.started {
            return None;
        }
        let (mut upsert, mut remove) = (Vec::new(), Vec::new());
        for (id, task) in changes {
            match task {
                Some(task) => {
                    let new = fingerprint(&task);
                    if self.tasks.insert(id, new) != Some(new) {
                        upsert.push(task);
                    }
                }
                None => {
                    if self.tasks.remove(&id).is_some() {
                        remove.push(id.to_string());
                    }
                }
            }
        }
        if upsert.is_empty() && remove.is_empty() {
            return None;
        }
        let base = self.generation;
        self.generation = revision.max(base + 1);
        Some(ToNode::Desired {
            generation: self.generation,
            base: Some(base),
            upsert,
            remove,
        })
    }

    /// As `delta` when the changes are not known, only the tasks as they must be now.
    pub fn delta_to(&mut self, revision: u64, tasks: Vec<Arc<TaskSpec>>) -> Option<ToNode> {
        let keep: std::collections::BTreeSet<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
        let gone: Vec<Arc<str>> = self.tasks.keys().filter(|id| !keep.contains(&***id)).cloned().collect();
        let changes = tasks
            .iter()
            .map(|task| (Arc::from(task.id.as_str()), Some(task.clone())));
        let changes: Vec<_> = gone.into_iter().map(|id| (id, None)).chain(changes).collect();
        self.delta(revision, changes)
    }
}

/// Tells two contents of a task apart.
fn fingerprint(task: &TaskSpec) -> u64 {
    struct Hashing(DefaultHasher);
    impl std::io::Write for Hashing {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.write(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut hashing = Hashing(DefaultHasher::new());
    serde_json::to_writer(&mut hashing, task).expect("a task spec has only string keys, and hashing cannot fail");
    hashing.0.finish()
}

/// The set a node holds: what it must run, under the generation that said so.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DesiredSet {
    generation: u64,
    tasks: BTreeMap<String, Arc<TaskSpec>>,
}

/// What a message changed, by task id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// New, or with other content than before.
    pub upserted: Vec<String>,
    pub removed: Vec<String>,
}

impl Changed {
    pub fn is_empty(&self) -> bool {
        self.upserted.is_empty() && self.removed.is_empty()
    }
}

/// Why a message was refused; the set is as before. A node then says `Applied` with the generation it holds and
/// `Resync`, and control answers with a whole set under a newer generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Resync {
    #[error("the desired set of generation {offered} is older than {held}, which is held")]
    Older { held: u64, offered: u64 },
    #[error("the desired set of generation {generation} differs from the one already held under that generation")]
    Altered { generation: u64 },
    #[error("the change to the desired set stands on generation {base}, but {held} is held")]
    MissingBase { held: u64, base: u64 },
}

impl DesiredSet {
    pub fn new() -> DesiredSet {
        DesiredSet::default()
    }

    /// A set kept from before a restart of the node.
    pub fn restored(generation: u64, tasks: impl IntoIterator<Item = Arc<TaskSpec>>) -> DesiredSet {
        DesiredSet {
            generation,
            tasks: tasks.into_iter().map(|task| (task.id.clone(), task)).collect(),
        }
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn get(&self, task_id: &str) -> Option<&Arc<TaskSpec>> {
        self.tasks.get(task_id)
    }

    /// Ascending by task id.
    pub fn tasks(&self) -> impl ExactSizeIterator<Item = &Arc<TaskSpec>> {
        self.tasks.values()
    }

    /// Takes over a `ToNode::Desired`; other messages change nothing.
    ///
    /// # Errors
    /// `Resync` for the past, for altered content at the same generation, and for a change to a set not held.
    pub fn apply(&mut self, message: ToNode) -> Result<Changed, Resync> {
        match message {
            ToNode::Desired {
                generation,
                base: None,
                upsert,
                ..
            } => self.replace(generation, upsert),
            ToNode::Desired {
                generation,
                base: Some(base),
                upsert,
                remove,
            } => self.change(generation, base, upsert, remove),
            ToNode::Network { .. }
            | ToNode::LogsStored { .. }
            | ToNode::LogOpened { .. }
            | ToNode::ReportsStored { .. }
            | ToNode::Protection { .. }
            | ToNode::Pong => Ok(Changed::default()),
        }
    }

    fn replace(&mut self, generation: u64, tasks: Vec<Arc<TaskSpec>>) -> Result<Changed, Resync> {
        if generation < self.generation {
            return Err(Resync::Older {
                held: self.generation,
                offered: generation,
            });
        }
        let new: BTreeMap<String, Arc<TaskSpec>> = tasks.into_iter().map(|task| (task.id.clone(), task)).collect();
        if generation == self.generation && self.generation != 0 {
            return if new == self.tasks {
                Ok(Changed::default())
            } else {
                Err(Resync::Altered { generation })
            };
        }
        let upserted = new
            .iter()
            .filter(|(id, task)| self.tasks.get(*id) != Some(*task))
            .map(|(id, _)| id.clone());
        let removed = self.tasks.keys().filter(|id| !new.contains_key(*id)).cloned();
        let changed = Changed {
            upserted: upserted.collect(),
            removed: removed.collect(),
        };
        self.generation = generation;
        self.tasks = new;
        Ok(changed)
    }

    fn change(
        &mut self,
        generation: u64,
        base: u64,
        upsert: Vec<Arc<TaskSpec>>,
        remove: Vec<String>,
    ) -> Result<Changed, Resync> {
        if generation < self.generation {
            return Err(Resync::Older {
                held: self.generation,
                offered: generation,
            });
        }
        if generation == self.generation {
            let same = upsert.iter().all(|task| self.tasks.get(&task.id) == Some(task))
                && remove.iter().all(|id| !self.tasks.contains_key(id));
            return if same {
                Ok(Changed::default())
            } else {
                Err(Resync::Altered { generation })
            };
        }
        if base != self.generation {
            return Err(Resync::MissingBase {
                held: self.generation,
                base,
            });
        }
        let mut changed = Changed::default();
        for id in remove {
            if self.tasks.remove(&id).is_some() {
                changed.removed.push(id);
            }
        }
        for task in upsert {
            if self.tasks.get(&task.id) != Some(&task) {
                changed.upserted.push(task.id.clone());
                self.tasks.insert(task.id.clone(), task);
            }
        }
        self.generation = generation;
        Ok(changed)
    }
}

#[cfg(test)]
mod tests;
