//! The node role: this machine, or nodes that only pretend.

use super::ready;
use crate::instance::Instance;
use crate::paths;
use crate::shutdown::{self, Shutdown};
use neargate_core::clock::SystemClock;
use neargate_node::simulated::{self, SimulatedOptions};
use neargate_node::{NodeConfig, RuntimeKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub async fn run(instance: &Instance, shutdown: Shutdown) -> Result<(), String> {
    if let Some(nodes) = instance.settings.simulated_nodes {
        ready()?;
        let options = SimulatedOptions::new(paths::link_socket(&instance.data), nodes);
        simulated::run(options, Arc::new(SystemClock), shutdown::requested(shutdown)).await;
        return Ok(());
    }
    let mut config = config(instance)?;
    // Only starting needs it: `down` cleans up also after the runtime was removed.
    config.runtime = runtime(&instance.settings.runtime)?;
    let mut told = Ok(());
    neargate_node::run(config, || told = ready(), shutdown::requested(shutdown))
        .await
        .map_err(|e| e.to_string())?;
    told
}

/// Removes what this machine's node left running; safe to repeat.
pub async fn tear_down(instance: &Instance, grace: Duration) -> Result<(), String> {
    neargate_node::teardown(&config(instance)?, grace)
        .await
        .map_err(|e| e.to_string())
}

fn config(instance: &Instance) -> Result<NodeConfig, String> {
    // The file this process runs, even if another was installed in its place: shims and node fit each other.
    let exe = PathBuf::from("/proc/self/exe");
    let settings = &instance.settings;
    let mut config = NodeConfig::new(&instance.data, &paths::link_socket(&instance.data), &exe);
    config.instance.clone_from(&settings.instance);
    config.run_dir = PathBuf::from(format!("/run/neargate-{}", settings.instance));
    config.vpc_cidr = settings.vpc_cidr.parse()?;
    config.bridge_cidr = settings.bridge_cidr.parse()?;
    config.public_cidr = settings.public_cidr.parse()?;
    config.registry_auth = settings.registry_auth.clone().or_else(paths::docker_config);
    Ok(config)
}

fn runtime(name: &str) -> Result<RuntimeKind, String> {
    if name == "builtin" {
        return Ok(RuntimeKind::Native);
    }
    let found = if name.contains('/') {
        Some(PathBuf::from(name))
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .map(|dir| dir.join(name))
            .find(|p| p.is_file())
    };
    match found {
        Some(path) if !path.is_file() => Err("no such program; install it"),
        Some(path) if !is_oci_runtime(&path) => Err("it is not an OCI runtime that runs here; install runc or crun"),
        Some(path) => Ok(RuntimeKind::Cli(path)),
        None => Err("no such program; install it"),
    }
    .map_err(|why| format!("--runtime {name}: {why}, or use --runtime builtin"))
}

/// Every OCI runtime tells its commands.
fn is_oci_runtime(path: &Path) -> bool {
    let help = |argument| std::process::Command::new(path).arg(argument).output();
    // runsc tells its commands only when asked without dashes.
    ["--help", "help"]
        .into_iter()
        .filter_map(|argument| help(argument).ok())
        .any(|said| {
            let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
            ["create", "start", "state", "kill", "delete"]
                .iter()
                .all(|command| text.contains(command))
        })
}
