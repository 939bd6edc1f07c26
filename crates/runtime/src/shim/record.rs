//! The state file.

use super::containers::Container;
use crate::launch::ShimLaunch;
use crate::state::{ProcessId, STATE_FILE, TaskState};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

/// A file longer than this is replaced by one with the last state alone.
const MAX_BYTES: u64 = 64 << 10;

/// What does not change in the state file, and where it is.
pub struct Record {
    fixed: TaskState,
    path: PathBuf,
    file: File,
    size: u64,
}

impl Record {
    /// Begins a new file.
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
            file: File::create(&path)?,
            path,
            size: 0,
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

    /// Writes the states down. Not synced to the disk: they are to survive this process, and after the machine's own end nothing
    /// runs that they could tell of.
    pub fn save(&mut self, containers: &[Container]) -> io::Result<()> {
        let mut line = serde_json::to_vec(&self.state(containers))?;
        line.push(b'\n');
        if self.size + line.len() as u64 > MAX_BYTES {
            let new = self.path.with_extension("new");
            self.file = File::create(&new)?;
            self.size = 0;
            self.append(&line)?;
            return fs::rename(&new, &self.path);
        }
        self.append(&line)
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(line);
        match written {
            Ok(()) => self.size += line.len() as u64,
            // A full disk: no torn line stays before the next one.
            Err(_) => self.file.set_len(self.size)?,
        }
        written
    }
}

/// Which boot of the machine this is.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}
