//! The life of containers: started, running, ended, removed.

use super::{Caller, Shim, Unsaved, cannot_start, not_applicable};
use crate::cgroup::devices;
use crate::launch::{ContainerLaunch, Resources, Sharing};
use crate::log::{Formatter, Sink};
use crate::native::{self, Given, Report, Stdio};
use crate::plan::{self, Plan};
use crate::protocol::{Event, Failure, FailureCode, Reply};
use crate::state::{ContainerState, Exit, ProcessId, Status};
use crate::sys;
use neargate_core::Timestamp;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A child that has not executed the program by then is killed.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an exit waits for the last log lines to be written.
const LOG_TIMEOUT: Duration = Duration::from_secs(2);
/// Most that is read from a stream in one round, so that no container keeps the shim to itself.
const ROUND_BYTES: usize = 256 << 10;

pub struct Container {
    pub plan: Plan,
    stage: Stage,
    starts: u32,
    dropped_before: u64,
    streams: Vec<Stream>,
    sink: Option<Sink>,
    /// Held open for `interactive`.
    _stdin: Option<OwnedFd>,
}

enum Stage {
    Starting {
        child: native::Spawned,
        pid: libc::pid_t,
        caller: Caller,
        overdue: Instant,
    },
    Running {
        process: ProcessId,
        pidfd: OwnedFd,
        started_at: Timestamp,
    },
    /// Dead; the log writer has not ended yet.
    Closing {
        started_at: Timestamp,
        exit: Exit,
        writer: libc::pid_t,
        overdue: Instant,
    },
    Exited {
        started_at: Timestamp,
        exit: Exit,
    },
    /// It never ran, and its child is gone.
    Failed,
}

struct Stream {
    fd: Option<OwnedFd>,
    formatter: Formatter,
}

pub fn now() -> Timestamp {
    Timestamp::from_millis((now_nanos() / 1_000_000) as i64)
}

fn now_nanos() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos() as u64)
}

impl Container {
    pub fn is_exited(&self) -> bool {
        matches!(self.stage, Stage::Exited { .. } | Stage::Failed)
    }

    pub fn state(&self) -> Option<ContainerState> {
        let status = match &self.stage {
            Stage::Starting { .. } | Stage::Failed => return None,
            Stage::Running {
                process, started_at, ..
            } => Status::Running {
                process: *process,
                started_at: *started_at,
            },
            Stage::Closing { started_at, exit, .. } | Stage::Exited { started_at, exit } => Status::Exited {
                started_at: *started_at,
                exit: *exit,
            },
        };
        let dropped = self.sink.as_ref().map_or(0, Sink::dropped_lines);
        let dropped_lines = self.dropped_before + dropped;
        Some(ContainerState {
            id: self.plan.id.clone(),
            status,
            starts: self.starts,
            dropped_lines,
        })
    }

    pub fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Starting { overdue, .. } | Stage::Closing { overdue, .. } => Some(*overdue),
            _ => None,
        }
    }

    pub fn reports(&self) -> Option<RawFd> {
        match &self.stage {
            Stage::Starting { child, .. } => Some(child.reports.as_raw_fd()),
            _ => None,
        }
    }

    pub fn output_fds(&self) -> impl Iterator<Item = (usize, RawFd)> {
        self.streams
            .iter()
            .enumerate()
            .filter_map(|(at, stream)| Some((at, stream.fd.as_ref()?.as_raw_fd())))
    }

    pub fn log_writer(&self) -> Option<RawFd> {
        self.sink.as_ref()?.wants_to_write()
    }

    pub fn flush_log(&mut self) {
        if let Some(sink) = &mut self.sink {
            sink.flush();
        }
    }

    /// The handle of the running process.
    pub fn pidfd(&self) -> Option<&OwnedFd> {
        match &self.stage {
            Stage::Running { pidfd, .. } => Some(pidfd),
            _ => None,
        }
    }

    /// Reads a stream until it is empty, at its end, or `budget` is used up.
    fn pump(&mut self, stream: usize, chunk: &mut [u8], mut budget: usize) {
        let (Some(stream), Some(sink)) = (self.streams.get_mut(stream), &mut self.sink) else {
            return;
        };
        let mut lines = Vec::new();
        while let Some(fd) = stream.fd.as_ref().filter(|_| budget > 0) {
            lines.clear();
            match sys::read(fd.as_raw_fd(), chunk) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // A terminal whose other side is closed answers EIO: its end.
                Ok(0) | Err(_) => {
                    stream.fd = None;
                    stream.formatter.finish(now_nanos(), &mut lines);
                }
                Ok(count) => {
                    budget = budget.saturating_sub(count);
                    stream.formatter.push(&chunk[..count], now_nanos(), &mut lines);
                }
            }
            sink.write(&lines);
        }
    }

    /// Takes the last of the output and closes the log; the pid of a log writer that is still at it.
    fn close_output(&mut self, chunk: &mut [u8]) -> Option<libc::pid_t> {
        for at in 0..self.streams.len() {
            // Every writer is dead: a pipe holds no more than this.
            self.pump(at, chunk, 1 << 20);
        }
        let mut rest = Vec::new();
        for mut stream in self.streams.drain(..) {
            stream.formatter.finish(now_nanos(), &mut rest);
        }
        self._stdin = None;
        let sink = self.sink.as_mut()?;
        sink.write(&rest);
        sink.finish()
    }

    fn close_log(&mut self) {
        if let Some(sink) = self.sink.take() {
            self.dropped_before += sink.dropped_lines();
        }
    }
}

impl Shim {
    pub fn find(&self, name: &str) -> Option<usize> {
        self.containers.iter().position(|c| c.plan.name == name)
    }

    /// Begins a start; answered when the program runs or the child has given up.
    pub fn start(&mut self, caller: Caller, launch: ContainerLaunch) -> Result<(), Failure> {
        let plan = plan::decide(&launch, &self.around)?;
        let before = self.find(&plan.name);
        if before.is_some_and(|at| !self.containers[at].is_exited()) {
            return Err(not_applicable(format!("container {} is already running", plan.name)));
        }
        let container = self.spawn(caller, plan, &launch).inspect_err(|_| {
            let _ = self.cgroups.remove_container(&launch.name);
        })?;
        let at = match before {
            Some(at) => {
                let old = &self.containers[at];
                let (starts, dropped_before) = (old.starts, old.dropped_before);
                self.containers[at] = Container {
                    starts,
                    dropped_before,
                    ..container
                };
                at
            }
            None => {
                self.containers.push(container);
                self.containers.len() - 1
            }
        };
        // By a runtime's command line it runs already.
        if let Stage::Running {
            process, started_at, ..
        } = &self.containers[at].stage
        {
            let (pid, started_at) = (process.pid, *started_at);
            self.tell_started(at, caller, pid, started_at);
        }
        Ok(())
    }

    fn tell_started(&mut self, at: usize, caller: Caller, pid: libc::pid_t, started_at: Timestamp) {
        self.containers[at].starts += 1;
        let container = self.containers[at].plan.name.clone();
        self.reply(caller, Ok(Reply::Started { pid, at: started_at }));
        self.publish(&Event::Started {
            container,
            pid,
            at: started_at,
        });
        self.changed(Unsaved::Start);
    }

    fn spawn(&mut self, caller: Caller, plan: Plan, launch: &ContainerLaunch) -> Result<Container, Failure> {
        let io_failure = |e: io::Error| cannot_start(sys::describe(&e));
        let sink = Sink::open(&launch.log)
            .map_err(|e| cannot_start(format!("log file {}: {}", launch.log.path.display(), sys::describe(&e))))?;
        let place = self.make_cgroup(&plan, &launch.resources)?;
        let mut streams = Vec::new();
        let mut stdin = None;
        let mut stdio = Stdio {
            stdin: None,
            outputs: None,
        };
        if !plan.terminal {
            let (stdout, stdout_inside) = sys::pipe().map_err(io_failure)?;
            let (stderr, stderr_inside) = sys::pipe().map_err(io_failure)?;
            for (fd, name) in [(stdout, "stdout"), (stderr, "stderr")] {
                sys::set_nonblocking(fd.as_raw_fd()).map_err(io_failure)?;
                streams.push(Stream {
                    fd: Some(fd),
                    formatter: Formatter::new(name, false),
                });
            }
            stdio.outputs = Some((stdout_inside, stderr_inside));
            if plan.interactive {
                let (inside, ours) = sys::pipe().map_err(io_failure)?;
                stdio.stdin = Some(inside);
                stdin = Some(ours);
            }
        }
        if let Some(cli) = self.cli() {
            let path = self.cgroups.path_of(&plan.name);
            let made = cli.start(&plan, &path, stdio).map_err(cannot_start)?;
            if let Some(terminal) = made.terminal {
                sys::set_nonblocking(terminal.as_raw_fd()).map_err(io_failure)?;
                streams.push(Stream {
                    fd: Some(terminal),
                    formatter: Formatter::new("stdout", true),
                });
            }
            // It runs: that this process's child is the one meant is sure, since nobody else reaps it.
            let (pidfd, process) = (sys::pidfd_open(made.pid), ProcessId::of(made.pid));
            let stage = Stage::Running {
                pidfd: pidfd.map_err(io_failure)?,
                process: process.map_err(io_failure)?,
                started_at: now(),
            };
            let container = Container {
                plan,
                stage,
                starts: 0,
                dropped_before: 0,
                streams,
                sink: Some(sink),
                _stdin: stdin,
            };
            return Ok(container);
        }
        let shown_cgroups = self.cgroups.shown();
        let given = Given {
            place: &place,
            pause: self.pause.as_ref(),
            shown_cgroups: &shown_cgroups,
        };
        let child = native::start(&plan, &given, stdio).map_err(io_failure)?;
        let overdue = Instant::now() + START_TIMEOUT;
        let stage = Stage::Starting {
            pid: child.pid,
            child,
            caller,
            overdue,
        };
        Ok(Container {
            plan,
            stage,
            starts: 0,
            dropped_before: 0,
            streams,
            sink: Some(sink),
            _stdin: stdin,
        })
    }

    /// The container's cgroup with its limits and device filter.
    fn make_cgroup(&self, plan: &Plan, resources: &Resources) -> Result<crate::cgroup::Place, Failure> {
        let refused = |message| Failure {
            code: FailureCode::CannotCreateContainerError,
            message,
        };
        let place = self.cgroups.create_container(&plan.name, resources).map_err(refused)?;
        if !plan.privileged && self.cli().is_none() {
            let rules = devices::rules(&plan.devices).map_err(refused)?;
            let filtered = self.cgroups.filter_devices(&plan.name, &rules);
            filtered.map_err(|e| refused(format!("device filter: {}", sys::describe(&e))))?;
        }
        Ok(place)
    }

    /// Hears how a start goes.
    pub fn read_reports(&mut self, at: usize) {
        loop {
            let Stage::Starting { child, pid, .. } = &mut self.containers[at].stage else {
                return;
            };
            match native::report(&child.reports) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) => return self.start_failed(at, cannot_start(sys::describe(&e))),
                Ok(Report::Failed(failure)) => return self.start_failed(at, failure),
                Ok(Report::Pid(brother)) => *pid = brother,
                Ok(Report::Terminal(fd)) => {
                    if sys::set_nonblocking(fd.as_raw_fd()).is_ok() {
                        let formatter = Formatter::new("stdout", true);
                        self.containers[at].streams.push(Stream {
                            fd: Some(fd),
                            formatter,
                        });
                    }
                }
                Ok(Report::End) => return self.started(at),
            }
        }
    }

    fn started(&mut self, at: usize) {
        let started_at = now();
        let container = &mut self.containers[at];
        let stage = std::mem::replace(&mut container.stage, Stage::Failed);
        let Stage::Starting { child, pid, caller, .. } = stage else {
            return;
        };
        let pidfd = if pid == child.pid {
            Ok(child.pidfd)
        } else {
            sys::pidfd_open(pid)
        };
        // Nobody but this process reaps it, so it is there, alive or dead.
        let (Ok(pidfd), Ok(process)) = (pidfd, ProcessId::of(pid)) else {
            let failure = cannot_start("the process vanished");
            return self.reply(caller, Err(failure));
        };
        container.stage = Stage::Running {
            process,
            pidfd,
            started_at,
        };
        self.tell_started(at, caller, pid, started_at);
    }

    fn start_failed(&mut self, at: usize, failure: Failure) {
        let container = &mut self.containers[at];
        let stage = std::mem::replace(&mut container.stage, Stage::Failed);
        let Stage::Starting { child, pid, caller, .. } = stage else {
            return;
        };
        // They end by themselves right after their report; a hung one is killed.
        for pid in [child.pid, pid] {
            let _ = sys::kill(pid, libc::SIGKILL);
            let _ = sys::wait_for(pid);
        }
        container.close_output(&mut self.chunk);
        container.close_log();
        let _ = self.cgroups.remove_container(&self.containers[at].plan.name);
        self.reply(caller, Err(failure));
    }

    /// Takes what a container printed, up to a bound.
    pub fn pump(&mut self, at: usize, stream: usize) {
        let mut chunk = std::mem::take(&mut self.chunk);
        self.containers[at].pump(stream, &mut chunk, ROUND_BYTES);
        self.chunk = chunk;
    }

    /// A child died: perhaps a container's process, perhaps a log writer.
    pub fn container_child_died(&mut self, pid: libc::pid_t, status: libc::c_int) {
        for at in 0..self.containers.len() {
            match &self.containers[at].stage {
                Stage::Running {
                    process, started_at, ..
                } if process.pid == pid => {
                    let started_at = *started_at;
                    self.container_ended(at, started_at, status);
                }
                Stage::Closing {
                    started_at,
                    exit,
                    writer,
                    ..
                } if *writer == pid => {
                    let (started_at, exit) = (*started_at, *exit);
                    self.exited(at, started_at, exit);
                }
                _ => {}
            }
        }
    }

    fn container_ended(&mut self, at: usize, started_at: Timestamp, status: libc::c_int) {
        let name = self.containers[at].plan.name.clone();
        if self.around.pid != Sharing::Private {
            // With a pid namespace of its own the kernel has killed the rest already.
            let _ = self.cgroups.kill_container(&name);
        }
        let (code, signal) = sys::exit_of(status);
        let exit = Exit {
            code,
            signal,
            oom_killed: self.cgroups.oom_killed(&name),
            at: now(),
        };
        let mut chunk = std::mem::take(&mut self.chunk);
        let writer = self.containers[at].close_output(&mut chunk);
        self.chunk = chunk;
        match writer {
            None => self.exited(at, started_at, exit),
            Some(writer) => {
                let overdue = Instant::now() + LOG_TIMEOUT;
                self.containers[at].stage = Stage::Closing {
                    started_at,
                    exit,
                    writer,
                    overdue,
                };
                self.changed(Unsaved::Exit);
            }
        }
    }

    fn exited(&mut self, at: usize, started_at: Timestamp, exit: Exit) {
        let container = &mut self.containers[at];
        container.close_log();
        container.stage = Stage::Exited { started_at, exit };
        let name = container.plan.name.clone();
        if let Some(cli) = self.cli() {
            cli.remove(&name);
        }
        // Refused while something of it is still dying: then it goes with the task's.
        let _ = self.cgroups.remove_container(&name);
        if self.containers.iter().any(|c| !c.is_exited()) {
            // It may have been killed, which took the limit away.
            let _ = self.cgroups.limit_cpu(&self.launch.limits);
        }
        self.publish(&Event::Exited { container: name, exit });
        self.changed(Unsaved::Exit);
    }

    /// Acts on what is overdue.
    pub fn expire(&mut self, now: Instant) {
        for at in 0..self.containers.len() {
            match &self.containers[at].stage {
                Stage::Starting { overdue, .. } if *overdue <= now => {
                    let seconds = START_TIMEOUT.as_secs();
                    self.start_failed(
                        at,
                        cannot_start(format!("the container did not start within {seconds} seconds")),
                    );
                }
                // The log writer hangs in the disk: the exit waits no longer, the writer goes on by itself.
                Stage::Closing {
                    overdue,
                    started_at,
                    exit,
                    ..
                } if *overdue <= now => {
                    let (started_at, exit) = (*started_at, *exit);
                    self.exited(at, started_at, exit);
                }
                _ => {}
            }
        }
        self.expire_execs(now);
    }

    pub fn signal(&mut self, name: &str, signal: i32) -> Result<(), Failure> {
        let stage = self.find(name).map(|at| &self.containers[at].stage);
        let pidfd = match stage {
            Some(Stage::Running { pidfd, .. }) => pidfd,
            Some(Stage::Starting { child, .. }) if signal == libc::SIGKILL => &child.pidfd,
            _ => return Err(not_applicable(format!("container {name} is not running"))),
        };
        if signal == libc::SIGKILL {
            let _ = self.cgroups.kill_container(name);
        }
        match sys::pidfd_signal(pidfd.as_raw_fd(), signal) {
            // It died this moment: what was wanted of it is done.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other.map_err(|e| not_applicable(format!("signal {signal}: {}", sys::describe(&e)))),
        }
    }

    pub fn remove(&mut self, name: &str) -> Result<(), Failure> {
        let Some(at) = self.find(name) else {
            return Err(not_applicable(format!("no container {name}")));
        };
        if !self.containers[at].is_exited() {
            return Err(not_applicable(format!("container {name} is running")));
        }
        self.containers.remove(at);
        let _ = self.cgroups.remove_container(name);
        self.changed(Unsaved::Exit);
        Ok(())
    }
}
