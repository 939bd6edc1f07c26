//! Starting, ending, signals, exec, users, directories, terminals.

use crate::bed::*;
use neargate_runtime::*;
use std::fs;

#[test]
fn exit_codes_come_back() {
    let bed = Bed::new();
    let (exit, _) = bed.run("exit 42", |_| {});
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (42, None, false));
    assert!(exit.at.millis() > 1_700_000_000_000);
}

#[test]
fn signals_end_containers_with_128_and_their_number() {
    let bed = Bed::new();
    let container = bed.container("c", "trap 'exit 7' TERM; echo up; while true; do sleep 0.02; done");
    let mut shim = bed.spawn(&bed.task());
    shim.start(&container).unwrap();
    wait_for_output(&container.log.path, "up");
    shim.signal("c", libc_sigterm()).unwrap();
    assert_eq!(exit_of(&mut shim, "c").code, 7);

    // Started anew under the same name: a restart.
    shim.start(&container).unwrap();
    shim.signal("c", 9).unwrap();
    let exit = exit_of(&mut shim, "c");
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
    assert_eq!(shim.states().unwrap().containers["c"].starts, 2);
    assert!(shim.signal("c", 15).is_err(), "it runs no more");
    shim.remove("c").unwrap();
    assert!(shim.states().unwrap().containers.is_empty());
    shim.shutdown().unwrap();
}

fn libc_sigterm() -> i32 {
    15
}

#[test]
fn events_tell_of_starts_and_exits_in_order() {
    let bed = Bed::new();
    let mut shim = bed.spawn(&bed.task());
    let (pid, at) = shim.start(&bed.container("c", "exit 3")).unwrap();
    assert_eq!(
        shim.next_event().unwrap(),
        Event::Started {
            container: "c".into(),
            pid,
            at
        }
    );
    let Event::Exited { container, exit } = shim.next_event().unwrap() else {
        panic!()
    };
    assert_eq!((container.as_str(), exit.code), ("c", 3));
    shim.shutdown().unwrap();
}

#[test]
fn the_loader_says_what_is_wrong_with_the_program() {
    let bed = Bed::new();
    let program = |name: &str| {
        let name = name.to_owned();
        bed.refusal(move |c| c.argv = vec![name])
    };
    let missing = "CannotStartContainerError: unable to start container process: exec: \"nonesuch\": executable file not found \
                   in $PATH";
    assert_eq!(program("nonesuch"), missing);
    assert!(program("/nonesuch").ends_with("exec: \"/nonesuch\": stat /nonesuch: no such file or directory"));
    assert!(program("/etc/passwd").ends_with("exec: \"/etc/passwd\": permission denied"));
    assert!(program("/etc").ends_with("exec: \"/etc\": is a directory"));
    fs::write(bed.image.join("bin/odd"), "neither script nor program").unwrap();
    chmod(&bed.image.join("bin/odd"), 0o755);
    assert!(program("odd").ends_with("exec /bin/odd: exec format error"));
    assert!(
        bed.refusal(|c| c.user = "ghost".into())
            .contains("unable to find user ghost: no matching entries in passwd file")
    );
    assert!(
        bed.refusal(|c| c.argv.clear())
            .starts_with("CannotCreateContainerError: no command specified")
    );
}

fn chmod(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn user_groups_home_and_directory_are_the_images() {
    let bed = Bed::new();
    let (_, out) = bed.run(
        "id -u; id -g; id -G; echo $HOME; pwd; echo $HOSTNAME; hostname; echo hi > /dev/stderr",
        |c| {
            c.user = "web".into();
            c.cwd = "/made/deep".into();
            c.hostname = Some("box".into());
        },
    );
    assert_eq!(out, "33\n33\n33 44\n/srv\n/made/deep\nbox\nbox\nhi\n");
    let (_, out) = bed.run("id -u; id -g; cat /proc/self/status | grep CapEff", |c| {
        c.user = "1234:55".into()
    });
    assert_eq!(out, "1234\n55\nCapEff:\t0000000000000000\n");
}

#[test]
fn the_first_process_is_the_program_or_an_init_that_reaps() {
    let bed = Bed::new();
    let (_, out) = bed.run("echo $$", |_| {});
    assert_eq!(out, "1\n");
    // An orphan that nobody waits for but init; its zombie would still be seen.
    let script = "(sleep 0.05 & exec true); echo $$; sleep 0.3; ps -o stat | grep -c ^Z; exit 5";
    let (exit, out) = bed.run(script, |c| c.init = true);
    assert_eq!(exit.code, 5);
    assert_ne!(out.lines().next().unwrap(), "1", "init has that number");
    assert_eq!(out.lines().nth(1), Some("0"), "reaped: {out}");
}

#[test]
fn an_init_forwards_signals_that_pid_1_would_not_see() {
    let bed = Bed::new();
    let mut container = bed.container("c", "echo up; exec sleep 1000");
    container.init = true;
    let mut shim = bed.spawn(&bed.task());
    shim.start(&container).unwrap();
    wait_for_output(&container.log.path, "up");
    shim.signal("c", 15).unwrap();
    assert_eq!(exit_of(&mut shim, "c").code, 143);
    shim.shutdown().unwrap();
}

#[test]
fn exec_runs_in_the_container_as_it_is_confined() {
    let bed = Bed::new();
    let mut container = bed.container("c", "echo up; exec sleep 1000");
    container.env = vec!["A=1".into(), "B=2".into()];
    container.hostname = Some("box".into());
    let mut shim = bed.spawn(&bed.task());
    shim.start(&container).unwrap();
    wait_for_output(&container.log.path, "up");
    let mut run = |script: &str, user: Option<&str>, timeout_millis| {
        let exec = Exec {
            container: "c".into(),
            argv: ["sh", "-c", script].map(str::to_owned).into(),
            env: vec!["B=3".into()],
            user: user.map(str::to_owned),
            cwd: None,
            timeout_millis,
        };
        shim.exec(&exec).unwrap()
    };
    let result = run(
        "echo $A$B; hostname; cat /proc/1/comm; echo no >&2; exit 9",
        None,
        10_000,
    );
    assert_eq!(
        (result.outcome, result.output.as_str()),
        (ExecOutcome::Exited(9), "13\nbox\nsleep\nno\n")
    );
    let result = run(
        "grep -E 'Cap(Eff|Bnd)|Seccomp:' /proc/self/status; id -u",
        Some("web"),
        10_000,
    );
    let expected = "CapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\nSeccomp:\t2\n33\n";
    assert_eq!(result.output, expected);
    let inside = run("cat /proc/self/cgroup", None, 10_000).output;
    assert!(
        inside
            .lines()
            .filter(|l| l.contains(":memory:") || l.starts_with("0::"))
            .all(|l| l.ends_with(":/")),
        "{inside}"
    );
    let result = run("sleep 1000 & sleep 1000", None, 100);
    assert_eq!(result.outcome, ExecOutcome::TimedOut);
    assert!((100..5000).contains(&result.took_millis), "{}", result.took_millis);
    let result = run("yes | head -c 100000", None, 10_000);
    assert_eq!(result.output.len(), 4096);
    let result = run("ps | grep -c '[s]leep 1000'", None, 10_000);
    assert_eq!(result.output, "1\n", "what the timed-out exec started is dead");
    let missing = Exec {
        container: "c".into(),
        argv: vec!["nonesuch".into()],
        timeout_millis: 1000,
        ..Exec::default()
    };
    let result = shim.exec(&missing).unwrap();
    let ExecOutcome::NotStarted(why) = result.outcome else {
        panic!("{result:?}")
    };
    assert!(why.contains("executable file not found in $PATH"));
    shim.signal("c", 9).unwrap();
    exit_of(&mut shim, "c");
    assert!(shim.exec(&missing).is_err(), "no exec in a dead container");
    shim.shutdown().unwrap();
}

#[test]
fn a_terminal_is_one_inside_and_logged_outside() {
    let bed = Bed::new();
    let (_, out) = bed.run(
        "tty; test -t 0 && test -t 1 && echo yes; ls -l /dev/console | head -c 1; echo; echo $TERM",
        |c| {
            c.terminal = true;
        },
    );
    assert_eq!(out, "/dev/pts/0\nyes\nc\nxterm\n");
}

#[test]
fn stdin_is_empty_or_kept_open() {
    let bed = Bed::new();
    let (_, out) = bed.run("cat; echo end", |_| {});
    assert_eq!(out, "end\n");
    let mut container = bed.container("open", "echo up; cat; echo end");
    container.interactive = true;
    let mut shim = bed.spawn(&bed.task());
    shim.start(&container).unwrap();
    wait_for_output(&container.log.path, "up");
    assert!(!output(&container.log.path).contains("end"), "it waits for input");
    shim.signal("open", 9).unwrap();
    exit_of(&mut shim, "open");
    shim.shutdown().unwrap();
}

#[test]
fn a_restart_keeps_what_the_container_wrote() {
    let bed = Bed::new();
    let container = bed.container("c", "cat /kept 2>/dev/null; echo before >> /kept");
    let mut shim = bed.spawn(&bed.task());
    for _ in 0..2 {
        shim.start(&container).unwrap();
        exit_of(&mut shim, "c");
    }
    assert_eq!(output(&container.log.path), "before\n");
    shim.shutdown().unwrap();
}

#[test]
fn a_shim_refuses_to_go_while_a_container_runs() {
    let bed = Bed::new();
    let mut shim = bed.spawn(&bed.task());
    shim.start(&bed.container("c", "exec sleep 1000")).unwrap();
    let refused = shim.shutdown().unwrap_err();
    assert!(refused.to_string().contains("container c is running"));
    cleanup(&bed.task_dir()).unwrap();
}

#[test]
fn a_task_that_cannot_be_is_refused_with_its_first_answer() {
    let bed = Bed::new();
    let mut task = bed.task();
    task.task_id = "../escape".into();
    let mut shim = bed.spawn(&task);
    let refused = shim.start(&bed.container("c", "exit 0")).unwrap_err();
    assert!(refused.to_string().contains("invalid name \"../escape\""), "{refused}");
}
