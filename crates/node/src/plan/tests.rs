//! Scenarios: what happens to a task, line by line, and what is planned after each line.

use super::health::HealthState;
use super::observed::{Event, Observed, Piece, Stop};
use super::reason::log_refused;
use super::report::report;
use super::{Step, plan};
use crate::testing;
use neargate_core::Timestamp;
use neargate_link::{
    AwslogsSpec, Condition, Dependency, Health, LaunchType, LogSpec, NetworkSpec, Phase, PortMapping, RestartPolicy,
    StopOrder, TaskSpec, Transport,
};

struct World {
    spec: TaskSpec,
    seen: Observed,
    now: Timestamp,
    wake_at: Option<Timestamp>,
}

impl World {
    fn new(spec: TaskSpec) -> World {
        let seen = Observed::new(&spec);
        World {
            spec,
            seen,
            now: Timestamp(0),
            wake_at: None,
        }
    }

    fn index(&self, name: &str) -> usize {
        self.spec
            .containers
            .iter()
            .position(|c| c.name == name)
            .expect("a container of the task")
    }

    fn apply(&mut self, event: &Event) {
        self.seen.apply(&self.spec, event, self.now);
    }

    /// Plans until nothing is to be done, as the executor does. Answers the steps taken.
    fn settle(&mut self) -> Vec<String> {
        let mut taken = Vec::new();
        loop {
            let next = plan(&self.spec, &self.seen, self.now);
            if !next.decisions.is_empty() {
                for decision in &next.decisions {
                    if let Event::DependencyFailed { container, reason } = decision {
                        taken.push(format!("{} gives up: {reason}", self.spec.containers[*container].name));
                    }
                    self.apply(decision);
                }
                continue;
            }
            self.wake_at = next.wake_at;
            if next.steps.is_empty() {
                return taken;
            }
            for step in next.steps {
                taken.push(self.describe(step));
                self.apply(&step.begins());
            }
        }
    }

    fn describe(&self, step: Step) -> String {
        let name = |i: usize| self.spec.containers[i].name.clone();
        match step {
            Step::StartShim => "shim".to_owned(),
            Step::MakeNetwork { network } => format!("network {network}"),
            Step::Pull { container } => format!("pull {}", name(container)),
            Step::Prepare { container } => format!("prepare {}", name(container)),
            Step::OpenLog { container } => format!("open log {}", name(container)),
            Step::Start { container } => format!("start {}", name(container)),
            Step::Probe { container } => format!("probe {}", name(container)),
            Step::Signal { container } => format!("signal {}", name(container)),
            Step::Kill { container } => format!("kill {}", name(container)),
            Step::CleanUp => "clean up".to_owned(),
        }
    }

    fn happen(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let verb = words.next().expect("a verb");
        let arg = words.next().unwrap_or_default();
        let rest: Vec<&str> = words.collect();
        let container = if [
            "at",
            "ready",
            "shim",
            "net",
            "stop",
            "cleaned",
            "begin",
            "shim-lost",
            "net-failed",
        ]
        .contains(&verb)
        {
            0
        } else {
            self.index(arg)
        };
        let exit = |code: i32, oom_killed| Event::Exited {
            container,
            code: Some(code),
            oom_killed,
            reason: None,
        };
        let image = |container| Event::ImageReady {
            container,
            digest: "sha256:1".into(),
            stop_signal: None,
        };
        match verb {
            "begin" => {}
            "at" => self.now = Timestamp::from_secs(arg.parse().expect("seconds")),
            "shim" => self.apply(&Event::ShimReady),
            "shim-lost" => self.apply(&Event::ShimLost),
            "net" => self.apply(&Event::NetworkReady {
                network: 0,
                address: None,
                bindings: Vec::new(),
            }),
            "net-failed" => self.apply(&Event::NetworkFailed {
                network: 0,
                reason: "no network".into(),
            }),
            "image" => self.apply(&image(container)),
            "image-failed" => {
                self.apply(&Event::ImageFailed {
                    container,
                    reason: "CannotPullContainerError: gone".into(),
                });
            }
            "prepared" => self.apply(&Event::Prepared { container }),
            "refused" => self.apply(&Event::LogRefused {
                container,
                reason: log_refused(self.spec.launch_type, "ResourceNotFoundException: x"),
            }),
            "opened" => self.apply(&Event::LogOpened { container }),
            // Everything that is being made gets ready.
            "ready" => {
                self.apply(&Event::ShimReady);
                for network in 0..self.seen.networks.len() {
                    self.apply(&Event::NetworkReady {
                        network,
                        address: None,
                        bindings: Vec::new(),
                    });
                }
                for container in 0..self.spec.containers.len() {
                    self.apply(&image(container));
                    self.apply(&Event::Prepared { container });
                }
            }
            "started" => self.apply(&Event::Started {
                container,
                runtime_id: format!("id-{arg}"),
            }),
            "failed" => self.apply(&Event::Failed {
                container,
                reason: rest.join(" "),
            }),
            "exit" => self.apply(&exit(rest[0].parse().expect("a code"), false)),
            "oom" => self.apply(&exit(137, true)),
            "pass" | "fail" => {
                self.apply(&Event::Probed {
                    container,
                    began: self.now,
                    passed: verb == "pass",
                });
            }
            "stop" => self.apply(&Event::StopOrdered(StopOrder {
                code: "UserInitiated".into(),
                reason: "asked".into(),
            })),
            "cleaned" => self.apply(&Event::Cleaned),
            other => panic!("no such verb: {other}"),
        }
    }

    fn state(&self) -> String {
        let report = report(&self.spec, &self.seen);
        let containers: Vec<String> = report
            .containers
            .iter()
            .map(|c| {
                let code = c.exit_code.map(|c| format!("({c})")).unwrap_or_default();
                format!("{}={}{code}", c.name, c.last_status)
            })
            .collect();
        format!("{:?} {}", report.phase, containers.join(" "))
    }
}

/// Plays `script` and writes each line, the steps that follow (`->`) and the state when asked (`?`).
fn play(spec: TaskSpec, script: &str) -> String {
    let mut world = World::new(spec);
    let mut out = String::new();
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
        if line == "?" {
            out.push_str(&format!("? {}\n", world.state()));
            continue;
        }
        world.happen(line);
        let steps = world.settle();
        let before = world.seen.clone();
        assert!(
            world.settle().is_empty() && world.seen == before,
            "planning twice asks for nothing twice: {line}"
        );
        let wake = world
            .wake_at
            .map(|w| format!(" (wake at {})", w.secs()))
            .unwrap_or_default();
        out.push_str(&format!("{line} -> {}{wake}\n", steps.join(", ")));
    }
    out
}

fn scenario(spec: TaskSpec, transcript: &str) {
    let commands = |line: &str| -> String {
        let line = line.trim();
        if line.starts_with('?') {
            "?".to_owned()
        } else {
            line.split(" ->").next().unwrap_or_default().to_owned()
        }
    };
    let script: Vec<String> = transcript.lines().map(commands).collect();
    let expected: Vec<&str> = transcript.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let played = play(spec, &script.join("\n"));
    let played: Vec<&str> = played.lines().map(str::trim_end).collect();
    let expected: Vec<&str> = expected.iter().map(|l| l.trim_end()).collect();
    assert_eq!(played, expected, "\n{}\n", played.join("\n"));
}

fn depends(spec: &mut TaskSpec, container: &str, on: &str, condition: Condition) {
    let c = spec
        .containers
        .iter_mut()
        .find(|c| c.name == container)
        .expect("a container");
    c.depends_on.push(Dependency {
        container: on.to_owned(),
        condition,
    });
}

#[test]
fn what_is_independent_begins_at_once_and_the_start_waits_for_all_of_it() {
    scenario(
        testing::task("app"),
        "begin -> network 0, shim, pull app, prepare app
         shim ->
         prepared app ->
         net ->
         ? Pending app=PENDING
         image app -> start app
         started app ->
         ? Running app=RUNNING",
    );
}

#[test]
fn a_log_that_is_shipped_is_opened_meanwhile_and_a_refusal_ends_the_task_on_fargate() {
    let shipped = || {
        let mut spec = testing::task("app side?");
        spec.containers[1].log = LogSpec::Awslogs(AwslogsSpec::default());
        spec
    };
    scenario(
        shipped(),
        "begin -> network 0, shim, pull app, prepare app, pull side, prepare side, open log side
         ready -> start app
         opened side -> start side",
    );
    let mut script = "begin -> network 0, shim, pull app, prepare app, pull side, prepare side, open log side
         ready -> start app
         started app ->
         refused side -> signal app (wake at 30)
         ? Stopping app=RUNNING side=STOPPED";
    scenario(shipped(), script);
    let mut on_ec2 = shipped();
    on_ec2.launch_type = LaunchType::Ec2;
    script = "begin -> network 0, shim, pull app, prepare app, pull side, prepare side, open log side
         ready -> start app
         started app ->
         refused side ->
         ? Running app=RUNNING side=STOPPED";
    scenario(on_ec2, script);
}

#[test]
fn an_essential_exit_stops_the_task_with_its_own_exit_code() {
    let spec = testing::task("app side?");
    scenario(
        spec,
        "begin -> network 0, shim, pull app, prepare app, pull side, prepare side
         ready -> start app, start side
         started app ->
         ? Pending app=RUNNING side=PENDING
         started side ->
         ? Running app=RUNNING side=RUNNING
         exit app 3 -> signal side (wake at 30)
         ? Stopping app=STOPPED(3) side=RUNNING
         exit side 143 -> clean up
         cleaned ->
         ? Stopped app=STOPPED(3) side=STOPPED(143)",
    );
}

#[test]
fn the_report_of_an_essential_exit_carries_ecs_words_and_all_times() {
    let mut world = World::new(testing::task("app"));
    for (at, line) in [
        (1, "begin"),
        (2, "ready"),
        (3, "started app"),
        (9, "oom app"),
        (10, "cleaned"),
    ] {
        world.now = Timestamp::from_secs(at);
        world.settle();
        world.happen(line);
        world.settle();
    }
    let report = report(&world.spec, &world.seen);
    let at = |s: i64| Some(Timestamp::from_secs(s));
    assert_eq!(report.phase, Phase::Stopped);
    assert_eq!(report.stop_code.as_deref(), Some("EssentialContainerExited"));
    assert_eq!(
        report.stopped_reason.as_deref(),
        Some("Essential container in task exited")
    );
    assert_eq!(
        report.containers[0].reason.as_deref(),
        Some("OutOfMemoryError: Container killed due to memory usage")
    );
    assert_eq!(report.containers[0].exit_code, Some(137));
    assert_eq!((report.pull_started_at, report.pull_stopped_at), (at(1), at(2)));
    assert_eq!((report.started_at, report.stopping_at), (at(3), at(9)));
    assert_eq!((report.execution_stopped_at, report.stopped_at), (at(9), at(10)));
}

#[test]
fn a_non_essential_exit_leaves_the_task_running() {
    scenario(
        testing::task("app side?"),
        "begin -> network 0, shim, pull app, prepare app, pull side, prepare side
         ready -> start app, start side
         started app ->
         started side ->
         exit side 1 ->
         ? Running app=RUNNING side=STOPPED(1)",
    );
}

#[test]
fn a_non_essential_container_that_cannot_be_pulled_does_not_keep_the_task_from_running() {
    scenario(
        testing::task("app side?"),
        "begin -> network 0, shim, pull app, prepare app, pull side, prepare side
         image-failed side ->
         ready -> start app
         started app ->
         ? Running app=RUNNING side=STOPPED",
    );
}

#[test]
fn an_essential_container_that_cannot_be_pulled_fails_the_task() {
    let mut world = World::new(testing::task("app side"));
    world.settle();
    world.happen("image-failed app");
    assert_eq!(world.settle(), [""; 0], "the network is still being made");
    world.happen("shim");
    world.happen("net");
    world.happen("prepared app");
    world.happen("prepared side");
    assert_eq!(world.settle(), ["clean up"]);
    let report = report(&world.spec, &world.seen);
    assert_eq!(report.stop_code.as_deref(), Some("TaskFailedToStart"));
    assert_eq!(report.stopped_reason.as_deref(), Some("CannotPullContainerError: gone"));
    assert_eq!(
        report.containers[0].reason.as_deref(),
        Some("CannotPullContainerError: gone")
    );
    assert!(report.started_at.is_none());
}

#[test]
fn a_network_that_cannot_be_made_fails_the_task() {
    scenario(
        testing::task("app"),
        "begin -> network 0, shim, pull app, prepare app
         net-failed ->
         shim ->
         ? Stopping app=STOPPED
         prepared app -> clean up",
    );
}

#[test]
fn dependencies_order_the_start_by_all_four_conditions() {
    let mut spec = testing::task("app init? seed? db+");
    depends(&mut spec, "app", "init", Condition::Success);
    depends(&mut spec, "app", "seed", Condition::Complete);
    depends(&mut spec, "app", "db", Condition::Healthy);
    depends(&mut spec, "seed", "db", Condition::Start);
    scenario(
        spec,
        "begin -> network 0, shim, pull app, prepare app, pull init, prepare init, pull seed, prepare seed, pull db, prepare db
         ready -> start init, start db
         started init ->
         started db -> start seed (wake at 30)
         exit init 0 ->  (wake at 30)
         started seed ->  (wake at 30)
         exit seed 7 ->  (wake at 30)
         at 30 -> probe db
         pass db -> start app (wake at 60)
         started app ->  (wake at 60)
         ? Running app=RUNNING init=STOPPED(0) seed=STOPPED(7) db=RUNNING",
    );
}

#[test]
fn a_dependency_that_did_not_succeed_fails_what_waits_for_it() {
    let mut spec = testing::task("app init?");
    depends(&mut spec, "app", "init", Condition::Success);
    scenario(
        spec,
        "begin -> network 0, shim, pull app, prepare app, pull init, prepare init
         ready -> start init
         started init ->
         exit init 4 -> app gives up: CannotStartContainerError: the dependency on container init (SUCCESS) failed: it did not exit successfully (exit code 4), clean up
         ? Stopping app=STOPPED(143) init=STOPPED(4)",
    );
}

#[test]
fn a_start_timeout_counts_from_the_start_of_the_container_that_is_waited_for() {
    let mut spec = testing::task("app db+");
    spec.containers[1].start_timeout = Some(20);
    depends(&mut spec, "app", "db", Condition::Healthy);
    scenario(
        spec,
        "begin -> network 0, shim, pull app, prepare app, pull db, prepare db
         at 5 ->
         ready -> start db
         started db ->  (wake at 25)
         at 25 -> app gives up: CannotStartContainerError: the dependency on container db (HEALTHY) has timed out after 20 seconds, signal db (wake at 55)
         exit db 0 -> clean up",
    );
}

#[test]
fn containers_stop_in_the_reverse_of_their_start() {
    let mut spec = testing::task("app cache db");
    depends(&mut spec, "app", "cache", Condition::Start);
    depends(&mut spec, "cache", "db", Condition::Start);
    spec.containers[1].stop_timeout = Some(5);
    scenario(
        spec,
        "begin -> network 0, shim, pull app, prepare app, pull cache, prepare cache, pull db, prepare db
         ready -> start db
         started db -> start cache
         started cache -> start app
         started app ->
         stop -> signal app (wake at 30)
         exit app 0 -> signal cache (wake at 5)
         at 5 -> kill cache
         exit cache 137 -> signal db (wake at 35)
         exit db 0 -> clean up
         ? Stopping app=STOPPED(0) cache=STOPPED(137) db=STOPPED(0)",
    );
}

#[test]
fn a_stop_while_starting_lets_nothing_more_start() {
    scenario(
        testing::task("app side"),
        "begin -> network 0, shim, pull app, prepare app, pull side, prepare side
         shim ->
         net ->
         prepared app ->
         image app -> start app
         stop ->
         ? Stopping app=PENDING side=STOPPED
         prepared side ->
         image side ->
         started app -> signal app (wake at 30)
         exit app 143 -> clean up",
    );
}

#[test]
fn a_task_that_is_stopped_before_it_began_is_over_at_once() {
    let mut world = World::new(testing::task("app"));
    world.happen("stop");
    assert_eq!(world.settle(), ["clean up"]);
}

#[test]
fn a_restart_policy_starts_the_container_again_without_touching_the_task() {
    let mut spec = testing::task("app+");
    spec.containers[0].restart_policy = Some(RestartPolicy {
        ignored_exit_codes: vec![0],
        attempt_period: 60,
    });
    scenario(
        spec,
        "begin -> network 0, shim, pull app, prepare app
         ready -> start app
         started app ->  (wake at 30)
         at 30 -> probe app
         pass app ->  (wake at 60)
         at 60 -> probe app
         exit app 1 -> start app
         ? Running app=RUNNING
         started app ->  (wake at 90)
         at 70 ->  (wake at 90)
         exit app 1 -> clean up
         ? Stopping app=STOPPED(1)",
    );
}

#[test]
fn checks_of_health_repeat_and_stop_with_the_task() {
    let mut spec = testing::task("app+");
    spec.containers[0].health_check.as_mut().unwrap().retries = 1;
    scenario(
        spec,
        "begin -> network 0, shim, pull app, prepare app
         ready -> start app
         started app ->  (wake at 30)
         at 30 -> probe app
         fail app ->  (wake at 60)
         ? Running app=RUNNING
         stop -> signal app (wake at 60)
         at 60 -> kill app",
    );
}

#[test]
fn a_lost_shim_takes_its_containers_with_it() {
    let mut world = World::new(testing::task("app"));
    for line in ["begin", "ready", "started app", "shim-lost"] {
        world.happen(line);
        world.settle();
    }
    let report = report(&world.spec, &world.seen);
    assert_eq!(report.containers[0].exit_code, Some(137));
    assert!(
        report.containers[0]
            .reason
            .as_deref()
            .unwrap()
            .starts_with("ContainerRuntimeError")
    );
    assert_eq!(report.stop_code.as_deref(), Some("EssentialContainerExited"));
}

#[test]
fn bridge_mode_has_a_network_for_each_container_and_links_order_the_start() {
    let mut spec = testing::task("web db");
    spec.network = NetworkSpec::Bridge;
    spec.containers[0].links = vec!["db:database".to_owned()];
    scenario(
        spec,
        "begin -> network 0, network 1, shim, pull web, prepare web, pull db, prepare db
         ready -> start db
         started db -> start web",
    );
}

#[test]
fn host_mode_binds_the_ports_of_the_machine() {
    let mut spec = testing::task("web");
    spec.network = NetworkSpec::Host;
    spec.containers[0].port_mappings = vec![PortMapping {
        container_port: 80,
        container_port_end: 81,
        host_port: 80,
        transport: Transport::Tcp,
    }];
    let seen = Observed::new(&spec);
    let bindings = &report(&spec, &seen).containers[0].network_bindings;
    let ports: Vec<(u16, u16)> = bindings.iter().flat_map(|b| b.ports()).collect();
    assert_eq!(ports, [(80, 80), (81, 81)]);
}

#[test]
fn events_that_come_late_change_nothing() {
    let mut world = World::new(testing::task("app"));
    for line in ["begin", "ready", "started app", "exit app 5"] {
        world.happen(line);
        world.settle();
    }
    let before = report(&world.spec, &world.seen);
    for line in [
        "started app",
        "exit app 0",
        "image app",
        "failed app late",
        "stop",
        "pass app",
    ] {
        world.happen(line);
    }
    assert_eq!(report(&world.spec, &world.seen), before);
}

#[test]
fn an_interrupted_start_is_taken_up_where_it_can_be() {
    let mut world = World::new(testing::task("app"));
    world.settle();
    world.happen("prepared app");
    world.seen.interrupted();
    assert_eq!(world.seen.networks[0].state, Piece::Absent);
    assert!(!world.seen.ever_started());
    assert_eq!(world.settle(), ["network 0", "shim", "pull app"]);
}

#[test]
fn a_journalled_change_of_health_survives_a_restart_of_the_node() {
    let mut world = World::new(testing::task("app+"));
    for line in ["begin", "ready", "started app"] {
        world.happen(line);
        world.settle();
    }
    world.apply(&Event::HealthChanged {
        container: 0,
        status: Health::Unhealthy,
    });
    let health: &HealthState = &world.seen.containers[0].health;
    assert_eq!((health.status, health.failing), (Health::Unhealthy, 3));
    assert_eq!(world.seen.health(&world.spec), Health::Unhealthy);
}

#[test]
fn the_nodes_own_decision_to_stop_is_kept_once() {
    let mut world = World::new(testing::task("app"));
    let stop = |reason: &str| {
        Event::StopDecided(Stop {
            code: None,
            reason: reason.to_owned(),
        })
    };
    world.apply(&stop("first"));
    world.apply(&stop("second"));
    assert_eq!(world.seen.stop.as_ref().unwrap().reason, "first");
}
