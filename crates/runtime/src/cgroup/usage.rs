//! What a container has used so far, as the files of its cgroups tell it.
//!
//! Each cgroup version says which files; reading is an argument, so that this is tried without a kernel.

use std::collections::BTreeMap;

/// What a container, or a task, has used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in nanoseconds, all of it and its parts.
    pub cpu: u64,
    pub cpu_user: u64,
    pub cpu_system: u64,
    /// Periods in which it could run, and in which it was held back, and for how many nanoseconds.
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled: u64,
    /// Bytes.
    pub memory: u64,
    pub memory_most: Option<u64>,
    /// None: as much as the machine has.
    pub memory_limit: Option<u64>,
    /// As the kernel names them.
    pub memory_stat: BTreeMap<String, u64>,
    /// Processes and threads.
    pub pids: u64,
    /// Empty where block IO is not counted for containers.
    pub block_io: Vec<BlockIo>,
}

/// Bytes that went to or came from a block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockIo {
    pub major: u64,
    pub minor: u64,
    /// `Read`, `Write`; v1 tells more.
    pub operation: String,
    pub bytes: u64,
}

/// The first number of a file.
pub fn number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// Lines of a name and a number.
pub fn table(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// v1's `blkio.throttle.io_service_bytes`: `8:0 Read 4096` a line, and a total without a device.
pub fn block_io_v1(text: &str) -> Vec<BlockIo> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = device(words.next()?)?;
        Some(BlockIo {
            major,
            minor,
            operation: words.next()?.to_owned(),
            bytes: words.next()?.parse().ok()?,
        })
    };
    text.lines().filter_map(line).collect()
}

/// v2's `io.stat`: `8:0 rbytes=4096 wbytes=0 rios=1 …` a line.
pub fn block_io_v2(text: &str) -> Vec<BlockIo> {
    let mut out = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else {
            continue;
        };
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let operation = match name {
                "rbytes" => "Read",
                "wbytes" => "Write",
                _ => continue,
            };
            out.extend(value.parse().ok().map(|bytes| BlockIo {
                major,
                minor,
                operation: operation.to_owned(),
                bytes,
            }));
        }
    }
    out
}

fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::Version;
    use super::super::v1::V1;
    use super::super::v2::V2;
    use super::*;
    use std::path::{Path, PathBuf};

    fn read<V: Version>(version: &V, files: &[(&str, &str)]) -> Usage {
        version.usage(&|hierarchy: &Path, file: &str| {
            let path = hierarchy.join(file);
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn both_versions_are_read_alike() {
        let place = |name: &str| PathBuf::from(format!("/cg/{name}"));
        let mounted = vec![
            ("cpu", place("cpu,cpuacct")),
            ("cpuacct", place("cpu,cpuacct")),
            ("memory", place("memory")),
            ("pids", place("pids")),
            ("blkio", place("blkio")),
        ];
        let v1 = read(
            &V1::of(mounted, None),
            &[
                ("/cg/cpu,cpuacct/cpuacct.usage", "3000\n"),
                ("/cg/cpu,cpuacct/cpuacct.usage_user", "2000\n"),
                ("/cg/cpu,cpuacct/cpuacct.usage_sys", "1000\n"),
                (
                    "/cg/cpu,cpuacct/cpu.stat",
                    "nr_periods 5\nnr_throttled 2\nthrottled_time 7000\n",
                ),
                ("/cg/memory/memory.usage_in_bytes", "4096\n"),
                ("/cg/memory/memory.max_usage_in_bytes", "8192\n"),
                ("/cg/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("/cg/memory/memory.stat", "cache 1024\nrss 2048\n"),
                ("/cg/pids/pids.current", "3\n"),
                (
                    "/cg/blkio/blkio.throttle.io_service_bytes",
                    "8:16 Read 512\n8:16 Write 1024\nTotal 1536\n",
                ),
            ],
        );
        let v2 = read(
            &V2::new("/cg".into()),
            &[
                (
                    "/cg/cpu.stat",
                    "usage_usec 3\nuser_usec 2\nsystem_usec 1\nnr_periods 5\nnr_throttled 2\nthrottled_usec 7\n",
                ),
                ("/cg/memory.current", "4096\n"),
                ("/cg/memory.peak", "8192\n"),
                ("/cg/memory.max", "max\n"),
                ("/cg/memory.stat", "cache 1024\nrss 2048\n"),
                ("/cg/pids.current", "3\n"),
                (
                    "/cg/io.stat",
                    "8:16 rbytes=512 wbytes=1024 rios=1 wios=2 dbytes=0 dios=0\n",
                ),
            ],
        );
        assert_eq!(v1, v2);
        assert_eq!(
            (v1.cpu, v1.throttled, v1.memory, v1.memory_limit),
            (3000, 7000, 4096, None)
        );
        assert_eq!(v1.memory_stat["rss"], 2048);
        let told = |io: &BlockIo| (io.major, io.minor, io.operation.clone(), io.bytes);
        let told: Vec<_> = v1.block_io.iter().map(told).collect();
        assert_eq!(
            told,
            [(8, 16, "Read".to_owned(), 512), (8, 16, "Write".to_owned(), 1024)]
        );
    }

    #[test]
    fn what_is_not_there_is_nothing() {
        assert_eq!(read(&V2::new("/cg".into()), &[]), Usage::default());
        let limited = read(&V2::new("/cg".into()), &[("/cg/memory.max", "1048576\n")]);
        assert_eq!(limited.memory_limit, Some(1_048_576));
    }
}
