//! Death of clients and of shims.

use crate::bed::*;
use neargate_runtime::*;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a_new_client_finds_shim_and_states_and_hears_of_exits() {
    let bed = Bed::new();
    let container = bed.container("c", "echo up; exec sleep 1000");
    let mut shim = bed.spawn(&bed.task());
    let (pid, _) = shim.start(&container).unwrap();
    drop(shim);
    let (mut shim, states) = ShimClient::attach(&bed.task_dir()).unwrap().expect("it lives on");
    let Status::Running { process, .. } = &states.containers["c"].status else {
        panic!("{states:?}")
    };
    assert_eq!(process.pid, pid);
    shim.signal("c", 9).unwrap();
    assert_eq!(exit_of(&mut shim, "c").code, 137);
    shim.shutdown().unwrap();
    assert!(ShimClient::attach(&bed.task_dir()).unwrap().is_none());
}

/// More threads that compute than the machine has processors, until dropped.
struct Load(Arc<AtomicBool>);

impl Load {
    fn new() -> Load {
        let done = Arc::new(AtomicBool::new(false));
        for _ in 0..2 * std::thread::available_parallelism().map_or(1, usize::from) {
            let done = done.clone();
            std::thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Load(done)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn on_a_busy_machine_every_program_that_ends_at_once_is_told_of() {
    let bed = Bed::new();
    let mut shim = bed.spawn(&ShimLaunch {
        pid: Sharing::Task,
        ..bed.task()
    });
    shim.start(&bed.container("stays", "exec sleep 1000")).unwrap();
    let exec = Exec {
        container: "stays".into(),
        argv: vec!["true".into()],
        timeout_millis: 60_000,
        ..Exec::default()
    };
    let _load = Load::new();
    for _ in 0..100 {
        assert_eq!(shim.exec(&exec).unwrap().outcome, ExecOutcome::Exited(0));
    }
    for round in 0..20 {
        let container = bed.container(&format!("c{round}"), "exit 7");
        shim.start(&container).unwrap();
        assert_eq!(exit_of(&mut shim, &container.name).code, 7);
    }
    shim.signal("stays", 9).unwrap();
    exit_of(&mut shim, "stays");
    shim.shutdown().unwrap();
}

#[test]
fn exits_without_any_client_are_kept() {
    let bed = Bed::new();
    let mut shim = bed.spawn(&bed.task());
    shim.start(&bed.container("c", "sleep 0.1; exit 21")).unwrap();
    drop(shim);
    let exited = |state: &TaskState| {
        let status = state.containers.get("c").map(|c| &c.status);
        matches!(status, Some(Status::Exited { exit, .. }) if exit.code == 21)
    };
    assert!(eventually(|| read_state(&bed.task_dir())
        .unwrap()
        .is_some_and(|s| exited(&s))));
    let (shim, states) = ShimClient::attach(&bed.task_dir()).unwrap().unwrap();
    assert!(exited(&states));
    shim.shutdown().unwrap();
}

#[test]
fn the_shim_is_nobodys_child_and_in_a_session_and_cgroup_of_its_own() {
    let bed = Bed::new();
    let mut shim = bed.spawn(&bed.task());
    shim.start(&bed.container("c", "exec sleep 1000")).unwrap();
    let pid = shim.states().unwrap().shim.pid;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<i32> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .skip(1)
        .take(3)
        .map(|f| f.parse().unwrap())
        .collect();
    assert_ne!(fields[0], std::process::id() as i32, "parent");
    let program = std::ffi::CString::new(format!("/proc/{pid}/exe")).unwrap();
    let read_only = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        assert_eq!(libc::statvfs(program.as_ptr(), &raw mut stat), 0);
        stat.f_flag & libc::ST_RDONLY
    };
    assert_ne!(
        read_only, 0,
        "the program cannot be written, even when nothing executes it any more"
    );
    assert_eq!(fields[2], pid, "session");
    let placed = || fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let mine = format!("/{}/shims", bed.base);
    assert!(
        eventually(|| placed().lines().filter(|l| l.ends_with(&mine)).count() >= 1),
        "{}",
        placed()
    );
    let hierarchy = |line: &str| ["memory", "pids"].iter().any(|c| line.contains(&format!(":{c}:")));
    assert!(
        eventually(|| placed().lines().filter(|l| hierarchy(l)).all(|l| l.ends_with(&mine))),
        "{}",
        placed()
    );
    cleanup(&bed.task_dir()).unwrap();
}

#[test]
fn after_a_killed_shim_cleanup_leaves_nothing_twice() {
    let bed = Bed::new();
    for pid in [Sharing::Private, Sharing::Task, Sharing::Host] {
        let task = ShimLaunch { pid, ..bed.task() };
        let container = bed.container("c", "sleep 5555 & echo up; exec sleep 5556");
        fs::remove_file(&container.log.path).ok();
        let mut shim = bed.spawn(&task);
        shim.start(&container).unwrap();
        wait_for_output(&container.log.path, "up");
        let state = shim.states().unwrap();
        unsafe { libc::kill(state.shim.pid, libc::SIGKILL) };
        assert!(eventually(|| is_dead(state.shim.pid)));
        assert!(ShimClient::attach(&bed.task_dir()).unwrap().is_none());
        let last = read_state(&bed.task_dir()).unwrap().unwrap();
        assert!(matches!(last.containers["c"].status, Status::Running { .. }));
        cleanup(&bed.task_dir()).unwrap();
        cleanup(&bed.task_dir()).unwrap();
        assert!(bed.cgroups_left().is_empty());
        assert!(
            eventually(|| bed.processes_left().is_empty()),
            "{:?}",
            bed.processes_left()
        );
        assert!(!bed.task_dir().join("shim.sock").exists());
    }
}

#[test]
fn a_lost_shim_is_told_to_the_client() {
    let bed = Bed::new();
    let mut shim = bed.spawn(&bed.task());
    let pid = shim.states().unwrap().shim.pid;
    unsafe { libc::kill(pid, libc::SIGKILL) };
    assert!(matches!(shim.next_event(), Err(ShimError::Lost(_))));
    assert!(matches!(shim.states(), Err(ShimError::Lost(_))));
}

#[test]
fn a_killed_nursery_is_replaced_and_takes_no_shim_with_it() {
    let bed = Bed::new();
    let mut shim = bed.spawn(&bed.task());
    let before = shim.states().unwrap().shim;
    let me = std::process::id();
    let children = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    let parent = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<u32>().ok())
    };
    let nurseries: Vec<i32> = children.filter(|pid| parent(pid) == Some(me)).collect();
    // Under a runner with one process for all tests there are those of other tests, too.
    let nursery = nurseries
        .into_iter()
        .find(|pid| parent(&before.pid) == Some(*pid as u32))
        .expect("the shim's parent");
    unsafe { libc::kill(nursery, libc::SIGKILL) };
    assert!(eventually(|| is_dead(nursery)));
    shim.states().unwrap();
    shim.shutdown().unwrap();
    let mut shim = bed.spawn(&bed.task());
    assert_ne!(shim.states().unwrap().shim, before);
    shim.shutdown().unwrap();
}

#[test]
fn a_long_path_is_no_obstacle() {
    let bed = Bed::new();
    let mut task = bed.task();
    task.task_dir = bed.directory.join("d".repeat(120)).join("e".repeat(120));
    fs::create_dir_all(&task.task_dir).unwrap();
    let mut shim = bed.spawn(&task);
    shim.states().unwrap();
    drop(shim);
    let (shim, _) = ShimClient::attach(&task.task_dir).unwrap().unwrap();
    shim.shutdown().unwrap();
}

#[test]
fn requests_may_be_sent_without_waiting() {
    let bed = Bed::new();
    let mut shim = bed.spawn(&bed.task());
    let start = shim
        .send(Request::Start(Box::new(bed.container("c", "exit 1"))))
        .unwrap();
    let states = shim.send(Request::States).unwrap();
    let mut replies = Vec::new();
    let mut exited = false;
    assert!(eventually(|| {
        for message in shim.receive().unwrap() {
            match message {
                Message::Reply { id, result } => replies.push((id, result.is_ok())),
                Message::Event(Event::Exited { .. }) => exited = true,
                Message::Event(_) => {}
            }
        }
        exited
    }));
    replies.sort();
    assert_eq!(replies, [(start, true), (states, true)]);
    shim.shutdown().unwrap();
}
