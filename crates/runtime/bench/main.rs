//! `runtime-bench [rounds]` starts and ends containers one after another and prints what each step costs; `runtime-bench shim` is the
//! shim that this and the integration tests use. Needs root and a static /bin/busybox.

use neargate_runtime::{
    ContainerLaunch, Event, Log, Network, RootFs, RuntimeKind, Sharing, ShimClient, ShimExe, ShimLaunch, TaskLimits,
    cleanup, remove_cgroup_base, shim_main,
};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn main() {
    let args: Vec<OsString> = std::env::args_os().collect();
    if args.get(1).is_some_and(|arg| arg == "shim") {
        shim_main(&args[2..]);
    }
    let rounds = args.get(1).and_then(|arg| arg.to_str()?.parse().ok()).unwrap_or(200);
    let directory = std::env::temp_dir().join(format!("neargate-bench-{}", std::process::id()));
    let base = format!("neargate-bench-{}", std::process::id());
    let image = directory.join("image");
    fs::create_dir_all(image.join("bin")).expect("directory");
    fs::copy("/bin/busybox", image.join("bin/busybox")).expect("/bin/busybox");
    let exe = ShimExe::open(Path::new("/proc/self/exe")).expect("own program");

    let mut steps: Vec<(&str, Vec<Duration>)> =
        ["spawn", "start", "spawn + start", "kill to exit", "remove + shutdown"]
            .map(|s| (s, Vec::new()))
            .into();
    let mut memory = Vec::new();
    for round in 0..rounds {
        let task = directory.join(format!("task-{round}"));
        let launch = launch(&task, &base);
        let container = container(&task, &image);
        let begin = Instant::now();
        let mut shim = ShimClient::spawn(&exe, &launch).expect("spawn");
        let spawned = Instant::now();
        shim.start(&container).expect("start");
        let started = Instant::now();
        memory.push(private_kib(&task));
        let kill = Instant::now();
        shim.signal("web", 9).expect("kill");
        while !matches!(shim.next_event().expect("event"), Event::Exited { .. }) {}
        let exited = Instant::now();
        shim.remove("web").expect("remove");
        shim.shutdown().expect("shutdown");
        let ended = Instant::now();
        let took = [
            spawned - begin,
            started - spawned,
            started - begin,
            exited - kill,
            ended - exited,
        ];
        for ((_, all), one) in steps.iter_mut().zip(took) {
            all.push(one);
        }
        cleanup(&task).expect("cleanup");
    }
    for (step, mut all) in steps {
        all.sort();
        let at = |percent: usize| all[(all.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
        println!("{step:>18}: median {:6.2} ms, p95 {:6.2} ms", at(50), at(95));
    }
    memory.sort_unstable();
    println!("   shim's own memory: median {} KiB", memory[memory.len() / 2]);
    remove_cgroup_base(&base).expect("cgroup");
    fs::remove_dir_all(&directory).expect("directory");
}

fn launch(task: &Path, base: &str) -> ShimLaunch {
    fs::create_dir_all(task.join("upper")).expect("directory");
    fs::create_dir_all(task.join("work")).expect("directory");
    ShimLaunch {
        task_dir: task.to_owned(),
        task_id: task.file_name().and_then(|n| n.to_str()).expect("name").to_owned(),
        cgroup_base: base.to_owned(),
        limits: TaskLimits::default(),
        network: Network::Host,
        pid: Sharing::Private,
        ipc: Sharing::Private,
        runtime: RuntimeKind::Native,
    }
}

fn container(task: &Path, image: &Path) -> ContainerLaunch {
    ContainerLaunch {
        name: "web".into(),
        id: "0123456789abcdef".into(),
        rootfs: RootFs::Overlay {
            lower: vec![PathBuf::from(image)],
            upper: task.join("upper"),
            work: task.join("work"),
        },
        argv: ["/bin/busybox", "sleep", "1000"].map(str::to_owned).into(),
        log: Log {
            path: task.join("web.log"),
            ..Log::default()
        },
        ..ContainerLaunch::default()
    }
}

/// Memory that is the shim's alone.
fn private_kib(task: &Path) -> u64 {
    let state = neargate_runtime::read_state(task).ok().flatten().expect("state");
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", state.shim.pid)).unwrap_or_default();
    let of = |name: &str| {
        let line = rollup.lines().find(|l| l.starts_with(name)).unwrap_or("");
        line.split_whitespace()
            .nth(1)
            .and_then(|n| n.parse::<u64>().ok())
            .unwrap_or(0)
    };
    of("Private_Dirty:") + of("Private_Clean:")
}
