//! A service with pretended tasks on a virtual clock. It performs plans as the reconciler does and checks after each that
//! no limit was broken; what happened is written down line by line.

use super::{Checks, Launch, NodeView, Plan, ServiceView, TaskView, plan};
use crate::api;
use crate::plan::deployment::{self, Limits};
use crate::plan::events::ServiceEvent;
use crate::records::{
    Deployment, RolloutState, SchedulingStrategy, ServiceRecord, ServiceSpec, ServiceStatus, StopRequest, TaskState,
};
use neargate_core::{Tags, Timestamp};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

pub const HEALTHY_AFTER: Duration = Duration::from_secs(40);

/// How tasks of a revision behave.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// From launch to RUNNING, or to STOPPED when it fails to start.
    pub starts: Duration,
    pub fails_to_start: bool,
    /// From RUNNING to a crash.
    pub exits: Option<Duration>,
    /// It has a health check, which passes then (from RUNNING on).
    pub healthy: Option<Duration>,
    /// It has a health check, which fails then.
    pub unhealthy: Option<Duration>,
    /// From the stop request to STOPPED.
    pub stops: Duration,
}

impl Default for Behaviour {
    fn default() -> Behaviour {
        Behaviour {
            starts: Duration::from_secs(1),
            fails_to_start: false,
            exits: None,
            healthy: None,
            unhealthy: None,
            stops: Duration::from_millis(100),
        }
    }
}

#[derive(Clone, Debug)]
struct SimTask {
    deployment: String,
    behaviour: Behaviour,
    state: TaskState,
    stopping_at: Option<Timestamp>,
    settled: bool,
    lost: bool,
    checks: Checks,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    node: Option<String>,
    zone: Option<String>,
    protected_until: Option<Timestamp>,
    stop_code: Option<&'static str>,
    waiting: Option<String>,
}

pub struct Simulator {
    pub service: ServiceRecord,
    pub now: Timestamp,
    pub budget: usize,
    pub behaviours: BTreeMap<u32, Behaviour>,
    /// DAEMON: nodes, and whether they are connected.
    pub nodes: BTreeMap<String, bool>,
    pub zones: Vec<String>,
    /// No node takes new tasks, because of this.
    pub full: Option<String>,
    tasks: BTreeMap<String, SimTask>,
    made: u32,
    deployed: u32,
    wake_at: Option<Timestamp>,
    pub transcript: String,
}

impl Simulator {
    pub fn new(desired: u32, minimum: i32, maximum: i32) -> Simulator {
        let service = ServiceRecord {
            health_check_grace_period: 0,
            region: "us-east-1".to_owned(),
            cluster: "default".to_owned(),
            name: "web".to_owned(),
            arn: "arn:aws:ecs:us-east-1:000000000000:service/default/web".to_owned(),
            cluster_arn: "arn:aws:ecs:us-east-1:000000000000:cluster/default".to_owned(),
            status: ServiceStatus::Active,
            scheduling: SchedulingStrategy::Replica,
            desired_count: desired,
            spec: ServiceSpec::default(),
            deployment_configuration: api::DeploymentConfiguration {
                minimum_healthy_percent: Some(minimum),
                maximum_percent: Some(maximum),
                ..Default::default()
            },
            placement_constraints: Vec::new(),
            placement_strategy: Vec::new(),
            availability_zone_rebalancing: "DISABLED".to_owned(),
            tags: Tags::default(),
            propagate_tags: "NONE".to_owned(),
            enable_ecs_managed_tags: false,
            created_at: Timestamp(0),
            created_by: String::new(),
            inactive_at: None,
            request_fingerprint: String::new(),
            deployments: Vec::new(),
            last_completed: None,
            current_service_deployment: String::new(),
            stop_requested: None,
            events_told: 0,
            events_before: 0,
            steady_at: None,
            protection_told: false,
            rebalancing_until: None,
            unannounced: BTreeMap::new(),
        };
        Simulator {
            service,
            now: Timestamp(0),
            budget: 96,
            behaviours: BTreeMap::new(),
            nodes: BTreeMap::new(),
            zones: Vec::new(),
            full: None,
            tasks: BTreeMap::new(),
            made: 0,
            deployed: 0,
            wake_at: None,
            transcript: String::new(),
        }
    }

    pub fn breaker(&mut self, rollback: bool, count: Option<i32>, reset: Option<bool>) {
        self.service.deployment_configuration.deployment_circuit_breaker = Some(api::DeploymentCircuitBreaker {
            enable: Some(true),
            rollback: Some(rollback),
            reset_on_healthy_task: reset,
            threshold_configuration: count.map(|value| api::ThresholdConfiguration {
                r#type: Some("COUNT".to_owned()),
                value: Some(value),
            }),
        });
    }

    /// UpdateService with a revision of the task definition.
    pub fn deploy(&mut self, revision: u32) {
        self.deployed += 1;
        let id = format!("ecs-svc/{}", self.deployed);
        let next = Deployment {
            reason: deployment::in_progress(&id),
            id,
            service_deployment: format!("sd{}", self.deployed),
            service_revision_arn: format!("rev{}", self.deployed),
            spec: ServiceSpec {
                family: "web".to_owned(),
                revision,
                ..ServiceSpec::default()
            },
            target: self.service.desired_count,
            created_at: self.now,
            updated_at: self.now,
            ..Deployment::default()
        };
        if let Some(cut) = deployment::begin(&mut self.service, next) {
            self.say(&format!("{} {}", cut.id, cut.status));
        }
        self.settle();
    }

    /// UpdateService with a desired count.
    pub fn scale(&mut self, desired: u32) {
        let more = desired.saturating_sub(self.service.desired_count);
        self.service.desired_count = desired;
        for old in self
            .service
            .deployments
            .iter_mut()
            .skip(1)
            .filter(|d| d.proven && d.target > 0)
        {
            old.target = (old.target + more).min(desired);
        }
        self.settle();
    }

    pub fn stop_deployment(&mut self, request: StopRequest) {
        self.service.stop_requested = Some(request);
        self.settle();
    }

    pub fn delete(&mut self) {
        self.service.status = ServiceStatus::Draining;
        self.service.desired_count = 0;
        self.settle();
    }

    /// The task's container dies.
    pub fn kill(&mut self, id: &str) {
        self.end(id, "EssentialContainerExited");
        self.settle();
    }

    /// StopTask.
    pub fn user_stop(&mut self, id: &str) {
        self.end(id, "UserInitiated");
        self.settle();
    }

    /// The machine under the task is given up: nothing more is heard of it.
    pub fn lose(&mut self, id: &str) {
        let task = self.tasks.get_mut(id).expect("the script names a task that is there");
        (task.lost, task.stopping_at, task.stop_code) = (true, Some(Timestamp(i64::MAX)), Some("TerminationNotice"));
        self.settle();
    }

    /// The lost machines are back, and do as they are told.
    pub fn find(&mut self) {
        let now = self.now;
        for task in self
            .tasks
            .values_mut()
            .filter(|t| t.lost && t.state < TaskState::Stopped)
        {
            task.stopping_at = Some(now);
        }
    }

    pub fn set_health(&mut self, id: &str, checks: Checks) {
        self.tasks
            .get_mut(id)
            .expect("the script names a task that is there")
            .checks = checks;
        self.settle();
    }

    pub fn protect(&mut self, id: &str, for_: Duration) {
        let until = self.now.plus(for_);
        self.tasks
            .get_mut(id)
            .expect("the script names a task that is there")
            .protected_until = Some(until);
        self.settle();
    }

    pub fn set_full(&mut self, reason: Option<&str>) {
        self.full = reason.map(str::to_owned);
        for task in self.tasks.values_mut().filter(|t| t.waiting.is_some()) {
            task.waiting.clone_from(&self.full);
            task.created_at = self.now;
        }
        self.settle();
    }

    pub fn set_node(&mut self, id: &str, connected: Option<bool>) {
        match connected {
            Some(connected) => self.nodes.insert(id.to_owned(), connected),
            None => self.nodes.remove(id),
        };
        self.settle();
    }

    fn end(&mut self, id: &str, code: &'static str) {
        let now = self.now;
        let task = self.tasks.get_mut(id).expect("the script names a task that is there");
        if task.state < TaskState::Stopped {
            (task.state, task.ended_at) = (TaskState::Stopped, Some(now));
            task.stop_code.get_or_insert(code);
        }
    }

    /// Ids of tasks in `state` that nobody asked to stop.
    pub fn ids(&self, state: TaskState) -> Vec<String> {
        let live = self
            .tasks
            .iter()
            .filter(|(_, t)| t.state == state && t.stopping_at.is_none());
        live.map(|(id, _)| id.clone()).collect()
    }

    pub fn healthy(&self) -> u32 {
        u32::try_from(self.tasks.values().filter(|t| self.is_healthy(t)).count()).expect("small")
    }

    /// A node that is gone takes its task with it, whatever the minimum and the protection say.
    fn homeless(&self, task: &SimTask) -> bool {
        self.service.is_daemon() && !task.node.as_ref().is_some_and(|n| self.nodes.contains_key(n))
    }

    fn is_healthy(&self, task: &SimTask) -> bool {
        !self.homeless(task)
            && task.state == TaskState::Running
            && task.stopping_at.is_none()
            && match task.checks {
                Checks::Healthy => true,
                Checks::None => task.started_at.is_some_and(|at| self.now >= at.plus(HEALTHY_AFTER)),
                _ => false,
            }
    }

    fn counted(&self) -> u32 {
        let counted = self.tasks.values().filter(|t| t.state <= TaskState::Running && !t.lost);
        u32::try_from(counted.count()).expect("small")
    }

    fn limits(&self) -> Limits {
        let desired = match self.service.is_daemon() {
            true => u32::try_from(self.nodes.len()).expect("small"),
            false => self.service.desired_count,
        };
        Limits::of(&self.service.deployment_configuration, desired)
    }

    /// One plan on what is there now.
    pub fn plan(&self) -> Plan {
        let tasks: Vec<TaskView<'_>> = self
            .tasks
            .iter()
            .filter(|(_, t)| t.state < TaskState::Stopped || !t.settled)
            .map(|(id, t)| TaskView {
                unhealthy_in: None,
                untold: Vec::new(),
                id,
                deployment: &t.deployment,
                state: t.state,
                stopping: t.stopping_at.is_some(),
                lost: t.lost,
                settled: t.settled,
                checks: t.checks,
                created_at: t.created_at,
                started_at: t.started_at,
                ended_at: t.ended_at,
                node: t.node.as_deref(),
                zone: t.zone.as_deref(),
                protected_until: t.protected_until,
                stop_code: t.stop_code,
                placed: t.waiting.is_none(),
                waiting: t.waiting.as_deref(),
                digests: Vec::new(),
            })
            .collect();
        let nodes: Vec<NodeView<'_>> = self
            .nodes
            .iter()
            .map(|(id, open)| NodeView { id, open: *open })
            .collect();
        let view = ServiceView {
            grace_ends: None,
            service: &self.service,
            tasks: &tasks,
            nodes: &nodes,
            zones: &self.zones,
            healthy_after: HEALTHY_AFTER,
            budget: self.budget,
        };
        plan(&view, self.now)
    }

    /// Plans and performs until there is nothing to do now.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            let next = self.plan();
            if next.is_empty() {
                assert!(!next.more, "an empty plan that wants more");
                self.wake_at = next.wake_at;
                return;
            }
            self.perform(next);
        }
        panic!("the planner does not come to rest:\n{}", self.transcript);
    }

    fn perform(&mut self, plan: Plan) {
        let draining = self.service.status == ServiceStatus::Draining;
        let changes = plan.launch.iter().map(|l| l.count as usize).sum::<usize>() + plan.stop.len() + plan.settle.len();
        assert!(changes <= self.budget, "{changes} task changes in one plan");
        let before = self.healthy();
        for id in &plan.settle {
            self.tasks.get_mut(id).expect("settled tasks are there").settled = true;
        }
        for stop in &plan.stop {
            let now = self.now;
            let forced = draining || self.homeless(&self.tasks[&stop.task]);
            let task = self.tasks.get_mut(&stop.task).expect("stopped tasks are there");
            assert!(task.stopping_at.is_none(), "{} is asked to stop twice", stop.task);
            let protected = task.protected_until.is_some_and(|until| until > now);
            assert!(
                !protected || forced || task.checks == Checks::Unhealthy,
                "{} is protected",
                stop.task
            );
            (task.stopping_at, task.settled, task.stop_code) = (Some(now), true, Some("ServiceSchedulerInitiated"));
            match task.state {
                TaskState::Provisioning if task.node.is_none() => task.state = TaskState::Stopped,
                _ => task.state = TaskState::Stopping,
            }
        }
        if let Some(service) = plan.service {
            self.service = service;
        }
        let limits = self.limits();
        if !plan.stop.is_empty() && !draining {
            assert!(
                self.healthy() >= limits.lower.min(before),
                "{} healthy:\n{}",
                self.healthy(),
                self.transcript
            );
        }
        plan.launch.iter().for_each(|launch| self.launch(launch));
        if !plan.launch.is_empty() {
            assert!(
                self.counted() <= limits.upper,
                "{} of {}:\n{}",
                self.counted(),
                limits.upper,
                self.transcript
            );
        }
        for event in &plan.events {
            self.tell(event);
        }
        for change in &plan.history {
            let rollback = change
                .rollback_to
                .as_ref()
                .map_or(String::new(), |to| format!(" to {to}"));
            self.say(&format!("{} {}{rollback}", change.id, change.status));
        }
        self.service.events_told += plan.events.len() as u64;
    }

    fn launch(&mut self, launch: &Launch) {
        let d = self
            .service
            .deployments
            .iter()
            .find(|d| d.id == launch.deployment)
            .expect("launches are of a deployment");
        let behaviour = self.behaviours.get(&d.spec.revision).cloned().unwrap_or_default();
        let crowd = |zone: &str| {
            self.tasks
                .values()
                .filter(|t| t.zone.as_deref() == Some(zone) && t.state < TaskState::Stopped)
                .count()
        };
        let zone = self.zones.iter().min_by_key(|z| crowd(z)).cloned();
        for at in 0..launch.count {
            self.made += 1;
            let id = format!("t{:02}", self.made);
            let node = launch
                .node
                .clone()
                .or_else(|| self.full.is_none().then(|| "n".to_owned()));
            self.tasks.insert(
                id.clone(),
                SimTask {
                    deployment: launch.deployment.clone(),
                    behaviour: behaviour.clone(),
                    state: TaskState::Provisioning,
                    stopping_at: None,
                    settled: false,
                    lost: false,
                    checks: match (behaviour.healthy, behaviour.unhealthy) {
                        (None, None) => Checks::None,
                        _ => Checks::Unknown,
                    },
                    created_at: self.now,
                    started_at: None,
                    ended_at: None,
                    node,
                    zone: zone.clone(),
                    protected_until: None,
                    stop_code: None,
                    waiting: self.full.clone(),
                },
            );
            self.service.unannounced.insert(id, at < launch.for_unhealthy);
        }
    }

    /// Lets time pass, task by task and wake-up by wake-up.
    pub fn run(&mut self, for_: Duration) {
        let end = self.now.plus(for_);
        loop {
            let events = self.tasks.values().filter_map(next_change).chain(self.wake_at);
            let next = events.min().filter(|at| *at <= end);
            let Some(at) = next else { break };
            self.now = self.now.max(at);
            self.advance();
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    fn advance(&mut self) {
        let now = self.now;
        for task in self.tasks.values_mut() {
            while let Some(at) = next_change(task).filter(|at| *at <= now) {
                change(task, at);
            }
        }
    }

    fn tell(&mut self, event: &ServiceEvent) {
        let text = event.text("web");
        self.say(text.strip_prefix("(service web) ").unwrap_or(&text));
    }

    pub fn say(&mut self, text: &str) {
        let at = Duration::from_millis(u64::try_from(self.now.millis()).expect("after the start"));
        writeln!(self.transcript, "{:>9.2}  {text}", at.as_secs_f64()).expect("text takes text");
    }

    pub fn show(&mut self) {
        let status = self.service.status.as_str();
        let mut lines = vec![format!("{status} desired {}", self.service.desired_count)];
        for (at, d) in self.service.deployments.iter().enumerate() {
            let of = |state: &dyn Fn(TaskState) -> bool| {
                self.tasks
                    .values()
                    .filter(|t| t.deployment == d.id && !t.lost && t.waiting.is_none() && state(t.state))
                    .count()
            };
            let (running, pending) = (of(&|s| s == TaskState::Running), of(&|s| s < TaskState::Running));
            let place = if at == 0 { "PRIMARY" } else { "ACTIVE" };
            lines.push(format!(
                "{place} {} web:{} {} running {running} pending {pending} target {} failed {} | {}",
                d.id,
                d.spec.revision,
                d.rollout.as_str(),
                d.target,
                d.failures,
                d.reason
            ));
        }
        for line in lines {
            self.say(&format!("= {line}"));
        }
    }

    pub fn rollout(&self) -> RolloutState {
        self.service.deployments[0].rollout
    }
}

/// When the task changes by itself.
fn next_change(task: &SimTask) -> Option<Timestamp> {
    if task.state == TaskState::Stopped || task.stopping_at == Some(Timestamp(i64::MAX)) {
        return None;
    }
    let b = &task.behaviour;
    if let Some(at) = task.stopping_at {
        return Some(at.plus(b.stops));
    }
    if task.waiting.is_some() {
        return None;
    }
    let Some(started) = task.started_at else {
        return Some(task.created_at.plus(b.starts));
    };
    let health = match task.checks {
        Checks::Unknown => b.healthy.into_iter().chain(b.unhealthy).min(),
        Checks::Healthy => b.unhealthy.filter(|u| b.healthy.is_some_and(|h| *u > h)),
        Checks::None | Checks::Unhealthy => None,
    };
    b.exits.into_iter().chain(health).min().map(|after| started.plus(after))
}

fn change(task: &mut SimTask, at: Timestamp) {
    let b = task.behaviour.clone();
    let stopped = |task: &mut SimTask, code| {
        (task.state, task.ended_at) = (TaskState::Stopped, Some(at));
        task.stop_code.get_or_insert(code);
    };
    match task.started_at {
        _ if task.stopping_at.is_some() => stopped(task, "ServiceSchedulerInitiated"),
        None if b.fails_to_start => stopped(task, "TaskFailedToStart"),
        None => (task.state, task.started_at) = (TaskState::Running, Some(at)),
        Some(started) if b.exits.is_some_and(|e| started.plus(e) <= at) => stopped(task, "EssentialContainerExited"),
        Some(started) if b.unhealthy.is_some_and(|u| started.plus(u) <= at) => task.checks = Checks::Unhealthy,
        Some(_) => task.checks = Checks::Healthy,
    }
}
