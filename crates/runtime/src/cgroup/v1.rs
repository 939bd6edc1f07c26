//! Cgroup v1: a hierarchy per controller.

use super::usage::{self, Usage};
use super::{Setting, Version};
use crate::launch::{Resources, Swap, TaskLimits};
use crate::sys;
use neargate_core::CpuUnits;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// systemd's own hierarchy, by which it finds the processes of a unit to kill.
pub const SYSTEMD: &str = "systemd";
/// What we limit by or account with. Block IO and cpu sets are left alone: no member of a task definition asks for them, and
/// each hierarchy more makes every start slower.
const CONTROLLERS: &[&str] = &["cpu", "cpuacct", "memory", "pids", "devices", BLOCK_IO, SYSTEMD];
/// Only looked at: OCI runtimes put containers there.
const BLOCK_IO: &str = "blkio";
const CFS_PERIOD_MICROS: u64 = 100_000;
/// What `memory.limit_in_bytes` says of no limit is the largest number that is whole in pages.
const UNLIMITED: u64 = i64::MAX as u64 / 2;

pub struct V1 {
    /// Mount points by controller; co-mounted controllers share one.
    mounted: Vec<(&'static str, PathBuf)>,
    /// The distinct ones, where processes attach.
    attached: Vec<PathBuf>,
    /// Those and the v2 hierarchy beside them.
    all: Vec<PathBuf>,
}

impl V1 {
    pub fn find(root: &Path, unified: Option<&Path>) -> io::Result<V1> {
        let is_v1 = |path: &Path| {
            let kind = sys::open_dir(path).and_then(|dir| sys::file_system_of(dir.as_raw_fd()));
            kind.is_ok_and(|kind| kind == libc::CGROUP_SUPER_MAGIC)
        };
        // `cpu` is often a link to `cpu,cpuacct`.
        let place = |name: &&'static str| {
            root.join(name)
                .canonicalize()
                .ok()
                .filter(|p| is_v1(p))
                .map(|p| (*name, p))
        };
        let v1 = V1::of(CONTROLLERS.iter().filter_map(place).collect(), unified);
        match ["cpu", "memory", "pids"].iter().find(|name| v1.place(name).is_none()) {
            Some(missing) => Err(io::Error::other(format!(
                "cgroup controller {missing} is not mounted in {}",
                root.display()
            ))),
            None => Ok(v1),
        }
    }

    pub fn of(mounted: Vec<(&'static str, PathBuf)>, unified: Option<&Path>) -> V1 {
        let mut attached: Vec<PathBuf> = Vec::new();
        for (name, place) in &mounted {
            // With a v2 hierarchy at hand devices are filtered by eBPF there, which costs less than one more hierarchy.
            let needed = match *name {
                "devices" => unified.is_none(),
                name => name != BLOCK_IO,
            };
            if needed && !attached.contains(place) {
                attached.push(place.clone());
            }
        }
        let all = attached.iter().cloned().chain(unified.map(Path::to_owned)).collect();
        V1 { mounted, attached, all }
    }

    fn place(&self, controller: &str) -> Option<&PathBuf> {
        self.mounted
            .iter()
            .find(|(name, _)| *name == controller)
            .map(|(_, place)| place)
    }

    fn set(&self, controller: &str, file: &'static str, value: impl ToString) -> Option<Setting> {
        let hierarchy = self.place(controller)?.clone();
        Some(Setting {
            hierarchy,
            file,
            value: value.to_string(),
            optional: false,
        })
    }

    fn set_if_there(&self, controller: &str, file: &'static str, value: impl ToString) -> Option<Setting> {
        self.set(controller, file, value).map(|setting| Setting {
            optional: true,
            ..setting
        })
    }
}

impl Version for V1 {
    fn hierarchies(&self) -> &[PathBuf] {
        &self.all
    }

    fn attached(&self) -> &[PathBuf] {
        &self.attached
    }

    fn task_settings(&self, limits: &TaskLimits) -> Vec<Setting> {
        let mut settings = vec![self.set("pids", "pids.max", limits.pids)];
        if let Some(cpu) = limits.cpu {
            settings.push(self.set("cpu", "cpu.cfs_period_us", CFS_PERIOD_MICROS));
            settings.extend(self.cpu_quota(Some(cpu)).into_iter().map(Some));
        }
        if let Some(share) = limits.share {
            settings.push(self.set("cpu", "cpu.shares", share.0.max(2)));
        }
        if let Some(memory) = limits.memory {
            settings.push(self.set("memory", "memory.limit_in_bytes", memory.bytes()));
        }
        settings.into_iter().flatten().collect()
    }

    fn cpu_quota(&self, cpu: Option<CpuUnits>) -> Option<Setting> {
        let quota = |cpu: CpuUnits| (u64::from(cpu.0) * CFS_PERIOD_MICROS / 1024).max(1000).to_string();
        self.set("cpu", "cpu.cfs_quota_us", cpu.map_or("-1".to_owned(), quota))
    }

    fn container_settings(&self, resources: &Resources) -> Result<Vec<Setting>, String> {
        let mut settings = Vec::new();
        if let Some(cpu) = resources.cpu {
            settings.push(self.set("cpu", "cpu.shares", cpu.0.max(2)));
        }
        if let Some(memory) = resources.memory {
            settings.push(self.set("memory", "memory.limit_in_bytes", memory.bytes()));
            if let Some(swap) = resources.swap.limit() {
                let both = memory.bytes() + swap.bytes();
                settings.push(self.set_if_there("memory", "memory.memsw.limit_in_bytes", both));
            }
        }
        if let Some(reservation) = resources.memory_reservation {
            settings.push(self.set("memory", "memory.soft_limit_in_bytes", reservation.bytes()));
        }
        // Without a limit swap has none either, so that only unwillingness to swap keeps a container out of it.
        let unwilling = (resources.memory.is_none() && resources.swap == Swap::None).then_some(0);
        if let Some(swappiness) = resources.swappiness.or(unwilling) {
            settings.push(self.set_if_there("memory", "memory.swappiness", swappiness));
        }
        if let Some(pids) = resources.pids {
            settings.push(self.set("pids", "pids.max", pids));
        }
        Ok(settings.into_iter().flatten().collect())
    }

    fn controllers(&self) -> &[&'static str] {
        &[]
    }

    fn wished(&self) -> &[&'static str] {
        &[]
    }

    fn oom_file(&self) -> Option<(PathBuf, &'static str)> {
        Some((self.place("memory")?.clone(), "memory.oom_control"))
    }

    fn pids(&self) -> Option<&Path> {
        self.place("pids").map(PathBuf::as_path)
    }

    fn devices(&self) -> Option<&Path> {
        self.place("devices")
            .filter(|place| self.attached.contains(place))
            .map(PathBuf::as_path)
    }

    fn usage(&self, read: &dyn Fn(&Path, &str) -> Option<String>) -> Usage {
        let text = |controller, file| read(self.place(controller)?, file);
        let one = |controller, file| usage::number(&text(controller, file)?);
        let stat = usage::table(&text("cpu", "cpu.stat").unwrap_or_default());
        let of = |name| stat.get(name).copied().unwrap_or_default();
        Usage {
            cpu: one("cpuacct", "cpuacct.usage").unwrap_or_default(),
            cpu_user: one("cpuacct", "cpuacct.usage_user").unwrap_or_default(),
            cpu_system: one("cpuacct", "cpuacct.usage_sys").unwrap_or_default(),
            periods: of("nr_periods"),
            throttled_periods: of("nr_throttled"),
            throttled: of("throttled_time"),
            memory: one("memory", "memory.usage_in_bytes").unwrap_or_default(),
            memory_most: one("memory", "memory.max_usage_in_bytes"),
            memory_limit: one("memory", "memory.limit_in_bytes").filter(|limit| *limit < UNLIMITED),
            memory_stat: usage::table(&text("memory", "memory.stat").unwrap_or_default()),
            pids: one("pids", "pids.current").unwrap_or_default(),
            block_io: usage::block_io_v1(&text(BLOCK_IO, "blkio.throttle.io_service_bytes").unwrap_or_default()),
        }
    }
}
