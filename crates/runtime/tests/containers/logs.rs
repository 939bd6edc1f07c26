//! What containers print, through pipes into files.

use crate::bed::*;
use neargate_runtime::*;
use std::fs;
use std::path::Path;

fn files(log: &Path) -> Vec<String> {
    let numbered = (1..20).rev().map(|n| log.with_extension(n.to_string()));
    let all = numbered.chain([log.to_owned()]);
    all.filter_map(|path| fs::read_to_string(path).ok()).collect()
}

#[test]
fn both_streams_are_in_cri_format() {
    let bed = Bed::new();
    let container = bed.container("c", "echo out; sleep 0.05; echo err >&2; sleep 0.05; printf unfinished");
    let (_, _) = bed.run_in(&bed.task(), &container);
    let text = fs::read_to_string(&container.log.path).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|l| l.splitn(4, ' ').collect()).collect();
    let tails: Vec<_> = lines.iter().map(|l| l[1..].join(" ")).collect();
    assert_eq!(tails, ["stdout F out", "stderr F err", "stdout F unfinished"]);
    assert!(lines.iter().all(|l| l[0].len() == 30 && l[0].ends_with('Z')));
    assert!(lines[0][0] < lines[1][0]);
}

#[test]
fn nothing_is_lost_at_full_speed() {
    let bed = Bed::new();
    let mut container = bed.container("c", "seq 300000");
    container.log.max_bytes = 4 << 20;
    container.log.files = 20;
    bed.run_in(&bed.task(), &container);
    let all = files(&container.log.path);
    assert!(all.len() > 2, "it rotated");
    let numbers = all
        .iter()
        .flat_map(|t| t.lines())
        .map(|l| l.rsplit(' ').next().unwrap().parse::<u32>().unwrap());
    assert!(numbers.eq(1..=300_000));
}

#[test]
fn a_container_that_logs_at_full_speed_neither_fills_the_disk_nor_keeps_the_shim() {
    let bed = Bed::new();
    let mut container = bed.container("c", "exec yes 'a line that repeats'");
    container.log.max_bytes = 1 << 20;
    container.log.files = 3;
    let mut shim = bed.spawn(&bed.task());
    shim.start(&container).unwrap();
    assert!(eventually(|| files(&container.log.path).len() == 3));
    let exec = Exec {
        container: "c".into(),
        argv: vec!["true".into()],
        timeout_millis: 5000,
        ..Exec::default()
    };
    for _ in 0..5 {
        assert_eq!(shim.exec(&exec).unwrap().outcome, ExecOutcome::Exited(0));
    }
    let size: usize = files(&container.log.path).iter().map(String::len).sum();
    assert!(size <= 3 << 20, "{size}");
    shim.signal("c", 9).unwrap();
    exit_of(&mut shim, "c");
    shim.shutdown().unwrap();
}

#[test]
fn non_blocking_logs_arrive_whole_when_the_disk_keeps_up() {
    let bed = Bed::new();
    let mut container = bed.container("c", "seq 20000");
    container.log.mode = LogMode::NonBlocking {
        max_buffer_bytes: 8 << 20,
    };
    let mut shim = bed.spawn(&bed.task());
    shim.start(&container).unwrap();
    exit_of(&mut shim, "c");
    assert_eq!(shim.states().unwrap().containers["c"].dropped_lines, 0);
    shim.shutdown().unwrap();
    let numbers = output(&container.log.path);
    assert!(numbers.lines().map(|l| l.parse::<u32>().unwrap()).eq(1..=20_000));
}

#[test]
fn non_blocking_logs_drop_lines_rather_than_stop_the_container() {
    let bed = Bed::new();
    // The log is a pipe that nobody reads: a disk that takes nothing.
    let mut container = bed.container("c", "seq 200000; echo done > /finished; exec sleep 1000");
    container.log.mode = LogMode::NonBlocking {
        max_buffer_bytes: 64 << 10,
    };
    let fifo = std::ffi::CString::new(container.log.path.to_str().unwrap()).unwrap();
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    let reader = fs::File::options()
        .read(true)
        .write(true)
        .open(&container.log.path)
        .unwrap();
    let mut shim = bed.spawn(&bed.task());
    shim.start(&container).unwrap();
    let finished = bed.directory.join("c/upper/finished");
    assert!(eventually(|| finished.exists()), "the container never waits");
    assert!(eventually(
        || shim.states().unwrap().containers["c"].dropped_lines > 100_000
    ));
    shim.signal("c", 9).unwrap();
    // The writer hangs; the exit is told nevertheless.
    assert_eq!(exit_of(&mut shim, "c").code, 137);
    shim.shutdown().unwrap();
    drop(reader);
}

#[test]
fn a_full_disk_drops_lines_and_the_container_goes_on() {
    let bed = Bed::new();
    let mut container = bed.container("c", "seq 1000; exit 4");
    fs::remove_file(&container.log.path).ok();
    std::os::unix::fs::symlink("/dev/full", &container.log.path).unwrap();
    container.log.max_bytes = u64::MAX;
    let mut shim = bed.spawn(&bed.task());
    shim.start(&container).unwrap();
    assert_eq!(exit_of(&mut shim, "c").code, 4);
    assert_eq!(shim.states().unwrap().containers["c"].dropped_lines, 1000);
    shim.shutdown().unwrap();
}
