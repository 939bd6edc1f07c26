//! The shim process: one per task, single-threaded, parent of the task's containers. A loop around `poll`: requests from
//! connections, deaths of children, output of containers. Nothing in it waits for anything else, except that starting an OCI
//! runtime's command line does.
//!
//! Invariant: an exit is written down (`state.jsonl`) before anybody is told of it.

mod birth;
mod cleanup;
mod cli;
mod connection;
mod containers;
mod events;
mod execs;
mod notes;
mod record;

pub use birth::shim_main;
pub use cleanup::{cleanup, remove_cgroup_base};

use crate::cgroup::Cgroups;
use crate::launch::{RuntimeKind, ShimLaunch};
use crate::native::Pause;
use crate::plan::Surroundings;
use crate::protocol::{Failure, FailureCode};
use cli::Cli;
use connection::Connection;
use containers::Container;
use execs::Running as RunningExec;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::time::Instant;

/// Everything a shim knows.
struct Shim {
    launch: ShimLaunch,
    around: Surroundings,
    cgroups: Cgroups,
    pause: Option<Pause>,
    /// Root of the machine's mount namespace, kept where this process has a namespace of its own.
    machine: Option<OwnedFd>,
    containers: Vec<Container>,
    execs: Vec<RunningExec>,
    connections: Vec<Connection>,
    next_connection: u64,
    next_exec: u64,
    /// Made in the first idle moment, since nobody looks for it before that.
    listener: Option<UnixListener>,
    /// Readable when a child died.
    signals: OwnedFd,
    record: record::Record,
    /// What to write before anybody is told, and what may follow.
    unsaved: Unsaved,
    /// Whether what can wait until nobody does has been done.
    settled: bool,
    /// For reading output.
    chunk: Vec<u8>,
    ending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unsaved {
    Nothing,
    /// A start: the client may hear of it first, to lose no time.
    Start,
    /// An exit: disk first.
    Exit,
}

/// Whom to answer: a connection's number and the request's id.
#[derive(Clone, Copy, Debug)]
struct Caller {
    connection: u64,
    id: u64,
}

impl Shim {
    /// Remembers that the state file lacks something.
    fn changed(&mut self, what: Unsaved) {
        self.unsaved = self.unsaved.max(what);
    }

    /// The OCI runtime, where containers are not made by this process itself.
    fn cli(&self) -> Option<Cli<'_>> {
        match &self.launch.runtime {
            RuntimeKind::Native => None,
            RuntimeKind::Cli(program) => Some(Cli {
                program,
                task_dir: &self.launch.task_dir,
                pause: self.pause.as_ref(),
                machine: self.machine.as_ref(),
            }),
        }
    }

    /// The next moment at which something is overdue.
    fn deadline(&self) -> Option<Instant> {
        let containers = self.containers.iter().filter_map(Container::deadline);
        containers
            .chain(self.execs.iter().filter_map(RunningExec::deadline))
            .min()
    }
}

fn not_applicable(message: impl Into<String>) -> Failure {
    Failure {
        code: FailureCode::NotApplicable,
        message: message.into(),
    }
}

fn cannot_start(message: impl Into<String>) -> Failure {
    Failure {
        code: FailureCode::CannotStartContainerError,
        message: message.into(),
    }
}
