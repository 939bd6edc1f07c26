//! What is known of a task's containers: answered by the shim, and written by it to `<task dir>/state.jsonl`
//! at each change so that it can be told after the shim or the machine died.

use crate::launch::RuntimeKind;
use neargate_core::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

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
        Ok(ProcessId::with_state(pid)?.0)
    }

    /// Whether it lives: a dead process that its parent has not noticed yet does not.
    pub fn is_running(self) -> bool {
        ProcessId::with_state(self.pid).is_ok_and(|(now, state)| now == self && !matches!(state, 'Z' | 'X'))
    }

    fn with_state(pid: i32) -> std::io::Result<(ProcessId, char)> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in brackets, may contain anything: what follows the last bracket starts with field 3.
        let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        let state = fields.next().and_then(|state| state.chars().next());
        let start = fields.nth(18).and_then(|start| start.parse().ok());
        match (state, start) {
            (Some(state), Some(start_ticks)) => Ok((ProcessId { pid, start_ticks }, state)),
            _ => Err(std::io::Error::other("unreadable /proc/<pid>/stat")),
        }
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

/// Name of the state file in a task's directory: a line of JSON for each change, the last whole one counts. Appending costs
/// a fraction of replacing a file, where making files is slow.
pub const STATE_FILE: &str = "state.jsonl";

/// The states last written in `task_dir`, none when no shim ever wrote there.
///
/// # Errors
/// When the file exists but cannot be read or understood.
pub fn read_state(task_dir: &Path) -> std::io::Result<Option<TaskState>> {
    match std::fs::read(task_dir.join(STATE_FILE)) {
        Ok(bytes) => last_state(&bytes),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The last line that is whole: a write cut short by the end of the machine leaves one that is not.
fn last_state(bytes: &[u8]) -> std::io::Result<Option<TaskState>> {
    let Some(end) = bytes.iter().rposition(|b| *b == b'\n') else {
        return Ok(None);
    };
    let mut error = None;
    for line in bytes[..end].rsplit(|b| *b == b'\n') {
        match serde_json::from_slice(line) {
            Ok(state) => return Ok(Some(state)),
            Err(e) => error = error.or(Some(e)),
        }
    }
    error.map_or(Ok(None), |e| Err(e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(task_id: &str) -> String {
        let state = TaskState {
            task_id: task_id.into(),
            cgroup_base: "base".into(),
            runtime: RuntimeKind::Native,
            shim: ProcessId { pid: 1, start_ticks: 2 },
            boot_id: "boot".into(),
            containers: BTreeMap::new(),
        };
        serde_json::to_string(&state).unwrap() + "\n"
    }

    #[test]
    fn the_last_whole_line_counts() {
        let id = |text: String| last_state(text.as_bytes()).unwrap().map(|s| s.task_id);
        assert_eq!(id(String::new()), None);
        assert_eq!(id(line("a") + &line("b")), Some("b".into()));
        assert_eq!(id(line("a") + &line("b")[..9]), Some("a".into()));
        assert_eq!(
            id(line("a") + "\0\0\0\n"),
            Some("a".into()),
            "zeros after a loss of power"
        );
        assert!(last_state(b"nonsense\n").is_err());
    }
}
