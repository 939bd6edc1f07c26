//! What is known of a task on this node: a fold over the events that happened to it.
//!
//! The executor applies events as they happen and journals them; after a restart the same fold over the journal gives
//! the same state. Pure: time comes with each event. A container that stopped never runs again, a stop is never taken
//! back, and what arrives late for a container that is over is ignored.

use super::health::HealthState;
use super::reason::{self, Failure};
use super::{network_of, networks, restart};
use neargate_core::Timestamp;
use neargate_link::{ContainerSpec, Health, NetworkBinding, NetworkSpec, PortMapping, StopOrder, TaskSpec};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Something a task needs besides its containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Piece {
    #[default]
    Absent,
    Making,
    Ready,
    Failed,
}

/// An event of a task. Containers and networks are named by their index in the spec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    ShimStarting,
    ShimReady,
    ShimFailed {
        reason: String,
    },
    /// It is gone, and what it held with it.
    ShimLost,
    NetworkStarting {
        network: usize,
    },
    NetworkReady {
        network: usize,
        address: Option<Ipv4Addr>,
        bindings: Vec<NetworkBinding>,
    },
    NetworkFailed {
        network: usize,
        reason: String,
    },
    /// It did not survive a restart of the machine.
    NetworkLost {
        network: usize,
    },
    PullStarted {
        container: usize,
    },
    ImageReady {
        container: usize,
        digest: String,
        stop_signal: Option<String>,
    },
    ImageFailed {
        container: usize,
        reason: String,
    },
    Preparing {
        container: usize,
    },
    Prepared {
        container: usize,
    },
    LogOpening {
        container: usize,
    },
    LogOpened {
        container: usize,
    },
    LogRefused {
        container: usize,
        reason: String,
    },
    /// Journalled before the engine is asked to start anything: from here on the container may have run.
    Starting {
        container: usize,
    },
    Started {
        container: usize,
        runtime_id: String,
    },
    /// The image was collected before the container started.
    ImageLost {
        container: usize,
    },
    /// It could not be prepared, created or started.
    Failed {
        container: usize,
        reason: String,
    },
    /// Its dependencies can never be met.
    DependencyFailed {
        container: usize,
        reason: String,
    },
    Exited {
        container: usize,
        code: Option<i32>,
        oom_killed: bool,
        reason: Option<String>,
    },
    ProbeStarted {
        container: usize,
    },
    Probed {
        container: usize,
        began: Timestamp,
        passed: bool,
    },
    /// Control's decision.
    StopOrdered(StopOrder),
    /// The node's own decision.
    StopDecided(Stop),
    /// Journalled in place of the checks that led to it.
    HealthChanged {
        container: usize,
        status: Health,
    },
    StopSignalled {
        container: usize,
    },
    Killed {
        container: usize,
    },
    CleanupStarted,
    Cleaned,
}

impl Event {
    /// False for an event about containers or networks that the spec does not have.
    pub fn fits(&self, spec: &TaskSpec) -> bool {
        match self {
            Event::NetworkStarting { network }
            | Event::NetworkReady { network, .. }
            | Event::NetworkFailed { network, .. }
            | Event::NetworkLost { network } => *network < networks(spec),
            Event::PullStarted { container }
            | Event::ImageReady { container, .. }
            | Event::ImageFailed { container, .. }
            | Event::ImageLost { container }
            | Event::Preparing { container }
            | Event::Prepared { container }
            | Event::LogOpening { container }
            | Event::LogOpened { container }
            | Event::LogRefused { container, .. }
            | Event::Starting { container }
            | Event::Started { container, .. }
            | Event::Failed { container, .. }
            | Event::DependencyFailed { container, .. }
            | Event::Exited { container, .. }
            | Event::ProbeStarted { container }
            | Event::Probed { container, .. }
            | Event::HealthChanged { container, .. }
            | Event::StopSignalled { container }
            | Event::Killed { container } => *container < spec.containers.len(),
            Event::ShimStarting
            | Event::ShimReady
            | Event::ShimFailed { .. }
            | Event::ShimLost
            | Event::StopOrdered(_)
            | Event::StopDecided(_)
            | Event::CleanupStarted
            | Event::Cleaned => true,
        }
    }

    /// True for what need not be journalled: the next check makes it good, or it is asked anew after a restart.
    pub fn is_fleeting(&self) -> bool {
        matches!(
            self,
            Event::ProbeStarted { .. } | Event::Probed { .. } | Event::LogOpening { .. } | Event::LogOpened { .. }
        )
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Image {
    #[default]
    Wanted,
    Pulling,
    Ready,
    Failed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Run {
    #[default]
    Waiting,
    Starting,
    Running,
    /// Over for good. No code: it never ran, or nobody saw its end.
    Stopped {
        at: Timestamp,
        code: Option<i32>,
    },
}

/// The container got its stop signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    pub since: Timestamp,
    pub killed: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Container {
    pub image: Image,
    pub digest: Option<String>,
    /// The image's `STOPSIGNAL`.
    pub stop_signal: Option<String>,
    pub rootfs: Piece,
    /// The place its log goes to, when that is not on the node alone.
    pub log: Piece,
    pub run: Run,
    /// Latest start.
    pub started_at: Option<Timestamp>,
    pub restarts: u32,
    pub stopping: Option<Stopping>,
    pub health: HealthState,
    pub reason: Option<String>,
    pub runtime_id: Option<String>,
    pub bindings: Vec<NetworkBinding>,
}

impl Container {
    pub fn stopped(&self) -> bool {
        matches!(self.run, Run::Stopped { .. })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskNetworkState {
    pub state: Piece,
    pub address: Option<Ipv4Addr>,
}

/// Why the task stops.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    /// The node's own decision; control knows the code of its own.
    pub code: Option<String>,
    pub reason: String,
}

/// A task as its node sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    pub shim: Piece,
    pub networks: Vec<TaskNetworkState>,
    pub containers: Vec<Container>,
    pub cleanup: Piece,
    pub stop: Option<Stop>,
    pub pull_started_at: Option<Timestamp>,
    pub pull_stopped_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub stopping_at: Option<Timestamp>,
    pub execution_stopped_at: Option<Timestamp>,
    pub stopped_at: Option<Timestamp>,
}

impl Observed {
    /// A task of which nothing has been done yet.
    pub fn new(spec: &TaskSpec) -> Observed {
        let on_host = spec.network == NetworkSpec::Host;
        let bindings = |c: &ContainerSpec| if on_host { host_bindings(c) } else { Vec::new() };
        let containers = spec.containers.iter();
        Observed {
            networks: vec![TaskNetworkState::default(); networks(spec)],
            containers: containers
                .map(|c| Container {
                    bindings: bindings(c),
                    ..Container::default()
                })
                .collect(),
            ..Observed::default()
        }
    }

    /// Takes in what happened at `now`.
    pub fn apply(&mut self, spec: &TaskSpec, event: &Event, now: Timestamp) {
        match event {
            Event::ShimStarting => self.shim = Piece::Making,
            Event::ShimReady => self.shim = Piece::Ready,
            Event::ShimFailed { reason } => {
                self.shim = Piece::Failed;
                self.fail_to_start(reason.clone(), now);
            }
            Event::ShimLost => self.shim_lost(spec, now),
            Event::NetworkLost { network } => self.networks[*network] = TaskNetworkState::default(),
            Event::NetworkStarting { network } => self.networks[*network].state = Piece::Making,
            Event::NetworkReady {
                network,
                address,
                bindings,
            } => {
                self.networks[*network] = TaskNetworkState {
                    state: Piece::Ready,
                    address: *address,
                };
                if spec.network == NetworkSpec::Bridge {
                    self.containers[*network].bindings.clone_from(bindings);
                }
            }
            Event::NetworkFailed { network, reason } => {
                self.networks[*network].state = Piece::Failed;
                for (index, container) in self.containers.iter_mut().enumerate() {
                    if network_of(spec, index) == *network {
                        container.reason.get_or_insert_with(|| reason.clone());
                    }
                }
                self.fail_to_start(reason.clone(), now);
            }
            Event::PullStarted { container } => {
                self.containers[*container].image = Image::Pulling;
                self.pull_started_at.get_or_insert(now);
            }
            Event::ImageReady {
                container,
                digest,
                stop_signal,
            } => {
                let c = &mut self.containers[*container];
                c.image = Image::Ready;
                c.digest = Some(digest.clone());
                c.stop_signal.clone_from(stop_signal);
                self.pulls_may_be_over(now);
            }
            Event::ImageFailed { container, reason } => {
                self.containers[*container].image = Image::Failed;
                self.container_failed(spec, *container, reason, None, now);
                self.pulls_may_be_over(now);
            }
            Event::Preparing { container } => self.containers[*container].rootfs = Piece::Making,
            Event::Prepared { container } => self.containers[*container].rootfs = Piece::Ready,
            Event::LogOpening { container } => self.containers[*container].log = Piece::Making,
            Event::LogOpened { container } => self.containers[*container].log = Piece::Ready,
            Event::LogRefused { container, reason } => {
                self.containers[*container].log = Piece::Failed;
                self.container_failed(spec, *container, reason, None, now);
            }
            Event::Starting { container } => self.containers[*container].run = Run::Starting,
            Event::ImageLost { container } => self.containers[*container].image = Image::Wanted,
            Event::Started { container, runtime_id } => self.container_started(spec, *container, runtime_id, now),
            Event::Failed { container, reason } => {
                let c = &mut self.containers[*container];
                if c.rootfs == Piece::Making {
                    c.rootfs = Piece::Failed;
                }
                self.container_failed(spec, *container, reason, None, now);
            }
            Event::DependencyFailed { container, reason } => {
                // The ECS agent reports 143, SIGTERM's, for a container whose dependencies failed.
                self.container_failed(spec, *container, reason, Some(143), now);
            }
            Event::Exited {
                container,
                code,
                oom_killed,
                reason,
            } => {
                self.container_exited(spec, *container, *code, *oom_killed, reason.clone(), now);
            }
            Event::ProbeStarted { container } => self.containers[*container].health.probing = true,
            Event::Probed {
                container,
                began,
                passed,
            } => {
                let c = &mut self.containers[*container];
                c.health.probing = false;
                if let (Run::Running, Some(check), Some(started)) =
                    (c.run, &spec.containers[*container].health_check, c.started_at)
                    && *began >= started
                {
                    c.health = c.health.probed(check, started, *began, now, *passed);
                }
            }
            Event::HealthChanged { container, status } => {
                let health = &mut self.containers[*container].health;
                health.status = *status;
                let retries = spec.containers[*container]
                    .health_check
                    .as_ref()
                    .map_or(1, |c| c.retries);
                health.failing = if *status == Health::Unhealthy { retries } else { 0 };
            }
            Event::StopOrdered(order) => {
                self.stop_with(
                    Stop {
                        code: None,
                        reason: order.reason.clone(),
                    },
                    now,
                );
            }
            Event::StopDecided(stop) => self.stop_with(stop.clone(), now),
            Event::StopSignalled { container } => {
                self.containers[*container].stopping.get_or_insert(Stopping {
                    since: now,
                    killed: false,
                });
            }
            Event::Killed { container } => {
                self.containers[*container].stopping = Some(Stopping {
                    since: now,
                    killed: true,
                });
            }
            Event::CleanupStarted => self.cleanup = Piece::Making,
            Event::Cleaned => {
                self.cleanup = Piece::Ready;
                self.stopped_at.get_or_insert(now);
            }
        }
        self.milestones(spec, now);
    }

    /// Forgets what a restart of the node interrupted: what was being made is made again, or adopted.
    pub fn interrupted(&mut self) {
        for c in &mut self.containers {
            if c.image == Image::Pulling {
                c.image = Image::Wanted;
            }
            if c.rootfs == Piece::Making {
                c.rootfs = Piece::Absent;
            }
            c.health.probing = false;
        }
        for n in &mut self.networks {
            if n.state == Piece::Making {
                n.state = Piece::Absent;
            }
        }
        if self.shim == Piece::Making {
            self.shim = Piece::Absent;
        }
        if self.cleanup == Piece::Making {
            self.cleanup = Piece::Absent;
        }
    }

    /// True once a container may have run: the task is never begun anew from here on.
    pub fn ever_started(&self) -> bool {
        self.containers
            .iter()
            .any(|c| c.run != Run::Waiting && (c.started_at.is_some() || c.run == Run::Starting))
    }

    /// The address that container `index` lives at.
    pub fn address_of(&self, spec: &TaskSpec, index: usize) -> Option<Ipv4Addr> {
        self.networks[network_of(spec, index)].address
    }

    /// The task's health, from its essential containers that have a health check.
    pub fn health(&self, spec: &TaskSpec) -> Health {
        let essential = spec.containers.iter().zip(&self.containers);
        super::health::task_health(
            essential
                .filter(|(s, _)| s.essential && s.health_check.is_some())
                .map(|(_, c)| c.health.status),
        )
    }

    fn container_started(&mut self, spec: &TaskSpec, index: usize, runtime_id: &str, now: Timestamp) {
        let c = &mut self.containers[index];
        if c.run != Run::Starting {
            return;
        }
        c.run = Run::Running;
        c.started_at = Some(now);
        c.runtime_id = Some(runtime_id.to_owned());
        c.health = HealthState::started(spec.containers[index].health_check.as_ref(), now);
    }

    fn container_failed(&mut self, spec: &TaskSpec, index: usize, reason: &str, code: Option<i32>, now: Timestamp) {
        let c = &mut self.containers[index];
        if c.stopped() {
            return;
        }
        c.run = Run::Stopped { at: now, code };
        c.reason = Some(reason.to_owned());
        c.health.next_at = None;
        if spec.containers[index].essential || Failure::concerns_task(reason) {
            self.fail_to_start(reason.to_owned(), now);
        }
    }

    fn container_exited(
        &mut self,
        spec: &TaskSpec,
        index: usize,
        code: Option<i32>,
        oom_killed: bool,
        reason: Option<String>,
        now: Timestamp,
    ) {
        let stops = self.stop.is_some();
        let c = &mut self.containers[index];
        if !matches!(c.run, Run::Starting | Run::Running) {
            return;
        }
        c.health.next_at = None;
        c.reason = if oom_killed {
            Some(reason::OUT_OF_MEMORY.to_owned())
        } else {
            reason
        };
        let policy = spec.containers[index].restart_policy.as_ref();
        if restart::restarts(policy, stops, c.started_at.unwrap_or(now), now, code) {
            c.run = Run::Waiting;
            c.restarts += 1;
            c.health = HealthState::default();
            c.stopping = None;
            return;
        }
        c.run = Run::Stopped { at: now, code };
        if spec.containers[index].essential {
            let code = Some(reason::ESSENTIAL_CONTAINER_EXITED.to_owned());
            self.stop_with(
                Stop {
                    code,
                    reason: reason::ESSENTIAL_EXITED.to_owned(),
                },
                now,
            );
        }
    }

    fn shim_lost(&mut self, spec: &TaskSpec, now: Timestamp) {
        self.shim = Piece::Absent;
        for index in 0..self.containers.len() {
            // SIGKILL's code: the container's processes die with their holder.
            let reason = Some(reason::SHIM_LOST.to_owned());
            self.container_exited(spec, index, Some(137), false, reason, now);
        }
    }

    fn fail_to_start(&mut self, reason: String, now: Timestamp) {
        self.stop_with(
            Stop {
                code: Some(reason::TASK_FAILED_TO_START.to_owned()),
                reason,
            },
            now,
        );
    }

    fn stop_with(&mut self, stop: Stop, now: Timestamp) {
        if self.stop.is_some() {
            return;
        }
        self.stop = Some(stop);
        self.stopping_at = Some(now);
        for c in &mut self.containers {
            c.health.next_at = None;
            if c.run == Run::Waiting {
                c.run = Run::Stopped { at: now, code: None };
            }
        }
    }

    fn pulls_may_be_over(&mut self, now: Timestamp) {
        if self
            .containers
            .iter()
            .all(|c| matches!(c.image, Image::Ready | Image::Failed))
        {
            self.pull_stopped_at.get_or_insert(now);
        }
    }

    fn milestones(&mut self, spec: &TaskSpec, now: Timestamp) {
        let begun = |c: &Container| matches!(c.run, Run::Running | Run::Stopped { .. }) || c.restarts > 0;
        if self.stop.is_none() && self.containers.iter().all(begun) {
            if self.containers.iter().all(Container::stopped) {
                let code = Some(reason::ESSENTIAL_CONTAINER_EXITED.to_owned());
                self.stop_with(
                    Stop {
                        code,
                        reason: reason::ESSENTIAL_EXITED.to_owned(),
                    },
                    now,
                );
            } else {
                self.started_at.get_or_insert(now);
            }
        }
        let mut essential = spec
            .containers
            .iter()
            .zip(&self.containers)
            .filter(|(s, _)| s.essential);
        let essential_over = essential.any(|(_, c)| c.stopped());
        if essential_over || self.containers.iter().all(Container::stopped) {
            self.execution_stopped_at.get_or_insert(now);
        }
    }
}

/// In host mode every container port is the machine's port of the same number.
fn host_bindings(container: &ContainerSpec) -> Vec<NetworkBinding> {
    let binding = |m: &PortMapping| NetworkBinding {
        bind_ip: "0.0.0.0".to_owned(),
        container_port: m.container_port,
        host_port: m.container_port,
        further: m.further(),
        transport: m.transport,
    };
    container.port_mappings.iter().map(binding).collect()
}
