use super::*;
use neargate_core::{CpuUnits, MiB};

fn v1() -> v1::V1 {
    let place = |name: &str| Path::new("/cg").join(name);
    let mounted = vec![
        ("cpu", place("cpu,cpuacct")),
        ("cpuacct", place("cpu,cpuacct")),
        ("memory", place("memory")),
        ("pids", place("pids")),
        ("devices", place("devices")),
    ];
    v1::V1::of(mounted, None)
}

fn values(settings: Vec<Setting>) -> Vec<String> {
    let of = |s: Setting| format!("{}/{}={}", s.hierarchy.display(), s.file, s.value);
    settings.into_iter().map(of).collect()
}

fn half_a_cpu() -> TaskLimits {
    TaskLimits {
        cpu: Some(CpuUnits(512)),
        memory: Some(MiB(1)),
        pids: 9,
    }
}

fn resources() -> Resources {
    Resources {
        cpu: Some(CpuUnits(256)),
        memory: Some(MiB(2)),
        memory_reservation: Some(MiB(1)),
        swap: Some(MiB(1)),
        swappiness: None,
        pids: Some(5),
    }
}

#[test]
fn v1_writes_each_controller_in_its_hierarchy() {
    assert_eq!(v1().attached().len(), 4, "co-mounted controllers are one hierarchy");
    assert_eq!(
        values(v1().task_settings(&half_a_cpu())),
        [
            "/cg/pids/pids.max=9",
            "/cg/cpu,cpuacct/cpu.cfs_period_us=100000",
            "/cg/cpu,cpuacct/cpu.cfs_quota_us=50000",
            "/cg/memory/memory.limit_in_bytes=1048576",
        ]
    );
    assert_eq!(
        values(v1().container_settings(&resources()).unwrap()),
        [
            "/cg/cpu,cpuacct/cpu.shares=256",
            "/cg/memory/memory.limit_in_bytes=2097152",
            "/cg/memory/memory.memsw.limit_in_bytes=3145728",
            "/cg/memory/memory.soft_limit_in_bytes=1048576",
            "/cg/pids/pids.max=5",
        ]
    );
}

#[test]
fn v2_writes_one_hierarchy_and_refuses_what_it_cannot_do() {
    let v2 = v2::V2::new("/cg".into());
    let task = ["/cg/pids.max=9", "/cg/cpu.max=50000 100000", "/cg/memory.max=1048576"];
    assert_eq!(values(v2.task_settings(&half_a_cpu())), task);
    assert_eq!(
        values(v2.container_settings(&resources()).unwrap()),
        [
            "/cg/cpu.weight=10",
            "/cg/memory.max=2097152",
            "/cg/memory.low=1048576",
            "/cg/memory.swap.max=1048576",
            "/cg/pids.max=5",
        ]
    );
    let swappy = Resources {
        swappiness: Some(60),
        ..resources()
    };
    assert!(v2.container_settings(&swappy).unwrap_err().contains("swappiness 60"));
}

#[test]
fn time_is_limited_and_given_free_in_both_versions() {
    let quota = |version: &dyn Version, cpu| values(version.cpu_quota(cpu).into_iter().collect());
    let v2 = v2::V2::new("/cg".into());
    assert_eq!(
        quota(&v1(), Some(CpuUnits(256))),
        ["/cg/cpu,cpuacct/cpu.cfs_quota_us=25000"]
    );
    assert_eq!(quota(&v1(), None), ["/cg/cpu,cpuacct/cpu.cfs_quota_us=-1"]);
    assert_eq!(quota(&v2, Some(CpuUnits(256))), ["/cg/cpu.max=25000 100000"]);
    assert_eq!(quota(&v2, None), ["/cg/cpu.max=max 100000"]);
}

#[test]
fn no_swap_unless_asked() {
    let plain = Resources::default();
    assert_eq!(
        values(v1().container_settings(&plain).unwrap()),
        ["/cg/memory/memory.swappiness=0"]
    );
    let v2 = v2::V2::new("/cg".into());
    assert_eq!(
        values(v2.container_settings(&plain).unwrap()),
        ["/cg/memory.swap.max=0"]
    );
}

#[test]
fn the_kernels_count_of_kills_is_read_in_both_forms() {
    assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), 2);
    assert_eq!(
        oom_kills("low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n"),
        1
    );
    assert_eq!(oom_kills(""), 0);
}
