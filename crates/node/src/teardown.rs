//! `neargate down`: nothing of this node runs any more, and the next start knows it.
//!
//! Called by the binary once the node's process is gone. Every container is asked to end, all at the same time, and has a moment
//! for it; then every task's processes, cgroups and networks go. Its
//! spec and a journal that ends with its stop remain until control has heard of it, so that no task runs a second time.

use crate::bundle::launch::{runtime_id, signal_number};
use crate::config::NodeConfig;
use crate::dirs::{Dirs, Journal, TaskDir};
use crate::keeper::stopped_by_hand;
use crate::plan::observed::{Event, Observed, Piece, Run};
use crate::run::NodeError;
use crate::slots::remove_if_there;
use neargate_core::clock::{Clock, SystemClock};
use neargate_link::TaskSpec;
use neargate_netns::Network;
use neargate_runtime::{ShimClient, Status, TaskState};
use std::fs;
use std::io;
use std::sync::mpsc;
use std::time::Duration;

/// Stops everything that a node with this configuration left running and removes it; what does not end within `grace` of its
/// stop signal is killed. Images and container logs stay. Safe to repeat.
///
/// # Errors
/// The first thing that could not be removed, after trying everything.
pub async fn teardown(config: &NodeConfig, grace: Duration) -> Result<(), NodeError> {
    let config = config.clone();
    match tokio::task::spawn_blocking(move || tear_down(&config, grace)).await {
        Ok(done) => done,
        // Only a panic ends here, since the handle is never aborted.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn tear_down(config: &NodeConfig, grace: Duration) -> Result<(), NodeError> {
    let dirs = Dirs::new(&config.data_dir);
    let mut first = None;
    match fs::read_dir(dirs.tasks()) {
        Ok(entries) => {
            let entries = entries.flatten();
            let tasks: Vec<TaskDir> = entries.map(|e| dirs.task(&e.file_name().to_string_lossy())).collect();
            if !grace.is_zero() {
                ask_to_end(&tasks, grace);
            }
            for dir in tasks {
                if let Err(source) = end_task(&dir) {
                    first.get_or_insert(NodeError::Io {
                        what: "end the task in",
                        path: dir.path().to_owned(),
                        source,
                    });
                }
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(source) => {
            return Err(NodeError::Io {
                what: "read",
                path: dirs.tasks(),
                source,
            });
        }
    }
    if let Err(error) = Network::tear_down(&config.network()) {
        first.get_or_insert(error.into());
    }
    if let Err(source) = neargate_runtime::remove_cgroup_base(&config.cgroup_base()) {
        let path = std::path::PathBuf::from(config.cgroup_base());
        first.get_or_insert(NodeError::Io {
            what: "remove the cgroup",
            path,
            source,
        });
    }
    for path in [dirs.slots(), config.run_dir.clone()] {
        match fs::remove_dir_all(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                first.get_or_insert(NodeError::Io {
                    what: "remove",
                    path,
                    source: e,
                });
            }
            _ => {}
        }
    }
    first.map_or(Ok(()), Err)
}

/// Sends every container its stop signal and waits until all have ended, for `grace` at most.
fn ask_to_end(tasks: &[TaskDir], grace: Duration) {
    let (working, done) = mpsc::channel::<()>();
    for dir in tasks {
        let (dir, working) = (dir.clone(), working.clone());
        // Ends with the shim at the latest, which is killed when the time is over.
        std::thread::spawn(move || {
            if let Err(error) = ask_one_to_end(&dir) {
                tracing::debug!(%error, task = %dir.path().display(), "a task cannot be asked to end");
            }
            drop(working);
        });
    }
    drop(working);
    // Ends when every thread has, since nothing is sent.
    let _ = done.recv_timeout(grace);
}

fn ask_one_to_end(dir: &TaskDir) -> io::Result<()> {
    let Some((spec, observed)) = dir.load()? else {
        return Ok(());
    };
    let attached = ShimClient::attach(dir.path()).map_err(io::Error::other)?;
    let Some((mut shim, mut state)) = attached else {
        return Ok(());
    };
    for (container, seen) in spec.containers.iter().zip(&observed.containers) {
        if matches!(
            state.containers.get(&container.name).map(|c| &c.status),
            Some(Status::Running { .. })
        ) {
            let signal = signal_number(seen.stop_signal.as_deref());
            // Refused for one that has ended meanwhile; a shim that is gone is noticed below.
            let _ = shim.signal(&container.name, signal);
        }
    }
    let runs = |state: &TaskState| {
        state
            .containers
            .values()
            .any(|c| matches!(c.status, Status::Running { .. }))
    };
    // Every end is an event since `attach`; who waits for this does so no longer than it likes.
    while runs(&state) {
        shim.next_event().map_err(io::Error::other)?;
        state = shim.states().map_err(io::Error::other)?;
    }
    Ok(())
}

fn end_task(dir: &TaskDir) -> io::Result<()> {
    neargate_runtime::cleanup(dir.path())?;
    let Some((spec, observed)) = dir.load()? else {
        return dir.remove();
    };
    if observed.cleanup != Piece::Ready {
        let state = neargate_runtime::read_state(dir.path())?;
        let events = last_events(&spec, &observed, state.as_ref());
        Journal::open(dir.path())?.append(&events, SystemClock.now())?;
        dir.sync()?;
    }
    for index in 0..spec.containers.len() {
        remove_if_there(&dir.rootfs(index))?;
    }
    remove_if_there(&dir.volumes())
}

/// What the journal still lacks of a task that was ended from outside.
fn last_events(spec: &TaskSpec, observed: &Observed, state: Option<&TaskState>) -> Vec<Event> {
    let mut events = vec![Event::StopDecided(stopped_by_hand())];
    for (container, c) in observed.containers.iter().enumerate() {
        let known = state.and_then(|s| s.containers.get(&spec.containers[container].name));
        let code = match known.map(|k| &k.status) {
            Some(Status::Exited { exit, .. }) => exit.code,
            // SIGKILL's.
            _ => 137,
        };
        if c.run == Run::Starting && known.is_some() {
            events.push(Event::Started {
                container,
                runtime_id: runtime_id(spec, container),
            });
        }
        if matches!(c.run, Run::Starting | Run::Running) {
            events.push(Event::Exited {
                container,
                code: Some(code),
                oom_killed: false,
                reason: None,
            });
        }
    }
    events.extend([Event::CleanupStarted, Event::Cleaned]);
    events
}
