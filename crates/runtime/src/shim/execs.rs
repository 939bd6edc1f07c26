//! Processes run inside a container and waited for, health checks above all.

use super::{Caller, Shim, cannot_start, not_applicable};
use crate::launch::Exec;
use crate::native::{self, Report, Stdio};
use crate::plan::{Plan, variable};
use crate::protocol::{Failure, Reply};
use crate::state::{ExecOutcome, ExecResult};
use crate::sys;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How much of an exec's output is kept.
const MAX_OUTPUT: usize = 4096;

/// An exec under way.
pub struct Running {
    caller: Caller,
    /// None once the program runs.
    reports: Option<OwnedFd>,
    pid: libc::pid_t,
    /// Session and process group of what it starts.
    group: libc::pid_t,
    /// By an OCI runtime: where it tells the pid of what it runs.
    pid_file: Option<PathBuf>,
    output: Option<OwnedFd>,
    collected: Vec<u8>,
    begun: Instant,
    overdue: Option<Instant>,
    failed: Option<String>,
}

impl Running {
    pub fn deadline(&self) -> Option<Instant> {
        self.overdue
    }

    pub fn reports(&self) -> Option<RawFd> {
        self.reports.as_ref().map(AsRawFd::as_raw_fd)
    }

    pub fn output(&self) -> Option<RawFd> {
        self.output.as_ref().map(AsRawFd::as_raw_fd)
    }

    fn read_reports(&mut self) {
        while let Some(reports) = &self.reports {
            match native::report(reports) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Ok(Report::Pid(brother)) => self.pid = brother,
                Ok(Report::Terminal(_)) => {}
                Ok(Report::Failed(failure)) => {
                    self.failed = Some(failure.message);
                    self.reports = None;
                }
                Ok(Report::End) | Err(_) => self.reports = None,
            }
        }
    }

    fn read_output(&mut self, chunk: &mut [u8], mut rounds: usize) {
        while let Some(fd) = self.output.as_ref().filter(|_| rounds > 0) {
            rounds -= 1;
            match sys::read(fd.as_raw_fd(), chunk) {
                Ok(0) => self.output = None,
                Ok(count) => {
                    let room = MAX_OUTPUT - self.collected.len();
                    self.collected.extend_from_slice(&chunk[..count.min(room)]);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.output = None,
            }
        }
    }
}

impl Shim {
    /// Begins an exec; answered when it has ended.
    pub fn exec(&mut self, caller: Caller, exec: Exec) -> Result<(), Failure> {
        let not_running = || not_applicable(format!("container {} is not running", exec.container));
        let at = self.find(&exec.container).ok_or_else(not_running)?;
        let container = &self.containers[at];
        let pidfd = container.pidfd().ok_or_else(not_running)?;
        let plan = exec_plan(&container.plan, &exec)?;
        let failure = |e: io::Error| cannot_start(sys::describe(&e));
        let (output, inside) = sys::pipe().map_err(failure)?;
        sys::set_nonblocking(output.as_raw_fd()).map_err(failure)?;
        let both = inside.try_clone().map_err(failure)?;
        let stdio = Stdio {
            stdin: None,
            outputs: Some((inside, both)),
        };
        let begun = Instant::now();
        let (pid, reports, pid_file) = match self.cli() {
            Some(cli) => {
                let (pid, pid_file) = cli.exec(&plan, stdio, self.next_exec).map_err(cannot_start)?;
                (pid, None, Some(pid_file))
            }
            None => {
                let place = self.cgroups.place_of(&exec.container).map_err(failure)?;
                let child = native::exec(&plan, pidfd, &place, stdio).map_err(failure)?;
                (child.pid, Some(child.reports), None)
            }
        };
        self.next_exec += 1;
        self.execs.push(Running {
            caller,
            reports,
            pid,
            group: pid,
            pid_file,
            output: Some(output),
            collected: Vec::new(),
            begun,
            overdue: begun.checked_add(Duration::from_millis(exec.timeout_millis)),
            failed: None,
        });
        Ok(())
    }

    pub fn read_exec_reports(&mut self, at: usize) {
        self.execs[at].read_reports();
    }

    pub fn read_exec_output(&mut self, at: usize) {
        self.execs[at].read_output(&mut self.chunk, 4);
    }

    /// A child died: perhaps an exec's process.
    pub fn exec_child_died(&mut self, pid: libc::pid_t, status: libc::c_int) {
        let involved = |e: &Running| e.pid == pid || e.group == pid;
        let Some(at) = self.execs.iter().position(involved) else {
            return;
        };
        let exec = &mut self.execs[at];
        if exec.pid != pid {
            // The first child, which has handed over to its brother.
            return;
        }
        exec.read_output(&mut self.chunk, 16);
        let mut exec = self.execs.swap_remove(at);
        if let (Some(_), Some(cli), 1..) = (&exec.pid_file, self.cli(), libc::WEXITSTATUS(status)) {
            exec.failed = cli.last_words().filter(|_| exec.overdue.is_some());
        }
        // No deadline left means that it has passed.
        let outcome = match (exec.failed, exec.overdue) {
            (Some(why), _) => ExecOutcome::NotStarted(why),
            (None, None) => ExecOutcome::TimedOut,
            (None, Some(_)) => ExecOutcome::Exited(sys::exit_of(status).0),
        };
        let result = ExecResult {
            outcome,
            output: String::from_utf8_lossy(&exec.collected).into_owned(),
            took_millis: exec.begun.elapsed().as_millis() as u64,
        };
        self.reply(exec.caller, Ok(Reply::Exec(result)));
    }

    /// Kills execs whose time is over; they are answered when dead.
    pub fn expire_execs(&mut self, now: Instant) {
        for exec in &mut self.execs {
            if exec.overdue.is_some_and(|overdue| overdue <= now) {
                exec.overdue = None;
                let inside = exec
                    .pid_file
                    .as_ref()
                    .and_then(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
                if let Some(inside) = inside {
                    let _ = sys::kill(inside, libc::SIGKILL);
                }
                let _ = sys::kill(-exec.group, libc::SIGKILL);
                let _ = sys::kill(exec.pid, libc::SIGKILL);
            }
        }
    }
}

/// The container's plan with another program.
fn exec_plan(container: &Plan, exec: &Exec) -> Result<Plan, Failure> {
    if exec.argv.first().is_none_or(String::is_empty) {
        return Err(not_applicable("no command specified"));
    }
    let mut plan = container.clone();
    plan.argv = exec.argv.clone();
    plan.env
        .retain(|pair| variable(&exec.env, pair.split('=').next().unwrap_or(pair)).is_none());
    plan.env.extend(exec.env.iter().cloned());
    plan.init = false;
    plan.terminal = false;
    if let Some(user) = &exec.user {
        plan.user = user.clone();
    }
    if let Some(cwd) = &exec.cwd {
        plan.cwd = cwd.clone();
    }
    Ok(plan)
}
