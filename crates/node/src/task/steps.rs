//! How each step of a plan is carried out, and what comes of it.

use super::{Shared, Task, passed, source_name};
use crate::bundle::launch::{Surroundings, configured, container, health_command, holder, signal_number};
use crate::bundle::{envfile, etc, links, mounts};
use crate::dirs::{Journal, TaskDir};
use crate::plan::observed::{Event, Observed};
use crate::plan::reason::Failure;
use crate::plan::{Step, network_of};
use crate::ports::{EngineError, Holder, ImageConfig, MadeNetwork, ReadyImage};
use crate::quota;
use crate::slots::{self, remove_if_there};
use neargate_core::Timestamp;
use neargate_link::{AwslogsSpec, LogSpec, TaskSpec};
use neargate_runtime::{ContainerLaunch, Exec, RootFs, TaskState};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinError;

/// As the ECS agent's `ECS_CONTAINER_START_TIMEOUT`.
const START_TIMEOUT: Duration = Duration::from_secs(180);
/// A holder that does not end within this time is cleaned up from outside.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses before what cannot be removed is tried again.
const CLEANUP_PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

/// What a step came to.
pub enum Done {
    Shim(Result<Arc<dyn Holder>, EngineError>),
    Network(usize, Result<MadeNetwork, String>),
    Image(usize, Result<ReadyImage, String>),
    Prepared(usize, Result<(), String>),
    /// Control's error when it refuses.
    LogOpened(usize, Result<(), String>),
    /// Success is told by the engine's own event, which keeps its order with the exit.
    Started(usize, Result<(), EngineError>),
    Probed(usize, Timestamp, bool),
    /// A signal was sent, or the container was gone.
    Signalled,
    /// What a lost holder left behind is removed; its last words.
    Remains(Option<TaskState>),
    Cleaned,
}

/// Puts a new task on disk.
pub fn begin(shared: &Shared, dir: &TaskDir, spec: &TaskSpec) -> io::Result<Journal> {
    let free = rustix::fs::statvfs(shared.dirs.data())?;
    if free.f_bavail.saturating_mul(free.f_frsize) < shared.settings.min_free_bytes {
        return Err(io::Error::from(io::ErrorKind::StorageFull));
    }
    let journal = dir.create(spec)?;
    if let Some(gib) = limited(shared, spec)
        && let Err(error) = quota::limit(dir.path(), &spec.id, gib)
    {
        let _ = dir.remove();
        return Err(error);
    }
    Ok(journal)
}

/// The size that a task's directory is held to, where that is possible.
fn limited(shared: &Shared, spec: &TaskSpec) -> Option<u32> {
    spec.ephemeral_storage_gib.filter(|_| shared.settings.quotas)
}

/// Gives back what a finished task held on disk, but for its spec, journal and log positions.
pub fn tidy(shared: &Shared, dir: &TaskDir, spec: &TaskSpec) -> io::Result<()> {
    let is_limited = limited(shared, spec).is_some();
    for index in 0..spec.containers.len() {
        // What belongs to a limited task's project is of no use to another task.
        match is_limited {
            true => remove_if_there(&dir.rootfs(index))?,
            false => shared.slots.give_back(&dir.rootfs(index))?,
        }
    }
    if is_limited {
        quota::release(dir.path())?;
    }
    remove_if_there(&dir.volumes())
}

impl Task {
    pub(super) fn perform(&mut self, steps: impl Iterator<Item = Step>) {
        for step in steps {
            match step {
                Step::StartShim => self.start_shim(),
                Step::MakeNetwork { network } => {
                    let (shared, spec) = (self.shared.clone(), self.spec.clone());
                    self.steps
                        .spawn(async move { Done::Network(network, shared.ports.network.make(&spec, network).await) });
                }
                Step::Pull { container } => {
                    let (shared, spec) = (self.shared.clone(), self.spec.clone());
                    let pull = self.steps.spawn(async move {
                        let c = &spec.containers[container];
                        let image = shared.ports.images.obtain(&c.image, c.image_digest.as_deref()).await;
                        Done::Image(container, image)
                    });
                    self.abandoned_by_stop.push(pull);
                }
                Step::Prepare { container } => {
                    let (shared, spec, dir) = (self.shared.clone(), self.spec.clone(), self.dir.clone());
                    self.steps
                        .spawn_blocking(move || Done::Prepared(container, prepare(&shared, &spec, &dir, container)));
                }
                Step::OpenLog { container } => self.open_log(container),
                Step::Start { container } => self.start(container),
                Step::Probe { container } => self.probe(container),
                Step::Signal { container } => {
                    let signal = signal_number(self.observed.containers[container].stop_signal.as_deref());
                    self.signal(container, signal);
                }
                Step::Kill { container } => self.signal(container, libc::SIGKILL),
                Step::CleanUp => self.clean_up(),
            }
        }
    }

    fn start_shim(&mut self) {
        let settings = &self.shared.settings;
        let launch = holder(&self.spec, self.dir.path(), &settings.cgroup_base, &settings.runtime);
        let (told, engine) = unbounded_channel();
        self.engine = engine;
        let shared = self.shared.clone();
        self.steps
            .spawn(async move { Done::Shim(shared.ports.engine.spawn(launch, told).await) });
    }

    fn open_log(&mut self, index: usize) {
        let LogSpec::Awslogs(to) = self.spec.containers[index].log.clone() else {
            return;
        };
        let (shared, source) = (self.shared.clone(), source_name(&self.spec, index));
        let opening = self
            .steps
            .spawn(async move { Done::LogOpened(index, shared.logs.open(source, to).await) });
        self.abandoned_by_stop.push(opening);
    }

    fn start(&mut self, index: usize) {
        let images: Vec<Option<ImageConfig>> = self
            .images
            .iter()
            .map(|i| i.as_ref().map(|i| i.config.clone()))
            .collect();
        let ready = (
            self.holder.clone(),
            self.images[index].clone(),
            self.networks[network_of(&self.spec, index)].clone(),
        );
        let (Some(holder), Some(image), Some(network)) = ready else {
            let why = EngineError::Refused(
                Failure::CannotStartContainer.because("its image or network is no longer on the node"),
            );
            self.steps.spawn(async move { Done::Started(index, Err(why)) });
            return;
        };
        let (shared, spec, dir, observed) = (
            self.shared.clone(),
            self.spec.clone(),
            self.dir.clone(),
            self.observed.clone(),
        );
        self.steps.spawn(async move {
            let launch = tokio::task::spawn_blocking(move || {
                let around = Around {
                    shared: &shared,
                    spec: &spec,
                    dir: &dir,
                    observed: &observed,
                };
                around.launch(index, &images, &image, network)
            });
            let started = match launch.await {
                Ok(Ok(launch)) => match tokio::time::timeout(START_TIMEOUT, holder.start(launch)).await {
                    Ok(started) => started,
                    Err(_) => Err(EngineError::Refused(Failure::ContainerRuntimeTimeout.because(
                        format_args!(
                            "Could not transition to running; timed out after waiting {}s",
                            START_TIMEOUT.as_secs()
                        ),
                    ))),
                },
                Ok(Err(reason)) => Err(EngineError::Refused(reason)),
                Err(panicked) => Err(EngineError::Refused(Failure::CannotCreateContainer.because(panicked))),
            };
            Done::Started(index, started)
        });
    }

    fn probe(&mut self, index: usize) {
        let c = &self.spec.containers[index];
        let Some((check, holder)) = c.health_check.as_ref().zip(self.holder.clone()) else {
            return;
        };
        let began = self.shared.ports.clock.now();
        let Some(argv) = health_command(&check.command) else {
            self.steps.spawn(async move { Done::Probed(index, began, false) });
            return;
        };
        let exec = Exec {
            container: c.name.clone(),
            argv,
            timeout_millis: u64::from(check.timeout) * 1000,
            ..Exec::default()
        };
        self.steps.spawn(async move {
            let result = holder.exec(exec).await;
            Done::Probed(index, began, result.is_ok_and(|r| passed(&r.outcome)))
        });
    }

    fn signal(&mut self, index: usize, signal: i32) {
        let Some(holder) = self.holder.clone() else { return };
        let (spec, name) = (self.spec.clone(), self.spec.containers[index].name.clone());
        self.steps.spawn(async move {
            if let Err(error) = holder.signal(&name, signal).await {
                // It ended by itself meanwhile, or its holder did; both are told by events.
                tracing::debug!(task = spec.id, container = name, signal, ?error, "signal not delivered");
            }
            Done::Signalled
        });
    }

    /// After the holder's end: how did the containers end, and is everything gone?
    pub(super) fn find_remains(&mut self) {
        let (shared, spec, dir) = (self.shared.clone(), self.spec.clone(), self.dir.clone());
        self.steps
            .spawn(async move { Done::Remains(remains(&shared, &spec, &dir).await) });
    }

    fn clean_up(&mut self) {
        let (shared, spec, dir, holder) = (
            self.shared.clone(),
            self.spec.clone(),
            self.dir.clone(),
            self.holder.take(),
        );
        self.steps.spawn(async move {
            let end_holder = async {
                let ended = match &holder {
                    Some(holder) => tokio::time::timeout(SHUTDOWN_TIMEOUT, holder.shut_down()).await,
                    None => Ok(Err(EngineError::Lost("never attached".to_owned()))),
                };
                if !matches!(ended, Ok(Ok(()))) {
                    remains(&shared, &spec, &dir).await;
                }
            };
            let networks = crate::plan::networks(&spec);
            let remove_networks = async {
                for index in 0..networks {
                    remove_network(&shared, &spec, index).await;
                }
            };
            tokio::join!(end_holder, remove_networks);
            Done::Cleaned
        });
    }

    pub(super) fn step_done(&mut self, done: Result<Done, JoinError>) {
        let done = match done {
            Ok(done) => done,
            // Abandoned because the task stops.
            Err(error) if error.is_cancelled() => return,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        match done {
            Done::Shim(Ok(holder)) => {
                self.holder = Some(holder);
                self.note(&[Event::ShimReady]);
            }
            Done::Shim(Err(EngineError::Refused(why) | EngineError::NotApplicable(why) | EngineError::Lost(why))) => {
                let reason = Failure::ResourceInitialization.because(why);
                self.note(&[Event::ShimFailed { reason }]);
            }
            Done::Network(network, Ok(made)) => {
                self.networks[network] = Some(made.network);
                self.note(&[Event::NetworkReady {
                    network,
                    address: made.address,
                    bindings: made.bindings,
                }]);
            }
            Done::Network(network, Err(reason)) => self.note(&[Event::NetworkFailed { network, reason }]),
            Done::Image(container, Ok(image)) => {
                let ready = Event::ImageReady {
                    container,
                    digest: image.digest.clone(),
                    stop_signal: image.config.stop_signal.clone(),
                };
                self.images[container] = Some(Arc::new(image));
                self.note(&[ready]);
            }
            Done::Image(container, Err(reason)) => self.note(&[Event::ImageFailed { container, reason }]),
            Done::Prepared(container, Ok(())) => self.note(&[Event::Prepared { container }]),
            Done::Prepared(container, Err(reason)) => self.note(&[Event::Failed { container, reason }]),
            Done::LogOpened(container, Ok(())) => self.note(&[Event::LogOpened { container }]),
            Done::LogOpened(container, Err(error)) => {
                let reason = crate::plan::reason::log_refused(self.spec.launch_type, &error);
                self.note(&[Event::LogRefused { container, reason }]);
            }
            Done::Started(container, Err(EngineError::Refused(reason))) => {
                let reason = crate::plan::reason::limited(reason);
                self.note(&[Event::Failed { container, reason }]);
            }
            // What runs already was started for an earlier process of the node; a lost holder tells of its loss itself.
            Done::Started(_, Ok(()) | Err(EngineError::NotApplicable(_) | EngineError::Lost(_))) => {}
            Done::Signalled => {}
            Done::Probed(container, began, passed) => self.probed(container, began, passed),
            Done::Remains(state) => {
                if let Some(state) = state {
                    self.reconcile(&state, false);
                }
                self.note(&[Event::ShimLost]);
            }
            Done::Cleaned => self.note(&[Event::Cleaned]),
        }
    }
}

/// Removes everything a lost or stuck holder left, until it is gone or trying does not help.
async fn remains(shared: &Shared, spec: &TaskSpec, dir: &TaskDir) -> Option<TaskState> {
    for pause in CLEANUP_PAUSES.iter().map(Some).chain([None]) {
        match (shared.ports.engine.clean_up(dir.path()).await, pause) {
            (Ok(state), _) => return state,
            (Err(error), Some(pause)) => {
                tracing::warn!(
                    task = spec.id,
                    error,
                    "what a task left running is not all removed, trying again"
                );
                tokio::time::sleep(*pause).await;
            }
            (Err(error), None) => tracing::error!(task = spec.id, error, "what a task left running stays"),
        }
    }
    None
}

async fn remove_network(shared: &Shared, spec: &TaskSpec, index: usize) {
    for pause in CLEANUP_PAUSES.iter().map(Some).chain([None]) {
        match (shared.ports.network.remove(spec, index).await, pause) {
            (Ok(()), _) => return,
            (Err(error), Some(pause)) => {
                tracing::warn!(task = spec.id, error, "a task's network is not removed, trying again");
                tokio::time::sleep(*pause).await;
            }
            (Err(error), None) => tracing::error!(task = spec.id, error, "a task's network stays"),
        }
    }
}

/// A writable layer and a place for the log.
fn prepare(shared: &Shared, spec: &TaskSpec, dir: &TaskDir, index: usize) -> Result<(), String> {
    let cannot = |what: &str, e: io::Error| Failure::CannotCreateContainer.because(format_args!("{what}: {e}"));
    let rootfs = dir.rootfs(index);
    // A slot that was not made in a limited directory would not count to its size.
    let made = if limited(shared, spec).is_some() {
        slots::make(&rootfs)
    } else {
        shared.slots.take(&rootfs)
    };
    made.map_err(|e| cannot("make the container's writable layer", e))?;
    let log = shared.dirs.log_file(spec, index);
    let log_dir = log.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(log_dir).map_err(|e| cannot("make the container's log directory", e))
}

/// What a container's launch is made from.
struct Around<'a> {
    shared: &'a Shared,
    spec: &'a TaskSpec,
    dir: &'a TaskDir,
    observed: &'a Observed,
}

impl Around<'_> {
    fn launch(
        &self,
        index: usize,
        images: &[Option<ImageConfig>],
        image: &ReadyImage,
        network: neargate_runtime::Network,
    ) -> Result<ContainerLaunch, String> {
        let cannot = |what: &str, e: io::Error| Failure::CannotCreateContainer.because(format_args!("{what}: {e}"));
        let c = &self.spec.containers[index];
        if let LogSpec::Awslogs(AwslogsSpec {
            multiline_pattern: Some(pattern),
            ..
        }) = &c.log
            && let Err(error) = regex::bytes::Regex::new(pattern)
        {
            return Err(Failure::CannotStartContainer.because(format_args!(
                "failed to initialize logging driver: awslogs-multiline-pattern or awslogs-datetime-format: {error}"
            )));
        }
        let configured = self.configured(index, &image.config)?;
        let links = self.links(index, images)?;
        let volumes = mounts::volumes(self.spec, index, images, &self.dir.volumes())
            .map_err(|why| Failure::CannotCreateContainer.because(why))?;
        for directory in &volumes.directories {
            fs::create_dir_all(directory)
                .map_err(|e| cannot(&format!("make the volume {}", directory.display()), e))?;
        }
        let slot = self.dir.rootfs(index);
        let runtime_id = crate::bundle::launch::runtime_id(self.spec, index);
        let hostname = etc::hostname(self.spec, c, &runtime_id, &self.shared.settings.hostname);
        self.write_etc(index, &slot, &hostname)
            .map_err(|e| cannot("write the container's files of /etc", e))?;
        let settings = &self.shared.settings;
        let around = Surroundings {
            hostname,
            network,
            rootfs: RootFs::Overlay {
                lower: image.layers.clone(),
                upper: slot.join("upper"),
                work: slot.join("work"),
            },
            volumes,
            configured: &configured,
            links: &links,
            etc_dir: &slot,
            log_path: self.shared.dirs.log_file(self.spec, index),
            log_max_bytes: settings.log_max_bytes,
            log_files: settings.log_files,
            nofile_limit: settings.nofile_limit,
        };
        container(self.spec, index, &image.config, around)
    }

    /// The environment that a container is configured with, its environment files read.
    fn configured(&self, index: usize, image: &ImageConfig) -> Result<Vec<String>, String> {
        let s3 = self.shared.dirs.s3();
        let files = self.spec.containers[index].environment_files.iter();
        let files: Vec<_> = files
            .map(|arn| envfile::read(&s3, arn))
            .collect::<Result<_, _>>()
            .map_err(|e| Failure::ResourceInitialization.because(e))?;
        let resolver = self.shared.ports.network.resolver();
        let metadata = crate::metadata::variables(self.spec, index, resolver, &self.shared.metadata.tokens);
        Ok(configured(self.spec, index, image, metadata, &files))
    }

    /// What a container is told of those that it links to.
    fn links(&self, index: usize, images: &[Option<ImageConfig>]) -> Result<Vec<envfile::Variable>, String> {
        let mut out = Vec::new();
        for linked in links::linked(self.spec, self.observed, index) {
            let (recipient, of) = (&self.spec.containers[index], &self.spec.containers[linked.container]);
            // Its image is gone from the node only when it was removed by hand.
            let image = images[linked.container].clone().unwrap_or_default();
            let environment = self.configured(linked.container, &image)?;
            out.extend(links::variables(&recipient.name, &linked, of, &image, &environment));
        }
        Ok(out)
    }

    fn write_etc(&self, index: usize, slot: &Path, hostname: &str) -> io::Result<()> {
        let c = &self.spec.containers[index];
        let of_machine = |name: &str| match self.spec.network {
            neargate_link::NetworkSpec::Host => fs::read_to_string(Path::new("/etc").join(name)).unwrap_or_default(),
            _ => String::new(),
        };
        let resolver = self.shared.ports.network.resolver_of(&self.spec.network);
        let hosts = etc::hosts(self.spec, self.observed, index, hostname, &of_machine("hosts"));
        let resolv = etc::resolv_conf(self.spec, c, resolver, &of_machine("resolv.conf"));
        fs::write(slot.join("hosts"), hosts)?;
        fs::write(slot.join("hostname"), format!("{hostname}\n"))?;
        fs::write(slot.join("resolv.conf"), resolv)
    }
}
