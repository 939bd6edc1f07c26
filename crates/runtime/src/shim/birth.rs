//! How a shim comes to life: forked off the nursery into the cgroup of shims, configured over the socket it was born with,
//! then the loop. The nursery is a child of the node and may die with it; shims then have no parent that waits for them.

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

/// The whole life of the nursery, and in its forks the whole life of a shim. Called by the binary as `neargate shim` before anything
/// else, with one thread; orders come over descriptor 0.
pub fn shim_main(_args: &[OsString]) -> ! {
    // What whoever started the node left open by accident would stay open for as long as tasks live.
    sys::close_from(3);
    let status = match nurse() {
        Ok(()) => 0,
        Err(_) => 1,
    };
    std::process::exit(status)
}

/// Forks a shim for each packet, which holds the name of the cgroup base and the shim's socket; ends when there are no more.
fn nurse() -> io::Result<()> {
    // Nobody in a container may look into this process or its forks before they execute.
    sys::prctl(libc::PR_SET_DUMPABLE, 0)?;
    // It was executed by the number of a descriptor, and would be called by that.
    sys::prctl(libc::PR_SET_NAME, c"neargate-shim".as_ptr() as libc::c_ulong)?;
    // SAFETY: plain numbers; setsid fails only where there is a session of its own already. Shims are reaped by the kernel.
    unsafe {
        libc::setsid();
        libc::umask(0o022);
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
        libc::signal(libc::SIGINT, libc::SIG_IGN);
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
    }
    // SAFETY: descriptor 0 is the socket that ShimExe gave us, and nobody else uses it.
    let orders = unsafe { OwnedFd::from_raw_fd(0) };
    let mut packet = [0; 512];
    loop {
        while !sys::wait_readable(orders.as_raw_fd(), -1)? {}
        let (length, passed) = sys::recv_packet(orders.as_raw_fd(), &mut packet)?;
        let Some(socket) = passed.filter(|_| length > 0) else {
            return Ok(());
        };
        let base = String::from_utf8_lossy(&packet[..length]).into_owned();
        // What is wrong with cgroups the shim finds again, and can tell its client.
        let place = Cgroups::in_base(&base).and_then(|cgroups| cgroups.shims()).ok();
        let born_in = place.as_ref().and_then(Place::born_in);
        // SAFETY: one thread, by shim_main's contract.
        if unsafe { sys::fork_into(0, born_in)? }.is_none() {
            return live(socket.into(), orders);
        }
    }
}

/// The life of a shim.
fn live(mut stream: UnixStream, orders: OwnedFd) -> io::Result<()> {
    // Descriptor 0 becomes what children expect there.
    let null = std::fs::File::open("/dev/null")?;
    // SAFETY: plain numbers; SIGCHLD's default, without which the kernel would keep exits to itself.
    unsafe {
        sys::check(libc::dup2(null.as_raw_fd(), 0))?;
        libc::setsid();
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
    std::mem::forget(orders);
    let (call, rest) = first_call(&mut stream)?;
    let Request::Configure(launch) = call.request else {
        return Err(io::Error::other("the first request is not Configure"));
    };
    match prepare(&launch) {
        Ok((cgroups, place)) => run(stream, rest, *launch, cgroups, &place, call.id),
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

fn run(
    stream: UnixStream,
    rest: Vec<u8>,
    launch: ShimLaunch,
    cgroups: Cgroups,
    place: &Place,
    configure: u64,
) -> io::Result<()> {
    sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1)?;
    let mut first = Connection::new(0, stream)?;
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
    let mut machine = None;
    if launch.runtime != RuntimeKind::Native {
        machine = Some(sys::open_dir(std::path::Path::new("/"))?);
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
        machine,
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
