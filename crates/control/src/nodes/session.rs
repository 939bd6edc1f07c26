//! One connection: its messages sorted to one worker for each node it carries.
//!
//! Reading never waits for sending: workers answer, the reader only sorts. Reports of a node are applied in order and
//! fall together while one batch is being stored; logs have workers of their own, so that they never delay a state, and what
//! containers wait for before they start does not wait for what others have written. What tasks ask about themselves never
//! makes a connection wait: it is left unanswered instead.

use super::assignments::{self, Pushes};
use super::{Shared, roster, until_stored};
use neargate_link::{
    ControlConnection, FromNode, LinkError, LogBatch, LogOpening, ProtectionRequest, Sender, TaskReport, ToNode,
};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Messages of one node that may wait for its worker before the connection is read no further.
const WAITING_MESSAGES: usize = 256;
/// Log batches of one node that may wait likewise.
const WAITING_LOGS: usize = 32;
/// Logs that are opened at the same time for one node, so that their commits go to disk together; more wait.
const OPENING: usize = 64;
/// Questions of one node's tasks that are answered at the same time, and as many wait.
const ASKED: usize = 16;
/// Reports stored together at most.
const TOGETHER: usize = 64;
/// A node that asks for its whole set this often without ever taking one over does not understand them.
const RESYNCS: u32 = 100;

/// Serves one connection until it ends.
pub(super) async fn run(shared: Arc<Shared>, connection: ControlConnection) {
    let (sender, mut receiver) = connection.split();
    let pushes = Arc::new(Pushes::default());
    let mut pusher = std::pin::pin!(assignments::push(shared.clone(), pushes.clone(), sender.clone()));
    let mut nodes: HashMap<Arc<str>, Worker> = HashMap::new();
    let ended = loop {
        let frame = tokio::select! {
            frame = receiver.recv() => frame,
            error = &mut pusher => break Some(error),
        };
        let frame = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) => break None,
            Err(error) => break Some(error),
        };
        if !nodes.contains_key(&frame.node) {
            if !matches!(&frame.message, FromNode::Hello(hello) if hello.node_id == *frame.node) {
                tracing::error!(node = %frame.node, "a node must introduce itself first, under its own id");
                break None;
            }
            let node = Node {
                id: frame.node.clone(),
                shared: shared.clone(),
                pushes: pushes.clone(),
                sender: sender.clone(),
            };
            nodes.insert(frame.node.clone(), Worker::start(node));
        }
        let Some(worker) = nodes.get_mut(&frame.node) else {
            continue;
        };
        let delivery = worker.deliver(frame.message);
        tokio::select! {
            delivered = delivery => if delivered.is_err() {
                break None;
            },
            error = &mut pusher => break Some(error),
        }
    };
    match ended {
        Some(error @ (LinkError::Closed | LinkError::Io(_))) => tracing::debug!(%error, "a node's connection ended"),
        Some(error) => tracing::warn!(%error, "a node's connection ended"),
        None => {}
    }
    pushes.close();
    for node in nodes.keys() {
        roster::leave(&shared, node, &pushes, receiver.heard());
    }
}

/// A node on this connection.
#[derive(Clone)]
struct Node {
    id: Arc<str>,
    shared: Arc<Shared>,
    pushes: Arc<Pushes>,
    sender: Sender<ToNode>,
}

/// The inboxes of a node's tasks; they end once it is dropped and empty.
struct Worker {
    node: Node,
    messages: mpsc::Sender<Box<FromNode>>,
    logs: Option<mpsc::Sender<Box<LogBatch>>>,
    openings: Option<mpsc::Sender<LogOpening>>,
    questions: Option<mpsc::Sender<ProtectionRequest>>,
}

/// The node's worker gave up: the connection is of no further use.
struct GaveUp;

impl Worker {
    fn start(node: Node) -> Worker {
        let (messages, inbox) = mpsc::channel(WAITING_MESSAGES);
        tokio::spawn(node.clone().work(inbox));
        Worker {
            node,
            messages,
            logs: None,
            openings: None,
            questions: None,
        }
    }

    async fn deliver(&mut self, message: FromNode) -> Result<(), GaveUp> {
        match message {
            FromNode::Logs(batch) => {
                let node = &self.node;
                let logs = self.logs.get_or_insert_with(|| {
                    let (logs, inbox) = mpsc::channel(WAITING_LOGS);
                    tokio::spawn(node.clone().store_logs(inbox));
                    logs
                });
                logs.send(Box::new(batch)).await.map_err(|_| GaveUp)
            }
            FromNode::OpenLog(opening) => {
                let node = &self.node;
                let openings = self.openings.get_or_insert_with(|| {
                    let (openings, inbox) = mpsc::channel(OPENING);
                    tokio::spawn(node.clone().open_logs(inbox));
                    openings
                });
                openings.send(opening).await.map_err(|_| GaveUp)
            }
            FromNode::Protection(request) => {
                let node = &self.node;
                let questions = self.questions.get_or_insert_with(|| {
                    let (questions, inbox) = mpsc::channel(ASKED);
                    tokio::spawn(node.clone().answer_questions(inbox));
                    questions
                });
                if questions.try_send(request).is_err() {
                    tracing::debug!(node = %node.id, "its tasks ask more than is answered");
                }
                Ok(())
            }
            other => self.messages.send(Box::new(other)).await.map_err(|_| GaveUp),
        }
    }
}

impl Node {
    async fn work(self, mut inbox: mpsc::Receiver<Box<FromNode>>) {
        let (mut resyncs, mut held) = (0, 0);
        let mut next = inbox.recv().await;
        while let Some(message) = next.take() {
            let outcome = match *message {
                FromNode::Hello(hello) => match roster::join(&self.shared, &self.id, hello, &self.pushes).await {
                    Ok(()) => Ok(()),
                    Err(error) => {
                        tracing::error!(node = %self.id, %error, "ECS does not take this node");
                        return;
                    }
                },
                FromNode::Applied { generation } => {
                    // A refusal tells the generation still held, which is no progress.
                    if generation > held {
                        (resyncs, held) = (0, generation);
                    }
                    self.pushes.acknowledged(&self.id, generation);
                    Ok(())
                }
                FromNode::Resync => {
                    resyncs += 1;
                    if resyncs > RESYNCS {
                        tracing::error!(node = %self.id, "the node cannot take over its desired set");
                        return;
                    }
                    self.pushes.whole(&self.id);
                    Ok(())
                }
                FromNode::Reports { sequence, tasks } => {
                    let (sequence, tasks, following) = gather(&mut inbox, sequence, tasks);
                    next = following;
                    self.store_reports(sequence, tasks).await
                }
                FromNode::Ping => self.sender.send(&self.id, &ToNode::Pong).await,
                FromNode::NetworkApplied { .. }
                | FromNode::Logs(_)
                | FromNode::OpenLog(_)
                | FromNode::Protection(_) => Ok(()),
            };
            if let Err(error) = outcome {
                tracing::debug!(node = %self.id, %error, "the node can no longer be answered");
                return;
            }
            if next.is_none() {
                next = inbox.recv().await;
            }
        }
    }

    async fn store_reports(&self, sequence: u64, tasks: Vec<TaskReport>) -> Result<(), LinkError> {
        let plane = &self.shared.plane;
        let stored = until_stored("task states", &self.id, || plane.apply_reports(&self.id, tasks.clone())).await;
        if let Err(error) = stored {
            tracing::error!(node = %self.id, %error, "reported task states were refused and are dropped");
        }
        self.sender.send(&self.id, &ToNode::ReportsStored { sequence }).await
    }

    async fn open_logs(self, mut inbox: mpsc::Receiver<LogOpening>) {
        let mut under_way = JoinSet::new();
        loop {
            tokio::select! {
                opening = inbox.recv(), if under_way.len() < OPENING => match opening {
                    Some(opening) => {
                        under_way.spawn(self.clone().open_log(opening));
                    }
                    // The connection is gone: who waits for the others asks again on the next.
                    None => return,
                },
                Some(_) = under_way.join_next() => {}
            }
        }
    }

    async fn open_log(self, opening: LogOpening) {
        let (source, logs) = (opening.source.clone(), &self.shared.logs);
        let opened = until_stored("a log stream", &self.id, || logs.open(opening.clone())).await;
        let answer = ToNode::LogOpened {
            source,
            refused: opened.err().map(|e| format!("{}: {}", e.code, e.message)),
        };
        if let Err(error) = self.sender.send(&self.id, &answer).await {
            tracing::debug!(node = %self.id, %error, "the node can no longer be answered");
        }
    }

    async fn answer_questions(self, mut inbox: mpsc::Receiver<ProtectionRequest>) {
        let mut under_way = JoinSet::new();
        loop {
            tokio::select! {
                request = inbox.recv(), if under_way.len() < ASKED => match request {
                    Some(request) => {
                        under_way.spawn(self.clone().answer_question(request));
                    }
                    // The connection is gone: who still waits is asked for again on the next.
                    None => return,
                },
                Some(_) = under_way.join_next() => {}
            }
        }
    }

    async fn answer_question(self, request: ProtectionRequest) {
        let number = request.number;
        let answer = self.shared.plane.task_protection(&self.id, request).await;
        if let Err(error) = self.sender.send(&self.id, &ToNode::Protection { number, answer }).await {
            tracing::debug!(node = %self.id, %error, "the node can no longer be answered");
        }
    }

    async fn store_logs(self, mut inbox: mpsc::Receiver<Box<LogBatch>>) {
        while let Some(batch) = inbox.recv().await {
            let (source, offset) = (batch.source.clone(), batch.to_offset);
            let logs = &self.shared.logs;
            if let Err(error) = until_stored("log events", &self.id, || logs.ingest((*batch).clone())).await {
                // As with awslogs on AWS: events for a group that is gone are lost, the container goes on.
                tracing::warn!(node = %self.id, %error, source, "log events were refused and are dropped");
            }
            if let Err(error) = self.sender.send(&self.id, &ToNode::LogsStored { source, offset }).await {
                tracing::debug!(node = %self.id, %error, "the node can no longer be answered");
                return;
            }
        }
    }
}

/// Joins the reports that wait behind a first one; also answers the message after them, if one was taken out.
fn gather(
    inbox: &mut mpsc::Receiver<Box<FromNode>>,
    mut sequence: u64,
    mut tasks: Vec<TaskReport>,
) -> (u64, Vec<TaskReport>, Option<Box<FromNode>>) {
    while tasks.len() < TOGETHER {
        match inbox.try_recv().map(|message| *message) {
            Ok(FromNode::Reports {
                sequence: later,
                tasks: more,
            }) => {
                sequence = sequence.max(later);
                tasks.extend(more);
            }
            Ok(other) => return (sequence, tasks, Some(Box::new(other))),
            Err(_) => break,
        }
    }
    (sequence, tasks, None)
}
