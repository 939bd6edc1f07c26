//! A node on this machine: real images, namespaces, cgroups and processes. Needs root and a static busybox.
//!
//! Every test has an instance and an address range of its own and removes all it made, also when it fails.

mod support;

use neargate_images::ImageStore;
use neargate_link::{
    Condition, Dependency, Health, HealthCheck, LaunchType, LogSpec, MountPoint, NamespaceMode, NetworkSpec, Phase,
    PortMapping, StopOrder, TaskReport, TaskSpec, Tmpfs, Transport, Ulimit, VolumeFrom, VolumeSpec,
};
use neargate_node::{NodeConfig, NodeError, run, teardown};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::{Control, container, id, source};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// False, and says so, where the machine cannot run containers.
fn possible() -> bool {
    let root = rustix::process::geteuid().is_root();
    let able = root && busybox().is_some() && program().exists();
    if !able {
        eprintln!("skipped: needs root, a static busybox and the testnode example");
    }
    able
}

fn busybox() -> Option<PathBuf> {
    ["/usr/bin/busybox", "/bin/busybox"]
        .iter()
        .map(PathBuf::from)
        .find(|p| p.exists())
}

fn program() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    test.parent()
        .and_then(Path::parent)
        .expect("target directory")
        .join("examples/testnode")
}

fn header() -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// A docker archive of one image: busybox under all its names.
fn archive(path: &Path) {
    let mut layer = tar::Builder::new(Vec::new());
    let mut directory = |name: &str, mode| {
        let mut header = header();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(mode);
        header.set_size(0);
        layer.append_data(&mut header, name, std::io::empty()).unwrap();
    };
    for (name, mode) in [
        ("bin", 0o755),
        ("etc", 0o755),
        ("tmp", 0o1777),
        ("root", 0o700),
        ("www", 0o755),
    ] {
        directory(name, mode);
    }
    let mut file = |name: &str, mode, bytes: &[u8]| {
        let mut header = header();
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        layer.append_data(&mut header, name, bytes).unwrap();
    };
    file("bin/busybox", 0o755, &fs::read(busybox().unwrap()).unwrap());
    file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/tmp:/bin/sh\n",
    );
    file("etc/group", 0o644, b"root:x:0:\napp:x:1000:\n");
    file("www/index.html", 0o644, b"hello from busybox\n");
    for name in [
        "sh", "sleep", "echo", "cat", "httpd", "hostname", "ip", "id", "env", "wget", "trap", "dd", "test", "touch",
        "ls", "nslookup", "grep", "kill", "ps", "true", "false", "seq",
    ] {
        let mut header = header();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        layer
            .append_link(&mut header, format!("bin/{name}"), "busybox")
            .unwrap();
    }
    let layer = layer.into_inner().unwrap();
    let digest = |bytes: &[u8]| {
        use sha2::Digest;
        hex::encode(sha2::Sha256::digest(bytes))
    };
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let config = serde_json::json!({
        "architecture": architecture, "os": "linux",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin", "FROM_IMAGE=yes"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", digest(&layer))]},
    });
    let config = serde_json::to_vec(&config).unwrap();
    let manifest = serde_json::json!([{
        "Config": "config.json", "RepoTags": ["busybox:latest"], "Layers": ["layer.tar"],
    }]);
    let mut archive = tar::Builder::new(fs::File::create(path).unwrap());
    let manifest = serde_json::to_vec(&manifest).unwrap();
    for (name, bytes) in [
        ("manifest.json", &manifest),
        ("config.json", &config),
        ("layer.tar", &layer),
    ] {
        let mut header = header();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    archive.finish().unwrap();
}

type Running = JoinHandle<Result<(), NodeError>>;

struct Machine {
    runtime: Runtime,
    config: NodeConfig,
    control: Option<Control>,
    node: Option<(oneshot::Sender<()>, Running)>,
    net: u8,
    _dir: tempfile::TempDir,
}

impl Machine {
    /// A node with a network of its own, 10.253.`net`.0/24 and 10.254.`net`.0/24.
    fn start(net: u8) -> Machine {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let data = dir.path().join("data");
        let mut config = NodeConfig::new(&data, &dir.path().join("link.sock"), &program());
        config.instance = format!("7e{net:02x}");
        config.run_dir = dir.path().join("run");
        config.vpc_cidr = format!("10.253.{net}.0/24").parse().unwrap();
        config.bridge_cidr = format!("10.254.{net}.0/24").parse().unwrap();
        let image = dir.path().join("busybox.tar");
        archive(&image);
        runtime.block_on(async {
            let store = ImageStore::open(config.images_dir()).unwrap();
            store.load(&image, None).await.unwrap();
        });
        let control = {
            let _in = runtime.enter();
            Control::start(&config.link_socket)
        };
        let mut machine = Machine {
            runtime,
            config,
            control: Some(control),
            node: None,
            net,
            _dir: dir,
        };
        machine.start_node();
        machine
    }

    fn start_node(&mut self) {
        let (shutdown, down) = oneshot::channel::<()>();
        let config = self.config.clone();
        let running = self.runtime.spawn(run(config, async { drop(down.await) }));
        self.node = Some((shutdown, running));
    }

    /// A node in a process of its own.
    fn node_process(&self) -> NodeProcess {
        let c = &self.config;
        let child = std::process::Command::new(program())
            .arg("node")
            .args([&c.data_dir, &c.link_socket, &c.run_dir])
            .args([&c.instance, &c.vpc_cidr.to_string(), &c.bridge_cidr.to_string()])
            .spawn();
        NodeProcess(child.unwrap())
    }

    fn stop_node(&mut self) {
        if let Some((shutdown, running)) = self.node.take() {
            drop(shutdown);
            let ended = self.runtime.block_on(running).expect("the node does not panic");
            ended.expect("the node can run on this machine");
        }
    }

    fn control(&self) -> &Control {
        self.control.as_ref().unwrap()
    }

    /// A task of one container that runs a shell script.
    fn task(&self, n: u8, script: &str) -> TaskSpec {
        let mut spec = support::task(n, &["sh", "-c", script]);
        if let NetworkSpec::Awsvpc(interface) = &mut spec.network {
            interface.address = Ipv4Addr::new(10, 253, self.net, 10 + n);
            interface.gateway = Ipv4Addr::new(10, 253, self.net, 1);
            interface.vpc_cidr = (Ipv4Addr::new(10, 253, self.net, 0), 24);
            interface.private_dns_name = format!("ip-10-253-{}-{}.ec2.internal", self.net, 10 + n);
        }
        spec
    }

    fn want(&self, spec: &TaskSpec) {
        self.runtime.block_on(self.control().want(spec.clone()));
    }

    fn phase(&self, n: u8, phase: Phase) -> TaskReport {
        self.runtime.block_on(self.control().phase(&id(n), phase))
    }

    fn stop(&self, spec: &TaskSpec) {
        let mut spec = spec.clone();
        spec.stop = Some(StopOrder {
            code: "UserInitiated".into(),
            reason: "Task stopped by user".into(),
        });
        self.want(&spec);
    }

    fn logged(&self, n: u8, container: &str, messages: &[&str]) {
        self.runtime
            .block_on(self.control().logged(&source(n, container), messages));
    }

    /// Waits until a container's log has a message that `ready` likes.
    fn message(&self, n: u8, container: &str, ready: impl Fn(&str) -> bool) -> String {
        let source = source(n, container);
        let found = self.control().wait("a log message", |h| {
            let messages = h.stored.get(&source).map(|(_, m)| m);
            messages.into_iter().flatten().find(|m| ready(m)).cloned()
        });
        self.runtime.block_on(found)
    }

    fn shim_state(&self, n: u8) -> neargate_runtime::TaskState {
        let dir = self.config.data_dir.join("tasks").join(id(n));
        neargate_runtime::read_state(&dir).unwrap().expect("a shim wrote there")
    }
}

/// Killed without warning when dropped.
struct NodeProcess(std::process::Child);

impl Drop for NodeProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop_node();
        for _ in 0..2 {
            self.runtime
                .block_on(teardown(&self.config))
                .expect("everything can be removed, twice");
        }
        self.control = None;
        if std::thread::panicking() {
            return;
        }
        let data = self.config.data_dir.display().to_string();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&data), "mounts are left");
        let left: Vec<PathBuf> = cgroups(&self.config.cgroup_base());
        assert!(left.is_empty(), "cgroups are left: {left:?}");
        assert!(!self.config.run_dir.exists(), "namespaces are left");
    }
}

/// The cgroup of every task, in whatever hierarchy it still is.
fn cgroups(base: &str) -> Vec<PathBuf> {
    let mut roots = vec![PathBuf::from("/sys/fs/cgroup")];
    roots.extend(
        fs::read_dir("/sys/fs/cgroup")
            .unwrap()
            .flatten()
            .map(|e| e.path())
            .filter(|p| p.is_dir()),
    );
    roots.iter().map(|r| r.join(base)).filter(|b| b.exists()).collect()
}

fn get(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Asks until there is an answer: a server in a container listens a moment after its start.
fn get_soon(address: SocketAddr) -> String {
    let deadline = std::time::Instant::now() + support::PATIENCE;
    loop {
        if let Some(text) = get(address) {
            return text;
        }
        assert!(std::time::Instant::now() < deadline, "no answer from {address}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_container_sees_what_its_definition_says_and_its_log_arrives_whole() {
    if !possible() {
        return;
    }
    let m = Machine::start(1);
    let script = "hostname; echo $FROM_IMAGE $AWS_EXECUTION_ENV $COLOR; cat /etc/hosts | grep ip-; \
                  cat /etc/resolv.conf; id -u; echo err >&2; exit 7";
    let mut spec = m.task(1, script);
    spec.containers[0].environment = vec![("COLOR".into(), "blue".into())];
    spec.containers[0].user = Some("app".into());
    m.want(&spec);
    let stopped = m.phase(1, Phase::Stopped);
    assert_eq!(stopped.containers[0].exit_code, Some(7), "{stopped:?}");
    assert_eq!(stopped.stop_code.as_deref(), Some("EssentialContainerExited"));
    assert!(stopped.started_at.is_some());
    let name = "ip-10-253-1-11.ec2.internal";
    m.message(1, "app", |m| m == "err");
    let hosts = format!("10.253.1.11\t{name} ip-10-253-1-11");
    let messages = m.control().heard(|h| h.stored[&source(1, "app")].1.clone());
    let expected = [
        name,
        "yes AWS_ECS_FARGATE blue",
        &hosts,
        "nameserver 10.253.1.2",
        "search ec2.internal",
        "1000",
        "err",
    ];
    assert_eq!(messages, expected);
}

#[test]
fn a_server_is_reached_at_its_address_and_outlives_the_node_untouched() {
    if !possible() {
        return;
    }
    let mut m = Machine::start(2);
    let spec = m.task(1, "httpd -p 80 -h /www; echo up; exec sleep 1000");
    m.want(&spec);
    m.phase(1, Phase::Running);
    let address: SocketAddr = "10.253.2.11:80".parse().unwrap();
    assert!(get_soon(address).contains("hello from busybox"));
    let before = m.shim_state(1);

    m.stop_node();
    assert!(
        get(address)
            .expect("served while the node is away")
            .contains("hello from busybox")
    );
    m.start_node();
    let again = m.control().wait("the report again", |h| {
        (h.phases.len() >= 2 && h.connections == 2).then_some(())
    });
    m.runtime.block_on(again);
    assert_eq!(
        m.shim_state(1).containers,
        before.containers,
        "the same process, started once"
    );
    assert!(get(address).is_some());

    m.stop(&spec);
    let stopped = m.phase(1, Phase::Stopped);
    assert_eq!(
        stopped.containers[0].exit_code,
        Some(137),
        "sleep ignores SIGTERM as pid 1: {stopped:?}"
    );
    assert!(get(address).is_none());
}

#[test]
fn a_container_beyond_its_memory_is_told_as_ecs_tells_it() {
    if !possible() {
        return;
    }
    let m = Machine::start(3);
    let mut spec = m.task(1, "");
    spec.containers[0].command = Some(
        ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M"]
            .map(String::from)
            .to_vec(),
    );
    spec.containers[0].memory = Some(neargate_core::MiB(16));
    m.want(&spec);
    let stopped = m.phase(1, Phase::Stopped);
    assert_eq!(stopped.containers[0].exit_code, Some(137), "{stopped:?}");
    let reason = "OutOfMemoryError: Container killed due to memory usage";
    assert_eq!(stopped.containers[0].reason.as_deref(), Some(reason));
}

#[test]
fn health_checks_run_inside_and_order_the_start() {
    if !possible() {
        return;
    }
    let m = Machine::start(4);
    let mut spec = m.task(1, "exec sleep 1000");
    spec.containers[0].depends_on = vec![Dependency {
        container: "db".into(),
        condition: Condition::Healthy,
    }];
    let mut db = container("db", &["sh", "-c", "touch /tmp/ready; exec sleep 1000"]);
    db.health_check = Some(HealthCheck {
        command: vec!["CMD-SHELL".into(), "test -f /tmp/ready".into()],
        interval: 1,
        timeout: 2,
        retries: 2,
        start_period: 0,
    });
    spec.containers.push(db);
    m.want(&spec);
    let running = m.phase(1, Phase::Running);
    assert_eq!(running.containers[1].health, Health::Healthy);
}

#[test]
fn bridge_mode_publishes_ports_and_links_containers() {
    if !possible() {
        return;
    }
    let m = Machine::start(5);
    let mut spec = m.task(1, "httpd -p 80 -h /www; exec sleep 1000");
    spec.launch_type = LaunchType::Ec2;
    spec.network = NetworkSpec::Bridge;
    spec.containers[0].port_mappings = vec![PortMapping {
        container_port: 80,
        container_port_end: 80,
        host_port: 0,
        transport: Transport::Tcp,
    }];
    let mut client = container("client", &["sh", "-c", "wget -q -O - http://server/; exec sleep 1000"]);
    client.links = vec!["app:server".into()];
    client.depends_on = vec![Dependency {
        container: "app".into(),
        condition: Condition::Healthy,
    }];
    spec.containers[0].health_check = Some(HealthCheck {
        command: vec![
            "CMD".into(),
            "wget".into(),
            "-q".into(),
            "-O".into(),
            "/dev/null".into(),
            "http://127.0.0.1/".into(),
        ],
        interval: 1,
        timeout: 2,
        retries: 3,
        start_period: 0,
    });
    spec.containers.push(client);
    m.want(&spec);
    let running = m.phase(1, Phase::Running);
    let binding = &running.containers[0].network_bindings[0];
    assert_eq!(binding.container_port, 80);
    assert!((32768..=60999).contains(&binding.host_port));
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, binding.host_port));
    assert!(get_soon(local).contains("hello from busybox"));
    m.logged(1, "client", &["hello from busybox"]);
}

#[test]
fn volumes_are_shared_and_the_root_can_be_read_only() {
    if !possible() {
        return;
    }
    let m = Machine::start(6);
    let mut spec = m.task(
        1,
        "cat /data/word; cat /copy/word; touch /x 2>&1 || echo readonly; exit 0",
    );
    spec.volumes = vec![VolumeSpec {
        name: "data".into(),
        host_path: None,
    }];
    let mount = |path: &str| MountPoint {
        volume: "data".into(),
        container_path: path.into(),
        read_only: false,
    };
    spec.containers[0].mounts = vec![mount("/data")];
    spec.containers[0].readonly_root_filesystem = true;
    spec.containers[0].volumes_from = vec![VolumeFrom {
        container: "writer".into(),
        read_only: true,
    }];
    spec.containers[0].depends_on = vec![Dependency {
        container: "writer".into(),
        condition: Condition::Success,
    }];
    let mut writer = container("writer", &["sh", "-c", "echo shared > /copy/word"]);
    writer.essential = false;
    writer.mounts = vec![mount("/copy")];
    writer.log = LogSpec::JsonFile;
    spec.containers.push(writer);
    m.want(&spec);
    let stopped = m.phase(1, Phase::Stopped);
    assert_eq!(stopped.containers[0].exit_code, Some(0), "{stopped:?}");
    m.message(1, "app", |m| m == "readonly");
    let messages = m.control().heard(|h| h.stored[&source(1, "app")].1.clone());
    assert_eq!(messages[..2], ["shared", "shared"]);
    let kept = m
        .config
        .data_dir
        .join(format!("logs/containers/default_web_{}/writer/0.log", id(1)));
    assert!(kept.exists());
}

#[test]
fn a_killed_shim_takes_its_task_along_and_nothing_is_left() {
    if !possible() {
        return;
    }
    let m = Machine::start(7);
    m.want(&m.task(1, "exec sleep 1000"));
    m.phase(1, Phase::Running);
    let shim = rustix::process::Pid::from_raw(m.shim_state(1).shim.pid).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    let stopped = m.phase(1, Phase::Stopped);
    assert_eq!(stopped.containers[0].exit_code, Some(137));
    assert!(
        stopped.containers[0]
            .reason
            .as_deref()
            .unwrap()
            .starts_with("ContainerRuntimeError")
    );
}

#[test]
fn what_down_stopped_is_told_at_the_next_start_and_not_run_again() {
    if !possible() {
        return;
    }
    let mut m = Machine::start(8);
    m.want(&m.task(1, "exec sleep 1000"));
    m.phase(1, Phase::Running);
    m.stop_node();
    m.runtime.block_on(teardown(&m.config)).unwrap();
    m.start_node();
    let stopped = m.phase(1, Phase::Stopped);
    assert_eq!(stopped.stopped_reason.as_deref(), Some("Stopped by neargate down"));
    assert_eq!(stopped.containers[0].exit_code, Some(137));
}

#[test]
fn many_tasks_come_and_go() {
    if !possible() {
        return;
    }
    let m = Machine::start(9);
    let began = std::time::Instant::now();
    let specs: Vec<TaskSpec> = (0..50).map(|n| m.task(n, "echo done")).collect();
    for spec in &specs {
        m.want(spec);
    }
    for n in 0..50 {
        let stopped = m.phase(n, Phase::Stopped);
        assert_eq!(stopped.containers[0].exit_code, Some(0), "{stopped:?}");
        m.logged(n, "app", &["done"]);
    }
    eprintln!("50 tasks started and stopped in {:?}", began.elapsed());
}

#[test]
fn a_loud_container_is_bounded_and_its_last_lines_arrive() {
    if !possible() {
        return;
    }
    let m = Machine::start(10);
    m.want(&m.task(1, "seq 1 200000"));
    let stopped = m.phase(1, Phase::Stopped);
    assert_eq!(stopped.containers[0].exit_code, Some(0));
    m.message(1, "app", |m| m == "200000");
    let messages = m.control().heard(|h| h.stored[&source(1, "app")].1.clone());
    assert_eq!(
        messages.len(),
        200_000,
        "nothing was rotated away, so nothing is missing"
    );
}

#[test]
fn a_node_killed_at_any_moment_runs_everything_once() {
    if !possible() {
        return;
    }
    const TASKS: u8 = 12;
    let mut m = Machine::start(12);
    m.stop_node();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for round in 0..30 {
        if round < TASKS {
            m.want(&m.task(round, "echo start; sleep 0.2; echo end; exit 5"));
        }
        let node = m.node_process();
        std::thread::sleep(Duration::from_millis(5 + next(70)));
        drop(node);
    }
    m.start_node();
    for n in 0..TASKS {
        let stopped = m.phase(n, Phase::Stopped);
        assert_eq!(stopped.containers[0].exit_code, Some(5), "{stopped:#?}");
        m.logged(n, "app", &["start", "end"]);
    }
}

#[test]
fn a_definitions_linux_settings_hold_inside() {
    if !possible() {
        return;
    }
    let m = Machine::start(14);
    let script = "ps -o args | grep -c [s]leep; ulimit -n; cat /proc/sys/net/ipv4/tcp_keepalive_time; \
                  grep -c ' /scratch tmpfs' /proc/mounts; cat /dev/shm/word; cat /proc/1/comm; exit 0";
    let mut spec = m.task(1, script);
    spec.launch_type = LaunchType::Ec2;
    spec.pid_mode = NamespaceMode::Task;
    spec.ipc_mode = NamespaceMode::Task;
    let c = &mut spec.containers[0];
    c.ulimits = vec![Ulimit {
        name: "nofile".into(),
        soft: 1234,
        hard: 2345,
    }];
    c.system_controls = vec![("net.ipv4.tcp_keepalive_time".into(), "4321".into())];
    c.linux.tmpfs = vec![Tmpfs {
        container_path: "/scratch".into(),
        size: neargate_core::MiB(8),
        mount_options: vec!["noexec".into()],
    }];
    c.depends_on = vec![Dependency {
        container: "side".into(),
        condition: Condition::Healthy,
    }];
    let mut side = container("side", &["sh", "-c", "echo shared > /dev/shm/word; exec sleep 1000"]);
    side.health_check = Some(HealthCheck {
        command: vec!["CMD".into(), "test".into(), "-f".into(), "/dev/shm/word".into()],
        interval: 1,
        timeout: 2,
        retries: 3,
        start_period: 0,
    });
    spec.containers.push(side);
    m.want(&spec);
    let stopped = m.phase(1, Phase::Stopped);
    assert_eq!(stopped.containers[0].exit_code, Some(0), "{stopped:?}");
    m.message(1, "app", |m| m == "shared");
    let messages = m.control().heard(|h| h.stored[&source(1, "app")].1.clone());
    assert_eq!(messages[..5], ["1", "1234", "4321", "1", "shared"], "{messages:?}");
}

#[test]
fn a_host_port_that_is_taken_is_told_and_a_published_one_outlives_the_node() {
    if !possible() {
        return;
    }
    let mut m = Machine::start(15);
    let bridged = |n: u8, host_port: u16| {
        let mut spec = m.task(n, "httpd -p 80 -h /www; exec sleep 1000");
        spec.launch_type = LaunchType::Ec2;
        spec.network = NetworkSpec::Bridge;
        spec.containers[0].port_mappings = vec![PortMapping {
            container_port: 80,
            container_port_end: 80,
            host_port,
            transport: Transport::Tcp,
        }];
        spec
    };
    m.want(&bridged(1, 0));
    let running = m.phase(1, Phase::Running);
    let port = running.containers[0].network_bindings[0].host_port;
    let second = bridged(2, port);
    m.want(&second);
    let stopped = m.phase(2, Phase::Stopped);
    assert_eq!(stopped.stop_code.as_deref(), Some("TaskFailedToStart"));
    let reason = stopped.stopped_reason.unwrap();
    assert!(
        reason.starts_with("CannotStartContainerError") && reason.contains(&port.to_string()),
        "{reason}"
    );

    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    assert!(get_soon(local).contains("hello from busybox"));
    m.stop_node();
    m.start_node();
    let third = m.task(3, "exec sleep 1000");
    m.want(&third);
    m.phase(3, Phase::Running);
    assert!(
        get_soon(local).contains("hello from busybox"),
        "published again by the next node"
    );
}

#[test]
fn an_image_that_is_nowhere_fails_the_task_at_once() {
    if !possible() {
        return;
    }
    let m = Machine::start(16);
    let mut spec = m.task(1, "true");
    spec.containers[0].image = "127.0.0.1:1/nothing:here".into();
    m.want(&spec);
    let stopped = m.phase(1, Phase::Stopped);
    assert_eq!(stopped.stop_code.as_deref(), Some("TaskFailedToStart"));
    assert!(
        stopped
            .stopped_reason
            .as_deref()
            .unwrap()
            .starts_with("CannotPullContainerError"),
        "{stopped:?}"
    );
}

#[test]
fn a_program_that_is_not_there_fails_the_task_by_name() {
    if !possible() {
        return;
    }
    let m = Machine::start(17);
    let mut spec = m.task(1, "true");
    spec.containers[0].command = Some(vec!["/no/such/program".into()]);
    m.want(&spec);
    let stopped = m.phase(1, Phase::Stopped);
    assert_eq!(stopped.stop_code.as_deref(), Some("TaskFailedToStart"));
    let reason = stopped.containers[0].reason.as_deref().unwrap();
    assert!(
        reason.contains("Error: ") && reason.contains("/no/such/program"),
        "{reason}"
    );
}

/// Not a check but a measurement: `cargo test -p neargate-node --test real -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn launches_are_fast() {
    if !possible() {
        return;
    }
    let m = Machine::start(11);
    let mut times: Vec<Duration> = Vec::new();
    let mut ends: Vec<Duration> = Vec::new();
    for n in 0..60 {
        let spec = m.task(n, "exec sleep 1000");
        let began = std::time::Instant::now();
        m.want(&spec);
        m.phase(n, Phase::Running);
        times.push(began.elapsed());
        let mut stop = spec.clone();
        stop.containers[0].stop_timeout = Some(0);
        let began = std::time::Instant::now();
        m.stop(&stop);
        if n % 2 == 0 {
            continue;
        }
        m.phase(n, Phase::Stopped);
        ends.push(began.elapsed());
    }
    times.sort();
    ends.sort();
    eprintln!(
        "RUNNING after p50 {:?} p90 {:?}",
        times[times.len() / 2],
        times[times.len() * 9 / 10]
    );
    eprintln!(
        "STOPPED after p50 {:?} p90 {:?}",
        ends[ends.len() / 2],
        ends[ends.len() * 9 / 10]
    );
}

/// Not a check but a measurement, of a node in a process of its own.
#[test]
#[ignore = "a measurement"]
fn a_node_is_small() {
    if !possible() {
        return;
    }
    let mut m = Machine::start(13);
    m.stop_node();
    let before = m.control().heard(|h| h.connections);
    let node = m.node_process();
    let pid = node.0.id();
    let connected = m.control().wait("the node", |h| (h.connections > before).then_some(()));
    m.runtime.block_on(connected);
    std::thread::sleep(Duration::from_secs(1));
    eprintln!("idle: {}", memory(pid));
    let began = std::time::Instant::now();
    let specs: Vec<TaskSpec> = (0..100).map(|n| m.task(n, "exec sleep 1000")).collect();
    specs.iter().for_each(|s| m.want(s));
    for n in 0..100 {
        m.phase(n, Phase::Running);
    }
    eprintln!("100 tasks running after {:?}: {}", began.elapsed(), memory(pid));
    let shim = m.shim_state(1).shim.pid;
    eprintln!("a shim: {}", memory(shim.unsigned_abs()));
    std::thread::sleep(Duration::from_secs(11));
    eprintln!("idle with 100 tasks: {}", memory(pid));
    let ticks = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    eprintln!("processor time so far: {} ticks", ticks(pid));
    drop(node);
}

fn memory(pid: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let wanted = |l: &&str| {
        ["VmRSS", "RssAnon", "Threads", "Pss:", "Private_Dirty"]
            .iter()
            .any(|w| l.starts_with(w))
    };
    let lines = status.lines().chain(rollup.lines()).filter(wanted);
    lines
        .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join(", ")
}
