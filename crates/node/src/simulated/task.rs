//! A pretended task: events in, its new state and timers out. No IO, no clock.

use neargate_core::Timestamp;
use neargate_link::{
    Condition, ContainerReport, ContainerSpec, Health, NetworkBinding, NetworkSpec, Phase, PortMapping, TaskReport,
    TaskSpec,
};
use std::sync::Arc;
use std::time::Duration;

pub(super) enum Event {
    /// The task is new; its containers start after `begin`.
    Take {
        spec: Arc<TaskSpec>,
        begin: Duration,
    },
    /// Control wants it otherwise than before: it may ask for its stop.
    Desire {
        spec: Arc<TaskSpec>,
    },
    Due(Timer),
}

/// What a timer is for; `life` counts the starts of a container, so that a timer of an earlier life does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Begin,
    Exit { container: usize, life: u32 },
    Unhealthy { container: usize, life: u32 },
}

pub(super) struct Task {
    spec: Arc<TaskSpec>,
    phase: Phase,
    containers: Vec<Container>,
    taken_at: Option<Timestamp>,
    began_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    stopping_at: Option<Timestamp>,
    stopped_at: Option<Timestamp>,
    stop_code: Option<&'static str>,
    stopped_reason: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Pending,
    Running,
    Stopped,
}

struct Container {
    status: Status,
    life: u32,
    started_at: Option<Timestamp>,
    exit_code: Option<i32>,
    reason: Option<String>,
    health: Health,
}

/// How a dependency stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Met {
    Yes,
    NotYet,
    Never,
}

impl Task {
    pub fn new(spec: Arc<TaskSpec>) -> Task {
        let container = || Container {
            status: Status::Pending,
            life: 0,
            started_at: None,
            exit_code: None,
            reason: None,
            health: Health::Unknown,
        };
        Task {
            containers: spec.containers.iter().map(|_| container()).collect(),
            spec,
            phase: Phase::Pending,
            taken_at: None,
            began_at: None,
            started_at: None,
            stopping_at: None,
            stopped_at: None,
            stop_code: None,
            stopped_reason: None,
        }
    }

    /// Takes an event in; answers whether there is something to report. `ask` sets a timer.
    pub fn handle(&mut self, event: Event, now: Timestamp, ask: &mut dyn FnMut(Timestamp, Timer)) -> bool {
        if self.phase == Phase::Stopped {
            return false;
        }
        match event {
            Event::Take { begin, .. } => {
                self.taken_at = Some(now);
                if self.spec.stop.is_some() {
                    self.stop(now);
                } else if begin.is_zero() {
                    self.begin(now, ask);
                } else {
                    ask(now.plus(begin), Timer::Begin);
                }
                true
            }
            Event::Desire { spec } => {
                // Nothing else of a task ever changes.
                let stop = spec.stop.is_some();
                if stop {
                    self.stop(now);
                }
                stop
            }
            Event::Due(Timer::Begin) => {
                self.begin(now, ask);
                true
            }
            Event::Due(Timer::Exit { container, life }) => {
                let running = self.is_living(container, life);
                if running {
                    self.exit(container, now, ask);
                }
                running
            }
            Event::Due(Timer::Unhealthy { container, life }) => {
                let running = self.is_living(container, life);
                if running {
                    self.containers[container].health = Health::Unhealthy;
                    self.advance(now, ask);
                }
                running
            }
        }
    }

    fn is_living(&self, container: usize, life: u32) -> bool {
        self.containers
            .get(container)
            .is_some_and(|c| c.life == life && c.status == Status::Running)
    }

    fn begin(&mut self, now: Timestamp, ask: &mut dyn FnMut(Timestamp, Timer)) {
        self.began_at = Some(now);
        self.advance(now, ask);
    }

    /// Starts every container whose dependencies are met, until none is left that could.
    fn advance(&mut self, now: Timestamp, ask: &mut dyn FnMut(Timestamp, Timer)) {
        loop {
            let spec = self.spec.clone();
            let pending = |at: &usize| self.containers[*at].status == Status::Pending;
            let next = (0..self.containers.len()).filter(pending).find_map(|at| {
                let met = self.dependencies(&spec.containers[at]);
                (met != Met::NotYet).then_some((at, met))
            });
            match next {
                None => break,
                Some((at, Met::Yes)) => match setting(&spec.containers[at], "NEARGATE_SIM_FAIL_START") {
                    None => self.start(at, &spec.containers[at], now, ask),
                    Some(why) => return self.fail(at, format!("CannotStartContainerError: {why}"), now),
                },
                Some((at, _)) => {
                    let why = "a container it depends on did not end or become as its dependsOn asks".to_owned();
                    return self.fail(at, why, now);
                }
            }
        }
        if self.phase == Phase::Pending && self.containers.iter().all(|c| c.status != Status::Pending) {
            self.phase = Phase::Running;
            self.started_at = Some(now);
        }
    }

    fn dependencies(&self, container: &ContainerSpec) -> Met {
        let mut all = Met::Yes;
        for dependency in &container.depends_on {
            let found = self.spec.containers.iter().position(|c| c.name == dependency.container);
            let Some(other) = found.map(|at| &self.containers[at]) else {
                return Met::Never;
            };
            let met = match (dependency.condition, other.status) {
                (Condition::Start, Status::Running | Status::Stopped) => Met::Yes,
                (Condition::Complete, Status::Stopped) => Met::Yes,
                (Condition::Success, Status::Stopped) if other.exit_code == Some(0) => Met::Yes,
                (Condition::Healthy, Status::Running) if other.health == Health::Healthy => Met::Yes,
                (Condition::Success | Condition::Healthy, Status::Stopped) => Met::Never,
                (Condition::Healthy, Status::Running) if other.health == Health::Unhealthy => Met::Never,
                _ => Met::NotYet,
            };
            match met {
                Met::Yes => {}
                Met::NotYet => all = Met::NotYet,
                Met::Never => return Met::Never,
            }
        }
        all
    }

    fn start(&mut self, at: usize, spec: &ContainerSpec, now: Timestamp, ask: &mut dyn FnMut(Timestamp, Timer)) {
        let container = &mut self.containers[at];
        container.status = Status::Running;
        container.life += 1;
        container.started_at = Some(now);
        container.exit_code = None;
        let life = container.life;
        if spec.health_check.is_some() {
            container.health = Health::Healthy;
            match setting(spec, "NEARGATE_SIM_UNHEALTHY").map(milliseconds) {
                None => {}
                Some(Duration::ZERO) => container.health = Health::Unhealthy,
                Some(after) => ask(now.plus(after), Timer::Unhealthy { container: at, life }),
            }
        }
        let code = setting(spec, "NEARGATE_SIM_EXIT_CODE").map(|_| Duration::ZERO);
        if let Some(after) = setting(spec, "NEARGATE_SIM_EXIT_AFTER_MS").map(milliseconds).or(code) {
            ask(now.plus(after), Timer::Exit { container: at, life });
        }
    }

    fn exit(&mut self, at: usize, now: Timestamp, ask: &mut dyn FnMut(Timestamp, Timer)) {
        let spec = self.spec.clone();
        let spec = &spec.containers[at];
        let code = setting(spec, "NEARGATE_SIM_EXIT_CODE")
            .and_then(|code| code.parse().ok())
            .unwrap_or(0);
        let container = &mut self.containers[at];
        let ran = container
            .started_at
            .map_or(Duration::ZERO, |started| now.since(started));
        let again = spec.restart_policy.as_ref().is_some_and(|policy| {
            !policy.ignored_exit_codes.contains(&code) && ran >= Duration::from_secs(policy.attempt_period.into())
        });
        if again {
            return self.start(at, spec, now, ask);
        }
        container.status = Status::Stopped;
        container.exit_code = Some(code);
        container.health = Health::Unknown;
        if !spec.essential && self.containers.iter().any(|c| c.status != Status::Stopped) {
            return self.advance(now, ask);
        }
        // What exits as soon as it starts has started.
        self.started_at.get_or_insert(now);
        self.stop_code = Some("EssentialContainerExited");
        self.stopped_reason = Some("Essential container in task exited");
        self.stop(now);
    }

    fn fail(&mut self, at: usize, reason: String, now: Timestamp) {
        self.containers[at].status = Status::Stopped;
        self.containers[at].reason = Some(reason);
        self.stop_code = Some("TaskFailedToStart");
        self.stopped_reason = Some("Task failed to start");
        self.stop(now);
    }

    /// Every container that runs gets its signal and exits at once, well-behaved.
    fn stop(&mut self, now: Timestamp) {
        for container in &mut self.containers {
            if container.status == Status::Running {
                container.exit_code = Some(0);
            }
            container.status = Status::Stopped;
            container.health = Health::Unknown;
        }
        self.phase = Phase::Stopped;
        self.stopping_at = Some(now);
        self.stopped_at = Some(now);
    }

    /// The task as control is to see it.
    pub fn report(&self) -> TaskReport {
        let container = |(at, (spec, container)): (usize, (&ContainerSpec, &Container))| ContainerReport {
            name: spec.name.clone(),
            last_status: match container.status {
                Status::Pending => "PENDING",
                Status::Running => "RUNNING",
                Status::Stopped => "STOPPED",
            }
            .to_owned(),
            exit_code: container.exit_code,
            reason: container.reason.clone(),
            runtime_id: (container.life > 0).then(|| format!("{}-{at:010}", self.spec.id)),
            image_digest: spec.image_digest.clone(),
            health: container.health,
            restart_count: container.life.saturating_sub(1),
            network_bindings: if container.life > 0 {
                bindings(&self.spec, at, spec)
            } else {
                Vec::new()
            },
        };
        TaskReport {
            task_id: self.spec.id.clone(),
            phase: self.phase,
            containers: self
                .spec
                .containers
                .iter()
                .zip(&self.containers)
                .enumerate()
                .map(container)
                .collect(),
            pull_started_at: self.taken_at,
            pull_stopped_at: self.began_at,
            started_at: self.started_at,
            stopping_at: self.stopping_at,
            execution_stopped_at: self.stopped_at,
            stopped_at: self.stopped_at,
            stop_code: self.stop_code.map(str::to_owned),
            stopped_reason: self.stopped_reason.map(str::to_owned),
        }
    }
}

fn setting<'a>(container: &'a ContainerSpec, name: &str) -> Option<&'a str> {
    container
        .environment
        .iter()
        .rev()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

/// The knobs are for people: what is no number counts as at once.
fn milliseconds(text: &str) -> Duration {
    Duration::from_millis(text.trim().parse().unwrap_or(0))
}

/// Ports of the machine, which a task with an interface of its own does not use.
fn bindings(task: &TaskSpec, at: usize, container: &ContainerSpec) -> Vec<NetworkBinding> {
    if !matches!(task.network, NetworkSpec::Bridge | NetworkSpec::Host) {
        return Vec::new();
    }
    // Any port will do for one that nothing listens on, but the same one in every report.
    let any = |port: u16| {
        let sum: u32 = task
            .id
            .bytes()
            .map(u32::from)
            .fold(at as u32, |sum, b| sum.wrapping_mul(31).wrapping_add(b));
        32_768 + (sum.wrapping_add(u32::from(port)) % 28_232) as u16
    };
    let binding = |mapping: &PortMapping| NetworkBinding {
        bind_ip: "0.0.0.0".to_owned(),
        container_port: mapping.container_port,
        host_port: match (&task.network, mapping.host_port) {
            (NetworkSpec::Host, _) => mapping.container_port,
            (_, 0) => any(mapping.container_port),
            (_, asked) => asked,
        },
        further: mapping.further(),
        transport: mapping.transport,
    };
    container.port_mappings.iter().map(binding).collect()
}
