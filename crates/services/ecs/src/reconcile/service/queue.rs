//! Which services to look at next: keyed, so that a service waits in line once however much of it changed.

use super::{Next, reconcile};
use crate::Ecs;
use crate::records::{NodeRecord, ServiceRecord, TaskRecord};
use neargate_core::Timestamp;
use neargate_elbv2::TargetRecord;
use neargate_store::{Change, CommitError, Record};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

/// Services looked at side by side: commits of several share the store's flushes.
const WIDTH: usize = 32;
/// After a failure to write.
const RETRY: Duration = Duration::from_secs(1);
/// A look that took less than this is repeated at once when asked; a longer one rests for as long as it took.
const LIGHT: Duration = Duration::from_millis(5);
/// After nodes came or went, services that spread over zones look again: once for all of them.
const SWEEP: Duration = Duration::from_secs(30);
/// The longest sleep: a clock that was set is noticed after this.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

pub(super) struct Queue {
    ecs: Arc<Ecs>,
    waiting: VecDeque<String>,
    /// What is in `waiting`.
    lined_up: HashSet<String>,
    running: HashSet<String>,
    /// Changed while running.
    again: HashSet<String>,
    /// Took long and changed meanwhile: their timer rings soon, until then changes only gather.
    resting: HashSet<String>,
    timers: BTreeSet<(Timestamp, String)>,
    timer_of: HashMap<String, Timestamp>,
    sweep_at: Option<Timestamp>,
    workers: JoinSet<Done>,
}

/// What a worker answers.
struct Done {
    key: String,
    outcome: Result<Next, Fault>,
    took: Duration,
}

/// Why a look came to nothing; it is repeated after `RETRY`.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the store could not write: {0}")]
    Store(#[from] CommitError),
    #[error("the look itself failed: {0}")]
    Panicked(#[from] JoinError),
}

impl Queue {
    pub fn new(ecs: Arc<Ecs>) -> Queue {
        Queue {
            ecs,
            waiting: VecDeque::new(),
            lined_up: HashSet::new(),
            running: HashSet::new(),
            again: HashSet::new(),
            resting: HashSet::new(),
            timers: BTreeSet::new(),
            timer_of: HashMap::new(),
            sweep_at: None,
            workers: JoinSet::new(),
        }
    }

    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        // Subscribed before the first look, so that no change is missed.
        let mut changes = self.ecs.store.changes();
        self.mark_all();
        loop {
            self.start();
            let sleep = self.sleep();
            tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return,
                change = changes.recv() => match change {
                    Ok(changes) => self.note(&changes),
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        tracing::info!(missed, "every service is looked at again");
                        self.mark_all();
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                // Workers neither panic nor are aborted.
                Some(Ok(done)) = self.workers.join_next() => self.finish(done),
                () = tokio::time::sleep(sleep) => self.ring(),
            }
        }
    }

    fn mark_all(&mut self) {
        let snapshot = self.ecs.store.snapshot();
        for (key, _) in snapshot.range::<ServiceRecord>("") {
            self.mark(key);
        }
    }

    fn note(&mut self, changes: &[Change]) {
        let mut nodes = false;
        for change in changes {
            if let Some(key) = change.key.strip_prefix(ServiceRecord::PREFIX) {
                self.mark(key);
            } else if change.key.starts_with(TaskRecord::PREFIX) {
                let task = change
                    .record
                    .clone()
                    .and_then(|r| r.into_any().downcast::<TaskRecord>().ok());
                if let Some((task, service)) = task.as_ref().and_then(|t| Some((t, t.service.as_ref()?))) {
                    self.mark(&ServiceRecord::key(&task.region, &task.cluster, &service.name));
                }
            } else if change.key.starts_with(TargetRecord::PREFIX) {
                let [new, old] = [change.get::<TargetRecord>(), change.previous::<TargetRecord>()];
                let owner = new.or(old).and_then(|target| target.owner.clone());
                if let Some(key) = owner {
                    self.mark(&key);
                }
            } else {
                nodes |= change.key.starts_with(NodeRecord::PREFIX);
            }
        }
        if nodes {
            let at = self.ecs.clock.now().plus(SWEEP);
            self.sweep_at.get_or_insert(at);
            let snapshot = self.ecs.store.snapshot();
            for (key, _) in snapshot.indexed::<ServiceRecord>(ServiceRecord::DAEMONS, "") {
                self.mark(key);
            }
        }
    }

    fn mark(&mut self, key: &str) {
        if self.running.contains(key) {
            self.again.insert(key.to_owned());
        } else if self.resting.contains(key) {
            // Its timer is set.
        } else if self.lined_up.insert(key.to_owned()) {
            self.waiting.push_back(key.to_owned());
        }
    }

    fn start(&mut self) {
        while self.workers.len() < WIDTH
            && let Some(key) = self.waiting.pop_front()
        {
            self.lined_up.remove(&key);
            self.set_timer(&key, None);
            self.running.insert(key.clone());
            let ecs = self.ecs.clone();
            self.workers.spawn(async move {
                let began = Instant::now();
                let name = key.clone();
                // A task of its own, so that a panic in one service stops no other.
                let look = tokio::spawn(async move { reconcile(&ecs, &name).await }).await;
                let outcome = look.map_err(Fault::from).and_then(|next| next.map_err(Fault::from));
                Done {
                    key,
                    outcome,
                    took: began.elapsed(),
                }
            });
        }
    }

    fn finish(&mut self, Done { key, outcome, took }: Done) {
        self.running.remove(&key);
        let again = self.again.remove(&key);
        let now = self.ecs.clock.now();
        let rest = (took > LIGHT).then_some(took.min(RETRY));
        match (outcome, rest) {
            (Err(error), _) => {
                tracing::error!(service = key, %error, "a service is looked at again later");
                self.set_timer(&key, Some(now.plus(RETRY)));
            }
            (Ok(next), None) if again || next == Next::Now => self.mark(&key),
            (Ok(next), Some(rest)) if again || next == Next::Now => {
                self.set_timer(&key, Some(now.plus(rest)));
                self.resting.insert(key);
            }
            (Ok(Next::At(at)), _) => self.set_timer(&key, Some(at)),
            (Ok(Next::Now | Next::OnChange), _) => {}
        }
    }

    fn set_timer(&mut self, key: &str, at: Option<Timestamp>) {
        if let Some(old) = self.timer_of.remove(key) {
            self.timers.remove(&(old, key.to_owned()));
        }
        if let Some(at) = at {
            self.timer_of.insert(key.to_owned(), at);
            self.timers.insert((at, key.to_owned()));
        }
    }

    fn sleep(&self) -> Duration {
        let now = self.ecs.clock.now();
        let timer = self.timers.first().map(|(at, _)| *at);
        let first = timer.into_iter().chain(self.sweep_at).min().map(|at| at.since(now));
        first.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)
    }

    fn ring(&mut self) {
        let now = self.ecs.clock.now();
        if self.sweep_at.take_if(|at| *at <= now).is_some() {
            self.mark_all();
        }
        while let Some((_, key)) = self.timers.first().filter(|(at, _)| *at <= now).cloned() {
            self.set_timer(&key, None);
            self.resting.remove(&key);
            self.mark(&key);
        }
    }
}
