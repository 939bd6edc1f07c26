//! All simulated nodes: their desired sets, their tasks, one queue of timers, and reports until control has them.

use super::task::{Event, Task, Timer};
use super::{Outgoing, SimulatedOptions};
use neargate_core::Timestamp;
use neargate_link::{DesiredSet, FromNode, NodeHello, TaskReport, ToNode};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Tasks of one report message at most.
const TOGETHER: usize = 100;

pub(super) struct Fleet {
    nodes: Vec<Node>,
    by_id: HashMap<Arc<str>, usize>,
    timers: BinaryHeap<Reverse<Due>>,
    /// Orders timers that are due together as they were set.
    set: u64,
    start_delay: Duration,
    /// Nodes with reports or answers not yet taken.
    dirty: Vec<usize>,
}

/// A timer of a task; ordered by time.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Timestamp,
    set: u64,
    node: usize,
    task: Arc<str>,
    timer: Timer,
}

struct Node {
    hello: NodeHello,
    id: Arc<str>,
    desired: DesiredSet,
    tasks: HashMap<Arc<str>, Task>,
    /// Asked for the whole set; further refusals need no further word.
    resyncing: bool,
    answers: Vec<FromNode>,
    /// Newest state of each task whose report has not been sent.
    news: BTreeMap<Arc<str>, TaskReport>,
    sequence: u64,
    /// Sent and not yet stored by control.
    unstored: BTreeMap<u64, Vec<TaskReport>>,
    dirty: bool,
}

impl Fleet {
    pub fn new(options: &SimulatedOptions) -> Fleet {
        let node = |index| Node {
            hello: NodeHello {
                node_id: node_id(options.seed, index),
                hostname: format!("simulated-{index}"),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                cpu: options.cpu,
                memory: options.memory,
                os_family: "LINUX".to_owned(),
                cpu_architecture: if cfg!(target_arch = "aarch64") {
                    "ARM64"
                } else {
                    "X86_64"
                }
                .to_owned(),
                attributes: BTreeMap::new(),
                simulated: true,
            },
            id: node_id(options.seed, index).into(),
            desired: DesiredSet::new(),
            tasks: HashMap::new(),
            resyncing: false,
            answers: Vec::new(),
            news: BTreeMap::new(),
            sequence: 0,
            unstored: BTreeMap::new(),
            dirty: false,
        };
        let nodes: Vec<Node> = (0..options.nodes).map(node).collect();
        Fleet {
            by_id: nodes
                .iter()
                .enumerate()
                .map(|(at, node)| (node.id.clone(), at))
                .collect(),
            nodes,
            timers: BinaryHeap::new(),
            set: 0,
            start_delay: options.start_delay,
            dirty: Vec::new(),
        }
    }

    /// First messages of a connection: who the nodes are, what they hold, and every report that control may lack.
    pub fn introduce(&mut self, now: Timestamp) -> Vec<Outgoing> {
        self.wake(now);
        let mut out = Vec::new();
        for node in &mut self.nodes {
            node.resyncing = false;
            out.push((node.id.clone(), FromNode::Hello(node.hello.clone())));
            if node.desired.generation() > 0 {
                out.push((
                    node.id.clone(),
                    FromNode::Applied {
                        generation: node.desired.generation(),
                    },
                ));
            }
            for (sequence, tasks) in &node.unstored {
                out.push((
                    node.id.clone(),
                    FromNode::Reports {
                        sequence: *sequence,
                        tasks: tasks.clone(),
                    },
                ));
            }
        }
        out.extend(self.take_messages());
        out
    }

    /// Handles a message of control to the node `id`.
    pub fn receive(&mut self, id: &str, message: ToNode, now: Timestamp) {
        let Some(&at) = self.by_id.get(id) else {
            tracing::warn!(node = id, "control wrote to a node that is not here");
            return;
        };
        match message {
            ToNode::Desired { .. } => self.desire(at, message, now),
            ToNode::ReportsStored { sequence } => {
                let node = &mut self.nodes[at];
                node.unstored = node.unstored.split_off(&(sequence + 1));
            }
            // No program runs in a simulated task that would ask for anything.
            ToNode::Network { .. }
            | ToNode::LogsStored { .. }
            | ToNode::LogOpened { .. }
            | ToNode::Protection { .. }
            | ToNode::Pong => {}
        }
    }

    fn desire(&mut self, at: usize, message: ToNode, now: Timestamp) {
        let node = &mut self.nodes[at];
        let outcome = node.desired.apply(message);
        let applied = FromNode::Applied {
            generation: node.desired.generation(),
        };
        match outcome {
            Ok(changed) => {
                node.resyncing = false;
                node.answers.push(applied);
                for id in changed.removed {
                    node.tasks.remove(id.as_str());
                }
                for id in changed.upserted {
                    let Some(spec) = node.desired.get(&id).cloned() else {
                        continue;
                    };
                    let id: Arc<str> = id.into();
                    let begin = self.start_delay;
                    let event = match node.tasks.get(&id) {
                        None => Event::Take { spec, begin },
                        Some(_) => Event::Desire { spec },
                    };
                    Self::step(&mut self.timers, &mut self.set, node, at, &id, event, now);
                }
            }
            Err(refusal) => {
                tracing::debug!(node = %node.id, %refusal, "asking for the whole desired set");
                if !node.resyncing {
                    node.resyncing = true;
                    node.answers.extend([applied, FromNode::Resync]);
                }
            }
        }
        self.mark(at);
    }

    /// Runs every timer that is due.
    pub fn wake(&mut self, now: Timestamp) {
        while let Some(Reverse(due)) = self.timers.peek()
            && due.at <= now
            && let Some(Reverse(due)) = self.timers.pop()
        {
            let node = &mut self.nodes[due.node];
            if node.tasks.contains_key(&due.task) {
                let event = Event::Due(due.timer);
                Self::step(&mut self.timers, &mut self.set, node, due.node, &due.task, event, now);
                self.mark(due.node);
            }
        }
    }

    /// When `wake` is next of use.
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.timers.peek().map(|Reverse(due)| due.at)
    }

    fn step(
        timers: &mut BinaryHeap<Reverse<Due>>,
        set: &mut u64,
        node: &mut Node,
        at: usize,
        id: &Arc<str>,
        event: Event,
        now: Timestamp,
    ) {
        let task = match &event {
            Event::Take { spec, .. } => node.tasks.entry(id.clone()).or_insert_with(|| Task::new(spec.clone())),
            Event::Desire { .. } | Event::Due(_) => match node.tasks.get_mut(id) {
                Some(task) => task,
                None => return,
            },
        };
        let mut ask = |due: Timestamp, timer| {
            *set += 1;
            timers.push(Reverse(Due {
                at: due,
                set: *set,
                node: at,
                task: id.clone(),
                timer,
            }));
        };
        if task.handle(event, now, &mut ask) {
            node.news.insert(id.clone(), task.report());
        }
    }

    fn mark(&mut self, at: usize) {
        if !std::mem::replace(&mut self.nodes[at].dirty, true) {
            self.dirty.push(at);
        }
    }

    /// What there is to send since the last time.
    pub fn take_messages(&mut self) -> Vec<Outgoing> {
        let mut out = Vec::new();
        for at in std::mem::take(&mut self.dirty) {
            let node = &mut self.nodes[at];
            node.dirty = false;
            out.extend(node.answers.drain(..).map(|answer| (node.id.clone(), answer)));
            let mut news = std::mem::take(&mut node.news).into_values().peekable();
            while news.peek().is_some() {
                let tasks: Vec<TaskReport> = news.by_ref().take(TOGETHER).collect();
                node.sequence += 1;
                node.unstored.insert(node.sequence, tasks.clone());
                out.push((
                    node.id.clone(),
                    FromNode::Reports {
                        sequence: node.sequence,
                        tasks,
                    },
                ));
            }
        }
        out
    }
}

/// 32 hex digits that depend on nothing but `seed` and `index` (SplitMix64).
fn node_id(seed: u64, index: u32) -> String {
    let mix = |step: u64| {
        let mut z = seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ (u64::from(index) << 1 | step);
        z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    format!("{:016x}{:016x}", mix(0), mix(1))
}
