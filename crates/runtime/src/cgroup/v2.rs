//! Cgroup v2: one hierarchy.

use super::usage::{self, Usage};
use super::{Setting, Version};
use crate::launch::{Resources, TaskLimits};
use neargate_core::{CpuUnits, MiB};
use std::path::{Path, PathBuf};

const CPU_PERIOD_MICROS: u64 = 100_000;

pub struct V2 {
    root: [PathBuf; 1],
}

impl V2 {
    pub fn new(root: PathBuf) -> V2 {
        V2 { root: [root] }
    }

    fn set(&self, file: &'static str, value: impl ToString) -> Setting {
        Setting {
            hierarchy: self.root[0].clone(),
            file,
            value: value.to_string(),
            optional: false,
        }
    }
}

/// v1's shares (2 to 262,144, 1024 the norm) as a v2 weight (1 to 10,000), by the OCI runtimes' formula.
fn weight(shares: u32) -> u64 {
    1 + (u64::from(shares.clamp(2, 262_144)) - 2) * 9999 / 262_142
}

impl Version for V2 {
    fn hierarchies(&self) -> &[PathBuf] {
        &self.root
    }

    fn attached(&self) -> &[PathBuf] {
        &[]
    }

    fn task_settings(&self, limits: &TaskLimits) -> Vec<Setting> {
        let mut settings = vec![self.set("pids.max", limits.pids)];
        if limits.cpu.is_some() {
            settings.extend(self.cpu_quota(limits.cpu));
        }
        if let Some(share) = limits.share {
            settings.push(self.set("cpu.weight", weight(share.0)));
        }
        if let Some(memory) = limits.memory {
            settings.push(self.set("memory.max", memory.bytes()));
        }
        settings
    }

    fn cpu_quota(&self, cpu: Option<CpuUnits>) -> Option<Setting> {
        let quota = |cpu: CpuUnits| (u64::from(cpu.0) * CPU_PERIOD_MICROS / 1024).max(1000).to_string();
        let quota = cpu.map_or("max".to_owned(), quota);
        Some(self.set("cpu.max", format!("{quota} {CPU_PERIOD_MICROS}")))
    }

    fn container_settings(&self, resources: &Resources) -> Result<Vec<Setting>, String> {
        let mut settings = Vec::new();
        if let Some(cpu) = resources.cpu {
            settings.push(self.set("cpu.weight", weight(cpu.0)));
        }
        if let Some(memory) = resources.memory {
            settings.push(self.set("memory.max", memory.bytes()));
        }
        if let Some(reservation) = resources.memory_reservation {
            settings.push(self.set("memory.low", reservation.bytes()));
        }
        let swap = match resources.swappiness {
            None => resources.swap.limit(),
            Some(0) => Some(MiB(0)),
            Some(other) => {
                return Err(format!(
                    "swappiness {other} is not possible with cgroup v2, which knows only 0 or unset"
                ));
            }
        };
        settings.extend(swap.map(|swap| Setting {
            optional: true,
            ..self.set("memory.swap.max", swap.bytes())
        }));
        if let Some(pids) = resources.pids {
            settings.push(self.set("pids.max", pids));
        }
        Ok(settings)
    }

    fn controllers(&self) -> &[&'static str] {
        &["cpu", "memory", "pids"]
    }

    fn wished(&self) -> &[&'static str] {
        &["io"]
    }

    fn oom_file(&self) -> Option<(PathBuf, &'static str)> {
        Some((self.root[0].clone(), "memory.events"))
    }

    fn pids(&self) -> Option<&Path> {
        Some(&self.root[0])
    }

    fn devices(&self) -> Option<&Path> {
        None
    }

    fn usage(&self, read: &dyn Fn(&Path, &str) -> Option<String>) -> Usage {
        let text = |file| read(&self.root[0], file);
        let one = |file| usage::number(&text(file)?);
        let stat = usage::table(&text("cpu.stat").unwrap_or_default());
        let of = |name| stat.get(name).copied().unwrap_or_default();
        Usage {
            cpu: of("usage_usec") * 1000,
            cpu_user: of("user_usec") * 1000,
            cpu_system: of("system_usec") * 1000,
            periods: of("nr_periods"),
            throttled_periods: of("nr_throttled"),
            throttled: of("throttled_usec") * 1000,
            memory: one("memory.current").unwrap_or_default(),
            memory_most: one("memory.peak"),
            memory_limit: one("memory.max"),
            memory_stat: usage::table(&text("memory.stat").unwrap_or_default()),
            pids: one("pids.current").unwrap_or_default(),
            block_io: usage::block_io_v2(&text("io.stat").unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights_as_the_runtimes_convert_them() {
        assert_eq!(weight(2), 1);
        assert_eq!(weight(1024), 39);
        assert_eq!(weight(262_144), 10_000);
        assert_eq!(weight(0), 1);
    }
}
