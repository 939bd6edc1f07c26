//! The node's end: starts a task's shim or finds it again, and talks to it. Either blocking, or (for an async caller that
//! waits for [`AsRawFd`] to become readable) by [`ShimClient::send`] and [`ShimClient::receive`].

use crate::exe::ShimExe;
use crate::launch::{ContainerLaunch, Exec, ShimLaunch};
use crate::protocol::{self, Call, Event, Failure, Message, Reply, Request};
use crate::state::{ExecResult, TaskState, read_state};
use crate::sys;
use neargate_core::Timestamp;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Name of the socket in a task's directory.
pub const SOCKET: &str = "shim.sock";

/// The id of a new shim's first request.
const CONFIGURE: u64 = 0;

#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// What was asked cannot be done; the shim is well.
    #[error("{0}")]
    Refused(Failure),
    /// The shim is gone or talks nonsense: [`ShimClient::attach`] again, or [`cleanup`](crate::cleanup).
    #[error("shim connection: {0}")]
    Lost(String),
    #[error("{context}: {source}")]
    Io { context: &'static str, source: io::Error },
}

impl ShimError {
    fn io(context: &'static str) -> impl FnOnce(io::Error) -> ShimError {
        move |source| ShimError::Io { context, source }
    }
}

/// A connection to one task's shim. Dropping it leaves shim and containers as they are.
#[derive(Debug)]
pub struct ShimClient {
    stream: UnixStream,
    next_id: u64,
    incoming: Vec<u8>,
    /// Arrived and not yet given, in order.
    inbox: VecDeque<Message>,
}

impl ShimClient {
    /// Starts the shim of a task. It runs in a session, cgroup and process tree of its own. Does not wait for it: requests
    /// may follow at once. The connection is subscribed to events from the start.
    ///
    /// # Errors
    /// When the program cannot be executed. What the shim itself finds wrong (cgroups …) comes with the first reply.
    pub fn spawn(exe: &ShimExe, launch: &ShimLaunch) -> Result<ShimClient, ShimError> {
        let (ours, theirs) = UnixStream::pair().map_err(ShimError::io("socketpair"))?;
        exe.bear(&launch.cgroup_base, &theirs)
            .map_err(ShimError::io("start the shim"))?;
        let mut client = ShimClient::over(ours);
        client.next_id = CONFIGURE;
        client.send(Request::Configure(Box::new(launch.clone())))?;
        Ok(client)
    }

    /// Finds the shim that still runs for `task_dir`; none when it is gone. Subscribed to events from now on; the
    /// states of this moment come along.
    ///
    /// # Errors
    /// When a shim listens there but the conversation fails.
    pub fn attach(task_dir: &Path) -> Result<Option<(ShimClient, TaskState)>, ShimError> {
        let patience = Instant::now() + Duration::from_secs(2);
        let stream = loop {
            match sys::connect_in(task_dir, SOCKET) {
                Ok(stream) => break stream,
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                    // A shim makes its socket right after its first container has started: a client that died in between left
                    // one that is about to listen.
                    if Instant::now() > patience || !is_alive(task_dir) {
                        return Ok(None);
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(source) => {
                    return Err(ShimError::Io {
                        context: "connect to the shim",
                        source,
                    });
                }
            }
        };
        let mut client = ShimClient::over(stream);
        match client.call(Request::Subscribe)? {
            Reply::States(states) => Ok(Some((client, states))),
            other => Err(unexpected(&other)),
        }
    }

    fn over(stream: UnixStream) -> ShimClient {
        ShimClient {
            stream,
            next_id: CONFIGURE + 1,
            incoming: Vec::new(),
            inbox: VecDeque::new(),
        }
    }

    /// Starts a container and waits until its program runs.
    ///
    /// # Errors
    /// [`ShimError::Refused`] with ECS's words when it cannot be started.
    pub fn start(&mut self, launch: &ContainerLaunch) -> Result<(i32, Timestamp), ShimError> {
        match self.call(Request::Start(Box::new(launch.clone())))? {
            Reply::Started { pid, at } => Ok((pid, at)),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends a signal to a container's first process; SIGKILL reaches all of its processes.
    ///
    /// # Errors
    /// [`ShimError::Refused`] when it does not run.
    pub fn signal(&mut self, container: &str, signal: i32) -> Result<(), ShimError> {
        self.call(Request::Signal {
            container: container.to_owned(),
            signal,
        })
        .map(drop)
    }

    /// Runs a process inside a container and waits for its end.
    ///
    /// # Errors
    /// [`ShimError::Refused`] when the container does not run.
    pub fn exec(&mut self, exec: &Exec) -> Result<ExecResult, ShimError> {
        match self.call(Request::Exec(exec.clone()))? {
            Reply::Exec(result) => Ok(result),
            other => Err(unexpected(&other)),
        }
    }

    /// # Errors
    /// Only when the shim is lost.
    pub fn states(&mut self) -> Result<TaskState, ShimError> {
        match self.call(Request::States)? {
            Reply::States(states) => Ok(states),
            other => Err(unexpected(&other)),
        }
    }

    /// Forgets an exited container.
    ///
    /// # Errors
    /// [`ShimError::Refused`] while it runs.
    pub fn remove(&mut self, container: &str) -> Result<(), ShimError> {
        self.call(Request::Remove {
            container: container.to_owned(),
        })
        .map(drop)
    }

    /// Ends the shim and removes the task's cgroup and socket; the log files and `state.json` stay.
    ///
    /// # Errors
    /// [`ShimError::Refused`] while a container runs.
    pub fn shutdown(mut self) -> Result<(), ShimError> {
        self.call(Request::Shutdown).map(drop)
    }

    /// The next event, waiting for it.
    ///
    /// # Errors
    /// When the shim is lost.
    pub fn next_event(&mut self) -> Result<Event, ShimError> {
        loop {
            if let Some(at) = self.inbox.iter().position(|m| matches!(m, Message::Event(_)))
                && let Some(Message::Event(event)) = self.inbox.remove(at)
            {
                return Ok(event);
            }
            self.read_some(true)?;
        }
    }

    /// Sends a request without waiting; the reply comes through [`receive`](Self::receive) under the returned id.
    ///
    /// # Errors
    /// When the shim is lost.
    pub fn send(&mut self, request: Request) -> Result<u64, ShimError> {
        let id = self.next_id;
        self.next_id += 1;
        let mut frame = Vec::with_capacity(512);
        protocol::encode(&Call { id, request }, &mut frame);
        self.stream
            .write_all(&frame)
            .map_err(|e| ShimError::Lost(e.to_string()))?;
        Ok(id)
    }

    /// Everything that has arrived, in order, without waiting. A refusal under id 0 is that of the shim as a whole.
    ///
    /// # Errors
    /// When the shim is lost. What arrived before is given first.
    pub fn receive(&mut self) -> Result<Vec<Message>, ShimError> {
        let lost = self.read_some(false);
        match lost {
            Err(e) if self.inbox.is_empty() => Err(e),
            _ => Ok(self.inbox.drain(..).collect()),
        }
    }

    fn call(&mut self, request: Request) -> Result<Reply, ShimError> {
        let wanted = self.send(request)?;
        loop {
            let answers = |m: &Message| matches!(m, Message::Reply { id, .. } if *id == wanted || *id == CONFIGURE);
            if let Some(at) = self.inbox.iter().position(answers)
                && let Some(Message::Reply { result, .. }) = self.inbox.remove(at)
            {
                return result.map_err(ShimError::Refused);
            }
            self.read_some(true)?;
        }
    }

    /// Reads once and sorts what came.
    fn read_some(&mut self, wait: bool) -> Result<(), ShimError> {
        let mut chunk = [0; 16 << 10];
        loop {
            let flags = if wait { 0 } else { libc::MSG_DONTWAIT };
            let count = match sys::recv(self.stream.as_raw_fd(), &mut chunk, flags) {
                Ok(0) => return Err(ShimError::Lost("closed by the shim".into())),
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(ShimError::Lost(e.to_string())),
            };
            self.incoming.extend_from_slice(&chunk[..count]);
            self.sort()?;
            if wait {
                return Ok(());
            }
        }
    }

    fn sort(&mut self) -> Result<(), ShimError> {
        let mut taken = 0;
        while let Some((message, length)) = protocol::decode(&self.incoming[taken..]).map_err(ShimError::Lost)? {
            taken += length;
            // The reply to Configure is of interest only when it refuses.
            if !matches!(
                message,
                Message::Reply {
                    id: CONFIGURE,
                    result: Ok(_)
                }
            ) {
                self.inbox.push_back(message);
            }
        }
        self.incoming.drain(..taken);
        Ok(())
    }
}

impl AsRawFd for ShimClient {
    /// Readable when [`receive`](ShimClient::receive) has something to give.
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

/// Whether the shim that wrote the states in `task_dir` still runs.
fn is_alive(task_dir: &Path) -> bool {
    let state = read_state(task_dir).ok().flatten();
    state.is_some_and(|state| state.shim.is_running())
}

fn unexpected(reply: &Reply) -> ShimError {
    ShimError::Lost(format!("unexpected reply {reply:?}"))
}
