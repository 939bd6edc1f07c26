//! Nodes as control sees them: who is connected, what each must run, what each reports.
//!
//! The control process calls `Nodes::serve`. Nodes connect and say hello; control sends each its whole desired set and
//! from then on every change to it, pushed by the commit that made it; reports and logs go to their services and are
//! acknowledged once durable. Invariants: nothing is acknowledged before it is stored; a node is lost only after it was
//! silent for the whole `silence`, whether its connection broke or not; no node holds up another.

mod assignments;
mod networks;
mod roster;
mod session;
#[cfg(test)]
mod tests;

use neargate_core::AwsError;
use neargate_ecs::records::{NodeRecord, TaskRecord};
use neargate_link::{
    LinkError, LinkListener, LogBatch, LogOpening, NetworkEntry, NodeHello, ProtectionAnswer, ProtectionRequest,
    TaskReport, TaskSpec,
};
use neargate_store::{Change, Snapshot, Store};
use roster::Roster;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A future that a trait object answers.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What nodes mean to ECS.
pub trait TaskPlane: Send + Sync + 'static {
    /// A node connected, or said hello again because it changed.
    fn node_joined(&self, hello: NodeHello) -> BoxFuture<'_, Result<(), AwsError>>;

    /// A node has been silent for too long.
    fn node_lost<'a>(&'a self, node_id: &'a str) -> BoxFuture<'a, Result<(), AwsError>>;

    /// States that a node reported, oldest first; answers once they are stored. Some may have been reported before.
    fn apply_reports<'a>(&'a self, node_id: &'a str, reports: Vec<TaskReport>) -> BoxFuture<'a, Result<(), AwsError>>;

    /// What a task on the node asks about its protection from scale-in, or changes. The node waits for no answer longer than
    /// seconds.
    fn task_protection<'a>(&'a self, node_id: &'a str, request: ProtectionRequest) -> BoxFuture<'a, ProtectionAnswer>;

    /// What the task's node must do for it; none once nothing is left to do. Depends on nothing but its arguments.
    fn assignment(&self, snapshot: &Snapshot, task: &TaskRecord) -> Option<Arc<TaskSpec>>;
}

/// Where log lines go.
pub trait LogSink: Send + Sync + 'static {
    /// Makes sure that a log has its stream, made where it is missing; answers once that is durable. Some may have been
    /// opened before.
    ///
    /// # Errors
    /// Why it can have none: its container must not start.
    fn open(&self, opening: LogOpening) -> BoxFuture<'_, Result<(), AwsError>>;

    /// Stores what is new in `batch`; answers once it is durable.
    fn ingest(&self, batch: LogBatch) -> BoxFuture<'_, Result<(), AwsError>>;
}

/// What nodes must know of networks beyond their own tasks. Both depend on nothing but their arguments.
pub trait NetworkPlane: Send + Sync + 'static {
    /// Everything.
    fn table(&self, snapshot: &Snapshot) -> Vec<NetworkEntry>;

    /// What one change means in `snapshot`, which has it: entries by key, none for one that is gone.
    fn changes(&self, snapshot: &Snapshot, change: &Change) -> Vec<(String, Option<NetworkEntry>)>;
}

/// What an operator may choose.
#[derive(Clone, Copy, Debug)]
pub struct NodesOptions {
    /// A node that was silent for this long is lost.
    pub silence: Duration,
}

impl Default for NodesOptions {
    fn default() -> Self {
        NodesOptions {
            silence: Duration::from_secs(15),
        }
    }
}

/// Control's side of the node link.
#[derive(Clone)]
pub struct Nodes {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    plane: Arc<dyn TaskPlane>,
    networks: Arc<dyn NetworkPlane>,
    logs: Arc<dyn LogSink>,
    options: NodesOptions,
    roster: Roster,
}

impl Nodes {
    pub fn new(
        store: Store,
        plane: Arc<dyn TaskPlane>,
        networks: Arc<dyn NetworkPlane>,
        logs: Arc<dyn LogSink>,
        options: NodesOptions,
    ) -> Nodes {
        Nodes {
            shared: Arc::new(Shared {
                store,
                plane,
                networks,
                logs,
                options,
                roster: Roster::default(),
            }),
        }
    }

    /// Serves nodes until the future is dropped, which ends their connections; they connect again to the next control.
    pub async fn serve(self, listener: LinkListener) {
        // Before any node is served, so that no change is missed.
        let changes = self.shared.store.changes();
        self.expect_known_nodes();
        let mut sessions = JoinSet::new();
        sessions.spawn(assignments::follow(self.shared.clone(), changes));
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => {
                        let shared = self.shared.clone();
                        sessions.spawn(async move {
                            match accepted.establish().await {
                                Ok(connection) => session::run(shared, connection).await,
                                // A second control's probe, a port scanner: no node is concerned.
                                Err(LinkError::Io(error)) => tracing::debug!(%error, "a connection ended before it was greeted"),
                                Err(error) => tracing::warn!(%error, "a node's connection was refused"),
                            }
                        });
                    }
                    Err(error) => {
                        tracing::error!(%error, "cannot accept nodes");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                    }
                },
                Some(ended) = sessions.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "serving a node failed");
                    }
                }
            }
        }
    }

    /// Ids of the nodes connected now, ascending.
    pub fn connected(&self) -> Vec<String> {
        self.shared.roster.connected()
    }

    /// Nodes that were connected when control last ran have `silence` to come back.
    fn expect_known_nodes(&self) {
        let now = Instant::now();
        for (node, record) in self.shared.store.snapshot().range::<NodeRecord>("") {
            if record.connected {
                roster::expect_back(&self.shared, node.into(), now);
            }
        }
    }
}

/// Does what must be stored until it is: server faults (a full disk) are tried again with growing pauses, without end.
///
/// # Errors
/// A client fault: trying again would not help.
async fn until_stored<F>(what: &str, node: &str, mut attempt: impl FnMut() -> F) -> Result<(), AwsError>
where
    F: Future<Output = Result<(), AwsError>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        match attempt().await {
            Err(error) if !error.is_client_fault() => {
                tracing::error!(%error, node, "cannot store {what}; trying again in {pause:?}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);
