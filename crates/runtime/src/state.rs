//! What is known of a task's containers: answered by the shim, and written by it to `<task dir>/state.json` (replaced
//! atomically at each change) so that it can be told after the shim or the machine died.

use crate::launch::RuntimeKind;
use neargate_core::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A task as its shim knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskState {
    pub task_id: String,
    pub cgroup_base: String,
    pub runtime: RuntimeKind,
    pub shim: ProcessId,
    /// The boot this was written in: after another boot nothing here runs any more.
    pub boot_id: String,
    pub containers: BTreeMap<String, ContainerState>,
}

/// A process, told apart from a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: i32,
    /// Start time in clock ticks since boot (field 22 of `/proc/<pid>/stat`).
    pub start_ticks: u64,
}

impl ProcessId {
    /// The process that has this number now.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(pid: i32) -> std::io::Result<ProcessId> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in brackets, may contain anything: what follows the last bracket starts with field 3.
        let start = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse().ok());
        let start_ticks = start.ok_or_else(|| std::io::Error::other("unreadable /proc/<pid>/stat"))?;
        Ok(ProcessId { pid, start_ticks })
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerState {
    pub id: String,
    pub status: Status,
    /// How many times it was started.
    pub starts: u32,
    /// Log lines dropped: a full disk, or a full buffer in non-blocking mode.
    pub dropped_lines: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Status {
    Running { process: ProcessId, started_at: Timestamp },
    Exited { started_at: Timestamp, exit: Exit },
}

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code; 128 + signal when a signal ended it.
    pub code: i32,
    pub signal: Option<i32>,
    /// The kernel killed something in the container for lack of memory.
    pub oom_killed: bool,
    pub at: Timestamp,
}

/// How an exec ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecResult {
    pub outcome: ExecOutcome,
    /// First 4 KiB of stdout and stderr together.
    pub output: String,
    pub took_millis: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ExecOutcome {
    /// The exit code; 128 + signal when a signal ended it.
    Exited(i32),
    TimedOut,
    /// It could not be started; why, in the words of the OCI runtimes.
    NotStarted(String),
}

/// Name of the state file in a task's directory.
pub const STATE_FILE: &str = "state.json";

/// The states last written in `task_dir`, none when no shim ever wrote there.
///
/// # Errors
/// When the file exists but cannot be read or understood.
pub fn read_state(task_dir: &Path) -> std::io::Result<Option<TaskState>> {
    let path: PathBuf = task_dir.join(STATE_FILE);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
