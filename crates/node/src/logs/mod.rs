//! Container logs on their way to CloudWatch Logs, out of the CRI-format files that the engine writes.
//!
//! The executor asks for a container's log to be followed, the keeper carries batches to control and brings back what is
//! stored. While control is away nothing is read: the files are the buffer, bounded by their rotation.

mod assemble;
mod cri;
mod follow;
mod tail;
mod watch;

#[cfg(test)]
mod tests;

pub use follow::Source;

use follow::Lines;
use neargate_link::{AwslogsSpec, FromNode, LogBatch, LogOpening};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{Semaphore, mpsc, oneshot, watch as signal};
use tokio::task::JoinHandle;
use watch::Watcher;

/// Batches in memory, KiB.
const MEMORY_KIB: usize = 16 * 1024;
/// Messages waiting for the link.
const QUEUED: usize = 16;

type Stored = Arc<Mutex<HashMap<String, signal::Sender<u64>>>>;

/// All the logs that are followed.
pub struct LogHub {
    watcher: io::Result<Watcher>,
    out: mpsc::Sender<ToControl>,
    stored: Stored,
    /// Who waits for control's answer about a log, by the source's name.
    opening: Mutex<HashMap<String, oneshot::Sender<Option<String>>>>,
    connection: signal::Sender<u64>,
    memory: Arc<Semaphore>,
}

/// What the hub has to say to control.
#[derive(Clone, Debug)]
pub enum ToControl {
    Open(LogOpening),
    Batch(Arc<LogBatch>),
}

impl ToControl {
    /// As it goes over the link.
    pub fn message(&self) -> FromNode {
        match self {
            ToControl::Open(opening) => FromNode::OpenLog(opening.clone()),
            ToControl::Batch(batch) => FromNode::Logs((**batch).clone()),
        }
    }
}

/// A followed log. Dropping it stops following; what was not stored is sent after the next start.
pub struct Following {
    finished: signal::Sender<bool>,
    task: JoinHandle<()>,
    name: String,
    stored: Stored,
}

impl LogHub {
    /// The hub and what goes to control. Needs a tokio runtime.
    pub fn start() -> (LogHub, mpsc::Receiver<ToControl>) {
        let (out, messages) = mpsc::channel(QUEUED);
        let watcher = Watcher::start().inspect_err(|error| {
            tracing::warn!(%error, "log files cannot be watched");
        });
        let hub = LogHub {
            watcher,
            out,
            stored: Stored::default(),
            opening: Mutex::default(),
            connection: signal::Sender::new(0),
            memory: Arc::new(Semaphore::new(MEMORY_KIB)),
        };
        (hub, messages)
    }

    /// Has control make sure of the place that a container's log goes to. Waits while control is away.
    ///
    /// # Errors
    /// Control's error: the log can have no such place.
    pub async fn open(&self, source: String, to: AwslogsSpec) -> Result<(), String> {
        let (answer, mut answered) = oneshot::channel();
        let mut connection = self.connection.subscribe();
        lock(&self.opening).insert(source.clone(), answer);
        let _forget = Forget {
            hub: self,
            source: &source,
        };
        let opening = LogOpening {
            source: source.clone(),
            region: to.region,
            group: to.group,
            stream: to.stream,
            create_group: to.create_group,
        };
        loop {
            connection.borrow_and_update();
            // Fails when the node ends, which ends this wait too.
            let _ = self.out.send(ToControl::Open(opening.clone())).await;
            tokio::select! {
                Ok(refused) = &mut answered => return refused.map_or(Ok(()), Err),
                Ok(()) = connection.changed() => {}
                else => std::future::pending().await,
            }
        }
    }

    /// Control has opened a source's log, or says why it will not.
    pub fn opened(&self, source: &str, refused: Option<String>) {
        if let Some(waits) = lock(&self.opening).remove(source) {
            // Who no longer waits needs no answer.
            let _ = waits.send(refused);
        }
    }

    /// Follows a container's log from where it was left. Its directory must exist.
    pub fn follow(&self, source: Source) -> Following {
        let (finished, finish) = signal::channel(false);
        let stored = signal::Sender::new(0);
        let lines = Lines {
            out: self.out.clone(),
            stored: stored.subscribe(),
            connection: self.connection.subscribe(),
            finished: finish,
            memory: self.memory.clone(),
        };
        let name = source.name.clone();
        lock(&self.stored).insert(name.clone(), stored);
        let watch = match (&self.watcher, source.path.parent()) {
            (Ok(watcher), Some(dir)) => watcher.watch(dir),
            (Err(error), _) => Err(io::Error::from(error.kind())),
            (_, None) => Err(io::ErrorKind::InvalidFilename.into()),
        };
        let task = tokio::spawn(follow::follow(source, watch, lines));
        Following {
            finished,
            task,
            name,
            stored: self.stored.clone(),
        }
    }

    /// Control has stored a source's events up to `offset`.
    pub fn stored(&self, source: &str, offset: u64) {
        if let Some(stored) = lock(&self.stored).get(source) {
            stored.send_if_modified(|held| {
                let newer = offset > *held;
                *held = offset.max(*held);
                newer
            });
        }
    }

    /// A new connection to control stands: what was under way is sent again.
    pub fn connected(&self) {
        self.connection.send_modify(|n| *n += 1);
    }
}

/// Takes a wait for an answer back when it is abandoned.
struct Forget<'a> {
    hub: &'a LogHub,
    source: &'a str,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(&self.hub.opening).remove(self.source);
    }
}

impl Following {
    /// The container is over: its log is complete.
    pub fn finish(&self) {
        self.finished.send_replace(true);
    }

    /// Waits until all of a finished log is stored.
    pub async fn done(&mut self) {
        // An aborted or panicked follower has nothing more to send either.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
        lock(&self.stored).remove(&self.name);
    }
}

fn lock<T>(map: &Mutex<HashMap<String, T>>) -> MutexGuard<'_, HashMap<String, T>> {
    // The map is whole at every moment.
    map.lock().unwrap_or_else(|e| e.into_inner())
}
