//! The processes that `up` starts.

mod control;
mod gateway;
pub mod node;
mod planes;

use crate::instance::Instance;
use crate::outcome::Outcome;
use crate::shutdown;
use crate::{lock, paths, program_text, succession, up};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long a role waits for its killed predecessor to be gone.
const PREDECESSOR: Duration = Duration::from_secs(10);

/// Runs the role called `name` until it should end.
pub fn run(name: &str, instance: Instance) -> Outcome {
    log_to_stderr();
    raise_open_files();
    let _lock = match name == "gateway" && succession::takes_over() {
        true => lock::inherit(&paths::role_lock(&instance.data, name)).map(|()| None)?,
        false => Some(hold(&instance, name)?),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().clamp(1, 8)))
        .max_blocking_threads(16)
        .thread_keep_alive(Duration::from_secs(5))
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let done = runtime.block_on(async {
        let shutdown = shutdown::of_role()?;
        match name {
            "control" => control::run(&instance, shutdown).await,
            "node" => node::run(&instance, shutdown).await,
            "gateway" => gateway::run(&instance, shutdown).await,
            other => Err(format!("no role is called {other}")),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(2));
    done.map(|()| ExitCode::SUCCESS).map_err(|why| format!("{name}: {why}"))
}

fn hold(instance: &Instance, name: &str) -> Result<lock::Lock, String> {
    let path = paths::role_lock(&instance.data, name);
    let until = Instant::now() + PREDECESSOR;
    loop {
        if let Some(lock) = lock::take(&path)? {
            return Ok(lock);
        }
        if Instant::now() > until {
            return Err(format!(
                "another {name} runs with this data directory (pid {:?})",
                lock::holder(&path)
            ));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Raises the hard limit of open files as far as the kernel goes: clients' connections and containers are held to it.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let before = getrlimit(Resource::Nofile);
    let most = std::fs::read_to_string("/proc/sys/fs/nr_open").ok();
    let most: Option<u64> = most.and_then(|text| text.trim().parse().ok());
    if before.maximum.is_some_and(|own| most.is_some_and(|most| own < most)) {
        // Only root may.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                maximum: most,
                ..before
            },
        );
    }
}

/// Tells `up` that the role serves.
fn ready() -> Result<(), String> {
    program_text::give_back();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", up::READY)
        .and_then(|()| out.flush())
        .map_err(|e| e.to_string())
}

/// `NEARGATE_LOG` sets what is logged, as `RUST_LOG` does elsewhere; warnings by default.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("NEARGATE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Stderr)
        .with_ansi(false)
        .init();
}

/// Standard error that takes everything: a log that cannot be written (a full disk) must not stop a request.
struct Stderr;

impl std::io::Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = std::io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
