//! One task on this node: an actor that plans, acts and reports until the task is over.
//!
//! The keeper starts one for each task, new or found on disk. All decisions are `plan`'s; this carries them out, several
//! steps at once, and journals each event before it acts on it. Dropping the actor leaves the task's containers as they
//! are: the next process of the node finds them.

mod adopt;
mod steps;

use crate::dirs::{Dirs, Journal, TaskDir};
use crate::logs::{Following, LogHub, Source};
use crate::metadata::Registry;
use crate::plan::observed::{Event, Observed, Piece, Run, Stop};
use crate::plan::reason::Failure;
use crate::plan::report::report;
use crate::plan::{self, Step};
use crate::ports::{EngineEvent, Holder, Ports, ReadyImage};
use crate::slots::Slots;
use neargate_core::Timestamp;
use neargate_link::{LogSpec, Phase, StopOrder, TaskReport, TaskSpec};
use neargate_runtime::{ExecOutcome, RuntimeKind};
use std::sync::Arc;
use std::time::Duration;
use steps::Done;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// Changes of a starting task that are not news in themselves wait so long for others to go with.
const REPORT_DELAY: Duration = Duration::from_millis(200);

/// What all tasks of a node share.
pub struct Shared {
    pub ports: Ports,
    pub dirs: Dirs,
    pub slots: Slots,
    pub logs: LogHub,
    pub settings: Settings,
    pub metadata: Arc<Registry>,
}

/// The part of the configuration that tasks need.
#[derive(Clone, Debug)]
pub struct Settings {
    pub cgroup_base: String,
    pub runtime: RuntimeKind,
    pub log_max_bytes: u64,
    pub log_files: u32,
    pub min_free_bytes: u64,
    pub nofile_limit: i64,
    /// Ephemeral storage can be held to its size.
    pub quotas: bool,
    pub hostname: String,
}

/// To a task.
#[derive(Debug)]
pub enum ToTask {
    /// Control's stop.
    Stop(StopOrder),
    /// The node's own.
    Decide(Stop),
}

/// From a task.
#[derive(Debug)]
pub enum FromTask {
    Report(TaskReport),
    /// Stopped, and its logs are stored: nothing but its directory is left.
    Finished(String),
}

/// How a task comes to this process.
pub enum Origin {
    New,
    /// Found on disk.
    Adopted(Observed),
}

pub struct Task {
    shared: Arc<Shared>,
    spec: Arc<TaskSpec>,
    dir: TaskDir,
    journal: Journal,
    observed: Observed,
    holder: Option<Arc<dyn Holder>>,
    images: Vec<Option<Arc<ReadyImage>>>,
    networks: Vec<Option<neargate_runtime::Network>>,
    logs: Vec<Option<Following>>,
    engine: UnboundedReceiver<EngineEvent>,
    steps: JoinSet<Done>,
    /// Steps that a stop abandons: what they wait for may never come.
    abandoned_by_stop: Vec<AbortHandle>,
    out: UnboundedSender<FromTask>,
    reported: Option<TaskReport>,
    report_at: Option<Instant>,
    wake_at: Option<Timestamp>,
    synced: bool,
}

/// Runs a task to its end, or until `inbox` closes.
pub async fn run(
    shared: Arc<Shared>,
    spec: Arc<TaskSpec>,
    origin: Origin,
    inbox: UnboundedReceiver<ToTask>,
    out: UnboundedSender<FromTask>,
) {
    let dir = shared.dirs.task(&spec.id);
    let (opened, observed, adopted) = match origin {
        Origin::New => (steps::begin(&shared, &dir, &spec), Observed::new(&spec), false),
        Origin::Adopted(observed) => (Journal::open(dir.path()), observed, true),
    };
    let journal = match opened {
        Ok(journal) => journal,
        Err(error) => {
            refuse(&shared, &spec, observed, &error, &out);
            return;
        }
    };
    let containers = spec.containers.len();
    let mut task = Task {
        images: (0..containers).map(|_| None).collect(),
        networks: vec![None; observed.networks.len()],
        logs: (0..containers).map(|_| None).collect(),
        shared,
        dir,
        journal,
        observed,
        holder: None,
        engine: unbounded_channel().1,
        steps: JoinSet::new(),
        abandoned_by_stop: Vec::new(),
        out,
        reported: None,
        report_at: None,
        wake_at: None,
        synced: adopted,
        spec,
    };
    if adopted {
        task.adopt().await;
    }
    if let Some(order) = &task.spec.stop {
        task.note(&[Event::StopOrdered(order.clone())]);
    }
    task.live(inbox).await;
}

/// A task that cannot even be put on disk is over at once.
fn refuse(
    shared: &Shared,
    spec: &TaskSpec,
    mut observed: Observed,
    error: &std::io::Error,
    out: &UnboundedSender<FromTask>,
) {
    let now = shared.ports.clock.now();
    let reason = Failure::ResourceInitialization.because(format_args!(
        "the node cannot keep the task in {}: {error}; free space there or move the data directory",
        shared.dirs.data().display()
    ));
    tracing::error!(task = spec.id, reason, "a task is refused");
    observed.apply(spec, &Event::ShimFailed { reason }, now);
    observed.apply(spec, &Event::Cleaned, now);
    // The keeper outlives its tasks, but for a shutdown, after which nobody is to be told.
    let _ = out.send(FromTask::Report(report(spec, &observed)));
    let _ = out.send(FromTask::Finished(spec.id.clone()));
}

impl Task {
    async fn live(mut self, mut inbox: UnboundedReceiver<ToTask>) {
        loop {
            self.settle();
            self.tell();
            self.shared.metadata.observe(&self.spec, &self.observed);
            if self.observed.cleanup == Piece::Ready {
                break;
            }
            let wake = self.next_wake();
            let wait = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                order = inbox.recv() => match order {
                    Some(ToTask::Stop(order)) => self.note(&[Event::StopOrdered(order)]),
                    Some(ToTask::Decide(stop)) => self.note(&[Event::StopDecided(stop)]),
                    None => return,
                },
                Some(event) = self.engine.recv() => self.engine_said(event),
                Some(done) = self.steps.join_next() => self.step_done(done),
                () = wait => {}
            }
        }
        self.conclude(&mut inbox).await;
    }

    /// What is left once the task is over: its writable layers, and the rest of its logs.
    async fn conclude(&mut self, inbox: &mut UnboundedReceiver<ToTask>) {
        self.holder = None;
        self.images.clear();
        let (shared, dir, spec) = (self.shared.clone(), self.dir.clone(), self.spec.clone());
        let tidied = tokio::task::spawn_blocking(move || steps::tidy(&shared, &dir, &spec)).await;
        if let Ok(Err(error)) = tidied {
            tracing::warn!(task = self.spec.id, %error, "a finished task's files are not all removed");
        }
        for index in 0..self.logs.len() {
            self.follow(index);
        }
        for following in self.logs.iter_mut().flatten() {
            following.finish();
            loop {
                tokio::select! {
                    () = following.done() => break,
                    // A task that is over takes no orders; the channel's end means shutdown.
                    order = inbox.recv() => if order.is_none() { return },
                }
            }
        }
        let _ = self.out.send(FromTask::Finished(self.spec.id.clone()));
    }

    /// Plans and takes every step that can be taken now.
    fn settle(&mut self) {
        if self.observed.stop.is_some() {
            self.abandoned_by_stop.drain(..).for_each(|step| step.abort());
        }
        loop {
            let plan = plan::plan(&self.spec, &self.observed, self.shared.ports.clock.now());
            if !plan.decisions.is_empty() {
                self.note(&plan.decisions);
                continue;
            }
            self.wake_at = plan.wake_at;
            if plan.steps.is_empty() {
                return;
            }
            let begins: Vec<Event> = plan.steps.iter().map(|s| s.begins()).collect();
            if let Err(error) = self.try_note(&begins) {
                // Nothing may run that a restart would not know of.
                let reason = Failure::ResourceInitialization.because(format_args!("write the journal: {error}"));
                let starting = plan.steps.iter().filter_map(|s| match s {
                    Step::Start { container } => Some(*container),
                    _ => None,
                });
                let failed: Vec<Event> = starting
                    .map(|container| Event::Failed {
                        container,
                        reason: reason.clone(),
                    })
                    .collect();
                if !failed.is_empty() {
                    self.apply(&failed, self.shared.ports.clock.now());
                    self.perform(plan.steps.iter().filter(|s| !matches!(s, Step::Start { .. })).copied());
                    continue;
                }
            }
            self.perform(plan.steps.into_iter());
        }
    }

    /// Journals events and takes them in.
    fn note(&mut self, events: &[Event]) {
        self.note_at(events, self.shared.ports.clock.now());
    }

    fn note_at(&mut self, events: &[Event], at: Timestamp) {
        if let Err(error) = self.write(events, at) {
            tracing::error!(task = self.spec.id, %error, ?events, "the task's journal cannot be written");
        }
        self.apply(events, at);
    }

    /// As `note`, answering whether the journal took them. They count either way.
    fn try_note(&mut self, events: &[Event]) -> std::io::Result<()> {
        let at = self.shared.ports.clock.now();
        let written = self.write(events, at);
        self.apply(events, at);
        written
    }

    fn write(&mut self, events: &[Event], at: Timestamp) -> std::io::Result<()> {
        let lasting: Vec<Event> = events.iter().filter(|e| !e.is_fleeting()).cloned().collect();
        if lasting.is_empty() {
            Ok(())
        } else {
            self.journal.append(&lasting, at)
        }
    }

    fn apply(&mut self, events: &[Event], at: Timestamp) {
        for event in events {
            self.observed.apply(&self.spec, event, at);
        }
    }

    fn index_of(&self, container: &str) -> Option<usize> {
        self.spec.containers.iter().position(|c| c.name == container)
    }

    fn engine_said(&mut self, event: EngineEvent) {
        match event {
            EngineEvent::Started { container, at } => {
                let Some(index) = self.index_of(&container) else { return };
                self.container_started(index, at);
            }
            EngineEvent::Exited { container, exit } => {
                let Some(index) = self.index_of(&container) else { return };
                self.container_exited(index, &exit);
            }
            EngineEvent::Lost => {
                self.holder = None;
                // At the end of a task its holder goes away as it was told to.
                if self.observed.cleanup == Piece::Absent {
                    self.find_remains();
                }
            }
        }
    }

    fn container_started(&mut self, index: usize, at: Timestamp) {
        let runtime_id = crate::bundle::launch::runtime_id(&self.spec, index);
        self.note_at(
            &[Event::Started {
                container: index,
                runtime_id,
            }],
            at,
        );
        self.follow(index);
        self.sync();
    }

    fn container_exited(&mut self, index: usize, exit: &neargate_runtime::Exit) {
        let event = Event::Exited {
            container: index,
            code: Some(exit.code),
            oom_killed: exit.oom_killed,
            reason: None,
        };
        self.note_at(&[event], exit.at);
        if self.observed.containers[index].stopped()
            && let Some(following) = &self.logs[index]
        {
            following.finish();
        }
    }

    /// Begins to send a container's log where it is wanted, once it ever started.
    fn follow(&mut self, index: usize) {
        let LogSpec::Awslogs(to) = &self.spec.containers[index].log else {
            return;
        };
        let started = self.observed.containers[index].started_at.is_some();
        if !started || self.logs[index].is_some() {
            return;
        }
        let source = Source {
            name: source_name(&self.spec, index),
            path: self.shared.dirs.log_file(&self.spec, index),
            files: self.shared.settings.log_files,
            position_path: self.dir.log_position(index),
            to: to.clone(),
        };
        self.logs[index] = Some(self.shared.logs.follow(source));
    }

    /// Once something ran, the task must outlast even a power failure, or it would run a second time.
    fn sync(&mut self) {
        if !self.synced {
            self.synced = true;
            let dir = self.dir.clone();
            tokio::task::spawn_blocking(move || {
                if let Err(error) = dir.sync() {
                    tracing::warn!(task = %dir.path().display(), %error, "a task cannot be synced to disk");
                }
            });
        }
    }

    fn probed(&mut self, container: usize, began: Timestamp, passed: bool) {
        let before = self.observed.containers[container].health.status;
        self.note(&[Event::Probed {
            container,
            began,
            passed,
        }]);
        let status = self.observed.containers[container].health.status;
        if status != before {
            let changed = [Event::HealthChanged { container, status }];
            // Already taken in: the journal only needs to know for the next process.
            if let Err(error) = self.write(&changed, self.shared.ports.clock.now()) {
                tracing::error!(task = self.spec.id, %error, "the task's journal cannot be written");
            }
        }
    }

    /// Reports what changed: at once when it is news, a little later when it only fills in a starting task's times.
    fn tell(&mut self) {
        let now = report(&self.spec, &self.observed);
        if self.reported.as_ref() == Some(&now) {
            return;
        }
        let due = self.report_at.is_some_and(|at| at <= Instant::now());
        let is_news = now.phase != Phase::Pending
            || now
                .containers
                .iter()
                .zip(&self.observed.containers)
                .any(|(r, c)| r.last_status == "STOPPED" || c.run == Run::Running);
        if is_news || due {
            self.report_at = None;
            self.reported = Some(now.clone());
            // The keeper outlives its tasks, but for a shutdown.
            let _ = self.out.send(FromTask::Report(now));
        } else if self.report_at.is_none() {
            self.report_at = Some(Instant::now() + REPORT_DELAY);
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let now = self.shared.ports.clock.now();
        let planned = self.wake_at.map(|at| Instant::now() + at.since(now));
        match (planned, self.report_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

/// The name of a container's log towards control.
fn source_name(spec: &TaskSpec, index: usize) -> String {
    format!("{}/{}", spec.id, spec.containers[index].name)
}

/// True when a health check passed.
fn passed(outcome: &ExecOutcome) -> bool {
    matches!(outcome, ExecOutcome::Exited(0))
}
