//! Wakes whoever follows a log file when it is written to: one inotify instance for the node.
//!
//! Called by `LogHub`. A directory's watch lasts as long as its `Watch`.

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

type Watched = Arc<Mutex<HashMap<i32, Arc<Notify>>>>;

/// The node's watcher of directories.
#[derive(Clone)]
pub struct Watcher {
    fd: Arc<AsyncFd<OwnedFd>>,
    watched: Watched,
}

/// A watched directory.
pub struct Watch {
    watcher: Watcher,
    wd: i32,
    changed: Arc<Notify>,
}

impl Watcher {
    /// Needs a tokio runtime: a task reads what the kernel tells.
    pub fn start() -> io::Result<Watcher> {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        // SAFETY: the descriptor is owned by the `AsyncFd` and never taken out of it.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
        let watcher = Watcher {
            fd: Arc::new(fd),
            watched: Watched::default(),
        };
        let (fd, watched) = (watcher.fd.clone(), Arc::downgrade(&watcher.watched));
        tokio::spawn(async move {
            loop {
                let Ok(mut ready) = fd.readable().await else { return };
                let Some(watched) = watched.upgrade() else { return };
                let mut buffer = [MaybeUninit::uninit(); 4096];
                let mut reader = inotify::Reader::new(fd.get_ref(), &mut buffer);
                while let Ok(event) = reader.next() {
                    wake(&watched, event.wd());
                }
                ready.clear_ready();
            }
        });
        Ok(watcher)
    }

    /// Watches a directory for writes and new names.
    pub fn watch(&self, dir: &Path) -> io::Result<Watch> {
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        let mut watched = lock(&self.watched);
        let wd = inotify::add_watch(self.fd.get_ref(), dir, flags)?;
        let changed = watched.entry(wd).or_default().clone();
        Ok(Watch {
            watcher: self.clone(),
            wd,
            changed,
        })
    }
}

impl Watch {
    /// Waits for the next change; one that came since the last call is not missed.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = lock(&self.watcher.watched);
        watched.remove(&self.wd);
        // The directory may be gone, and its watch with it.
        let _ = inotify::remove_watch(self.watcher.fd.get_ref(), self.wd);
    }
}

/// An overflow of the kernel's queue (-1) wakes everyone.
fn wake(watched: &Watched, wd: i32) {
    let watched = lock(watched);
    if wd < 0 {
        watched.values().for_each(|n| n.notify_one());
    } else if let Some(changed) = watched.get(&wd) {
        changed.notify_one();
    }
}

fn lock(watched: &Watched) -> MutexGuard<'_, HashMap<i32, Arc<Notify>>> {
    // The map is whole at every moment.
    watched.lock().unwrap_or_else(|e| e.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_wakes_the_one_who_watches_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let watcher = Watcher::start().unwrap();
        let watch = watcher.watch(dir.path()).unwrap();
        std::fs::write(dir.path().join("0.log"), "x").unwrap();
        watch.changed().await;
        drop(watch);
        let again = watcher.watch(dir.path()).unwrap();
        std::fs::write(dir.path().join("0.log"), "y").unwrap();
        again.changed().await;
    }
}
