//! What the machine has: the node's introduction to control.
//!
//! Called once when the node starts.

use crate::config::NodeConfig;
use crate::dirs::Dirs;
use neargate_core::{CpuUnits, Ids, MiB};
use neargate_link::NodeHello;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};

/// How the node introduces itself.
pub fn hello(config: &NodeConfig, node_id: String, attributes: BTreeMap<String, String>) -> NodeHello {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let machine_cpu = CpuUnits(u32::try_from(cores * 1024).unwrap_or(u32::MAX));
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    NodeHello {
        node_id,
        hostname: hostname(),
        version: config.version.clone(),
        cpu: config.cpu.unwrap_or(machine_cpu),
        memory: config.memory.unwrap_or_else(|| total_memory(&meminfo)),
        os_family: "LINUX".to_owned(),
        cpu_architecture: architecture().to_owned(),
        attributes,
        simulated: false,
    }
}

/// The machine's host name.
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The machine's id: 32 hex digits, made at first start and kept.
pub fn node_id(dirs: &Dirs, ids: &dyn Ids) -> io::Result<String> {
    let path = dirs.node_id();
    match fs::read_to_string(&path) {
        Ok(text) if is_id(text.trim()) => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let id = ids.hex32();
    let making = path.with_extension("new");
    let mut file = fs::File::create(&making)?;
    file.write_all(id.as_bytes())?;
    file.sync_all()?;
    fs::rename(making, path)?;
    Ok(id)
}

fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn total_memory(meminfo: &str) -> MiB {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    let kib: u64 = line
        .and_then(|l| l.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    MiB(u32::try_from(kib / 1024).unwrap_or(u32::MAX))
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "ARM64"
    } else {
        "X86_64"
    }
}

/// The hard limit of open files that this process, and so every container, is held to.
pub fn nofile_limit() -> i64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    limit.map_or(i64::MAX, |l| i64::try_from(l).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use neargate_core::ids::CountingIds;

    #[test]
    fn memory_is_read_from_meminfo() {
        assert_eq!(total_memory("MemTotal:       24684136 kB\nMemFree: 1 kB\n"), MiB(24105));
        assert_eq!(total_memory(""), MiB(0));
    }

    #[test]
    fn the_node_keeps_its_id() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(dir.path());
        dirs.prepare().unwrap();
        let ids = CountingIds::default();
        let id = node_id(&dirs, &ids).unwrap();
        assert_eq!(node_id(&dirs, &ids).unwrap(), id);
        std::fs::write(dirs.node_id(), "torn").unwrap();
        assert_ne!(node_id(&dirs, &ids).unwrap(), id);
    }
}
