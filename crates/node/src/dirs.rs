//! Where a node keeps things, and the two files by which a task survives the node: its spec and its journal.
//!
//! ```text
//! <data>/node/id                                  the machine's id
//! <data>/node/agent-key                           what tokens of containers are made of (0600)
//! <data>/tasks/<task id>/spec.json                the task, written before anything of it starts (0600)
//! <data>/tasks/<task id>/journal                  what happened to it, one JSON line an event
//! <data>/tasks/<task id>/fs-<n>/{upper,work,…}    the writable layer of container n and its files of /etc
//! <data>/tasks/<task id>/volumes/…                volumes of the task and of its images
//! <data>/tasks/<task id>/log-<n>                  how far the log of container n was sent
//! <data>/slots/…                                  writable layers waiting to be used again
//! <data>/s3/<bucket>/<key>                        what stands in S3's place for environment files
//! <data>/logs/containers/<cluster>_<family>_<task id>/<container>/0.log[.n]   CRI-format logs, as under /var/log/pods
//! ```
//!
//! The journal is only ever appended to; a line that a crash cut short is passed over.

use crate::plan::observed::{Event, Observed};
use neargate_core::Timestamp;
use neargate_link::TaskSpec;
use rustix::fs::IFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The node's directories.
#[derive(Clone, Debug)]
pub struct Dirs {
    data: PathBuf,
}

impl Dirs {
    pub fn new(data: &Path) -> Dirs {
        Dirs { data: data.to_owned() }
    }

    /// Makes what is missing.
    pub fn prepare(&self) -> io::Result<()> {
        for (dir, mode) in [
            (self.data.clone(), 0o711),
            (self.data.join("node"), 0o700),
            (self.tasks(), 0o700),
            (self.slots(), 0o700),
            (self.s3(), 0o700),
            (self.logs(), 0o755),
        ] {
            fs::DirBuilder::new().recursive(true).mode(mode).create(dir)?;
        }
        for dir in [self.tasks(), self.logs()] {
            spread(&dir)?;
        }
        Ok(())
    }

    pub fn node_id(&self) -> PathBuf {
        self.data.join("node/id")
    }

    pub fn agent_key(&self) -> PathBuf {
        self.data.join("node/agent-key")
    }

    pub fn tasks(&self) -> PathBuf {
        self.data.join("tasks")
    }

    pub fn slots(&self) -> PathBuf {
        self.data.join("slots")
    }

    pub fn s3(&self) -> PathBuf {
        self.data.join("s3")
    }

    pub fn logs(&self) -> PathBuf {
        self.data.join("logs/containers")
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn task(&self, id: &str) -> TaskDir {
        TaskDir {
            path: self.tasks().join(id),
        }
    }

    /// Folder of a task's log files.
    pub fn task_logs(&self, spec: &TaskSpec) -> PathBuf {
        self.logs()
            .join(format!("{}_{}_{}", spec.cluster, spec.family, spec.id))
    }

    /// A container's live log file.
    pub fn log_file(&self, spec: &TaskSpec, index: usize) -> PathBuf {
        self.task_logs(spec).join(&spec.containers[index].name).join("0.log")
    }
}

/// Has ext4 spread what is made in `dir` over the disk as it does for home directories (`chattr +T`): side by side, each new
/// file of thousands of tasks would search past those of all others, and past the ones that went with tasks before.
fn spread(dir: &Path) -> io::Result<()> {
    let opened = File::open(dir)?;
    match rustix::fs::ioctl_getflags(&opened) {
        Ok(flags) if flags.contains(IFlags::TOPDIR) => Ok(()),
        Ok(flags) => match rustix::fs::ioctl_setflags(&opened, flags | IFlags::TOPDIR) {
            // Only ext4 knows it.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOTTY | Errno::PERM) => Ok(()),
            Err(error) => Err(error.into()),
        },
        Err(_) => Ok(()),
    }
}

/// One task's directory.
#[derive(Clone, Debug)]
pub struct TaskDir {
    path: PathBuf,
}

/// A line of the journal.
#[derive(Serialize, Deserialize)]
struct Entry<E> {
    at: i64,
    event: E,
}

impl TaskDir {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn rootfs(&self, index: usize) -> PathBuf {
        self.path.join(format!("fs-{index}"))
    }

    pub fn volumes(&self) -> PathBuf {
        self.path.join("volumes")
    }

    pub fn log_position(&self, index: usize) -> PathBuf {
        self.path.join(format!("log-{index}"))
    }

    /// Puts a task on disk. Its directory appears with the spec whole or not at all.
    pub fn create(&self, spec: &TaskSpec) -> io::Result<Journal> {
        fs::DirBuilder::new().mode(0o700).create(&self.path)?;
        let written = self.write_spec(spec).and_then(|()| Journal::open(&self.path));
        if written.is_err() {
            let _ = fs::remove_dir_all(&self.path);
        }
        written
    }

    fn write_spec(&self, spec: &TaskSpec) -> io::Result<()> {
        let bytes = serde_json::to_vec(spec)?;
        let making = self.path.join("spec.new");
        let mut file = File::options().create_new(true).write(true).mode(0o600).open(&making)?;
        file.write_all(&bytes)?;
        fs::rename(making, self.path.join("spec.json"))
    }

    /// Makes the task outlast a power failure: it must not be forgotten once it ran.
    pub fn sync(&self) -> io::Result<()> {
        File::open(self.path.join("spec.json"))?.sync_all()?;
        File::open(self.path.join("journal"))?.sync_all()?;
        File::open(&self.path)?.sync_all()
    }

    /// The task as it was put here and what became of it; none when its spec never got whole, so that nothing of it
    /// was started.
    pub fn load(&self) -> io::Result<Option<(TaskSpec, Observed)>> {
        let bytes = match fs::read(self.path.join("spec.json")) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let Ok(spec) = serde_json::from_slice::<TaskSpec>(&bytes) else {
            tracing::error!(task = %self.path.display(), "the task's spec cannot be read");
            return Ok(None);
        };
        let journal = match fs::read(self.path.join("journal")) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(e),
        };
        let mut observed = Observed::new(&spec);
        for line in journal.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            match serde_json::from_slice::<Entry<Event>>(line) {
                Ok(entry) if entry.event.fits(&spec) => observed.apply(&spec, &entry.event, Timestamp(entry.at)),
                _ => tracing::warn!(task = spec.id, "a line of the task's journal was cut short by a crash"),
            }
        }
        Ok(Some((spec, observed)))
    }

    /// Removes all of it.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

/// Appends events to a task's journal.
#[derive(Debug)]
pub struct Journal {
    file: File,
}

impl Journal {
    pub fn open(task_dir: &Path) -> io::Result<Journal> {
        let path = task_dir.join("journal");
        let mut file = File::options().create(true).append(true).mode(0o600).open(&path)?;
        // A line that a crash cut short must not swallow the next one.
        if file.metadata()?.len() > 0 {
            file.write_all(b"\n")?;
        }
        Ok(Journal { file })
    }

    pub fn append(&mut self, events: &[Event], at: Timestamp) -> io::Result<()> {
        let mut lines = Vec::with_capacity(128 * events.len());
        for event in events {
            serde_json::to_writer(&mut lines, &Entry { at: at.millis(), event })?;
            lines.push(b'\n');
        }
        self.file.write_all(&lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_task_is_found_again_as_its_journal_tells_even_after_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(dir.path());
        dirs.prepare().unwrap();
        let spec = testing::task("app");
        let task = dirs.task(&spec.id);
        let mut journal = task.create(&spec).unwrap();
        let mode = fs::metadata(task.path().join("spec.json"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);

        journal
            .append(&[Event::ShimStarting, Event::ShimReady], Timestamp(5))
            .unwrap();
        journal.file.write_all(b"{\"at\":6,\"event\":{\"Sta").unwrap();
        drop(journal);
        let mut journal = Journal::open(task.path()).unwrap();
        journal
            .append(&[Event::Starting { container: 0 }], Timestamp(7))
            .unwrap();
        journal
            .append(&[Event::Starting { container: 9 }], Timestamp(8))
            .unwrap();

        let (found, observed) = task.load().unwrap().unwrap();
        assert_eq!(found, spec);
        assert_eq!(observed.shim, crate::plan::observed::Piece::Ready);
        assert!(observed.ever_started());
        task.remove().unwrap();
        task.remove().unwrap();
        assert!(task.load().unwrap().is_none());
    }
}
