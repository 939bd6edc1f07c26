//! The state file.

use super::containers::Container;
use crate::launch::ShimLaunch;
use crate::state::{ProcessId, STATE_FILE, TaskState};
use std::fs;
use std::io;
use std::path::PathBuf;

/// What does not change in the state file, and where it is.
pub struct Record {
    fixed: TaskState,
    path: PathBuf,
    new: PathBuf,
}

impl Record {
    pub fn new(launch: &ShimLaunch) -> io::Result<Record> {
        let path = launch.task_dir.join(STATE_FILE);
        Ok(Record {
            fixed: TaskState {
                task_id: launch.task_id.clone(),
                cgroup_base: launch.cgroup_base.clone(),
                runtime: launch.runtime.clone(),
                shim: ProcessId::of(std::process::id() as i32)?,
                boot_id: boot_id()?,
                containers: Default::default(),
            },
            new: path.with_extension("json.new"),
            path,
        })
    }

    pub fn state(&self, containers: &[Container]) -> TaskState {
        let mut state = self.fixed.clone();
        let known = containers
            .iter()
            .filter_map(|c| Some((c.plan.name.clone(), c.state()?)));
        state.containers.extend(known);
        state
    }

    /// Replaces the file. Not synced to the disk: it is to survive this process, and after the machine's own end nothing runs
    /// that it could tell of.
    pub fn save(&self, containers: &[Container]) -> io::Result<()> {
        fs::write(&self.new, serde_json::to_vec(&self.state(containers))?)?;
        fs::rename(&self.new, &self.path)
    }
}

/// Which boot of the machine this is.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}
