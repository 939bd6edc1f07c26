//! Nodes that only pretend: they take tasks, report them running and stop them, and run nothing.
//!
//! `neargate up --simulated-nodes N` runs all of them in one process over one connection, for API work in CI and on
//! machines without Linux, and the scale benchmark runs thousands. Every image exists. A task reports PENDING, then
//! RUNNING after `start_delay`; dependencies between containers are honoured; a container with a health check is
//! HEALTHY; a stop order ends every container with exit code 0, as a program that handles SIGTERM would.
//!
//! A container's environment variables make it misbehave:
//! - `NEARGATE_SIM_EXIT_AFTER_MS`: it exits that many milliseconds after its start,
//! - `NEARGATE_SIM_EXIT_CODE`: with this code instead of 0 (alone: at once),
//! - `NEARGATE_SIM_FAIL_START`: it cannot be started, for the reason given,
//! - `NEARGATE_SIM_UNHEALTHY`: its health check fails, that many milliseconds after its start.
//!
//! `fleet` and `task` decide without any IO; this file connects them. Invariant: a report is repeated after every
//! reconnection until control has stored it. Memory and timers are those of the tasks, whatever the number of nodes.

mod fleet;
mod task;
#[cfg(test)]
mod tests;

use fleet::Fleet;
use neargate_core::{Clock, CpuUnits, MiB};
use neargate_link::{FromNode, LinkError, NodeConnection, Sender, Timing, connect_unix};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How many nodes, and what each seems to have.
#[derive(Clone, Debug)]
pub struct SimulatedOptions {
    /// Control's link socket.
    pub socket: PathBuf,
    pub nodes: u32,
    /// The same seed gives the same node ids.
    pub seed: u64,
    /// Of each node.
    pub cpu: CpuUnits,
    /// Of each node.
    pub memory: MiB,
    /// From taking a task to its containers running.
    pub start_delay: Duration,
    /// Silence after which the link counts as broken.
    pub timing: Timing,
}

impl SimulatedOptions {
    /// `nodes` nodes of 16 vCPU and 64 GiB that start tasks at once.
    pub fn new(socket: PathBuf, nodes: u32) -> SimulatedOptions {
        SimulatedOptions {
            socket,
            nodes,
            seed: 1,
            cpu: CpuUnits(16 * 1024),
            memory: MiB(64 * 1024),
            start_delay: Duration::ZERO,
            timing: Timing::default(),
        }
    }
}

/// Runs the nodes until `shutdown`, connecting again whenever control was away.
pub async fn run(options: SimulatedOptions, clock: Arc<dyn Clock>, shutdown: impl Future<Output = ()>) {
    let mut fleet = Fleet::new(&options);
    let work = async {
        let mut pause = FIRST_PAUSE;
        loop {
            match connect_unix(&options.socket, options.timing).await {
                Ok(connection) => {
                    pause = FIRST_PAUSE;
                    if let Err(error) = serve(&mut fleet, connection, &*clock).await {
                        tracing::warn!(%error, "the connection to control ended; connecting again");
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "control is away; trying again in {pause:?}");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    };
    tokio::select! {
        () = work => {}
        () = shutdown => {}
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Messages handled before what they lead to is sent.
const TOGETHER: usize = 256;

async fn serve(fleet: &mut Fleet, connection: NodeConnection, clock: &dyn Clock) -> Result<(), LinkError> {
    let (sender, mut receiver) = connection.split();
    // Reading must not wait for writing, or both ends could wait for each other.
    let (queue, queued) = mpsc::unbounded_channel();
    let sending = std::pin::pin!(send_queued(sender, queued));
    let mut sending = sending;
    let put = |messages: Vec<Outgoing>| messages.into_iter().for_each(|message| drop(queue.send(message)));
    put(fleet.introduce(clock.now()));
    loop {
        let pause = fleet.next_wake().map(|wake| wake.since(clock.now()));
        let wake = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            error = &mut sending => return Err(error),
            () = wake => fleet.wake(clock.now()),
            received = receiver.recv() => {
                let mut received = received?;
                let mut handled = 0;
                while let Some(frame) = received {
                    fleet.receive(&frame.node, frame.message, clock.now());
                    handled += 1;
                    if handled == TOGETHER {
                        break;
                    }
                    received = match receiver.buffered() {
                        Some(next) => Some(next?),
                        None => break,
                    };
                }
                if handled == 0 {
                    return Ok(());
                }
            }
        }
        put(fleet.take_messages());
    }
}

/// A message and the node it is from.
type Outgoing = (Arc<str>, FromNode);

async fn send_queued(sender: Sender<FromNode>, mut queued: mpsc::UnboundedReceiver<Outgoing>) -> LinkError {
    while let Some((node, message)) = queued.recv().await {
        if let Err(error) = sender.send(&node, &message).await {
            return error;
        }
    }
    LinkError::Closed
}
