//! Containers by the command line of an OCI runtime (runc, crun, runsc, kata): the shim writes the bundle, runs `create` and
//! `start`, and as their subreaper becomes parent of the container's process. Unlike everything else here it waits for
//! what it runs, tens of milliseconds, since runtimes answer only by ending.

use crate::cgroup::devices;
use crate::launch::{Network, Sharing};
use crate::native::{Pause, Stdio, files};
use crate::oci::{self, Node, Places};
use crate::plan::{MountKind, Plan};
use crate::sys;
use crate::user::{self, User};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio as Standard};

/// A runtime that has not answered by then is killed.
const TIMEOUT_MILLIS: i32 = 60_000;

/// The init of containers, compiled from `init/main.rs`: whatever is in the image can run it.
const INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));

/// One task's use of a runtime.
pub struct Cli<'a> {
    pub program: &'a Path,
    pub task_dir: &'a Path,
    pub pause: Option<&'a Pause>,
    /// The root of the machine's mount namespace.
    pub machine: Option<&'a OwnedFd>,
}

/// A container that runs.
pub struct Made {
    pub pid: libc::pid_t,
    pub terminal: Option<OwnedFd>,
}

impl Cli<'_> {
    fn bundle(&self, name: &str) -> PathBuf {
        self.task_dir.join("bundles").join(name)
    }

    /// Makes and starts a container; its process is this process's child by then.
    ///
    /// # Errors
    /// In the runtime's words, or what cannot be done for it.
    pub fn start(&self, plan: &Plan, cgroup: &str, stdio: Stdio) -> Result<Made, String> {
        let bundle = self.bundle(&plan.name);
        let root = bundle.join("rootfs");
        // Closed to others: the config holds the environment.
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&root);
        made.map_err(|e| format!("bundle: {}", sys::describe(&e)))?;
        let user = self.prepare(plan, &root)?;
        let network = self.network(plan)?;
        let init = self.put_init(plan, &bundle)?;
        let config = self.config(plan, &user, cgroup, network.as_ref(), init.as_deref())?;
        let text = serde_json::to_vec(&config).map_err(|e| e.to_string())?;
        fs::write(bundle.join("config.json"), text).map_err(|e| format!("bundle: {}", sys::describe(&e)))?;
        let made = self
            .create(plan, &bundle, stdio)
            .inspect_err(|_| self.remove(&plan.name))?;
        let started = self.spawn(
            &["start", &plan.name],
            Stdio {
                stdin: None,
                outputs: None,
            },
        );
        started.and_then(|child| self.finish(child)).inspect_err(|_| {
            let _ = sys::kill(made.pid, libc::SIGKILL);
            let _ = sys::wait_for(made.pid);
            self.remove(&plan.name);
        })?;
        Ok(made)
    }

    /// Begins an exec: the runtime's own process, which ends as the exec does, and the file that will hold the pid of what it
    /// runs.
    pub fn exec(&self, plan: &Plan, stdio: Stdio, number: u64) -> Result<(libc::pid_t, PathBuf), String> {
        let bundle = self.bundle(&plan.name);
        let user = resolve(plan, &bundle.join("rootfs"))?;
        let (process, pid) = (
            bundle.join(format!("exec-{number}.json")),
            bundle.join(format!("exec-{number}.pid")),
        );
        let text = serde_json::to_vec(&oci::process(plan, &user)).map_err(|e| e.to_string())?;
        fs::write(&process, text).map_err(|e| format!("exec: {}", sys::describe(&e)))?;
        let (process_path, pid_path) = (text_of(&process)?, text_of(&pid)?);
        let child = self.spawn(
            &["exec", "--process", process_path, "--pid-file", pid_path, &plan.name],
            stdio,
        )?;
        Ok((child.id() as libc::pid_t, pid))
    }

    /// Lets the runtime forget a dead container.
    pub fn remove(&self, name: &str) {
        let deleted = self.spawn(
            &["delete", name],
            Stdio {
                stdin: None,
                outputs: None,
            },
        );
        // It may know nothing of it (any more); what it made in the kernel goes with the cgroup and the processes.
        let _ = deleted.and_then(|child| self.finish(child));
        let bundle = self.bundle(name);
        if let Ok(root) = sys::c_path(&bundle.join("rootfs")) {
            // SAFETY: valid C string.
            unsafe { libc::umount2(root.as_ptr(), libc::MNT_DETACH) };
        }
        let _ = fs::remove_dir_all(bundle);
    }

    /// Root file system, volumes, shared memory.
    fn prepare(&self, plan: &Plan, root: &Path) -> Result<User, String> {
        files::mount_root(&plan.rootfs, root, &[]).map_err(|problem| problem.0)?;
        for mount in &plan.mounts {
            if let MountKind::Bind { path, populate: true } = &mount.kind {
                let image = sys::open_dir(root).map_err(|e| sys::describe(&e))?;
                files::from_image(image.as_raw_fd(), &mount.destination, path)
                    .map_err(|e| format!("fill {}: {}", path.display(), sys::describe(&e)))?;
            }
            if let MountKind::TaskShm(size) = mount.kind {
                self.share_memory(size)
                    .map_err(|e| format!("/dev/shm: {}", sys::describe(&e)))?;
            }
        }
        resolve(plan, root)
    }

    /// The program that goes to pid 1, where one is asked for.
    fn put_init(&self, plan: &Plan, bundle: &Path) -> Result<Option<PathBuf>, String> {
        if !plan.init {
            return Ok(None);
        }
        let path = bundle.join("init");
        let written =
            fs::write(&path, INIT).and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o555)));
        written.map_err(|e| format!("init: {}", sys::describe(&e)))?;
        Ok(Some(path))
    }

    /// The task's own `/dev/shm`, in this process's mount namespace; at least `size` large.
    fn share_memory(&self, size: u64) -> io::Result<()> {
        const TMPFS_MAGIC: i64 = 0x0102_1994;
        let place = self.task_dir.join("shm");
        fs::create_dir_all(&place)?;
        let at = sys::open_dir(&place)?;
        if sys::file_system_of(at.as_raw_fd())? == TMPFS_MAGIC {
            return sys::grow_tmpfs(at.as_raw_fd(), size);
        }
        let quiet = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOEXEC;
        let memory = sys::new_mount(c"tmpfs", &[("mode", "1777"), ("size", &size.to_string())], quiet)?;
        sys::move_mount(memory.as_raw_fd(), at.as_raw_fd())
    }

    /// The network namespace to join. Its handle is a mount of the machine's namespace that may have been made after this
    /// process got a namespace of its own, so it is opened there.
    fn network(&self, plan: &Plan) -> Result<Option<OwnedFd>, String> {
        let (Network::Path(path), Some(machine)) = (&plan.network, self.machine) else {
            return Ok(None);
        };
        let opened = sys::open_from(machine.as_raw_fd(), path);
        opened
            .map(Some)
            .map_err(|e| format!("open {}: {}", path.display(), sys::describe(&e)))
    }

    fn config(
        &self,
        plan: &Plan,
        user: &User,
        cgroup: &str,
        network: Option<&OwnedFd>,
        init: Option<&Path>,
    ) -> Result<serde_json::Value, String> {
        let pause = self.pause.into_iter();
        let mut shared: Vec<_> = pause
            .flat_map(|p| ["pid", "ipc"].map(|kind| (kind, p.namespace_path(kind))))
            .collect();
        shared.extend(network.map(|n| ("network", format!("/proc/{}/fd/{}", std::process::id(), n.as_raw_fd()))));
        let memory = self.task_dir.join("shm");
        let rules = devices::rules(&plan.devices)?;
        let mut nodes = Vec::new();
        for device in &plan.devices {
            let meta = fs::metadata(&device.host_path);
            let meta = meta.map_err(|e| format!("device {}: {}", device.host_path.display(), sys::describe(&e)))?;
            nodes.push(node(device.container_path.clone(), &meta));
        }
        if plan.privileged {
            let all = files::of_host().into_iter().map(|n| Path::new("/dev").join(n.name));
            let all = all.filter_map(|path| Some(node(path.to_str()?.to_owned(), &fs::metadata(&path).ok()?)));
            nodes.extend(all);
        }
        let places = Places {
            root: "rootfs",
            cgroup,
            shared: &shared,
            shm: memory.to_str().filter(|_| plan.ipc == Sharing::Task),
            init: init.map(text_of).transpose()?,
            devices: &nodes,
            device_rules: (!plan.privileged).then_some(rules.as_slice()),
        };
        Ok(oci::config(plan, user, &places))
    }

    fn create(&self, plan: &Plan, bundle: &Path, stdio: Stdio) -> Result<Made, String> {
        let failed = |e: io::Error| format!("{}: {}", self.program.display(), sys::describe(&e));
        let pid_file = bundle.join("pid");
        let mut args = vec![
            "create",
            "--bundle",
            text_of(bundle)?,
            "--pid-file",
            text_of(&pid_file)?,
        ];
        // The runtime connects by a short name, whatever the length of the bundle's path.
        let place = sys::open_dir(bundle).map_err(failed)?;
        let console = format!("/proc/{}/fd/{}/console", std::process::id(), place.as_raw_fd());
        let mut listener = None;
        if plan.terminal {
            listener = Some(UnixListener::bind(&console).map_err(failed)?);
            args.extend(["--console-socket", &console]);
        }
        args.push(&plan.name);
        let child = self.spawn(&args, stdio)?;
        let terminal = listener.map(|listener| receive_terminal(&listener));
        self.finish(child)?;
        let pid = fs::read_to_string(&pid_file).map_err(failed)?;
        let pid = pid
            .trim()
            .parse()
            .map_err(|_| format!("{}: no pid in its pid file", self.program.display()))?;
        Ok(Made {
            pid,
            terminal: terminal.transpose().map_err(failed)?,
        })
    }

    fn spawn(&self, args: &[&str], stdio: Stdio) -> Result<Child, String> {
        let log = self.log();
        let _ = fs::remove_file(&log);
        let mut command = Command::new(self.program);
        command
            .arg("--root")
            .arg(self.task_dir.join("oci"))
            .arg("--log")
            .arg(&log)
            .args(["--log-format", "json"]);
        command
            .args(args)
            .stdin(stdio.stdin.map_or_else(Standard::null, Standard::from));
        match stdio.outputs {
            Some((stdout, stderr)) => command.stdout(stdout).stderr(stderr),
            None => command.stdout(Standard::null()).stderr(Standard::null()),
        };
        command
            .spawn()
            .map_err(|e| format!("{}: {}", self.program.display(), sys::describe(&e)))
    }

    fn log(&self) -> PathBuf {
        self.task_dir.join("oci.log")
    }

    /// Waits for a run of the runtime.
    fn finish(&self, mut child: Child) -> Result<(), String> {
        let failed = |e: io::Error| format!("{}: {}", self.program.display(), sys::describe(&e));
        let pidfd = sys::pidfd_open(child.id() as libc::pid_t).map_err(failed)?;
        let in_time = sys::wait_readable(pidfd.as_raw_fd(), TIMEOUT_MILLIS).map_err(failed)?;
        if !in_time {
            let _ = child.kill();
        }
        let status = child.wait().map_err(failed)?;
        match (in_time, status.success()) {
            (true, true) => Ok(()),
            (false, _) => Err(format!("{} did not answer within a minute", self.program.display())),
            (true, false) => Err(self
                .last_words()
                .unwrap_or_else(|| format!("{}: {status}", self.program.display()))),
        }
    }

    /// The last error that the runtime logged.
    pub fn last_words(&self) -> Option<String> {
        let log = fs::read_to_string(self.log()).ok()?;
        log.lines().rev().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            (line["level"] == "error").then(|| line["msg"].as_str().unwrap_or("").to_owned())
        })
    }
}

fn text_of(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()))
}

fn resolve(plan: &Plan, root: &Path) -> Result<User, String> {
    let root = sys::open_dir(root).map_err(|e| sys::describe(&e))?;
    let read = |path| files::read(root.as_raw_fd(), path).map_err(|problem| problem.0);
    user::resolve(&plan.user, &read("/etc/passwd")?, &read("/etc/group")?)
}

fn node(path: String, meta: &fs::Metadata) -> Node {
    Node {
        path,
        block: meta.file_type().is_block_device(),
        major: libc::major(meta.rdev()),
        minor: libc::minor(meta.rdev()),
        mode: meta.mode(),
    }
}

/// The terminal that the runtime made, sent over its console socket.
fn receive_terminal(listener: &UnixListener) -> io::Result<OwnedFd> {
    let timed_out = || io::Error::new(io::ErrorKind::TimedOut, "no terminal");
    if !sys::wait_readable(listener.as_raw_fd(), TIMEOUT_MILLIS)? {
        return Err(timed_out());
    }
    let (stream, _) = listener.accept()?;
    if !sys::wait_readable(stream.as_raw_fd(), TIMEOUT_MILLIS)? {
        return Err(timed_out());
    }
    let (_, passed) = sys::recv_packet(stream.as_raw_fd(), &mut [0; 512])?;
    passed.ok_or_else(|| io::Error::other("the runtime sent no terminal"))
}
