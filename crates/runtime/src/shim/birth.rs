//! How a shim comes to life: configured over the descriptor it was born with, reborn in the cgroup of shims without any tie to
//! the node, then the loop.

use super::{Shim, Unsaved, connection::Connection, notes, record::Record};
use crate::cgroup::{Cgroups, Place};
use crate::launch::{RuntimeKind, Sharing, ShimLaunch};
use crate::native::{self, Pause};
use crate::plan::{self, Surroundings};
use crate::protocol::{self, Call, Failure, FailureCode, Message, Reply, Request};
use crate::sys;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The whole life of a shim. Called by the binary as `neargate shim …` before anything else, with one thread. The arguments are
/// for people looking at `ps`; what matters comes over descriptor 0.
pub fn shim_main(_args: &[OsString]) -> ! {
    // What whoever started the node left open by accident would stay open for as long as the task lives.
    sys::close_from(3);
    // SAFETY: descriptor 0 is the socket that the client gave us, and nobody else uses it.
    let stream = unsafe { UnixStream::from_raw_fd(0) };
    let status = match live(stream) {
        Ok(()) => 0,
        Err(_) => 1,
    };
    std::process::exit(status)
}

fn live(mut stream: UnixStream) -> io::Result<()> {
    // Nobody in a container may look into this process or its children before they execute.
    sys::prctl(libc::PR_SET_DUMPABLE, 0)?;
    let (call, rest) = first_call(&mut stream)?;
    let Request::Configure(launch) = call.request else {
        return Err(io::Error::other("the first request is not Configure"));
    };
    match prepare(&launch) {
        Ok((cgroups, place)) => match rebirth(&place)? {
            false => Ok(()),
            true => run(stream, rest, *launch, cgroups, &place, call.id),
        },
        Err(e) => refuse(&mut stream, call.id, &e),
    }
}

/// Tells the client why there is no shim.
fn refuse(stream: &mut UnixStream, id: u64, why: &io::Error) -> io::Result<()> {
    let failure = Failure {
        code: FailureCode::CannotCreateContainerError,
        message: why.to_string(),
    };
    let mut frame = Vec::new();
    protocol::encode(
        &Message::Reply {
            id,
            result: Err(failure),
        },
        &mut frame,
    );
    stream.write_all(&frame)
}

fn first_call(stream: &mut UnixStream) -> io::Result<(Call, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some((call, length)) = protocol::decode::<Call>(&bytes).map_err(io::Error::other)? {
            bytes.drain(..length);
            return Ok((call, bytes));
        }
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

fn prepare(launch: &ShimLaunch) -> io::Result<(Cgroups, Place)> {
    for name in [&launch.task_id, &launch.cgroup_base] {
        if !plan::is_plain_name(name) || name == "shims" {
            return Err(io::Error::other(format!("invalid name \"{name}\"")));
        }
    }
    let cgroups = Cgroups::find(launch)?;
    let place = cgroups.shims()?;
    Ok((cgroups, place))
}

/// Forks into the cgroup of shims; true in the child, which has no parent that waits for it and a session of its own.
fn rebirth(place: &Place) -> io::Result<bool> {
    // SAFETY: one thread, by shim_main's contract.
    if unsafe { sys::fork_into(0, place.born_in())? }.is_some() {
        return Ok(false);
    }
    // SAFETY: plain numbers; a new process leads no group, so that setsid cannot fail.
    unsafe {
        libc::setsid();
        libc::umask(0o022);
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
        libc::signal(libc::SIGINT, libc::SIG_IGN);
    }
    Ok(true)
}

fn run(
    stream: UnixStream,
    rest: Vec<u8>,
    launch: ShimLaunch,
    cgroups: Cgroups,
    place: &Place,
    configure: u64,
) -> io::Result<()> {
    // From descriptor 0 to another; 0 is then what children expect there.
    let socket: OwnedFd = stream.try_clone()?.into();
    let null = std::fs::File::open("/dev/null")?;
    // SAFETY: plain numbers; `stream` owned 0 and is forgotten.
    sys::check(unsafe { libc::dup2(null.as_raw_fd(), 0) })?;
    std::mem::forget(stream);
    sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1)?;
    let mut first = Connection::new(0, socket.into())?;
    first.subscribed = true;

    notes::to(&launch.task_dir);
    let mut shim = match settle(launch, cgroups) {
        Ok(shim) => shim,
        Err(e) => return refuse(&mut first.into_stream()?, configure, &e),
    };
    first.reply(configure, Ok(Reply::Done));
    first.received(rest);
    shim.connections.push(first);
    shim.next_connection = 1;
    shim.work(place).inspect_err(|e| notes::write(&e.to_string()))
}

/// Everything that may fail before the first container.
fn settle(launch: ShimLaunch, cgroups: Cgroups) -> io::Result<Shim> {
    let mut record = Record::new(&launch)?;
    // Before anything is made, so that whatever this process leaves behind can be found.
    record.save(&[])?;
    cgroups.create_task(&launch.limits)?;
    if launch.runtime != RuntimeKind::Native {
        // The root file systems that an OCI runtime needs mounted live and die with this process.
        sys::unshare(libc::CLONE_NEWNS)?;
        sys::mount(c"", c"/", c"", libc::MS_REC | libc::MS_PRIVATE, c"")?;
    }
    let shares = launch.pid == Sharing::Task || launch.ipc == Sharing::Task;
    let pause = if shares {
        Some(Pause::start(&launch.task_dir, launch.pid, launch.ipc)?)
    } else {
        None
    };
    let around = Surroundings {
        network: launch.network.clone(),
        pid: launch.pid,
        ipc: launch.ipc,
        available: native::available_capabilities(),
    };
    Ok(Shim {
        launch,
        around,
        cgroups,
        pause,
        containers: Vec::new(),
        execs: Vec::new(),
        connections: Vec::new(),
        next_connection: 0,
        next_exec: 0,
        listener: None,
        signals: sys::child_signals()?,
        record,
        unsaved: Unsaved::Nothing,
        settled: false,
        chunk: vec![0; 64 << 10],
        ending: false,
    })
}
