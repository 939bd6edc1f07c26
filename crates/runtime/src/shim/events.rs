//! The loop.

use super::connection::Connection;
use super::{Caller, Shim, Unsaved, not_applicable, notes};
use crate::cgroup::Place;
use crate::client::SOCKET;
use crate::protocol::{Event, Failure, Reply, Request};
use crate::sys;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

/// What a descriptor in the poll set belongs to; indices hold for one round.
#[derive(Clone, Copy)]
enum Source {
    Signals,
    Listener,
    Connection(usize),
    /// How a container's start goes.
    Reports(usize),
    /// A container's stream.
    Output(usize, usize),
    /// A container's log writer.
    Writer(usize),
    ExecReports(usize),
    ExecOutput(usize),
}

impl Shim {
    /// Serves until told to end.
    pub fn work(&mut self, place: &Place) -> io::Result<()> {
        // The first requests came along with the configuration.
        self.serve();
        loop {
            self.settle_round();
            if self.ending {
                return Ok(());
            }
            let (mut fds, sources) = self.poll_set();
            if !self.settled {
                if sys::poll(&mut fds, Some(0))? == 0 {
                    self.settle(place)?;
                    continue;
                }
            } else {
                sys::poll(&mut fds, self.deadline().map(millis_until))?;
            }
            let ready = fds.iter().zip(&sources).filter(|(fd, _)| fd.revents != 0);
            let ready: Vec<Source> = ready.map(|(_, source)| *source).collect();
            self.round(&ready);
        }
    }

    /// What waits until nobody does: the socket for later clients, and leaving the cgroups that the node was started in. The
    /// latter is best effort on v1, where nothing depends on it but whom memory is charged to and whom systemd kills.
    fn settle(&mut self, place: &Place) -> io::Result<()> {
        let listener = sys::listen_in(&self.launch.task_dir, SOCKET)?;
        listener.set_nonblocking(true)?;
        self.listener = Some(listener);
        if let Err(e) = place.attach_self() {
            notes::write(&format!("cgroup of shims: {e}"));
        }
        self.settled = true;
        Ok(())
    }

    /// One round: what happened first, requests last, since they change what indices mean.
    fn round(&mut self, ready: &[Source]) {
        for source in ready {
            match *source {
                Source::Reports(container) => self.read_reports(container),
                Source::Output(container, stream) => self.pump(container, stream),
                Source::Writer(container) => self.containers[container].flush_log(),
                Source::ExecReports(exec) => self.read_exec_reports(exec),
                Source::ExecOutput(exec) => self.read_exec_output(exec),
                Source::Signals | Source::Listener | Source::Connection(_) => {}
            }
        }
        if ready.iter().any(|s| matches!(s, Source::Signals)) {
            sys::clear_signals(&self.signals);
            self.reap();
        }
        self.expire(Instant::now());
        for source in ready {
            match *source {
                Source::Connection(at) => {
                    let connection = &mut self.connections[at];
                    connection.read(&mut self.chunk);
                    connection.flush();
                }
                Source::Listener => self.accept(),
                _ => {}
            }
        }
        self.serve();
    }

    /// After a round: exits go to the disk before they go out, starts after.
    fn settle_round(&mut self) {
        if self.unsaved == Unsaved::Exit {
            self.save();
        }
        self.connections.iter_mut().for_each(Connection::flush);
        self.connections.retain(|c| !c.is_closed());
        if self.unsaved == Unsaved::Start {
            self.save();
        }
    }

    fn save(&mut self) {
        // Tried again with the next change when the disk is full; the clients are told in any case.
        match self.record.save(&self.containers) {
            Ok(()) => self.unsaved = Unsaved::Nothing,
            Err(e) => {
                notes::write(&format!("state file: {e}"));
                self.unsaved = Unsaved::Nothing;
            }
        }
    }

    fn poll_set(&self) -> (Vec<libc::pollfd>, Vec<Source>) {
        let mut fds = Vec::with_capacity(16);
        let mut sources = Vec::with_capacity(16);
        let mut add = |fd: RawFd, events: libc::c_short, source: Source| {
            fds.push(libc::pollfd { fd, events, revents: 0 });
            sources.push(source);
        };
        add(self.signals.as_raw_fd(), libc::POLLIN, Source::Signals);
        if let Some(listener) = &self.listener {
            add(listener.as_raw_fd(), libc::POLLIN, Source::Listener);
        }
        for (at, connection) in self.connections.iter().enumerate() {
            let events = if connection.has_unsent() {
                libc::POLLIN | libc::POLLOUT
            } else {
                libc::POLLIN
            };
            add(connection.fd(), events, Source::Connection(at));
        }
        for (at, container) in self.containers.iter().enumerate() {
            if let Some(fd) = container.reports() {
                add(fd, libc::POLLIN, Source::Reports(at));
            }
            for (stream, fd) in container.output_fds() {
                add(fd, libc::POLLIN, Source::Output(at, stream));
            }
            if let Some(fd) = container.log_writer() {
                add(fd, libc::POLLOUT, Source::Writer(at));
            }
        }
        for (at, exec) in self.execs.iter().enumerate() {
            if let Some(fd) = exec.reports() {
                add(fd, libc::POLLIN, Source::ExecReports(at));
            }
            if let Some(fd) = exec.output() {
                add(fd, libc::POLLIN, Source::ExecOutput(at));
            }
        }
        (fds, sources)
    }

    fn accept(&mut self) {
        while let Some(Ok((stream, _))) = self.listener.as_ref().map(UnixListener::accept) {
            let Ok(connection) = Connection::new(self.next_connection, stream) else {
                continue;
            };
            if connection.is_from_owner() {
                self.next_connection += 1;
                self.connections.push(connection);
            }
        }
    }

    /// Performs every whole request.
    fn serve(&mut self) {
        for at in 0..self.connections.len() {
            while let Some(call) = self.connections[at].next_call() {
                let caller = Caller {
                    connection: self.connections[at].number,
                    id: call.id,
                };
                if let Some(result) = self.perform(caller, call.request) {
                    self.reply(caller, result);
                }
            }
        }
    }

    /// Performs a request; none when the answer comes later.
    fn perform(&mut self, caller: Caller, request: Request) -> Option<Result<Reply, Failure>> {
        match request {
            Request::Configure(_) => Some(Err(not_applicable("already configured"))),
            Request::Start(launch) => self.start(caller, *launch).err().map(Err),
            Request::Signal { container, signal } => Some(self.signal(&container, signal).map(|()| Reply::Done)),
            Request::Exec(exec) => self.exec(caller, exec).err().map(Err),
            Request::States => Some(Ok(Reply::States(self.record.state(&self.containers)))),
            Request::Subscribe => {
                let connection = self.connections.iter_mut().find(|c| c.number == caller.connection);
                connection.into_iter().for_each(|c| c.subscribed = true);
                Some(Ok(Reply::States(self.record.state(&self.containers))))
            }
            Request::Remove { container } => Some(self.remove(&container).map(|()| Reply::Done)),
            Request::Shutdown => Some(self.shut_down().map(|()| Reply::Done)),
        }
    }

    /// Answers a caller, if it is still there.
    pub fn reply(&mut self, caller: Caller, result: Result<Reply, Failure>) {
        if let Some(connection) = self.connections.iter_mut().find(|c| c.number == caller.connection) {
            connection.reply(caller.id, result);
        }
    }

    /// Tells every subscriber.
    pub fn publish(&mut self, event: &Event) {
        self.connections
            .iter_mut()
            .filter(|c| c.subscribed)
            .for_each(|c| c.event(event));
    }

    /// Takes note of every dead child. What was reported of it is read while it can still be looked at: a program may have
    /// started and ended within one round.
    fn reap(&mut self) {
        while let Some(pid) = sys::dead_child() {
            (0..self.containers.len()).for_each(|at| self.read_reports(at));
            (0..self.execs.len()).for_each(|at| self.read_exec_reports(at));
            // A start that turned out to have failed has reaped its own.
            let Ok(status) = sys::wait_for(pid) else { continue };
            self.container_child_died(pid, status);
            self.exec_child_died(pid, status);
        }
    }

    fn shut_down(&mut self) -> Result<(), Failure> {
        if let Some(busy) = self.containers.iter().find(|c| !c.is_exited()) {
            return Err(not_applicable(format!("container {} is running", busy.plan.name)));
        }
        if let Some(pause) = self.pause.take() {
            pause.stop();
            let _ = sys::wait_for(pause.pid);
        }
        self.cgroups
            .remove_task_when_empty()
            .map_err(|e| not_applicable(format!("remove the task's cgroup: {e}")))?;
        let _ = std::fs::remove_file(self.launch.task_dir.join(SOCKET));
        self.ending = true;
        Ok(())
    }
}

/// Rounded up, so that a deadline is over when the poll is.
fn millis_until(deadline: Instant) -> i32 {
    let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
    i32::try_from(left.as_millis()).unwrap_or(i32::MAX)
}
