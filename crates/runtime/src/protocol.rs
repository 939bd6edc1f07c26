//! What client and shim say to each other: frames of a little-endian u32 length and that many bytes of JSON. A client's
//! frame is a [`Call`], the shim's a [`Message`]. Replies come in any order (an exec takes its time), matched by id.

use crate::launch::{ContainerLaunch, Exec, ShimLaunch};
use crate::state::{ExecResult, Exit, TaskState};
use neargate_core::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest frame either side accepts.
pub const MAX_FRAME: usize = 4 << 20;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub id: u64,
    pub request: Request,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Always first, and only on the connection that the shim was born with.
    Configure(Box<ShimLaunch>),
    Start(Box<ContainerLaunch>),
    /// To the container's first process; SIGKILL goes to all of its processes.
    Signal {
        container: String,
        signal: i32,
    },
    Exec(Exec),
    States,
    /// From now on events come on this connection. Replied with the states of this very moment, so that none is missed.
    Subscribe,
    /// Forgets an exited container and removes what the kernel keeps of it.
    Remove {
        container: String,
    },
    /// Ends the shim; refused while a container runs.
    Shutdown,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    Reply { id: u64, result: Result<Reply, Failure> },
    Event(Event),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    Done,
    Started { pid: i32, at: Timestamp },
    Exec(ExecResult),
    States(TaskState),
}

/// Something that happened to a container, told to every subscribed connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    Started { container: String, pid: i32, at: Timestamp },
    Exited { container: String, exit: Exit },
}

/// A refusal, in ECS's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub code: FailureCode,
    pub message: String,
}

/// The names that ECS puts before a container's reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureCode {
    CannotCreateContainerError,
    CannotStartContainerError,
    /// No such container, or not in a state that allows it.
    NotApplicable,
}

impl fmt::Display for Failure {
    /// As it stands in a container's `reason`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            FailureCode::NotApplicable => f.write_str(&self.message),
            code => write!(f, "{code:?}: {}", self.message),
        }
    }
}

/// Appends `value` as one frame.
pub fn encode(value: &impl Serialize, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    // Our own types: maps have string keys and no serializer of theirs fails, so neither can writing to memory.
    serde_json::to_writer(&mut *out, value).expect("protocol types always serialize");
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Takes the first whole frame off `buffer`: its value and how many bytes it took.
///
/// # Errors
/// A frame too long or not of the type asked for; the connection is of no more use then.
pub fn decode<T: for<'de> Deserialize<'de>>(buffer: &[u8]) -> Result<Option<(T, usize)>, String> {
    let Some(head) = buffer.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*head) as usize;
    if length > MAX_FRAME {
        return Err(format!("frame of {length} bytes"));
    }
    let Some(body) = buffer.get(4..4 + length) else {
        return Ok(None);
    };
    let value = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    Ok(Some((value, 4 + length)))
}
