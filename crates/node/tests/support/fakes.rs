//! An engine, images and a network that only remember what they were asked. They outlive a node, as the real ones do.

use neargate_core::clock::SystemClock;
use neargate_core::{Clock, Timestamp};
use neargate_link::{NetworkBinding, NetworkSpec, TaskSpec};
use neargate_node::ports::{
    Attached, BoxFuture, Engine, EngineError, EngineEvent, Holder, ImageConfig, Images, MadeNetwork, NetworkChange,
    Ports, ReadyImage, TaskNetwork,
};
use neargate_runtime::{
    ContainerLaunch, ContainerState, Exec, ExecOutcome, ExecResult, Exit, ProcessId, RuntimeKind, ShimLaunch, Status,
    TaskState,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::mpsc::UnboundedSender;

#[derive(Default)]
struct World {
    shims: BTreeMap<PathBuf, Shim>,
    /// Containers started, by task directory and name, each time.
    starts: Vec<String>,
    launches: BTreeMap<String, ContainerLaunch>,
    networks: BTreeSet<String>,
    enforced: Vec<NetworkChange>,
    missing_images: BTreeSet<String>,
    ignores_sigterm: bool,
    unhealthy: bool,
}

struct Shim {
    alive: bool,
    state: TaskState,
    events: Option<UnboundedSender<EngineEvent>>,
}

/// The machine that fakes share.
#[derive(Clone, Default)]
pub struct Machine(Arc<Mutex<World>>);

impl Machine {
    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    pub fn ports(&self) -> Ports {
        Ports {
            engine: Box::new(self.clone()),
            images: Box::new(self.clone()),
            network: Box::new(self.clone()),
            clock: Arc::new(SystemClock),
        }
    }

    pub fn starts(&self) -> Vec<String> {
        self.lock().starts.clone()
    }

    pub fn launch(&self, name: &str) -> ContainerLaunch {
        self.lock().launches.get(name).cloned().expect("it was started")
    }

    /// Changes of the network table, in order.
    pub fn enforced(&self) -> Vec<NetworkChange> {
        self.lock().enforced.clone()
    }

    pub fn networks(&self) -> usize {
        self.lock().networks.len()
    }

    pub fn shims(&self) -> usize {
        self.lock().shims.values().filter(|s| s.alive).count()
    }

    pub fn miss_image(&self, image: &str) {
        self.lock().missing_images.insert(image.to_owned());
    }

    pub fn ignore_sigterm(&self) {
        self.lock().ignores_sigterm = true;
    }

    pub fn unhealthy(&self, unhealthy: bool) {
        self.lock().unhealthy = unhealthy;
    }

    /// A container ends by itself.
    pub fn exit(&self, container: &str, code: i32) {
        let mut world = self.lock();
        for shim in world.shims.values_mut().filter(|s| s.alive) {
            end(shim, container, code, None);
        }
    }

    /// All shims die, and what they held.
    pub fn lose_shims(&self) {
        for shim in self.lock().shims.values_mut() {
            shim.alive = false;
            if let Some(events) = shim.events.take() {
                let _ = events.send(EngineEvent::Lost);
            }
        }
    }

    /// Writes lines to a container's log, as the shim does.
    pub fn print(&self, container: &str, lines: &[&str]) {
        use std::io::Write;
        let path = self.launch(container).log.path;
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        for line in lines {
            let now = SystemClock.now().iso8601();
            file.write_all(format!("{}000000Z stdout F {line}\n", now.trim_end_matches('Z')).as_bytes())
                .unwrap();
        }
    }
}

fn end(shim: &mut Shim, container: &str, code: i32, signal: Option<i32>) {
    let Some(known) = shim.state.containers.get_mut(container) else {
        return;
    };
    let Status::Running { started_at, .. } = known.status else {
        return;
    };
    let exit = Exit {
        code,
        signal,
        oom_killed: false,
        at: SystemClock.now(),
    };
    known.status = Status::Exited { started_at, exit };
    if let Some(events) = &shim.events {
        let _ = events.send(EngineEvent::Exited {
            container: container.to_owned(),
            exit,
        });
    }
}

impl Engine for Machine {
    fn spawn(
        &self,
        launch: ShimLaunch,
        events: UnboundedSender<EngineEvent>,
    ) -> BoxFuture<'_, Result<Arc<dyn Holder>, EngineError>> {
        Box::pin(async move {
            let state = TaskState {
                task_id: launch.task_id.clone(),
                cgroup_base: launch.cgroup_base.clone(),
                runtime: RuntimeKind::Native,
                shim: ProcessId { pid: 1, start_ticks: 1 },
                boot_id: String::new(),
                containers: BTreeMap::new(),
            };
            let shim = Shim {
                alive: true,
                state,
                events: Some(events),
            };
            self.lock().shims.insert(launch.task_dir.clone(), shim);
            Ok(Arc::new(FakeHolder {
                machine: self.clone(),
                dir: launch.task_dir,
            }) as Arc<dyn Holder>)
        })
    }

    fn attach<'a>(
        &'a self,
        task_dir: &'a Path,
        events: UnboundedSender<EngineEvent>,
    ) -> BoxFuture<'a, Result<Option<Attached>, EngineError>> {
        Box::pin(async move {
            let mut world = self.lock();
            let Some(shim) = world.shims.get_mut(task_dir).filter(|s| s.alive) else {
                return Ok(None);
            };
            shim.events = Some(events);
            let holder = FakeHolder {
                machine: self.clone(),
                dir: task_dir.to_owned(),
            };
            Ok(Some((Arc::new(holder) as Arc<dyn Holder>, shim.state.clone())))
        })
    }

    fn clean_up<'a>(&'a self, task_dir: &'a Path) -> BoxFuture<'a, Result<Option<TaskState>, String>> {
        Box::pin(async move { Ok(self.lock().shims.remove(task_dir).map(|s| s.state)) })
    }
}

struct FakeHolder {
    machine: Machine,
    dir: PathBuf,
}

impl Holder for FakeHolder {
    fn start(&self, launch: ContainerLaunch) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async move {
            let mut world = self.machine.lock();
            let at = SystemClock.now();
            let name = launch.name.clone();
            world.starts.push(name.clone());
            world.launches.insert(name.clone(), launch.clone());
            let shim = world.shims.get_mut(&self.dir).filter(|s| s.alive);
            let shim = shim.ok_or_else(|| EngineError::Lost("gone".to_owned()))?;
            if launch.argv[0] == "/missing" {
                let why = "CannotStartContainerError: exec: \"/missing\": no such file or directory";
                return Err(EngineError::Refused(why.to_owned()));
            }
            let starts = shim.state.containers.get(&name).map_or(0, |c| c.starts) + 1;
            let status = Status::Running {
                process: ProcessId { pid: 2, start_ticks: 2 },
                started_at: at,
            };
            let state = ContainerState {
                id: launch.id,
                status,
                starts,
                dropped_lines: 0,
            };
            shim.state.containers.insert(name.clone(), state);
            if let Some(events) = &shim.events {
                let _ = events.send(EngineEvent::Started {
                    container: name.clone(),
                    at,
                });
            }
            if launch.argv[0] == "exit" {
                end(shim, &name, launch.argv[1].parse().unwrap(), None);
            }
            Ok(())
        })
    }

    fn signal<'a>(&'a self, container: &'a str, signal: i32) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async move {
            let mut world = self.machine.lock();
            if world.ignores_sigterm && signal != 9 {
                return Ok(());
            }
            let shim = world.shims.get_mut(&self.dir).filter(|s| s.alive);
            let shim = shim.ok_or_else(|| EngineError::Lost("gone".to_owned()))?;
            end(shim, container, 128 + signal, Some(signal));
            Ok(())
        })
    }

    fn exec(&self, _: Exec) -> BoxFuture<'_, Result<ExecResult, EngineError>> {
        Box::pin(async move {
            let code = i32::from(self.machine.lock().unhealthy);
            Ok(ExecResult {
                outcome: ExecOutcome::Exited(code),
                output: String::new(),
                took_millis: 1,
            })
        })
    }

    fn shut_down(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async move {
            let mut world = self.machine.lock();
            let running = world.shims.get(&self.dir).is_some_and(|s| {
                s.state
                    .containers
                    .values()
                    .any(|c| matches!(c.status, Status::Running { .. }))
            });
            if running {
                return Err(EngineError::Refused("a container runs".to_owned()));
            }
            world.shims.remove(&self.dir);
            Ok(())
        })
    }
}

fn image(digest: &str) -> ReadyImage {
    ReadyImage {
        digest: digest.to_owned(),
        config: ImageConfig {
            cmd: vec!["sleep".to_owned()],
            ..ImageConfig::default()
        },
        layers: vec![PathBuf::from("/layer")],
        pin: Box::new(()),
    }
}

impl Images for Machine {
    fn obtain<'a>(&'a self, name: &'a str, _: Option<&'a str>) -> BoxFuture<'a, Result<ReadyImage, String>> {
        Box::pin(async move {
            if self.lock().missing_images.contains(name) {
                return Err(format!(
                    "CannotPullContainerError: failed to resolve ref {name}: not found"
                ));
            }
            Ok(image("sha256:busybox"))
        })
    }

    fn present<'a>(&'a self, _: &'a str, digest: &'a str) -> BoxFuture<'a, Option<ReadyImage>> {
        Box::pin(async move { Some(image(digest)) })
    }

    fn collect_garbage(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

impl TaskNetwork for Machine {
    fn make<'a>(&'a self, spec: &'a TaskSpec, index: usize) -> BoxFuture<'a, Result<MadeNetwork, String>> {
        Box::pin(async move {
            assert!(self.lock().networks.insert(format!("{}-{index}", spec.id)), "made once");
            let address = match &spec.network {
                NetworkSpec::Awsvpc(interface) => Some(interface.address),
                _ => None,
            };
            let network = neargate_runtime::Network::Path(PathBuf::from("/run/netns/x"));
            Ok(MadeNetwork {
                network,
                address,
                bindings: Vec::new(),
            })
        })
    }

    fn adopt<'a>(
        &'a self,
        spec: &'a TaskSpec,
        index: usize,
        address: Option<Ipv4Addr>,
        bindings: &'a [NetworkBinding],
    ) -> BoxFuture<'a, Result<MadeNetwork, String>> {
        Box::pin(async move {
            if !self.lock().networks.contains(&format!("{}-{index}", spec.id)) {
                return Err("gone".to_owned());
            }
            let network = neargate_runtime::Network::Path(PathBuf::from("/run/netns/x"));
            Ok(MadeNetwork {
                network,
                address,
                bindings: bindings.to_vec(),
            })
        })
    }

    fn remove<'a>(&'a self, spec: &'a TaskSpec, index: usize) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            self.lock().networks.remove(&format!("{}-{index}", spec.id));
            Ok(())
        })
    }

    fn enforce(&self, change: NetworkChange) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            self.lock().enforced.push(change);
            Ok(())
        })
    }

    fn uphold(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn counters(&self, _: &TaskSpec, _: usize) -> Option<neargate_netns::Counters> {
        None
    }

    fn resolver(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 253, 77, 2)
    }

    fn resolver_of(&self, _: &NetworkSpec) -> Ipv4Addr {
        self.resolver()
    }
}

/// The moment a test began, for times in reports.
pub fn now() -> Timestamp {
    SystemClock.now()
}
