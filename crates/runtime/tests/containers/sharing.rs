//! Namespaces that a task's containers share.

use crate::bed::*;
use neargate_core::MiB;
use neargate_runtime::*;

#[test]
fn a_shared_pid_namespace_shows_all_and_ends_each_alone() {
    let bed = Bed::new();
    let task = ShimLaunch {
        pid: Sharing::Task,
        ..bed.task()
    };
    let one = bed.container("one", "echo up; sleep 1111 & exec sleep 2222");
    let two = bed.container(
        "two",
        "ps; cat /proc/1/status | grep Uid; cat /proc/1/exe > /dev/null 2>&1 || echo hidden; exec sleep 3333",
    );
    let mut shim = bed.spawn(&task);
    shim.start(&one).unwrap();
    wait_for_output(&one.log.path, "up");
    shim.start(&two).unwrap();
    wait_for_output(&two.log.path, "hidden");
    let seen = output(&two.log.path);
    assert!(seen.contains("sleep 2222") && seen.contains("65534"), "{seen}");
    shim.signal("one", 15).unwrap();
    assert_eq!(exit_of(&mut shim, "one").code, 143);
    let exec = Exec {
        container: "two".into(),
        argv: vec!["ps".into()],
        timeout_millis: 5000,
        ..Exec::default()
    };
    assert!(
        eventually(|| !shim.exec(&exec).unwrap().output.contains("1111")),
        "its children went with it"
    );
    assert!(shim.exec(&exec).unwrap().output.contains("sleep 3333"));
    shim.signal("two", 9).unwrap();
    exit_of(&mut shim, "two");
    shim.shutdown().unwrap();
}

#[test]
fn a_failed_start_in_a_shared_pid_namespace_says_why() {
    let bed = Bed::new();
    let task = ShimLaunch {
        pid: Sharing::Task,
        ..bed.task()
    };
    let mut container = bed.container("c", "");
    container.argv = vec!["nonesuch".into()];
    let mut shim = bed.spawn(&task);
    assert!(
        shim.start(&container)
            .unwrap_err()
            .to_string()
            .contains("not found in $PATH")
    );
    shim.shutdown().unwrap();
}

#[test]
fn an_init_reaps_in_a_shared_pid_namespace_too() {
    let bed = Bed::new();
    let task = ShimLaunch {
        pid: Sharing::Task,
        ..bed.task()
    };
    let mut container = bed.container(
        "c",
        "(sleep 0.05 & exec true); sleep 0.3; ps -o stat | grep -c ^Z; exit 6",
    );
    container.init = true;
    let (exit, out) = bed.run_in(&task, &container);
    assert_eq!((exit.code, out.as_str()), (6, "0\n"));
}

#[test]
fn shared_memory_is_the_tasks_when_ipc_is() {
    let bed = Bed::new();
    let task = ShimLaunch {
        ipc: Sharing::Task,
        ..bed.task()
    };
    let writer = bed.container("writer", "echo word > /dev/shm/word; echo up; exec sleep 1000");
    let mut reader = bed.container(
        "reader",
        "cat /dev/shm/word; set -- $(df -k /dev/shm | tail -n 1); echo $2; echo $$",
    );
    reader.shm = Some(MiB(100));
    let mut shim = bed.spawn(&task);
    shim.start(&writer).unwrap();
    wait_for_output(&writer.log.path, "up");
    shim.start(&reader).unwrap();
    exit_of(&mut shim, "reader");
    assert_eq!(output(&reader.log.path), "word\n102400\n1\n");
    shim.signal("writer", 9).unwrap();
    exit_of(&mut shim, "writer");
    shim.shutdown().unwrap();
}

#[test]
fn the_machines_pid_namespace_can_be_shared_and_still_all_is_killed() {
    let bed = Bed::new();
    let task = ShimLaunch {
        pid: Sharing::Host,
        ipc: Sharing::Host,
        ..bed.task()
    };
    let container = bed.container("c", "echo $$; sleep 4444 & echo up; exec sleep 4445");
    let mut shim = bed.spawn(&task);
    let (pid, _) = shim.start(&container).unwrap();
    wait_for_output(&container.log.path, "up");
    assert_eq!(
        output(&container.log.path).lines().next(),
        Some(pid.to_string().as_str())
    );
    shim.signal("c", 15).unwrap();
    assert_eq!(exit_of(&mut shim, "c").code, 143);
    shim.shutdown().unwrap();
    assert!(
        eventually(|| bed.processes_left().is_empty()),
        "{:?}",
        bed.processes_left()
    );
}
