//! The same by the command line of an OCI runtime: runc, where it is installed.

use crate::bed::*;
use neargate_core::MiB;
use neargate_runtime::*;
use std::path::{Path, PathBuf};

/// A task run by runc; none when this machine has none.
fn task(bed: &Bed) -> Option<ShimLaunch> {
    let places = ["/usr/bin/runc", "/usr/sbin/runc"].map(PathBuf::from);
    let runc = places.into_iter().find(|path| path.exists());
    if runc.is_none() {
        eprintln!("skipped: no runc");
    }
    Some(ShimLaunch {
        runtime: RuntimeKind::Cli(runc?),
        ..bed.task()
    })
}

#[test]
fn containers_run_end_and_are_confined_alike() {
    let bed = Bed::new();
    let Some(task) = task(&bed) else { return };
    let mut container = bed.container(
        "c",
        "id -u; pwd; grep -E 'CapBnd|Seccomp:' /proc/self/status; echo err >&2; exit 3",
    );
    container.user = "web".into();
    container.cwd = "/made".into();
    let (exit, out) = bed.run_in(&task, &container);
    assert_eq!((exit.code, exit.signal), (3, None));
    assert_eq!(out, "33\n/made\nCapBnd:\t00000000a80425fb\nSeccomp:\t2\nerr\n");
}

#[test]
fn kill_exec_and_restart_work() {
    let bed = Bed::new();
    let Some(task) = task(&bed) else { return };
    let container = bed.container("c", "echo up; sleep 6666 & exec sleep 6667");
    let mut shim = bed.spawn(&task);
    for _ in 0..2 {
        std::fs::remove_file(&container.log.path).ok();
        shim.start(&container).unwrap();
        wait_for_output(&container.log.path, "up");
        let exec = |script: &str, timeout_millis| Exec {
            container: "c".into(),
            argv: ["sh", "-c", script].map(str::to_owned).into(),
            timeout_millis,
            ..Exec::default()
        };
        let result = shim.exec(&exec("echo in; exit 4", 20_000)).unwrap();
        assert_eq!(
            (result.outcome, result.output.as_str()),
            (ExecOutcome::Exited(4), "in\n")
        );
        let result = shim.exec(&exec("exec sleep 7777", 500)).unwrap();
        assert_eq!(result.outcome, ExecOutcome::TimedOut);
        let missing = Exec {
            argv: vec!["nonesuch".into()],
            ..exec("", 20_000)
        };
        let ExecOutcome::NotStarted(why) = shim.exec(&missing).unwrap().outcome else {
            panic!()
        };
        assert!(why.contains("executable file not found in $PATH"), "{why}");
        shim.signal("c", 9).unwrap();
        assert_eq!(exit_of(&mut shim, "c").code, 137);
    }
    shim.shutdown().unwrap();
    assert!(bed.cgroups_left().is_empty(), "{:?}", bed.cgroups_left());
}

#[test]
fn refusals_are_the_runtimes() {
    let bed = Bed::new();
    let Some(task) = task(&bed) else { return };
    let mut shim = bed.spawn(&task);
    let mut container = bed.container("c", "");
    container.argv = vec!["nonesuch".into()];
    let refused = shim.start(&container).unwrap_err().to_string();
    assert!(refused.starts_with("CannotStartContainerError: "), "{refused}");
    assert!(
        refused.contains("exec: \"nonesuch\": executable file not found in $PATH"),
        "{refused}"
    );
    shim.shutdown().unwrap();
}

#[test]
fn an_init_forwards_reaps_and_ends_as_its_program() {
    let bed = Bed::new();
    let Some(task) = task(&bed) else { return };
    // An orphan that ended is in nobody's way.
    let script = "head -c 9 /proc/1/cmdline; echo; [ $$ = 1 ] || echo not one; \
                  touch /dev/init 2>/dev/null || echo read-only; (sleep 0.1 & exec true); \
                  trap 'grep -l \") Z \" /proc/[0-9]*/stat; echo none; exit 9' TERM; sleep 0.5; echo up; \
                  while true; do sleep 0.05; done";
    let mut container = bed.container("c", script);
    container.init = true;
    container.user = "web".into();
    container.readonly_root = true;
    let mut shim = bed.spawn(&task);
    shim.start(&container).unwrap();
    wait_for_output(&container.log.path, "up");
    shim.signal("c", libc::SIGTERM).unwrap();
    assert_eq!(exit_of(&mut shim, "c").code, 9);
    let out = output(&container.log.path);
    assert_eq!(out, "/dev/init\nnot one\nread-only\nup\nnone\n");

    // A program that is not there is told by the init, as with Docker's: the container had started.
    container.argv = vec!["nonesuch".into()];
    shim.start(&container).unwrap();
    assert_eq!(exit_of(&mut shim, "c").code, 127);
    assert!(output(&container.log.path).contains("exec: nonesuch: cannot be executed"));

    container.argv = [
        "sh",
        "-c",
        "test -t 0 && echo a terminal; read line </dev/tty & kill -9 $$",
    ]
    .map(str::to_owned)
    .into();
    container.terminal = true;
    shim.start(&container).unwrap();
    assert_eq!(exit_of(&mut shim, "c").code, 137);
    assert!(output(&container.log.path).contains("a terminal"));
    shim.shutdown().unwrap();
}

#[test]
fn memory_terminal_and_shared_namespaces_work() {
    let bed = Bed::new();
    let Some(task) = task(&bed) else { return };
    let mut hungry = bed.container("hungry", "exec dd if=/dev/zero of=/dev/null bs=200M count=1");
    hungry.resources.memory = Some(MiB(24));
    let (exit, _) = bed.run_in(&task, &hungry);
    assert_eq!((exit.code, exit.oom_killed), (137, true));

    let mut terminal = bed.container("terminal", "test -t 0 && echo yes");
    terminal.terminal = true;
    assert_eq!(bed.run_in(&task, &terminal).1, "yes\n");

    let sharing = ShimLaunch {
        pid: Sharing::Task,
        ipc: Sharing::Task,
        ..task
    };
    let writer = bed.container("writer", "echo word > /dev/shm/word; echo up; exec sleep 8888");
    let reader = bed.container("reader", "cat /dev/shm/word; ps | grep -c '[s]leep 8888'");
    let mut shim = bed.spawn(&sharing);
    shim.start(&writer).unwrap();
    wait_for_output(&writer.log.path, "up");
    shim.start(&reader).unwrap();
    exit_of(&mut shim, "reader");
    assert_eq!(output(&reader.log.path), "word\n1\n");
    shim.signal("writer", 9).unwrap();
    exit_of(&mut shim, "writer");
    shim.shutdown().unwrap();
}

#[test]
fn cleanup_after_a_killed_shim_leaves_nothing() {
    let bed = Bed::new();
    let Some(task) = task(&bed) else { return };
    let container = bed.container("c", "echo up; exec sleep 9999");
    let mut shim = bed.spawn(&task);
    shim.start(&container).unwrap();
    wait_for_output(&container.log.path, "up");
    let pid = shim.states().unwrap().shim.pid;
    unsafe { libc::kill(pid, libc::SIGKILL) };
    assert!(eventually(|| is_dead(pid)));
    cleanup(&bed.task_dir()).unwrap();
    assert!(bed.cgroups_left().is_empty(), "{:?}", bed.cgroups_left());
    assert!(
        eventually(|| bed.processes_left().is_empty()),
        "{:?}",
        bed.processes_left()
    );
}

#[test]
fn a_runtime_that_is_not_there_is_named() {
    let bed = Bed::new();
    let runtime = RuntimeKind::Cli(Path::new("/nonesuch/crun").to_owned());
    let mut shim = bed.spawn(&ShimLaunch { runtime, ..bed.task() });
    let refused = shim.start(&bed.container("c", "exit 0")).unwrap_err().to_string();
    assert!(
        refused.contains("/nonesuch/crun: no such file or directory"),
        "{refused}"
    );
    shim.shutdown().unwrap();
}
