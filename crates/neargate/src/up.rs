//! `neargate up`: starts the roles, starts again what dies, ends them together.
//!
//! Gateways follow one another by `succession`. The roles see this process's end on their standard input, so that also `kill -9` of `up` leaves no role behind.
//! Containers belong to their shims and outlive all of them.

use crate::instance::{Instance, Overrides};
use crate::outcome::Outcome;
use crate::succession::{self, Succession};
use crate::{credentials, down, lock, paths, program_text};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

/// What a role prints once it serves.
pub const READY: &str = "ready";
const READY_WITHIN: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A role that lived this long starts again at once when it dies.
const SETTLED: Duration = Duration::from_secs(5);
const END_WITHIN: Duration = Duration::from_secs(20);

pub fn run(data: &Path, overrides: Overrides, stop_tasks: bool) -> Outcome {
    let simulated = overrides.simulated_nodes.is_some();
    if !simulated && !cfg!(target_os = "linux") {
        return Err("containers need Linux: run `neargate up --simulated-nodes 3` to work with the API alone".into());
    }
    if !simulated && !paths::is_root() {
        return Err("running containers needs root: run `sudo neargate up`, or `neargate up --simulated-nodes 3` to work with the API alone".into());
    }
    paths::make_private(data)?;
    let Some(_lock) = lock::take(&paths::up_lock(data))? else {
        return Err(format!(
            "a Neargate already runs with the data directory {}: `neargate env` points you at it, `neargate down` stops it",
            data.display()
        ));
    };
    let mut instance = Instance::prepare(data, overrides)?;
    credentials::prepare(data)?;
    program();
    wait_for_killed(data);
    let listener = listen(&instance)?;
    // Port 0 asks for any: the one found is where `neargate env` points.
    instance.settings.listen = listener.local_addr().map_err(|e| e.to_string())?;
    let earlier = instance.keep()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    if let Err(why) = runtime.block_on(supervise(&instance, listener, stop_tasks)) {
        // What cannot be cleaned keeps its settings, so that `down` can.
        if !earlier.is_first() || down::clean(&instance, 0).is_ok() {
            earlier.restore()?;
        }
        return Err(why);
    }
    if stop_tasks {
        down::clean(&instance, down::GRACE)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The control role of an `up` that was killed ends by itself, and holds the socket until then.
fn wait_for_killed(data: &Path) {
    let control = paths::role_lock(data, "control");
    let until = std::time::Instant::now() + END_WITHIN;
    while lock::holder(&control).is_some() && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The socket is bound here and inherited by control, so that clients wait instead of being refused while control
/// starts again.
fn listen(instance: &Instance) -> Result<TcpListener, String> {
    let address = instance.settings.listen;
    TcpListener::bind(address).map_err(|e| {
        let what = match e.kind() {
            std::io::ErrorKind::AddrInUse => {
                "another program uses it; choose another with --listen 127.0.0.1:PORT".to_owned()
            }
            _ => e.to_string(),
        };
        format!("cannot listen on {address}: {what}")
    })
}

/// What roles are started with.
pub struct Launch<'a> {
    instance: &'a Instance,
    listener: TcpListener,
    /// Keeps what gateways listen on.
    keeper: neargate_gateway::handover::Keeper,
}

/// A role and its process.
pub struct Role {
    name: &'static str,
    pub child: Child,
    /// The gateway's.
    pub sockets: Option<neargate_gateway::handover::Attached>,
    /// The role ends when this closes; waiting for the child would close it if the child still had it.
    _held_open: ChildStdin,
    started: Instant,
    pause: Duration,
}

async fn supervise(instance: &Instance, listener: TcpListener, stop_tasks: bool) -> Result<(), String> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
    let launch = Launch {
        instance,
        listener,
        keeper: Default::default(),
    };
    let mut succession = Succession::new()?;
    let mut roles = Vec::new();
    let started = async {
        for name in ["control", "node", "gateway"] {
            roles.push(start(&launch, name, false).await?);
        }
        Ok::<(), String>(())
    };
    let began = tokio::select! {
        began = started => began,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    if let Err(why) = began {
        end(&mut roles).await;
        return Err(why);
    }
    if roles.len() == 3 {
        program_text::give_back();
        say(&announcement(instance, stop_tasks));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = keep(&launch, &mut roles, &mut succession) => {}
        }
    }
    tell("neargate: ending");
    tokio::join!(end(&mut roles), succession.end());
    Ok(())
}

fn announcement(instance: &Instance, stop_tasks: bool) -> String {
    let data = instance.data.display();
    let what = match instance.settings.simulated_nodes {
        Some(n) => format!("{n} simulated nodes: no containers run, any image exists"),
        None => format!("data in {data}, tasks in {}", instance.settings.vpc_cidr),
    };
    let end = match (instance.settings.simulated_nodes, stop_tasks) {
        (Some(_), _) => "Ctrl-C ends it".to_owned(),
        (None, true) => "Ctrl-C ends it, stops every task and cleans up".to_owned(),
        (None, false) => format!("Ctrl-C ends it; containers keep running until `neargate down --data-dir '{data}'`"),
    };
    format!(
        "Neargate is up: {}\n  {what}\n  in another terminal: eval \"$(neargate env --data-dir '{data}')\"\n  {end}",
        instance.endpoint()
    )
}

/// Says something on standard output; nobody need be there to read it.
fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Starts again whatever dies, until the terminal is gone.
async fn keep(launch: &Launch<'_>, roles: &mut [Role], succession: &mut Succession) {
    let [control, node, gateway] = roles else { return };
    tokio::select! {
        () = keep_one(launch, control) => {}
        () = keep_one(launch, node) => {}
        () = succession.keep(launch, gateway) => {}
    }
}

async fn keep_one(launch: &Launch<'_>, role: &mut Role) {
    loop {
        let ended = role.child.wait().await;
        again(launch, role, ended).await;
    }
}

/// Starts a role again that `ended`, however long it takes.
pub async fn again(launch: &Launch<'_>, role: &mut Role, ended: std::io::Result<ExitStatus>) {
    let how = ended.map_or_else(|e| e.to_string(), |status| status.to_string());
    tell(&format!("neargate: {} ended ({how}); starting it again", role.name));
    let mut pause = if role.started.elapsed() >= SETTLED {
        Duration::ZERO
    } else {
        longer(role.pause)
    };
    loop {
        sleep(pause).await;
        pause = longer(pause);
        match start(launch, role.name, false).await {
            Ok(again) => {
                *role = Role { pause, ..again };
                return;
            }
            Err(why) => tell(&format!("neargate: {why}; trying again in {pause:?}")),
        }
    }
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).clamp(Duration::from_millis(100), LONGEST_PAUSE)
}

/// Starts a role and waits until it serves. A gateway that `takes_over` does so while its predecessor lives.
pub async fn start(launch: &Launch<'_>, name: &'static str, takes_over: bool) -> Result<Role, String> {
    let mut command = Command::new(program());
    command.arg(name).arg("--data-dir").arg(&launch.instance.data);
    command
        .env_remove("NEARGATE_ROOT_ACCESS_KEY_ID")
        .env_remove("NEARGATE_ROOT_SECRET_ACCESS_KEY");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(false);
    let mut sockets = None;
    let inherited = match name {
        "control" => Some(("NEARGATE_LISTEN_FD", inheritable(&launch.listener)?)),
        "gateway" => {
            let (attached, channel) = launch.keeper.attach().map_err(|e| e.to_string())?;
            sockets = Some(attached);
            Some((succession::CHANNEL, inheritable(&channel)?))
        }
        _ => None,
    };
    if let Some((variable, fd)) = &inherited {
        command.env(variable, fd.as_raw_fd().to_string());
    }
    if takes_over {
        command.env(succession::TAKES_OVER, "1");
    }
    let mut child = command.spawn().map_err(|e| format!("cannot start {name}: {e}"))?;
    drop(inherited);
    let stdout = child.stdout.take().ok_or("no standard output")?;
    let held_open = child.stdin.take().ok_or("no standard input")?;
    let mut lines = BufReader::new(stdout).lines();
    let ready = async {
        while let Ok(Some(line)) = lines.next_line().await {
            if line == READY {
                return true;
            }
        }
        false
    };
    match tokio::time::timeout(READY_WITHIN, ready).await {
        Ok(true) => Ok(Role {
            name,
            child,
            sockets,
            _held_open: held_open,
            started: Instant::now(),
            pause: Duration::ZERO,
        }),
        Ok(false) => {
            let status = child.wait().await.map_or_else(|e| e.to_string(), |s| s.to_string());
            Err(format!("{name} could not start ({status}); see above"))
        }
        Err(_) => {
            let _ = child.kill().await;
            Err(format!("{name} did not serve within {} s", READY_WITHIN.as_secs()))
        }
    }
}

/// Says something to the person at the terminal; a standard error that cannot be written to (a full disk) stops nothing.
pub fn tell(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// This program: a newer one installed in its place is taken (an upgrade), and one that was removed still runs.
fn program() -> PathBuf {
    static AT_START: OnceLock<Option<PathBuf>> = OnceLock::new();
    let at_start = AT_START.get_or_init(|| std::env::current_exe().ok());
    match at_start {
        Some(path) if path.is_file() => path.clone(),
        _ => PathBuf::from("/proc/self/exe"),
    }
}

/// A copy of a descriptor that a child inherits.
fn inheritable(fd: &impl AsFd) -> Result<OwnedFd, String> {
    let fd = fd.as_fd().try_clone_to_owned().map_err(|e| e.to_string())?;
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::empty()).map_err(|e| e.to_string())?;
    Ok(fd)
}

/// Asks every role to end and waits; kills what does not.
pub async fn end(roles: &mut [Role]) {
    // Node first: its last reports still reach control.
    for role in roles.iter_mut().rev() {
        if let Some(pid) = role.child.id() {
            // SAFETY: the child is not reaped yet, so the pid is its.
            unsafe { libc::kill(pid.cast_signed(), libc::SIGTERM) };
        }
        if tokio::time::timeout(END_WITHIN, role.child.wait()).await.is_err() {
            tell(&format!("neargate: {} does not end: killing it", role.name));
            let _ = role.child.kill().await;
        }
    }
}
