//! What every test starts from: a task's directory, an image, and the certainty that all is gone at the end.

use neargate_runtime::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Programs of the image.
const APPLETS: &[&str] = &[
    "sh", "cat", "echo", "id", "ls", "mkdir", "mknod", "mount", "sleep", "true", "umount", "unshare", "touch", "wc",
    "dd", "yes", "grep", "ps", "kill", "pwd", "hostname", "env", "head", "seq", "stat", "tty", "df", "ip", "rm",
    "test", "readlink", "nc", "tail", "tr", "ln",
];

pub struct Bed {
    pub directory: PathBuf,
    pub base: String,
    pub image: PathBuf,
    exe: ShimExe,
}

impl Bed {
    pub fn new() -> Bed {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("runtime-{name}"));
        let image = directory.join("image");
        for below in ["bin", "etc", "tmp", "image-data"] {
            fs::create_dir_all(image.join(below)).unwrap();
        }
        fs::create_dir_all(directory.join("task")).unwrap();
        fs::copy("/bin/busybox", image.join("bin/busybox")).expect("/bin/busybox (Debian's busybox-static)");
        for applet in APPLETS {
            symlink("busybox", image.join("bin").join(applet)).unwrap();
        }
        fs::write(
            image.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/srv:/bin/sh\n",
        )
        .unwrap();
        fs::write(image.join("etc/group"), "root:x:0:\nweb:x:33:\nlogs:x:44:web\n").unwrap();
        let exe = ShimExe::open(Path::new(env!("CARGO_BIN_EXE_runtime-bench"))).expect("root, and Linux 5.12 or newer");
        Bed {
            base: format!("neargate-test-{name}"),
            directory,
            image,
            exe,
        }
    }

    pub fn task_dir(&self) -> PathBuf {
        self.directory.join("task")
    }

    pub fn task(&self) -> ShimLaunch {
        ShimLaunch {
            task_dir: self.task_dir(),
            task_id: "task".into(),
            cgroup_base: self.base.clone(),
            limits: TaskLimits::default(),
            network: Network::Private,
            pid: Sharing::Private,
            ipc: Sharing::Private,
            runtime: RuntimeKind::Native,
        }
    }

    /// A container `name` that runs `script`.
    pub fn container(&self, name: &str, script: &str) -> ContainerLaunch {
        let own = self.directory.join(name);
        let (upper, work) = (own.join("upper"), own.join("work"));
        fs::create_dir_all(&upper).unwrap();
        fs::create_dir_all(&work).unwrap();
        ContainerLaunch {
            name: name.into(),
            id: format!("{name}-0123456789abcdef"),
            rootfs: RootFs::Overlay {
                lower: vec![self.image.clone()],
                upper,
                work,
            },
            argv: ["/bin/sh", "-c", script].map(str::to_owned).into(),
            log: Log {
                path: own.join("log"),
                ..Log::default()
            },
            ..ContainerLaunch::default()
        }
    }

    pub fn spawn(&self, task: &ShimLaunch) -> ShimClient {
        ShimClient::spawn(&self.exe, task).unwrap()
    }

    /// Runs one container to its end: how it ended and what it printed.
    pub fn run_in(&self, task: &ShimLaunch, container: &ContainerLaunch) -> (Exit, String) {
        let _ = fs::remove_file(&container.log.path);
        let mut shim = self.spawn(task);
        shim.start(container).unwrap_or_else(|e| panic!("{e}"));
        let exit = exit_of(&mut shim, &container.name);
        shim.shutdown().unwrap();
        (exit, output(&container.log.path))
    }

    /// The same for a change to a plain container.
    pub fn run(&self, script: &str, change: impl FnOnce(&mut ContainerLaunch)) -> (Exit, String) {
        let mut container = self.container("c", script);
        change(&mut container);
        self.run_in(&self.task(), &container)
    }

    /// Why a container cannot be started.
    pub fn refusal(&self, change: impl FnOnce(&mut ContainerLaunch)) -> String {
        let mut container = self.container("c", "exit 0");
        change(&mut container);
        let mut shim = self.spawn(&self.task());
        let refused = shim.start(&container).expect_err("it should not start").to_string();
        shim.shutdown().unwrap();
        refused
    }

    /// The file of a controller (v1 or v2) in the task's cgroup or a container's.
    pub fn cgroup_file(&self, controller: &str, below: &str, v1: &str, v2: &str) -> String {
        let root = Path::new("/sys/fs/cgroup");
        let v1_path = root.join(controller).join(&self.base).join("task").join(below).join(v1);
        let v2_path = root.join(&self.base).join("task").join(below).join(v2);
        fs::read_to_string(&v1_path)
            .or_else(|_| fs::read_to_string(v2_path))
            .unwrap()
            .trim()
            .to_owned()
    }

    /// Writes a file of a controller in the task's cgroup, name and value in v1 and in v2.
    pub fn write_cgroup_file(&self, controller: &str, v1: (&str, &str), v2: (&str, &str)) {
        let root = Path::new("/sys/fs/cgroup");
        let v1_path = root.join(controller).join(&self.base).join("task").join(v1.0);
        let (path, value) = match v1_path.exists() {
            true => (v1_path, v1.1),
            false => (root.join(&self.base).join("task").join(v2.0), v2.1),
        };
        fs::write(path, value).unwrap();
    }

    /// Every cgroup directory left of this test.
    pub fn cgroups_left(&self) -> Vec<PathBuf> {
        let mut tops = vec![PathBuf::from("/sys/fs/cgroup")];
        tops.extend(fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|e| e.path()));
        tops.iter()
            .map(|top| top.join(&self.base).join("task"))
            .filter(|p| p.exists())
            .collect()
    }

    /// Living processes in this test's cgroups or started with its paths.
    pub fn processes_left(&self) -> Vec<String> {
        let mark = self.directory.to_str().unwrap();
        let mut left = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else {
                continue;
            };
            if pid == std::process::id() as i32 || is_dead(pid) {
                continue;
            }
            let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            if read("cgroup").contains(&self.base) || read("cmdline").contains(mark) {
                left.push(format!("{pid}: {}", read("cmdline")));
            }
        }
        left
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let cleaned = cleanup(&self.task_dir());
        let based = self.wait_for_base();
        let _ = fs::remove_dir_all(&self.directory);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        if !std::thread::panicking() {
            cleaned.expect("cleanup");
            based.expect("the base cgroup");
            assert!(self.cgroups_left().is_empty(), "{:?}", self.cgroups_left());
            assert!(
                eventually(|| self.processes_left().is_empty()),
                "{:?}",
                self.processes_left()
            );
            assert!(!mounts.contains(self.directory.to_str().unwrap()), "a mount is left");
        }
    }
}

impl Bed {
    /// A shim that has said goodbye is still on its way out.
    fn wait_for_base(&self) -> Result<(), String> {
        let gone = eventually(|| {
            remove_cgroup_base(&self.base).map_err(|e| e.to_string()).unwrap();
            let tops = fs::read_dir("/sys/fs/cgroup")
                .unwrap()
                .flatten()
                .map(|e| e.path().join(&self.base));
            !tops
                .chain([Path::new("/sys/fs/cgroup").join(&self.base)])
                .any(|p| p.exists())
        });
        if gone { Ok(()) } else { Err("still there".into()) }
    }
}

/// Whether a process is gone, or only waits for its parent to notice.
pub fn is_dead(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// Waits for a condition, for ten seconds at most.
pub fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let patience = Instant::now() + Duration::from_secs(10);
    while Instant::now() < patience {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

/// How the container ends.
pub fn exit_of(shim: &mut ShimClient, name: &str) -> Exit {
    loop {
        if let Event::Exited { container, exit } = shim.next_event().unwrap()
            && container == name
        {
            return exit;
        }
    }
}

/// The text of a log, without times and streams.
pub fn output(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines()
        .map(|line| line.splitn(4, ' ').nth(3).unwrap_or("").to_owned() + "\n")
        .collect()
}

/// Waits until the log contains `text`.
pub fn wait_for_output(log: &Path, text: &str) {
    assert!(
        eventually(|| output(log).contains(text)),
        "no {text:?} in {:?}",
        output(log)
    );
}
