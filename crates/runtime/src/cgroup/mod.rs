//! A task's cgroups: `<base>/<task>` with the task's hard limits, `<base>/<task>/<container>` below it, and `<base>/shims` for the
//! shims themselves, out of reach of limits and kills. What to write is decided by [`Version`], one of cgroup v1 and v2; this
//! module creates, kills and removes. It writes nowhere but in cgroups of its own, except that on v2 a controller missing in
//! the root's `cgroup.subtree_control` is enabled there, without which no cgroup at all could have it.
//!
//! On v1 machines with a v2 hierarchy beside it (hybrid) the task also has its place there: for killing as a
//! whole, for being born in, and for the device filter.

pub mod devices;
mod usage;
mod v1;
mod v2;

use crate::launch::{Resources, RuntimeKind, ShimLaunch, TaskLimits};
use crate::sys;
use neargate_core::CpuUnits;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
pub use usage::{BlockIo, Usage};

/// Where distributions mount cgroups.
const MOUNTED_AT: &str = "/sys/fs/cgroup";
/// Child of the base that holds shims.
const SHIMS: &str = "shims";

/// A value for a file of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Which hierarchy: its mount point.
    pub hierarchy: PathBuf,
    pub file: &'static str,
    pub value: String,
    /// Kernels are built without it.
    pub optional: bool,
}

/// What differs between v1 and v2. Pure, but for being given where things are mounted.
pub trait Version {
    /// Every hierarchy in which a task has a directory: mount points.
    fn hierarchies(&self) -> &[PathBuf];
    /// Those in which a process must be entered by writing to their `tasks` file.
    fn attached(&self) -> &[PathBuf];
    fn task_settings(&self, limits: &TaskLimits) -> Vec<Setting>;
    /// The task's share of time among `task_settings`; none is no limit.
    fn cpu_quota(&self, cpu: Option<CpuUnits>) -> Option<Setting>;
    /// # Errors
    /// What this version cannot do.
    fn container_settings(&self, resources: &Resources) -> Result<Vec<Setting>, String>;
    /// Controllers to enable for the children of a cgroup (v2).
    fn controllers(&self) -> &[&'static str];
    /// Those to enable besides, where they are available: they only count.
    fn wished(&self) -> &[&'static str];
    /// The file that counts out-of-memory kills in a line `oom_kill <n>`.
    fn oom_file(&self) -> Option<(PathBuf, &'static str)>;
    /// The hierarchy that limits processes.
    fn pids(&self) -> Option<&Path>;
    /// The v1 device controller, where there is no v2 hierarchy to attach a program to.
    fn devices(&self) -> Option<&Path>;
    /// What a cgroup has used. `read` answers what a file of it in a hierarchy says; none when it is not there.
    fn usage(&self, read: &dyn Fn(&Path, &str) -> Option<String>) -> Usage;
}

/// What a container of a task has used; none when its cgroups are not there, because it does not run.
///
/// # Errors
/// When cgroups are not mounted where distributions mount them.
pub fn usage(base: &str, task: &str, container: &str) -> io::Result<Option<Usage>> {
    let cgroups = Cgroups::locate(base, task, &RuntimeKind::Native)?;
    let below = format!("{}/{container}", cgroups.task_path());
    if !cgroups.directories(&below).any(|dir| dir.is_dir()) {
        return Ok(None);
    }
    let read = |hierarchy: &Path, file: &str| fs::read_to_string(hierarchy.join(&below).join(file)).ok();
    Ok(Some(cgroups.version.usage(&read)))
}

/// The cgroups of this machine, as seen by one task.
pub struct Cgroups {
    version: Box<dyn Version>,
    /// The v2 hierarchy, with or without controllers.
    unified: Option<PathBuf>,
    base: String,
    task: String,
    /// Whether more hierarchies than we use may hold something of the task.
    everywhere: bool,
}

/// A place to put a process: what a new process needs to know.
#[derive(Debug)]
pub struct Place {
    /// The v2 cgroup to be born in.
    pub born_in: Option<OwnedFd>,
    /// Files to write `0` to, by the process itself: the kernel takes a far cheaper way for the calling thread than for
    /// another process.
    pub attach: Vec<PathBuf>,
}

impl Cgroups {
    /// The cgroups of a task to be.
    ///
    /// # Errors
    /// When cgroups are not mounted where distributions mount them.
    pub fn find(launch: &ShimLaunch) -> io::Result<Cgroups> {
        Cgroups::locate(&launch.cgroup_base, &launch.task_id, &launch.runtime)
    }

    /// For what belongs to no task.
    pub fn in_base(base: &str) -> io::Result<Cgroups> {
        // Whichever runtime the tasks had.
        Ok(Cgroups {
            everywhere: true,
            ..Cgroups::locate(base, SHIMS, &RuntimeKind::Native)?
        })
    }

    /// `runtime` matters because OCI runtimes make a container's cgroup in every hierarchy there is.
    pub fn locate(base: &str, task: &str, runtime: &RuntimeKind) -> io::Result<Cgroups> {
        let root = Path::new(MOUNTED_AT);
        let (version, unified): (Box<dyn Version>, _) = if is_v2(root) {
            (Box::new(v2::V2::new(root.into())), Some(root.to_owned()))
        } else {
            let unified = root.join("unified");
            let unified = is_v2(&unified).then_some(unified);
            (Box::new(v1::V1::find(root, unified.as_deref())?), unified)
        };
        let everywhere = *runtime != RuntimeKind::Native;
        Ok(Cgroups {
            version,
            unified,
            base: base.to_owned(),
            task: task.to_owned(),
            everywhere,
        })
    }

    /// The name of a container's cgroup relative to each hierarchy, as OCI's `cgroupsPath`.
    pub fn path_of(&self, container: &str) -> String {
        format!("/{}/{}/{container}", self.base, self.task)
    }

    fn task_path(&self) -> String {
        format!("{}/{}", self.base, self.task)
    }

    fn directories(&self, below: &str) -> impl Iterator<Item = PathBuf> {
        self.version.hierarchies().iter().map(move |h| h.join(below))
    }

    /// The cgroup of shims, made when missing. Only in v2 is a shim born in its place; elsewhere it attaches itself.
    pub fn shims(&self) -> io::Result<Place> {
        for hierarchy in self.version.hierarchies() {
            make_dir(&hierarchy.join(&self.base))?;
            make_dir(&hierarchy.join(&self.base).join(SHIMS))?;
        }
        self.place(&format!("{}/{SHIMS}", self.base))
    }

    /// Makes the task's cgroup with its limits.
    pub fn create_task(&self, limits: &TaskLimits) -> io::Result<()> {
        if let (Some(root), [_, ..]) = (&self.unified, self.version.controllers()) {
            enable(root, &*self.version)?;
            make_dir(&root.join(&self.base))?;
            enable(&root.join(&self.base), &*self.version)?;
        }
        for directory in self.directories(&self.task_path()) {
            make_dir_all(&directory)?;
        }
        self.apply(&self.task_path(), &self.version.task_settings(limits))?;
        match &self.unified {
            Some(root) => enable(&root.join(self.task_path()), &*self.version),
            None => Ok(()),
        }
    }

    /// Makes a container's cgroup.
    ///
    /// # Errors
    /// Why it cannot have these resources.
    pub fn create_container(&self, name: &str, resources: &Resources) -> Result<Place, String> {
        let settings = self.version.container_settings(resources)?;
        let path = format!("{}/{name}", self.task_path());
        let make = || -> io::Result<Place> {
            for directory in self.directories(&path) {
                make_dir(&directory)?;
            }
            self.apply(&path, &settings)?;
            self.place(&path)
        };
        make().map_err(|e| format!("cgroup {path}: {e}"))
    }

    /// Filters which devices the container's processes may open and make.
    ///
    /// # Errors
    /// When the kernel keeps eBPF from us: without the filter no container is started.
    pub fn filter_devices(&self, name: &str, rules: &[devices::Rule]) -> io::Result<()> {
        let path = format!("{}/{name}", self.task_path());
        match (&self.unified, self.version.devices()) {
            (Some(root), _) => devices::attach(&root.join(path), rules),
            (None, Some(hierarchy)) => devices::write_v1(&hierarchy.join(path), rules),
            (None, None) => Err(io::Error::other("the cgroup controller devices is not mounted")),
        }
    }

    fn place(&self, path: &str) -> io::Result<Place> {
        let born_in = self
            .unified
            .as_ref()
            .map(|root| sys::open_dir(&root.join(path)))
            .transpose()?;
        let attach = self
            .version
            .attached()
            .iter()
            .map(|h| h.join(path).join("tasks"))
            .collect();
        Ok(Place { born_in, attach })
    }

    /// Where the processes of an existing container go, for one more process.
    pub fn place_of(&self, container: &str) -> io::Result<Place> {
        self.place(&format!("{}/{container}", self.task_path()))
    }

    fn apply(&self, path: &str, settings: &[Setting]) -> io::Result<()> {
        for setting in settings {
            let file = setting.hierarchy.join(path).join(setting.file);
            match write_value(&file, &setting.value) {
                Err(e) if setting.optional && e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => {
                    return Err(io::Error::new(
                        e.kind(),
                        format!("{} = {}: {e}", setting.file, setting.value),
                    ));
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Whether the kernel killed something of the container for lack of memory.
    pub fn oom_killed(&self, container: &str) -> bool {
        let Some((hierarchy, file)) = self.version.oom_file() else {
            return false;
        };
        let path = hierarchy.join(self.task_path()).join(container).join(file);
        fs::read_to_string(path).is_ok_and(|text| oom_kills(&text) > 0)
    }

    /// Sends SIGKILL to every process of a container. From then on the task's time is not limited: see `limit_cpu`.
    pub fn kill_container(&self, name: &str) -> io::Result<()> {
        self.kill(&format!("{}/{name}", self.task_path()))
    }

    /// Sends SIGKILL to every process of the task.
    pub fn kill_task(&self) -> io::Result<()> {
        self.kill(&self.task_path())
    }

    /// Holds the task to its time again after a kill, for the containers that live on.
    pub fn limit_cpu(&self, limits: &TaskLimits) -> io::Result<()> {
        match self.version.cpu_quota(limits.cpu) {
            Some(quota) => self.apply(&self.task_path(), &[quota]),
            None => Ok(()),
        }
    }

    fn kill(&self, path: &str) -> io::Result<()> {
        // Dying takes time of the task's own too: thousands of processes within a small quota would be at it for minutes.
        // Without the quota the task still has no more weight than its neighbours.
        if let Some(unlimited) = self.version.cpu_quota(None) {
            // Best effort, and there may be nothing to kill.
            let _ = self.apply(&self.task_path(), &[unlimited]);
        }
        if let Some(root) = &self.unified {
            match write_value(&root.join(path).join("cgroup.kill"), "1") {
                // Linux before 5.14, or nothing there.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                // An OCI runtime need not put its processes there on hybrid machines.
                Ok(()) if self.everywhere => {}
                other => return other,
            }
        }
        self.kill_each(path)
    }

    /// Without `cgroup.kill`, which outruns forks by itself: no process may be made any more, and on v2 none runs on until
    /// its signal comes (v1's freezer would keep them from dying), so that two rounds reach all of them.
    fn kill_each(&self, path: &str) -> io::Result<()> {
        let Some(hierarchy) = self.version.pids().or(self.unified.as_deref()) else {
            return Ok(());
        };
        let top = hierarchy.join(path);
        if !top.exists() {
            return Ok(());
        }
        let forks = top.join("pids.max");
        let allowed = fs::read_to_string(&forks);
        let freezer = self.unified.as_ref().map(|root| root.join(path).join("cgroup.freeze"));
        let freeze = |value| freezer.as_ref().map(|file| write_value(file, value));
        // Best effort: without one of them a round more may be needed, which the caller's waiting shows.
        let _ = write_value(&forks, "0");
        let _ = freeze("1");
        for _ in 0..2 {
            for directory in below(&top) {
                let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
                for pid in text
                    .lines()
                    .filter_map(|l| l.parse::<i32>().ok())
                    .filter(|pid| *pid > 1)
                {
                    let _ = sys::kill(pid, libc::SIGKILL);
                }
            }
        }
        // Whoever has its signal makes no process any more; the next container of this name may.
        let _ = freeze("0");
        if let Ok(allowed) = allowed {
            let _ = write_value(&forks, allowed.trim());
        }
        Ok(())
    }

    /// Removes a container's cgroup.
    ///
    /// # Errors
    /// `ResourceBusy` while a process is dying in it.
    pub fn remove_container(&self, name: &str) -> io::Result<()> {
        let path = format!("{}/{name}", self.task_path());
        // With what the container made below: on v2 nothing could be born again beside it.
        self.directories(&path)
            .try_for_each(|top| below(&top).iter().rev().try_for_each(|d| remove_dir(d)))
    }

    /// Removes the task's cgroup with what is left below it. Processes that were killed take a moment to die; it waits for them,
    /// up to ten seconds.
    pub fn remove_task_when_empty(&self) -> io::Result<()> {
        let mut pause = Duration::from_micros(200);
        let patience = Instant::now() + Duration::from_secs(10);
        loop {
            match self.remove_task() {
                Err(e) if is_in_use(&e) && Instant::now() < patience => {
                    // The kernel tells of a cgroup's last process only on v2; the children among them are reaped here.
                    while sys::reap().is_some() {}
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(50));
                }
                other => return other,
            }
        }
    }

    fn remove_task(&self) -> io::Result<()> {
        self.tops(&self.task_path())
            .iter()
            .try_for_each(|top| below(top).iter().rev().try_for_each(|d| remove_dir(d)))
    }

    /// Where `path` may exist.
    fn tops(&self, path: &str) -> Vec<PathBuf> {
        let mut tops: Vec<PathBuf> = self.directories(path).collect();
        if self.everywhere && !is_v2(Path::new(MOUNTED_AT)) {
            let mounted = fs::read_dir(MOUNTED_AT).into_iter().flatten().flatten();
            tops.extend(
                mounted
                    .map(|hierarchy| hierarchy.path().join(path))
                    .filter(|top| top.is_dir()),
            );
        }
        tops
    }

    /// Removes the base itself; left alone while a task or a shim is in it.
    pub fn remove_base(&self) -> io::Result<()> {
        for top in self.tops(&self.base) {
            for directory in [top.join(SHIMS), top] {
                match remove_dir(&directory) {
                    Err(e) if is_in_use(&e) => {}
                    other => other?,
                }
            }
        }
        Ok(())
    }

    /// The hierarchies that a container sees read-only: name below `/sys/fs/cgroup` and mount options of v1; empty for v2.
    pub fn shown(&self) -> Vec<String> {
        let v1 = self.version.attached().iter().filter_map(|h| h.file_name()?.to_str());
        v1.filter(|name| *name != v1::SYSTEMD).map(str::to_owned).collect()
    }
}

impl Place {
    /// Moves the calling process, which must have one thread.
    pub fn attach_self(&self) -> io::Result<()> {
        self.attach.iter().try_for_each(|file| {
            write_value(file, "0").map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", file.display())))
        })
    }

    pub fn born_in(&self) -> Option<i32> {
        self.born_in.as_ref().map(AsRawFd::as_raw_fd)
    }
}

fn is_v2(path: &Path) -> bool {
    let kind = sys::open_dir(path).and_then(|dir| sys::file_system_of(dir.as_raw_fd()));
    kind.is_ok_and(|kind| kind == libc::CGROUP2_SUPER_MAGIC)
}

/// `directory` and all below it, parents first.
fn below(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_owned()];
    let mut at = 0;
    while at < found.len() {
        let entries = fs::read_dir(&found[at]).into_iter().flatten().flatten();
        found.extend(
            entries
                .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
                .map(|e| e.path()),
        );
        at += 1;
    }
    found
}

fn make_dir(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn make_dir_all(path: &Path) -> io::Result<()> {
    match make_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), make_dir)?;
            make_dir(path)
        }
        other => other,
    }
}

fn is_in_use(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty)
}

fn remove_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn write_value(path: &Path, value: &str) -> io::Result<()> {
    fs::File::options().write(true).open(path)?.write_all(value.as_bytes())
}

/// Enables a version's controllers for the children of a v2 cgroup, unless they are.
fn enable(directory: &Path, version: &dyn Version) -> io::Result<()> {
    let controllers = version.controllers();
    if controllers.is_empty() {
        return Ok(());
    }
    let file = directory.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&file)?;
    let is_in = |list: &str, controller: &str| list.split_whitespace().any(|name| name == controller);
    let missing = |controllers: &[&'static str]| -> Vec<String> {
        let missing = controllers.iter().filter(|c| !is_in(&enabled, c));
        missing.map(|c| format!("+{c}")).collect()
    };
    let (mut wanted, mut wished) = (missing(controllers), missing(version.wished()));
    if wanted.is_empty() && wished.is_empty() {
        return Ok(());
    }
    let available = fs::read_to_string(directory.join("cgroup.controllers"))?;
    wished.retain(|wish| is_in(&available, &wish[1..]));
    if let Some(none) = controllers.iter().find(|c| !is_in(&available, c)) {
        return Err(io::Error::other(format!(
            "the cgroup controller {none} is not available in {}: this kernel was started without it (see \
             cgroup_disable and cgroup_enable on its command line), or whoever started this system keeps it back",
            directory.display()
        )));
    }
    wanted.append(&mut wished);
    if wanted.is_empty() {
        return Ok(());
    }
    write_value(&file, &wanted.join(" ")).map_err(|e| {
        io::Error::new(
            e.kind(),
            format!("enable {} in {}: {e}", wanted.join(" "), file.display()),
        )
    })
}

fn oom_kills(text: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
