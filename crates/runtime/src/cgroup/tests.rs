use super::*;
use crate::launch::Swap;
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
        share: Some(CpuUnits(512)),
        memory: Some(MiB(1)),
        pids: 9,
    }
}

/// A v2 hierarchy of ordinary files: directories have the files that the kernel would give them, where a test reads one.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new(enabled_at_the_root: &str) -> Tree {
        let tree = Tree(tempfile::tempdir().unwrap());
        for directory in ["", "base", "base/task", "base/task/c"] {
            fs::create_dir_all(tree.at(directory)).unwrap();
            for file in [
                "cgroup.subtree_control",
                "cgroup.kill",
                "pids.max",
                "cpu.max",
                "cpu.weight",
                "memory.max",
            ] {
                fs::write(tree.at(directory).join(file), "").unwrap();
            }
            fs::write(
                tree.at(directory).join("cgroup.controllers"),
                "cpuset cpu io memory pids\n",
            )
            .unwrap();
        }
        fs::write(tree.at("cgroup.subtree_control"), enabled_at_the_root).unwrap();
        tree
    }

    fn at(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.at(file)).unwrap()
    }

    fn cgroups(&self) -> Cgroups {
        Cgroups {
            version: Box::new(v2::V2::new(self.at(""))),
            unified: Some(self.at("")),
            base: "base".into(),
            task: "task".into(),
            everywhere: false,
        }
    }
}

#[test]
fn on_v2_controllers_are_enabled_all_the_way_down_and_only_where_they_are_not() {
    let tree = Tree::new("cpuset cpu io memory pids\n");
    tree.cgroups().create_task(&half_a_cpu()).unwrap();
    assert_eq!(
        tree.read("cgroup.subtree_control"),
        "cpuset cpu io memory pids\n",
        "left as it was"
    );
    assert_eq!(tree.read("base/cgroup.subtree_control"), "+cpu +memory +pids +io");
    assert_eq!(tree.read("base/task/cgroup.subtree_control"), "+cpu +memory +pids +io");
    assert_eq!(
        tree.read("base/task/c/cgroup.subtree_control"),
        "",
        "where processes are there is none"
    );
    assert_eq!(tree.read("base/task/cpu.max"), "50000 100000");
    assert_eq!(tree.read("base/task/pids.max"), "9");
    let partly = Tree::new("memory");
    partly.cgroups().create_task(&half_a_cpu()).unwrap();
    // The kernel adds to what there is; this file has the bytes written over it.
    assert_eq!(partly.read("cgroup.subtree_control"), "+cpu +pids +io");
    let uncounted = Tree::new("cpu memory pids");
    fs::write(uncounted.at("cgroup.controllers"), "cpu memory pids").unwrap();
    uncounted.cgroups().create_task(&half_a_cpu()).unwrap();
    assert_eq!(uncounted.read("cgroup.subtree_control"), "cpu memory pids");
}

#[test]
fn a_controller_that_the_kernel_keeps_back_is_named() {
    let tree = Tree::new("cpu");
    fs::write(tree.at("cgroup.controllers"), "cpu pids").unwrap();
    let error = tree.cgroups().create_task(&half_a_cpu()).unwrap_err().to_string();
    assert!(
        error.contains("the cgroup controller memory is not available"),
        "{error}"
    );
    assert_eq!(tree.read("cgroup.subtree_control"), "cpu", "nothing is half done");
}

#[test]
fn a_kill_frees_the_task_of_its_quota_and_goes_to_the_whole_cgroup() {
    let tree = Tree::new("cpu memory pids");
    let cgroups = tree.cgroups();
    cgroups.create_task(&half_a_cpu()).unwrap();
    cgroups.kill_container("c").unwrap();
    assert!(tree.read("base/task/cpu.max").starts_with("max 100000"));
    assert_eq!(
        (tree.read("base/task/c/cgroup.kill"), tree.read("base/task/cgroup.kill")),
        ("1".into(), "".into())
    );
    cgroups.limit_cpu(&half_a_cpu()).unwrap();
    assert!(tree.read("base/task/cpu.max").starts_with("50000 100000"));
    cgroups.kill_task().unwrap();
    assert_eq!(tree.read("base/task/cgroup.kill"), "1");
}

#[test]
fn what_is_not_there_is_killed_and_removed_already() {
    let tree = Tree::new("cpu memory pids");
    let cgroups = Cgroups {
        task: "another".into(),
        ..tree.cgroups()
    };
    cgroups.kill_task().unwrap();
    cgroups.kill_container("c").unwrap();
    cgroups.remove_container("c").unwrap();
    cgroups.remove_task_when_empty().unwrap();
}

#[test]
fn a_container_is_removed_with_the_cgroups_it_made() {
    let tree = Tree::new("cpu memory pids");
    let cgroups = tree.cgroups();
    let nested = tree.at("base/task/d/system/unit");
    fs::create_dir_all(&nested).unwrap();
    cgroups.remove_container("d").unwrap();
    assert!(!tree.at("base/task/d").exists() && tree.at("base/task/c").exists());
}

#[test]
fn memory_events_tell_of_a_kill_in_the_container() {
    let tree = Tree::new("cpu memory pids");
    let events = tree.at("base/task/c/memory.events");
    fs::write(&events, "low 0\nhigh 0\nmax 14\noom 2\noom_kill 0\noom_group_kill 0\n").unwrap();
    assert!(!tree.cgroups().oom_killed("c"), "at the limit, and it went on");
    fs::write(&events, "low 0\nhigh 0\nmax 14\noom 2\noom_kill 1\noom_group_kill 0\n").unwrap();
    assert!(tree.cgroups().oom_killed("c"));
}

fn resources() -> Resources {
    Resources {
        cpu: Some(CpuUnits(256)),
        memory: Some(MiB(2)),
        memory_reservation: Some(MiB(1)),
        swap: Swap::UpTo(MiB(1)),
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
            "/cg/cpu,cpuacct/cpu.shares=512",
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
    let task = [
        "/cg/pids.max=9",
        "/cg/cpu.max=50000 100000",
        "/cg/cpu.weight=20",
        "/cg/memory.max=1048576",
    ];
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
    let unlimited = Resources {
        swap: Swap::Unlimited,
        ..plain
    };
    assert!(v1().container_settings(&unlimited).unwrap().is_empty());
    assert!(v2.container_settings(&unlimited).unwrap().is_empty());
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
