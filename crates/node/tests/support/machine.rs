//! A node on this machine with control's end of the link: real images, namespaces, cgroups and processes.
//!
//! Every instance has an address range of its own and removes all it made, also when its test fails.

use super::{Control, id, source};
use neargate_images::ImageStore;
use neargate_link::{NetworkSpec, Phase, StopOrder, TaskReport, TaskSpec};
use neargate_node::{NodeConfig, NodeError, run, teardown};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// False, and says so, where the machine cannot run containers.
pub fn possible() -> bool {
    let root = rustix::process::geteuid().is_root();
    let able = root && busybox().is_some() && program().exists();
    if !able {
        eprintln!("skipped: needs root, a static busybox and the testnode example");
    }
    able
}

pub fn busybox() -> Option<PathBuf> {
    ["/usr/bin/busybox", "/bin/busybox"]
        .iter()
        .map(PathBuf::from)
        .find(|p| p.exists())
}

pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    test.parent()
        .and_then(Path::parent)
        .expect("target directory")
        .join("examples/testnode")
}

pub fn header() -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// A docker archive of one image: busybox under all its names.
pub fn archive(path: &Path) {
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

pub struct Machine {
    pub runtime: Runtime,
    pub config: NodeConfig,
    control: Option<Control>,
    node: Option<(oneshot::Sender<()>, Running)>,
    net: u8,
    dir: Option<tempfile::TempDir>,
}

impl Machine {
    /// A node with a network of its own, 10.253.`net`.0/24 and 10.254.`net`.0/24.
    pub fn start(net: u8) -> Machine {
        let dir = tempfile::tempdir().unwrap();
        let mut machine = Machine::start_in(net, dir.path(), 64 << 20);
        machine.dir = Some(dir);
        machine
    }

    pub fn start_in(net: u8, dir: &Path, min_free_bytes: u64) -> Machine {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let data = dir.join("data");
        let mut config = NodeConfig::new(&data, &dir.join("link.sock"), &program());
        config.instance = format!("7e{net:02x}");
        config.run_dir = dir.join("run");
        config.min_free_bytes = min_free_bytes;
        config.vpc_cidr = format!("10.253.{net}.0/24").parse().unwrap();
        config.bridge_cidr = format!("10.254.{net}.0/24").parse().unwrap();
        config.public_cidr = format!("10.252.{net}.0/24").parse().unwrap();
        let image = dir.join("busybox.tar");
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
            dir: None,
        };
        machine.start_node();
        machine
    }

    pub fn start_node(&mut self) {
        let (shutdown, down) = oneshot::channel::<()>();
        let config = self.config.clone();
        let running = self.runtime.spawn(run(config, || (), async { drop(down.await) }));
        self.node = Some((shutdown, running));
    }

    /// A node in a process of its own.
    pub fn node_process(&self) -> NodeProcess {
        let c = &self.config;
        let child = std::process::Command::new(program())
            .arg("node")
            .args([&c.data_dir, &c.link_socket, &c.run_dir])
            .args([&c.instance, &c.vpc_cidr.to_string(), &c.bridge_cidr.to_string()])
            .arg(c.public_cidr.to_string())
            .spawn();
        NodeProcess(child.unwrap())
    }

    pub fn stop_node(&mut self) {
        if let Some((shutdown, running)) = self.node.take() {
            drop(shutdown);
            let ended = self.runtime.block_on(running).expect("the node does not panic");
            ended.expect("the node can run on this machine");
        }
    }

    pub fn control(&self) -> &Control {
        self.control.as_ref().unwrap()
    }

    /// A task of one container that runs a shell script.
    pub fn task(&self, n: u8, script: &str) -> TaskSpec {
        let mut spec = super::task(n, &["sh", "-c", script]);
        if let NetworkSpec::Awsvpc(interface) = &mut spec.network {
            interface.address = Ipv4Addr::new(10, 253, self.net, 10 + n);
            interface.gateway = Ipv4Addr::new(10, 253, self.net, 1);
            interface.vpc_cidr = (Ipv4Addr::new(10, 253, self.net, 0), 24);
            interface.private_dns_name = format!("ip-10-253-{}-{}.ec2.internal", self.net, 10 + n);
        }
        spec
    }

    pub fn want(&self, spec: &TaskSpec) {
        self.runtime.block_on(self.control().want(spec.clone()));
    }

    pub fn phase(&self, n: u8, phase: Phase) -> TaskReport {
        self.runtime.block_on(self.control().phase(&id(n), phase))
    }

    pub fn stop(&self, spec: &TaskSpec) {
        let mut spec = spec.clone();
        spec.stop = Some(StopOrder {
            code: "UserInitiated".into(),
            reason: "Task stopped by user".into(),
        });
        self.want(&spec);
    }

    pub fn logged(&self, n: u8, container: &str, messages: &[&str]) {
        self.runtime
            .block_on(self.control().logged(&source(n, container), messages));
    }

    /// Waits until a container's log has a message that `ready` likes.
    pub fn message(&self, n: u8, container: &str, ready: impl Fn(&str) -> bool) -> String {
        let source = source(n, container);
        let found = self.control().wait("a log message", |h| {
            let messages = h.stored.get(&source).map(|(_, m)| m);
            messages.into_iter().flatten().find(|m| ready(m)).cloned()
        });
        self.runtime.block_on(found)
    }

    pub fn shim_state(&self, n: u8) -> neargate_runtime::TaskState {
        let dir = self.config.data_dir.join("tasks").join(id(n));
        neargate_runtime::read_state(&dir).unwrap().expect("a shim wrote there")
    }
}

/// Killed without warning when dropped.
pub struct NodeProcess(pub std::process::Child);

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
                .block_on(teardown(&self.config, Duration::ZERO))
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
        let tables = said("nft", &["list", "tables"]);
        assert!(
            !tables.contains(&format!("neargate_{}", self.config.instance)),
            "the firewall is left"
        );
        let (routes, own) = (said("ip", &["route"]), format!("10.253.{}.0/24", self.net));
        assert!(!routes.contains(&own), "routes are left");
    }
}

fn said(program: &str, args: &[&str]) -> String {
    let ran = std::process::Command::new(program).args(args).output().unwrap();
    assert!(ran.status.success(), "{program} {args:?}");
    String::from_utf8(ran.stdout).unwrap()
}

/// The cgroup of every task, in whatever hierarchy it still is.
pub fn cgroups(base: &str) -> Vec<PathBuf> {
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

pub fn get(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Asks until there is an answer: a server in a container listens a moment after its start.
pub fn get_soon(address: SocketAddr) -> String {
    let deadline = std::time::Instant::now() + super::PATIENCE;
    loop {
        if let Some(text) = get(address) {
            return text;
        }
        assert!(std::time::Instant::now() < deadline, "no answer from {address}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A file system of its own for a node's data, gone when dropped.
pub struct SmallDisk(pub PathBuf);

impl SmallDisk {
    pub fn mount(at: &Path, size: &str) -> SmallDisk {
        fs::create_dir_all(at).unwrap();
        let options = std::ffi::CString::new(format!("size={size}")).unwrap();
        rustix::mount::mount(
            "tmpfs",
            at,
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            options.as_c_str(),
        )
        .unwrap();
        SmallDisk(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}
