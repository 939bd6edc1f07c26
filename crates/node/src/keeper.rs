//! The node's heart: takes control's desired sets, keeps a task's actor for each, and carries reports and logs to control.
//!
//! `run` owns it. Invariants: a task that was ever begun here is not begun again, whatever control says; a task's
//! directory goes only when its last report is stored, its logs are stored and control no longer wants it; a connection
//! that breaks loses nothing.

use crate::logs::ToControl;
use crate::plan::observed::Stop;
use crate::plan::reason;
use crate::ports::NetworkChange;
use crate::task::{self, FromTask, Origin, Shared, ToTask};
use neargate_link::{DesiredSet, FromNode, NodeConnection, NodeHello, Receiver, Sender, TaskReport, TaskSpec, ToNode};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Reports in one message at most.
const REPORTS_TOGETHER: usize = 256;
const RECONNECT_FIRST: Duration = Duration::from_millis(20);
const RECONNECT_LAST: Duration = Duration::from_secs(1);
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// Makes connections to control.
pub trait Connector: Send + 'static {
    fn connect(&self) -> impl Future<Output = Result<NodeConnection, neargate_link::LinkError>> + Send;
}

/// How long log files stay once their task is over.
#[derive(Clone, Copy, Debug)]
pub struct LogRetention {
    pub kept_for: Duration,
    pub tasks: usize,
}

struct Entry {
    spec: Arc<TaskSpec>,
    /// None once the task is over.
    inbox: Option<UnboundedSender<ToTask>>,
    /// Stopped, its logs stored.
    finished: bool,
    ordered: bool,
}

/// Reports that control has not stored yet, the latest of each task.
#[derive(Default)]
pub struct Outbox {
    sequence: u64,
    /// With the sequence it was last sent under; none when it was not.
    unstored: BTreeMap<String, (Option<u64>, TaskReport)>,
}

impl Outbox {
    pub fn put(&mut self, report: TaskReport) {
        self.unstored.insert(report.task_id.clone(), (None, report));
    }

    /// A message with reports that were not sent on this connection yet.
    pub fn next_message(&mut self) -> Option<FromNode> {
        let unsent = self
            .unstored
            .values_mut()
            .filter(|(sent, _)| sent.is_none())
            .take(REPORTS_TOGETHER);
        let next = self.sequence + 1;
        let tasks: Vec<TaskReport> = unsent
            .map(|(sent, report)| {
                *sent = Some(next);
                report.clone()
            })
            .collect();
        if tasks.is_empty() {
            return None;
        }
        self.sequence = next;
        Some(FromNode::Reports { sequence: next, tasks })
    }

    /// On a new connection everything not stored is sent again.
    pub fn reconnected(&mut self) {
        self.unstored.values_mut().for_each(|(sent, _)| *sent = None);
    }

    /// Control stored what was sent up to `sequence`. Answers the tasks concerned.
    pub fn stored(&mut self, sequence: u64) -> Vec<String> {
        let is_stored = |sent: Option<u64>| sent.is_some_and(|s| s <= sequence);
        let stored: Vec<String> = self
            .unstored
            .iter()
            .filter(|(_, (sent, _))| is_stored(*sent))
            .map(|(id, _)| id.clone())
            .collect();
        for id in &stored {
            self.unstored.remove(id);
        }
        stored
    }

    pub fn holds(&self, task_id: &str) -> bool {
        self.unstored.contains_key(task_id)
    }
}

pub struct Keeper {
    shared: Arc<Shared>,
    hello: NodeHello,
    retention: LogRetention,
    desired: DesiredSet,
    /// Generation of the network table that was taken over last.
    enforced: u64,
    /// The whole set was heard at least once: what is on disk and not in it is not wanted.
    heard: bool,
    tasks: HashMap<String, Entry>,
    outbox: Outbox,
    told: UnboundedSender<FromTask>,
    telling: UnboundedReceiver<FromTask>,
    logs: mpsc::Receiver<ToControl>,
    tidying: JoinSet<()>,
}

impl Keeper {
    pub fn new(
        shared: Arc<Shared>,
        hello: NodeHello,
        retention: LogRetention,
        logs: mpsc::Receiver<ToControl>,
    ) -> Keeper {
        let (told, telling) = unbounded_channel();
        Keeper {
            shared,
            hello,
            retention,
            desired: DesiredSet::new(),
            enforced: 0,
            heard: false,
            tasks: HashMap::new(),
            outbox: Outbox::default(),
            told,
            telling,
            logs,
            tidying: JoinSet::new(),
        }
    }

    /// Finds the tasks that an earlier process left.
    pub fn adopt_all(&mut self) -> std::io::Result<()> {
        for entry in std::fs::read_dir(self.shared.dirs.tasks())? {
            let name = entry?.file_name();
            let Some(id) = name.to_str() else { continue };
            let dir = self.shared.dirs.task(id);
            match dir.load()? {
                Some((spec, observed)) => self.begin(Arc::new(spec), Origin::Adopted(observed)),
                // Nothing of it was started: control will say again whether it is wanted.
                None => dir.remove()?,
            }
        }
        Ok(())
    }

    /// Works until `shutdown`; containers stay. Afterwards nothing of it changes the machine any more.
    pub async fn run(&mut self, connector: impl Connector, shutdown: impl Future<Output = ()>) {
        self.work(connector, shutdown).await;
        while self.tidying.join_next().await.is_some() {}
    }

    async fn work(&mut self, connector: impl Connector, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut tidy = tokio::time::interval(TIDY_EVERY);
        loop {
            let connection = {
                let mut connecting = std::pin::pin!(connect(&connector));
                loop {
                    tokio::select! {
                        () = &mut shutdown => return,
                        connection = &mut connecting => break connection,
                        Some(news) = self.telling.recv() => self.hear(news),
                        _ = tidy.tick() => self.tidy(),
                    }
                }
            };
            let (sender, mut receiver) = connection.split();
            tracing::info!("connected to control");
            let ended = tokio::select! {
                () = &mut shutdown => return,
                ended = self.converse(&sender, &mut receiver, &mut tidy) => ended,
            };
            match ended {
                Ok(()) => tracing::info!("control closed the connection"),
                Err(error) => tracing::info!(%error, "the connection to control broke"),
            }
        }
    }

    async fn converse(
        &mut self,
        sender: &Sender<FromNode>,
        receiver: &mut Receiver<ToNode>,
        tidy: &mut tokio::time::Interval,
    ) -> Result<(), neargate_link::LinkError> {
        let node = self.hello.node_id.clone();
        sender.send(&node, &FromNode::Hello(self.hello.clone())).await?;
        if self.desired.generation() > 0 {
            sender
                .send(
                    &node,
                    &FromNode::Applied {
                        generation: self.desired.generation(),
                    },
                )
                .await?;
        }
        self.outbox.reconnected();
        self.shared.logs.connected();
        self.shared.metadata.questions.reconnected();
        loop {
            while let Some(message) = self.outbox.next_message() {
                sender.send(&node, &message).await?;
            }
            tokio::select! {
                // Reports before logs before orders: what frees control's capacity goes first.
                biased;
                Some(news) = self.telling.recv() => {
                    self.hear(news);
                    while let Ok(news) = self.telling.try_recv() {
                        self.hear(news);
                    }
                }
                // There are never many, and somebody waits for each.
                request = self.shared.metadata.questions.next() => {
                    sender.send(&node, &FromNode::Protection(request)).await?;
                }
                Some(message) = self.logs.recv() => {
                    sender.send(&node, &message.message()).await?;
                }
                framed = receiver.recv() => {
                    let Some(framed) = framed? else { return Ok(()) };
                    let answers = match framed.message {
                        ToNode::Network { generation, whole, upsert, remove } => {
                            self.enforce(generation, NetworkChange { whole, upsert, remove }).await
                        }
                        other => self.obey(other),
                    };
                    for answer in answers {
                        sender.send(&node, &answer).await?;
                    }
                }
                _ = tidy.tick() => self.tidy(),
            }
        }
    }

    /// Takes over a change of the network table before anything that was sent after it: tasks stand on it.
    async fn enforce(&mut self, generation: u64, change: NetworkChange) -> Vec<FromNode> {
        if !change.whole && generation <= self.enforced {
            tracing::warn!(
                generation,
                enforced = self.enforced,
                "an old change of the network table is left out"
            );
            return Vec::new();
        }
        self.enforced = generation;
        match self.shared.ports.network.enforce(change).await {
            Ok(()) => vec![FromNode::NetworkApplied { generation }],
            Err(error) => {
                tracing::error!(%error, generation, "the network table is not enforced");
                Vec::new()
            }
        }
    }

    /// A task has news.
    fn hear(&mut self, news: FromTask) {
        match news {
            FromTask::Report(report) => self.outbox.put(report),
            FromTask::Finished(id) => {
                if let Some(entry) = self.tasks.get_mut(&id) {
                    entry.finished = true;
                    entry.inbox = None;
                }
                self.forget_if_over(&id);
            }
        }
    }

    /// Control has something to say. Answers what is to be answered.
    fn obey(&mut self, message: ToNode) -> Vec<FromNode> {
        match message {
            ToNode::Desired { base, .. } => {
                let is_whole = base.is_none();
                let changed = match self.desired.apply(message) {
                    Ok(changed) => changed,
                    Err(refusal) => {
                        tracing::info!(%refusal, "asking control for the whole desired set");
                        let generation = self.desired.generation();
                        return vec![FromNode::Applied { generation }, FromNode::Resync];
                    }
                };
                for id in &changed.upserted {
                    self.want(id);
                }
                for id in &changed.removed {
                    self.unwant(id);
                }
                if is_whole {
                    self.heard_whole();
                }
                vec![FromNode::Applied {
                    generation: self.desired.generation(),
                }]
            }
            ToNode::LogsStored { source, offset } => {
                self.shared.logs.stored(&source, offset);
                Vec::new()
            }
            ToNode::LogOpened { source, refused } => {
                self.shared.logs.opened(&source, refused);
                Vec::new()
            }
            ToNode::Protection { number, answer } => {
                self.shared.metadata.questions.answered(number, answer);
                Vec::new()
            }
            ToNode::ReportsStored { sequence } => {
                for id in self.outbox.stored(sequence) {
                    self.forget_if_over(&id);
                }
                Vec::new()
            }
            // `converse` hands the network table to `enforce`.
            ToNode::Network { .. } | ToNode::Pong => Vec::new(),
        }
    }

    fn want(&mut self, id: &str) {
        let Some(spec) = self.desired.get(id).cloned() else {
            return;
        };
        match self.tasks.get_mut(id) {
            None => self.begin(spec, Origin::New),
            Some(entry) => {
                self.shared.metadata.respecify(&spec);
                if let (Some(order), false) = (&spec.stop, entry.ordered) {
                    entry.ordered = true;
                    order_stop(entry, ToTask::Stop(order.clone()));
                }
            }
        }
    }

    fn unwant(&mut self, id: &str) {
        if let Some(entry) = self.tasks.get_mut(id) {
            if !entry.ordered {
                entry.ordered = true;
                let stop = Stop {
                    code: None,
                    reason: reason::NOT_WANTED.to_owned(),
                };
                order_stop(entry, ToTask::Decide(stop));
            }
            self.forget_if_over(id);
        }
    }

    /// Once the whole set is known, what is here and not in it is stopped.
    fn heard_whole(&mut self) {
        self.heard = true;
        let unwanted: Vec<String> = self
            .tasks
            .keys()
            .filter(|id| self.desired.get(id).is_none())
            .cloned()
            .collect();
        for id in unwanted {
            self.unwant(&id);
        }
    }

    fn begin(&mut self, spec: Arc<TaskSpec>, origin: Origin) {
        let (inbox, orders) = unbounded_channel();
        let entry = Entry {
            spec: spec.clone(),
            inbox: Some(inbox),
            finished: false,
            ordered: spec.stop.is_some(),
        };
        self.tasks.insert(spec.id.clone(), entry);
        tokio::spawn(task::run(self.shared.clone(), spec, origin, orders, self.told.clone()));
    }

    fn forget_if_over(&mut self, id: &str) {
        let over = self.tasks.get(id).is_some_and(|e| e.finished)
            && self.heard
            && self.desired.get(id).is_none()
            && !self.outbox.holds(id);
        if over {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: &str) {
        if let Some(entry) = self.tasks.remove(id) {
            self.shared.metadata.forget(id);
            let dir = self.shared.dirs.task(&entry.spec.id);
            tokio::task::spawn_blocking(move || {
                if let Err(error) = dir.remove() {
                    tracing::warn!(task = %dir.path().display(), %error, "a finished task's directory stays");
                }
            });
        }
    }

    /// Old log files and unused images go.
    fn tidy(&mut self) {
        let shared = self.shared.clone();
        let live: Vec<PathBuf> = self.tasks.values().map(|e| shared.dirs.task_logs(&e.spec)).collect();
        let (dir, retention) = (shared.dirs.logs(), self.retention);
        while self.tidying.try_join_next().is_some() {}
        self.tidying.spawn(async move {
            let removed = tokio::task::spawn_blocking(move || remove_old_logs(&dir, &live, retention)).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!(%error, "old log files are not all removed");
            }
            if let Err(error) = shared.ports.network.uphold().await {
                tracing::error!(%error, "security groups may not be enforced");
            }
            shared.ports.images.collect_garbage().await;
        });
    }
}

fn order_stop(entry: &Entry, order: ToTask) {
    if let Some(inbox) = &entry.inbox {
        // A task that has just ended needs no order.
        let _ = inbox.send(order);
    }
}

async fn connect(connector: &impl Connector) -> NodeConnection {
    let mut pause = RECONNECT_FIRST;
    loop {
        match connector.connect().await {
            Ok(connection) => return connection,
            Err(error) => tracing::debug!(%error, "control is not reachable"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(RECONNECT_LAST);
    }
}

/// Removes the log files of tasks that are gone, when they are old or too many.
fn remove_old_logs(dir: &std::path::Path, live: &[PathBuf], retention: LogRetention) -> std::io::Result<()> {
    let mut gone: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if !live.contains(&entry.path()) {
            gone.push((last_written(&entry.path())?, entry.path()));
        }
    }
    gone.sort();
    let too_many = gone.len().saturating_sub(retention.tasks);
    let now = SystemTime::now();
    for (index, (written, path)) in gone.into_iter().enumerate() {
        let old = now.duration_since(written).is_ok_and(|age| age > retention.kept_for);
        if old || index < too_many {
            std::fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}

/// When the newest log file under a task's folder was written.
fn last_written(task: &std::path::Path) -> std::io::Result<SystemTime> {
    let mut newest = std::fs::metadata(task)?.modified()?;
    for container in std::fs::read_dir(task)? {
        for file in std::fs::read_dir(container?.path())? {
            newest = newest.max(file?.metadata()?.modified()?);
        }
    }
    Ok(newest)
}

/// Why a task ended that `neargate down` stopped.
pub fn stopped_by_hand() -> Stop {
    Stop {
        code: Some("UserInitiated".to_owned()),
        reason: "Stopped by neargate down".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use neargate_link::Phase;

    fn report(id: &str, phase: Phase) -> TaskReport {
        TaskReport {
            task_id: id.to_owned(),
            phase,
            containers: Vec::new(),
            pull_started_at: None,
            pull_stopped_at: None,
            started_at: None,
            stopping_at: None,
            execution_stopped_at: None,
            stopped_at: None,
            stop_code: None,
            stopped_reason: None,
        }
    }

    fn sent(outbox: &mut Outbox) -> Option<(u64, Vec<String>)> {
        outbox.next_message().map(|m| match m {
            FromNode::Reports { sequence, tasks } => (sequence, tasks.into_iter().map(|t| t.task_id).collect()),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn reports_are_sent_once_a_connection_and_repeated_on_the_next_until_stored() {
        let mut outbox = Outbox::default();
        outbox.put(report("a", Phase::Pending));
        outbox.put(report("b", Phase::Running));
        assert_eq!(sent(&mut outbox), Some((1, vec!["a".into(), "b".into()])));
        assert_eq!(sent(&mut outbox), None);
        outbox.put(report("a", Phase::Running));
        assert_eq!(outbox.stored(1), ["b"], "of a something newer is unsent");
        assert_eq!(sent(&mut outbox), Some((2, vec!["a".into()])));
        outbox.reconnected();
        assert_eq!(sent(&mut outbox), Some((3, vec!["a".into()])));
        assert_eq!(outbox.stored(3), ["a"]);
        assert!(!outbox.holds("a"));
    }

    #[test]
    fn many_reports_go_in_several_messages() {
        let mut outbox = Outbox::default();
        for n in 0..REPORTS_TOGETHER + 1 {
            outbox.put(report(&format!("{n:04}"), Phase::Running));
        }
        assert_eq!(sent(&mut outbox).unwrap().1.len(), REPORTS_TOGETHER);
        assert_eq!(sent(&mut outbox).unwrap().1.len(), 1);
    }

    #[test]
    fn log_files_of_gone_tasks_are_removed_when_old_or_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let log = |name: &str, age: u64| {
            let file = dir.path().join(name).join("app/0.log");
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "x").unwrap();
            let written = SystemTime::now() - Duration::from_secs(age);
            for path in [&file, &dir.path().join(name)] {
                std::fs::File::open(path).unwrap().set_modified(written).unwrap();
            }
        };
        for (name, age) in [
            ("old", 7200),
            ("old-but-live", 7200),
            ("older", 600),
            ("recent", 60),
            ("new", 1),
        ] {
            log(name, age);
        }
        let live = [dir.path().join("old-but-live")];
        let retention = LogRetention {
            kept_for: Duration::from_secs(3600),
            tasks: 2,
        };
        remove_old_logs(dir.path(), &live, retention).unwrap();
        let mut left: Vec<String> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["new", "old-but-live", "recent"]);
    }
}
