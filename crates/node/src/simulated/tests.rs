use super::*;
use neargate_core::Timestamp;
use neargate_link::{
    Condition, ContainerSpec, Dependency, Health, HealthCheck, LaunchType, NamespaceMode, NetworkSpec, Phase,
    RestartPolicy, StopOrder, TaskReport, TaskSpec, ToNode,
};

/// A fleet of one node, told what to do at times given in milliseconds.
struct Stage {
    fleet: Fleet,
    node: Arc<str>,
    generation: u64,
    now: Timestamp,
}

impl Stage {
    fn new(start_delay: Duration) -> Stage {
        let options = SimulatedOptions {
            start_delay,
            ..SimulatedOptions::new("unused".into(), 1)
        };
        let mut fleet = Fleet::new(&options);
        let now = Timestamp::from_secs(1_000);
        let hello = fleet.introduce(now);
        assert!(matches!(&hello[..], [(id, FromNode::Hello(hello))] if **id == *hello.node_id && hello.simulated));
        Stage {
            node: hello[0].0.clone(),
            fleet,
            generation: 0,
            now,
        }
    }

    fn send(&mut self, tasks: Vec<TaskSpec>) -> Vec<TaskReport> {
        self.generation += 1;
        let upsert = tasks.into_iter().map(Arc::new).collect();
        let base = (self.generation > 1).then_some(self.generation - 1);
        let message = ToNode::Desired {
            generation: self.generation,
            base,
            upsert,
            remove: Vec::new(),
        };
        self.fleet.receive(&self.node, message, self.now);
        let messages = self.fleet.take_messages();
        assert!(matches!(&messages[0].1, FromNode::Applied { generation } if *generation == self.generation));
        reports(messages)
    }

    fn after(&mut self, millis: u64) -> Vec<TaskReport> {
        self.now = self.now.plus(Duration::from_millis(millis));
        self.fleet.wake(self.now);
        reports(self.fleet.take_messages())
    }
}

fn reports(messages: Vec<Outgoing>) -> Vec<TaskReport> {
    let tasks = |(_, message)| match message {
        FromNode::Reports { tasks, .. } => tasks,
        _ => Vec::new(),
    };
    messages.into_iter().flat_map(tasks).collect()
}

fn container(name: &str, environment: &[(&str, &str)]) -> ContainerSpec {
    ContainerSpec {
        name: name.to_owned(),
        essential: true,
        environment: environment
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        ..ContainerSpec::default()
    }
}

fn task(id: &str, containers: Vec<ContainerSpec>) -> TaskSpec {
    TaskSpec {
        arn: format!("arn:aws:ecs:us-east-1:000000000000:task/default/{id}"),
        id: id.to_owned(),
        region: "us-east-1".to_owned(),
        cluster: "default".to_owned(),
        family: "web".to_owned(),
        revision: 1,
        launch_type: LaunchType::Fargate,
        service: None,
        availability_zone: None,
        tags: Default::default(),
        network: NetworkSpec::None,
        containers,
        volumes: Vec::new(),
        cpu: None,
        memory: None,
        ephemeral_storage_gib: None,
        pid_mode: NamespaceMode::Private,
        ipc_mode: NamespaceMode::Private,
        stop: None,
    }
}

#[test]
fn a_task_runs_and_stops_when_told() {
    let mut stage = Stage::new(Duration::from_millis(5));
    let spec = task("a", vec![container("web", &[])]);
    let seen = stage.send(vec![spec.clone()]);
    assert_eq!((seen.len(), seen[0].phase), (1, Phase::Pending));
    let seen = stage.after(5);
    assert_eq!(seen[0].phase, Phase::Running);
    assert_eq!(seen[0].containers[0].last_status, "RUNNING");
    assert!(seen[0].containers[0].runtime_id.is_some());
    assert!(stage.fleet.next_wake().is_none(), "a quiet task costs no timer");

    let order = StopOrder {
        code: "UserInitiated".to_owned(),
        reason: "by hand".to_owned(),
    };
    let seen = stage.send(vec![TaskSpec {
        stop: Some(order),
        ..spec.clone()
    }]);
    assert_eq!(
        (seen[0].phase, seen[0].containers[0].exit_code),
        (Phase::Stopped, Some(0))
    );
    assert_eq!(seen[0].stop_code, None, "the reason is control's own");
    assert!(seen[0].stopped_at.is_some());
    assert!(stage.after(1000).is_empty());
}

#[test]
fn reports_are_repeated_until_they_are_stored() {
    let mut stage = Stage::new(Duration::ZERO);
    let seen = stage.send(vec![task("a", vec![container("web", &[])])]);
    assert_eq!(seen[0].phase, Phase::Running);
    let again = stage.fleet.introduce(stage.now);
    assert!(
        matches!(&again[1].1, FromNode::Applied { generation: 1 }),
        "control learns what the node holds"
    );
    assert_eq!(reports(again).len(), 1);
    stage
        .fleet
        .receive(&stage.node.clone(), ToNode::ReportsStored { sequence: 1 }, stage.now);
    assert!(reports(stage.fleet.introduce(stage.now)).is_empty());
}

#[test]
fn a_refused_set_is_asked_for_once() {
    let mut stage = Stage::new(Duration::ZERO);
    stage.send(Vec::new());
    for _ in 0..3 {
        let stray = ToNode::Desired {
            generation: 9,
            base: Some(8),
            upsert: Vec::new(),
            remove: Vec::new(),
        };
        stage.fleet.receive(&stage.node.clone(), stray, stage.now);
    }
    let answers: Vec<FromNode> = stage
        .fleet
        .take_messages()
        .into_iter()
        .map(|(_, message)| message)
        .collect();
    assert!(
        matches!(&answers[..], [FromNode::Applied { generation: 1 }, FromNode::Resync]),
        "{answers:?}"
    );
}

#[test]
fn an_essential_container_that_exits_ends_its_task() {
    let mut stage = Stage::new(Duration::ZERO);
    let exits = container(
        "job",
        &[("NEARGATE_SIM_EXIT_AFTER_MS", "100"), ("NEARGATE_SIM_EXIT_CODE", "7")],
    );
    let side = container("side", &[]);
    assert_eq!(
        stage.send(vec![task("a", vec![exits.clone(), side.clone()])])[0].phase,
        Phase::Running
    );
    assert!(stage.after(99).is_empty());
    let seen = &stage.after(1)[0];
    assert_eq!(seen.phase, Phase::Stopped);
    assert_eq!(seen.stop_code.as_deref(), Some("EssentialContainerExited"));
    assert_eq!(
        seen.containers.iter().map(|c| c.exit_code).collect::<Vec<_>>(),
        [Some(7), Some(0)]
    );

    let seen = stage.send(vec![task(
        "b",
        vec![
            ContainerSpec {
                essential: false,
                ..exits
            },
            side,
        ],
    )]);
    assert_eq!(seen[0].phase, Phase::Running);
    let seen = &stage.after(100)[0];
    assert_eq!((seen.phase, seen.containers[0].exit_code), (Phase::Running, Some(7)));
}

#[test]
fn a_container_that_cannot_start_fails_its_task() {
    let mut stage = Stage::new(Duration::ZERO);
    let seen = &stage.send(vec![task(
        "a",
        vec![container("web", &[("NEARGATE_SIM_FAIL_START", "no such file")])],
    )])[0];
    assert_eq!((seen.phase, seen.started_at), (Phase::Stopped, None));
    assert_eq!(seen.stop_code.as_deref(), Some("TaskFailedToStart"));
    assert_eq!(
        seen.containers[0].reason.as_deref(),
        Some("CannotStartContainerError: no such file")
    );
    assert_eq!(seen.containers[0].exit_code, None);
}

#[test]
fn health_is_reported_where_it_is_checked() {
    let mut stage = Stage::new(Duration::ZERO);
    let check = HealthCheck {
        command: vec![],
        interval: 30,
        timeout: 5,
        retries: 3,
        start_period: 0,
    };
    let sick = container("web", &[("NEARGATE_SIM_UNHEALTHY", "50")]);
    let sick = ContainerSpec {
        health_check: Some(check),
        ..sick
    };
    let seen = stage.send(vec![task("a", vec![sick, container("side", &[])])]);
    let health = |seen: &TaskReport| seen.containers.iter().map(|c| c.health).collect::<Vec<_>>();
    assert_eq!(health(&seen[0]), [Health::Healthy, Health::Unknown]);
    assert_eq!(health(&stage.after(50)[0]), [Health::Unhealthy, Health::Unknown]);
}

#[test]
fn containers_wait_for_what_they_depend_on() {
    let mut stage = Stage::new(Duration::ZERO);
    let after = |condition| {
        vec![Dependency {
            container: "init".to_owned(),
            condition,
        }]
    };
    for (code, condition, phase) in [
        ("0", Condition::Success, Phase::Running),
        ("3", Condition::Complete, Phase::Running),
        ("3", Condition::Success, Phase::Stopped),
    ] {
        let init = container(
            "init",
            &[("NEARGATE_SIM_EXIT_AFTER_MS", "10"), ("NEARGATE_SIM_EXIT_CODE", code)],
        );
        let init = ContainerSpec {
            essential: false,
            ..init
        };
        let web = ContainerSpec {
            depends_on: after(condition),
            ..container("web", &[])
        };
        let id = format!("{code}-{condition:?}");
        let seen = stage.send(vec![task(&id, vec![init, web])]);
        assert_eq!(
            (seen[0].phase, seen[0].containers[1].last_status.as_str()),
            (Phase::Pending, "PENDING")
        );
        let seen = stage.after(10);
        assert_eq!(seen[0].phase, phase, "{id}");
    }
}

#[test]
fn a_restart_policy_starts_a_container_again() {
    let mut stage = Stage::new(Duration::ZERO);
    let policy = RestartPolicy {
        ignored_exit_codes: vec![],
        attempt_period: 60,
    };
    let web = container(
        "web",
        &[("NEARGATE_SIM_EXIT_AFTER_MS", "60000"), ("NEARGATE_SIM_EXIT_CODE", "1")],
    );
    stage.send(vec![task(
        "a",
        vec![ContainerSpec {
            restart_policy: Some(policy),
            ..web
        }],
    )]);
    for restarts in 1..=3 {
        let seen = &stage.after(60_000)[0];
        assert_eq!(
            (seen.phase, seen.containers[0].restart_count),
            (Phase::Running, restarts)
        );
    }
}

#[test]
fn thousands_of_nodes_have_ids_of_their_own_that_depend_on_the_seed() {
    let ids = |seed| {
        let options = SimulatedOptions {
            seed,
            ..SimulatedOptions::new("unused".into(), 5_000)
        };
        let introduced = Fleet::new(&options).introduce(Timestamp::default());
        introduced
            .into_iter()
            .map(|(id, _)| id)
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(ids(1).len(), 5_000);
    assert_eq!(ids(1), ids(1));
    assert!(ids(1).is_disjoint(&ids(2)));
    assert!(
        ids(1)
            .iter()
            .all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
    );
}

#[tokio::test]
async fn the_nodes_come_back_with_their_reports_when_the_connection_breaks() {
    use neargate_core::clock::SystemClock;
    use neargate_link::{ControlConnection, LinkListener};
    const PATIENCE: Duration = Duration::from_secs(20);

    async fn next(control: &mut ControlConnection) -> Outgoing {
        let frame = tokio::time::timeout(PATIENCE, control.recv())
            .await
            .expect("the nodes speak in time");
        let frame = frame.unwrap().expect("the nodes keep the connection");
        (frame.node, frame.message)
    }
    async fn accept(listener: &LinkListener) -> (ControlConnection, Vec<Arc<str>>) {
        let accepted = tokio::time::timeout(PATIENCE, listener.accept())
            .await
            .expect("the nodes connect in time");
        let mut control = accepted.unwrap().establish().await.unwrap();
        let mut ids = Vec::new();
        while ids.len() < 3 {
            if let (id, FromNode::Hello(_)) = next(&mut control).await {
                ids.push(id);
            }
        }
        (control, ids)
    }

    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("link.sock");
    let listener = LinkListener::bind_unix(&socket, Timing::default()).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async { drop(stopped.await) };
    let nodes = tokio::spawn(run(SimulatedOptions::new(socket, 3), Arc::new(SystemClock), shutdown));

    let (mut control, ids) = accept(&listener).await;
    let upsert = vec![Arc::new(task("a", vec![container("web", &[])]))];
    let whole = ToNode::Desired {
        generation: 5,
        base: None,
        upsert,
        remove: Vec::new(),
    };
    control.send(&ids[2], &whole).await.unwrap();
    assert!(matches!(
        next(&mut control).await.1,
        FromNode::Applied { generation: 5 }
    ));
    let first = next(&mut control).await;
    assert!(matches!(&first.1, FromNode::Reports { sequence: 1, tasks } if tasks[0].phase == Phase::Running));
    drop(control);

    let (mut control, again) = accept(&listener).await;
    assert_eq!(again, ids);
    let (id, message) = next(&mut control).await;
    assert!(
        id == ids[2] && matches!(message, FromNode::Applied { generation: 5 }),
        "{message:?}"
    );
    let (id, message) = next(&mut control).await;
    assert!(
        id == ids[2] && matches!(message, FromNode::Reports { sequence: 1, .. }),
        "{message:?}"
    );

    stop.send(()).unwrap();
    nodes.await.unwrap();
}
