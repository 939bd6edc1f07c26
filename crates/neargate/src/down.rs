//! `neargate down`: ends a running `up`, every task, and everything they left in the kernel.

use crate::instance::Instance;
use crate::outcome::Outcome;
use crate::{lock, paths, roles};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const END_WITHIN: Duration = Duration::from_secs(60);
/// Seconds that containers have between their stop signal and SIGKILL.
pub const GRACE: u32 = 3;

pub fn run(data: &Path, grace: u32) -> Outcome {
    if !paths::instance(data).exists() {
        println!(
            "Nothing to stop: no Neargate was started with the data directory {}.",
            data.display()
        );
        return Ok(ExitCode::SUCCESS);
    }
    let instance = Instance::open(data)?;
    let locks = ["up", "control", "node", "gateway"].map(|role| paths::role_lock(data, role));
    for path in &locks {
        if let Some(pid) = lock::holder(path) {
            // SAFETY: the pid holds our lock, so it is a Neargate process.
            unsafe { libc::kill(pid, libc::SIGTERM) };
            wait_released(path, pid)?;
        }
    }
    clean(&instance, grace)?;
    println!("Neargate is down; its data stays in {}.", data.display());
    Ok(ExitCode::SUCCESS)
}

fn wait_released(path: &Path, pid: i32) -> Result<(), String> {
    let until = Instant::now() + END_WITHIN;
    while lock::holder(path) == Some(pid) {
        if Instant::now() > until {
            return Err(format!(
                "process {pid} does not end: look at what it does, or end it with kill -9 {pid}"
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Stops every task of the instance and removes its networks, mounts and cgroups.
pub fn clean(instance: &Instance, grace: u32) -> Result<(), String> {
    if !paths::is_root() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    runtime.block_on(roles::node::tear_down(instance, Duration::from_secs(grace.into())))
}
