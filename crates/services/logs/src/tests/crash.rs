//! Killed at any moment, cut at any byte, out of space: what was acknowledged is there, once.

use super::ingest::{batch, opened, opening};
use super::*;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const DIR: &str = "NEARGATE_LOGS_CRASH_DIR";

fn open(dir: &Path, memory: usize) -> (Store, Arc<Logs>) {
    let store = Store::open(dir.join("store"), &crate::kinds()).unwrap();
    let clock = Arc::new(ManualClock::at(Timestamp(NOW)));
    let ids = Arc::new(RandomIds);
    let logs = Logs::with_memory(store.clone(), &dir.join("logs"), clock, ids, "000000000000", memory).unwrap();
    (store, Arc::new(logs))
}

/// Not a test by itself: the process that `kill_9_loses_and_repeats_nothing` starts and kills. It goes on where each of
/// its sources is stored, sends everything twice, and prints what was acknowledged.
#[tokio::test]
async fn child_that_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let (store, logs) = open(Path::new(&dir), 20_000);
    let mut next: BTreeMap<u64, u64> = (0..4).map(|s| (s, 0)).collect();
    for (_, stream) in store.snapshot().range::<crate::records::LogStreamRecord>("") {
        for (source, to) in &stream.sources {
            next.insert(source.parse().unwrap(), *to);
        }
    }
    for source in next.keys() {
        logs.open_stream(opening(&source.to_string())).await.unwrap();
    }
    println!("\nready");
    loop {
        for (source, at) in &mut next {
            let lines: Vec<String> = (*at..*at + 1 + *at % 7)
                .map(|n| format!("{n} {}", "x".repeat(40)))
                .collect();
            let lines: Vec<(i64, &str)> = (*at..)
                .zip(&lines)
                .map(|(n, line)| (NOW + n as i64, line.as_str()))
                .collect();
            let batch = batch(&source.to_string(), *at, &lines);
            logs.ingest(batch.clone()).await.unwrap();
            *at = batch.to_offset;
            println!("\nacked {source} {at}");
            logs.ingest(batch).await.unwrap();
        }
    }
}

/// Kills its process when dropped, so that none is left behind by a failed test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn kill_9_loses_and_repeats_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut acked: BTreeMap<u64, u64> = BTreeMap::new();
    for round in 0..8u64 {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "tests::crash::child_that_is_killed",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut child = Killed(child);
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let wanted = 150 + round * 97;
        let mut seen = 0;
        for line in lines.by_ref() {
            let line = line.unwrap();
            if let Some(rest) = line.strip_prefix("acked ") {
                let (source, to) = rest.split_once(' ').unwrap();
                acked.insert(source.parse().unwrap(), to.parse().unwrap());
                seen += 1;
            }
            if seen == wanted {
                child.0.kill().unwrap();
            }
        }
        assert!(seen >= wanted, "the child ended by itself in round {round}");
        drop(child);
        check(dir.path(), &acked).await;
    }
}

/// Every line up to what was acknowledged is there once and in order; at most one batch more is.
async fn check(dir: &Path, acked: &BTreeMap<u64, u64>) {
    let (store, logs) = open(dir, 20_000);
    let bed = Bed {
        logs: Some(logs),
        clock: Arc::new(ManualClock::at(Timestamp(NOW))),
        store,
        dir: tempfile::tempdir().unwrap(),
        region: "us-east-1",
        memory: 0,
    };
    for (source, to) in acked {
        let names = json!({"logGroupName": "/ecs/web", "logStreamNames": [format!("p/{source}")]});
        let found = bed.filter(names).await;
        let numbers: Vec<u64> = found
            .iter()
            .map(|m| m.split(' ').next().unwrap().parse().unwrap())
            .collect();
        let expected: Vec<u64> = (0..numbers.len() as u64).collect();
        assert_eq!(numbers, expected, "source {source}");
        assert!(
            (*to..to + 8).contains(&(numbers.len() as u64)),
            "source {source}: {to} {}",
            numbers.len()
        );
    }
}

fn journals(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir.join("journal")).unwrap();
    let mut paths: Vec<PathBuf> = files.map(|f| f.unwrap().path()).collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn a_journal_cut_at_any_byte_holds_the_batches_before_the_cut() {
    let mut bed = opened(Bed::new()).await;
    let mut ends = Vec::new();
    let journal = journals(bed.dir.path()).pop().unwrap();
    for i in 0..5u64 {
        bed.logs().ingest(batch("t/c", i, &[(NOW, "some line")])).await.unwrap();
        ends.push(std::fs::metadata(&journal).unwrap().len());
    }
    bed.logs = None;
    let whole = std::fs::read(&journal).unwrap();
    for cut in 0..=whole.len() {
        std::fs::write(&journal, &whole[..cut]).unwrap();
        bed.restart();
        let whole_batches = ends.iter().filter(|end| **end <= cut as u64).count();
        let found = bed.filter(json!({"logGroupName": "/ecs/web"})).await;
        assert_eq!(found.len(), whole_batches, "cut at {cut}");
        // And it goes on from there.
        if cut % 7 == 0 {
            let next = batch("t/c", whole_batches as u64, &[(NOW, "next")]);
            bed.logs().ingest(next).await.unwrap();
            bed.restart();
            let found = bed.filter(json!({"logGroupName": "/ecs/web"})).await;
            assert_eq!(found.len(), whole_batches + 1, "cut at {cut}");
        }
        bed.logs = None;
        let mut damaged = whole.clone();
        if let Some(byte) = damaged.get_mut(cut).filter(|_| cut > 8) {
            *byte ^= 0x55;
            std::fs::write(&journal, &damaged).unwrap();
            bed.restart();
            let found = bed.filter(json!({"logGroupName": "/ecs/web"})).await;
            assert_eq!(found.len(), whole_batches, "damaged at {cut}");
            bed.logs = None;
        }
    }
}

/// All files under `dir`, by path.
fn copy(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut out = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                // Others were deleted meanwhile.
                out.insert(path, bytes);
            }
        }
    }
    out
}

#[tokio::test]
async fn files_that_a_crash_would_have_left_do_not_repeat_events() {
    let mut bed = opened(Bed::with_memory(2_000)).await;
    let mut everything = BTreeMap::new();
    for i in 0..200u64 {
        bed.logs()
            .ingest(batch("t/c", i, &[(NOW + i as i64, "some line")]))
            .await
            .unwrap();
        // Whatever files there ever were; journals as long as they got.
        for (path, bytes) in copy(bed.dir.path()) {
            let known: &mut Vec<u8> = everything.entry(path).or_default();
            if known.len() < bytes.len() {
                *known = bytes;
            }
        }
    }
    let count = async |bed: &Bed| bed.filter(json!({"logGroupName": "/ecs/web"})).await.len();
    assert_eq!(count(&bed).await, 200);
    bed.logs = None;
    let now = copy(bed.dir.path());
    let old: Vec<_> = everything.iter().filter(|(path, _)| !now.contains_key(*path)).collect();
    assert!(old.len() > 5, "segments were merged and journals ended");
    // Deleting them had not been made durable: each alone, then all together.
    for some in old.chunks(1).chain([&old[..]]) {
        for (path, bytes) in some {
            std::fs::write(path, bytes).unwrap();
        }
        bed.restart();
        assert_eq!(
            count(&bed).await,
            200,
            "{:?}",
            some.iter().map(|s| s.0).collect::<Vec<_>>()
        );
        bed.logs = None;
    }
    // A segment half-written.
    let (segment, bytes) = now
        .iter()
        .find(|(p, _)| p.extension().is_some_and(|e| e == "seg"))
        .unwrap();
    std::fs::write(segment.with_extension("tmp"), &bytes[..bytes.len() / 2]).unwrap();
    bed.restart();
    assert_eq!(count(&bed).await, 200);
    assert!(!segment.with_extension("tmp").exists());
}

#[tokio::test]
async fn a_damaged_segment_is_set_aside_and_damaged_blocks_are_told() {
    let mut bed = opened(Bed::with_memory(2_000)).await;
    for i in 0..60u64 {
        let one = batch("t/c", i, &[(NOW + i as i64, "some line")]);
        bed.logs().ingest(one).await.unwrap();
    }
    bed.logs = None;
    let files = copy(bed.dir.path());
    let is_segment = |path: &&PathBuf| path.extension().is_some_and(|e| e == "seg");
    let segment = files.keys().find(is_segment).unwrap();
    let input = json!({"logGroupName": "/ecs/web"});
    // In a block: the read fails rather than leaving events out.
    let mut bytes = files[segment].clone();
    bytes[10] ^= 0xff;
    std::fs::write(segment, &bytes).unwrap();
    bed.restart();
    let (code, _) = bed.refused("FilterLogEvents", input.clone()).await;
    assert_eq!(code, "ServiceUnavailableException");
    bed.logs = None;
    // At the end: nothing can be read, the file stays for whoever wants to look.
    std::fs::write(segment, &bytes[..bytes.len() - 1]).unwrap();
    for _ in 0..2 {
        bed.restart();
        let left = bed.filter(input.clone()).await.len();
        assert!((1..60).contains(&left), "{left}");
        assert!(segment.with_extension("damaged").exists());
        bed.logs = None;
    }
}

/// A file system of its own that is soon full; unmounted when dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// None when this user may not mount.
    fn new(options: &std::ffi::CStr) -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let path = std::ffi::CString::new(dir.path().to_str().unwrap()).unwrap();
        let kind = c"tmpfs";
        // SAFETY: every pointer is to a C string that lives until the call returns.
        let done = unsafe { libc::mount(kind.as_ptr(), path.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) };
        (done == 0).then_some(SmallDisk(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let path = std::ffi::CString::new(self.0.path().to_str().unwrap()).unwrap();
        // SAFETY: as above.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}

#[tokio::test]
async fn a_full_disk_refuses_events_and_loses_none_that_it_took() {
    let Some(disk) = SmallDisk::new(c"size=1m") else {
        eprintln!("not tried: mounting needs root");
        return;
    };
    let mut bed = opened(Bed::with_memory(100_000)).await;
    bed.logs = None;
    let clock: Arc<ManualClock> = bed.clock.clone();
    let reopen = |bed: &Bed| {
        let (store, ids) = (bed.store.clone(), Arc::new(RandomIds));
        let dir = disk.0.path();
        Some(Arc::new(
            Logs::with_memory(store, dir, clock.clone(), ids, "000000000000", 100_000).unwrap(),
        ))
    };
    bed.logs = reopen(&bed);
    // Text that does not compress.
    let mut state = 1u64;
    let mut line = || -> String {
        (0..2000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                char::from(b'!' + (state >> 33) as u8 % 90)
            })
            .collect()
    };
    let mut taken = Vec::new();
    let mut refused = 0;
    for i in 0..1000u64 {
        let line = line();
        let one = batch("t/c", taken.len() as u64, &[(NOW + i as i64, &line)]);
        match bed.logs().ingest(one).await {
            Ok(()) => taken.push(line),
            Err(error) => {
                assert_eq!(error.code, "ServiceUnavailableException");
                refused += 1;
            }
        }
    }
    assert!(taken.len() > 50 && refused > 50, "{} {refused}", taken.len());
    let all = json!({"logGroupName": "/ecs/web"});
    assert_eq!(bed.filter(all.clone()).await, taken);
    // Room again: it goes on by itself, and a restart finds everything.
    let more = c"size=64m";
    let path = std::ffi::CString::new(disk.0.path().to_str().unwrap()).unwrap();
    // SAFETY: every pointer is to a C string that lives until the call returns.
    let done = unsafe {
        libc::mount(
            c"tmpfs".as_ptr(),
            path.as_ptr(),
            c"tmpfs".as_ptr(),
            libc::MS_REMOUNT,
            more.as_ptr().cast(),
        )
    };
    assert_eq!(done, 0);
    for i in 0..100u64 {
        let line = line();
        let one = batch("t/c", taken.len() as u64, &[(NOW + 1000 + i as i64, &line)]);
        bed.logs().ingest(one).await.unwrap();
        taken.push(line);
    }
    assert_eq!(bed.filter(all.clone()).await, taken);
    bed.logs = None;
    bed.logs = reopen(&bed);
    assert_eq!(bed.filter(all).await, taken);
    bed.logs = None;
}
