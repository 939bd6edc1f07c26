//! Limits of task and container, as the cgroups have them and as they act.

use crate::bed::*;
use neargate_core::{CpuUnits, MiB};
use neargate_runtime::*;

#[test]
fn too_much_memory_ends_with_137_and_the_reason() {
    let bed = Bed::new();
    // dd takes a block of that size into memory.
    let (exit, _) = bed.run("exec dd if=/dev/zero of=/dev/null bs=200M count=1", |c| {
        c.resources.memory = Some(MiB(24))
    });
    assert_eq!((exit.code, exit.oom_killed), (137, true));
}

#[test]
fn the_tasks_memory_limits_containers_without_one() {
    let bed = Bed::new();
    let mut task = bed.task();
    task.limits.memory = Some(MiB(24));
    let (exit, _) = bed.run_in(
        &task,
        &bed.container("c", "exec dd if=/dev/zero of=/dev/null bs=200M count=1"),
    );
    assert_eq!((exit.code, exit.oom_killed), (137, true));
}

#[test]
fn limits_are_in_the_cgroups() {
    let bed = Bed::new();
    let mut task = bed.task();
    task.limits = TaskLimits {
        cpu: Some(CpuUnits(512)),
        share: Some(CpuUnits(768)),
        memory: Some(MiB(64)),
        pids: 77,
    };
    let mut container = bed.container("c", "echo up; exec sleep 1000");
    container.resources = Resources {
        cpu: Some(CpuUnits(256)),
        memory: Some(MiB(32)),
        memory_reservation: Some(MiB(16)),
        pids: Some(33),
        ..Resources::default()
    };
    let mut shim = bed.spawn(&task);
    shim.start(&container).unwrap();
    wait_for_output(&container.log.path, "up");
    assert_eq!(bed.cgroup_file("pids", "", "pids.max", "pids.max"), "77");
    assert_eq!(
        bed.cgroup_file("memory", "", "memory.limit_in_bytes", "memory.max"),
        (64 << 20).to_string()
    );
    assert!(
        bed.cgroup_file("cpu", "", "cpu.cfs_quota_us", "cpu.max")
            .starts_with("50000")
    );
    assert!(["768", "30"].contains(&bed.cgroup_file("cpu", "", "cpu.shares", "cpu.weight").as_str()));
    assert_eq!(
        bed.cgroup_file("memory", "c", "memory.limit_in_bytes", "memory.max"),
        (32 << 20).to_string()
    );
    assert_eq!(
        bed.cgroup_file("memory", "c", "memory.soft_limit_in_bytes", "memory.low"),
        (16 << 20).to_string()
    );
    assert_eq!(bed.cgroup_file("pids", "c", "pids.max", "pids.max"), "33");
    assert!(["256", "10"].contains(&bed.cgroup_file("cpu", "c", "cpu.shares", "cpu.weight").as_str()));
    // What the container itself sees is its own limit, and it cannot change it.
    let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max; \
                  echo 1 > /sys/fs/cgroup/pids/pids.max || echo 1 > /sys/fs/cgroup/pids.max";
    let exec = Exec {
        container: "c".into(),
        argv: ["sh", "-c", script].map(str::to_owned).into(),
        timeout_millis: 10_000,
        ..Exec::default()
    };
    let result = shim.exec(&exec).unwrap();
    assert!(
        result.output.starts_with(&format!("{}\n", 32 << 20)),
        "{}",
        result.output
    );
    assert!(result.output.contains("Read-only file system"), "{}", result.output);
    shim.signal("c", 9).unwrap();
    exit_of(&mut shim, "c");
    shim.shutdown().unwrap();
}

#[test]
fn a_fork_bomb_stays_within_its_bound_and_dies_at_once() {
    let bed = Bed::new();
    let mut task = bed.task();
    task.limits.pids = 60;
    let bomb = bed.container("bomb", "echo up; (while true; do sleep 1000 & done) & exec sleep 1000");
    let mut shim = bed.spawn(&task);
    shim.start(&bomb).unwrap();
    wait_for_output(&bomb.log.path, "up");
    let count = || {
        bed.cgroup_file("pids", "", "pids.current", "pids.current")
            .parse::<u64>()
            .unwrap()
    };
    assert!(eventually(|| count() >= 50), "{}", count());
    assert!(count() <= 60);
    shim.signal("bomb", 9).unwrap();
    assert_eq!(exit_of(&mut shim, "bomb").code, 137);
    shim.shutdown().unwrap();
}

#[test]
fn dying_is_not_held_to_the_tasks_time_but_what_lives_on_is() {
    let bed = Bed::new();
    let mut task = bed.task();
    // One hundredth of a CPU: within it, so many processes would be dying for longer than this test waits.
    task.limits.cpu = Some(CpuUnits(10));
    let crowd = "i=0; while [ $i -lt 400 ]; do sleep 1000 & i=$((i+1)); done; echo up; exec sleep 1000";
    let (crowd, other) = (bed.container("crowd", crowd), bed.container("other", "exec sleep 1000"));
    let mut shim = bed.spawn(&task);
    shim.start(&other).unwrap();
    let quota = || bed.cgroup_file("cpu", "", "cpu.cfs_quota_us", "cpu.max");
    let limited = quota();
    // The crowd is made without the limit, since that would take as long.
    bed.write_cgroup_file("cpu", ("cpu.cfs_quota_us", "-1"), ("cpu.max", "max"));
    shim.start(&crowd).unwrap();
    wait_for_output(&crowd.log.path, "up");
    bed.write_cgroup_file("cpu", ("cpu.cfs_quota_us", "1000"), ("cpu.max", "1000 100000"));
    assert_eq!(quota(), limited);
    let begin = std::time::Instant::now();
    shim.signal("crowd", 9).unwrap();
    assert_eq!(exit_of(&mut shim, "crowd").code, 137);
    assert!(begin.elapsed().as_secs() < 5, "{:?}", begin.elapsed());
    assert_eq!(quota(), limited, "the other container has its limit again");
    shim.signal("other", 9).unwrap();
    exit_of(&mut shim, "other");
    shim.shutdown().unwrap();
}

#[test]
fn ulimits_are_set_and_raising_beyond_the_machines_is_told_plainly() {
    let bed = Bed::new();
    let ulimit = |name: &str, soft, hard| Ulimit {
        name: name.into(),
        soft,
        hard,
    };
    let (_, out) = bed.run("ulimit -n; ulimit -Hn; ulimit -c", |c| {
        c.ulimits = vec![ulimit("nofile", 100, 200), ulimit("core", 0, 0)];
    });
    assert_eq!(out, "100\n200\n0\n");
    let refused = bed.refusal(|c| c.ulimits = vec![ulimit("nofile", 10, 1 << 40)]);
    assert!(
        refused.contains("ulimit nofile: hard limit 1099511627776 is above this machine's"),
        "{refused}"
    );
}

#[test]
fn shared_memory_and_tmpfs_have_their_sizes() {
    let bed = Bed::new();
    let size = "set -- $(df -k /dev/shm | tail -n 1); echo $2";
    assert_eq!(bed.run(size, |_| {}).1.trim(), "65536");
    assert_eq!(bed.run(size, |c| c.shm = Some(MiB(8))).1.trim(), "8192");
    let (_, out) = bed.run("touch /dev/shm/x && echo made || echo none", |c| c.shm = Some(MiB(0)));
    assert!(out.contains("none"), "no shared memory at all: {out}");
    let source = MountSource::Tmpfs {
        size: MiB(2),
        options: vec!["mode=1750".into(), "uid=33".into()],
    };
    let (_, out) = bed.run(
        "stat -c '%a %u' /scratch; dd if=/dev/zero of=/scratch/big bs=1M count=3 2>&1 | grep -o 'No space.*'",
        |c| {
            c.mounts = vec![Mount {
                destination: "/scratch".into(),
                source,
                read_only: false,
            }];
        },
    );
    assert_eq!(out, "1750 33\nNo space left on device\n");
}
