//! A whole node on a machine of fakes, against control's end of the link.

mod support;

use neargate_link::{Condition, Dependency, Phase, ProtectionAnswer, StopOrder};
use neargate_node::metadata::Registry;
use neargate_node::{NodeConfig, run_with};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::fakes::Machine;
use support::{Control, container, id, open_group, source, task};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Node {
    shutdown: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl Node {
    fn start(dir: &Path, machine: &Machine) -> Node {
        let config = NodeConfig::new(dir, &dir.join("link.sock"), Path::new("/nonexistent"));
        let (shutdown, down) = oneshot::channel::<()>();
        let ports = machine.ports();
        let running = tokio::spawn(async move {
            let down = async { drop(down.await) };
            run_with(ports, Arc::default(), config, down)
                .await
                .expect("the node runs");
        });
        Node {
            shutdown: Some(shutdown),
            running,
        }
    }

    /// Goes away without a word, as by `kill -9`: actors end where they are.
    async fn kill(mut self) {
        drop(self.shutdown.take());
        self.running.await.expect("ends");
    }
}

struct Fixture {
    dir: tempfile::TempDir,
    machine: Machine,
    control: Control,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let control = Control::start(&dir.path().join("link.sock"));
        Fixture {
            dir,
            machine: Machine::default(),
            control,
        }
    }

    /// Another control takes the place of this one: what it heard is forgotten, what it wants is not.
    async fn restart_control(&mut self) {
        self.control.restart(&self.dir.path().join("link.sock")).await;
    }

    fn node(&self) -> Node {
        Node::start(self.dir.path(), &self.machine)
    }

    fn task_dir_exists(&self, n: u8) -> bool {
        self.dir.path().join("tasks").join(id(n)).exists()
    }

    async fn gone(&self, n: u8) {
        let gone = async {
            while self.task_dir_exists(n) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(support::PATIENCE, gone)
            .await
            .expect("the task's directory goes");
    }
}

fn order() -> Option<StopOrder> {
    Some(StopOrder {
        code: "UserInitiated".to_owned(),
        reason: "Task stopped by user".to_owned(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runs_and_stops_and_leaves_nothing() {
    let f = Fixture::new();
    let node = f.node();
    f.control.want(task(1, &["sleep"])).await;
    let running = f.control.phase(&id(1), Phase::Running).await;
    assert_eq!(running.containers[0].last_status, "RUNNING");
    assert_eq!(running.containers[0].image_digest.as_deref(), Some("sha256:busybox"));
    assert!(running.started_at.is_some() && running.pull_stopped_at.is_some());

    let mut stop = task(1, &["sleep"]);
    stop.stop = order();
    f.control.want(stop).await;
    let stopped = f.control.phase(&id(1), Phase::Stopped).await;
    assert_eq!(stopped.containers[0].exit_code, Some(143));
    assert_eq!(stopped.stopped_reason.as_deref(), Some("Task stopped by user"));
    assert_eq!(stopped.stop_code, None, "control's own code stands");
    assert_eq!((f.machine.networks(), f.machine.shims()), (0, 0));
    assert!(f.task_dir_exists(1), "control still wants it");

    f.control.unwant(&id(1)).await;
    f.gone(1).await;
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_table_is_enforced_in_order_and_acknowledged() {
    let f = Fixture::new();
    let node = f.node();
    let applied = |generations: &'static [u64]| {
        f.control.wait("the table is enforced", move |h| {
            (h.network_applied == generations).then_some(())
        })
    };
    applied(&[1]).await;
    assert_eq!(
        f.control
            .tell_network(vec![open_group()], vec!["group/old".into()])
            .await,
        2
    );
    applied(&[1, 2]).await;
    f.control.tell_network_again(1).await;
    assert_eq!(f.control.tell_network(Vec::new(), Vec::new()).await, 3);
    applied(&[1, 2, 3]).await;
    let enforced = f.machine.enforced();
    let seen: Vec<(bool, usize)> = enforced.iter().map(|c| (c.whole, c.remove.len())).collect();
    assert_eq!(
        seen,
        [(true, 0), (false, 1), (false, 0)],
        "what is older than the table is left out"
    );
    node.kill().await;
    let node = f.node();
    applied(&[1, 2, 3, 4]).await;
    assert!(f.machine.enforced().last().is_some_and(|change| change.whole));
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_ended_is_not_started_again_however_often_it_is_wanted() {
    let f = Fixture::new();
    let node = f.node();
    f.control.want(task(1, &["exit", "3"])).await;
    let stopped = f.control.phase(&id(1), Phase::Stopped).await;
    assert_eq!(stopped.stop_code.as_deref(), Some("EssentialContainerExited"));
    assert_eq!(stopped.containers[0].exit_code, Some(3));
    node.kill().await;

    // Control did not hear, or forgot: it still wants the task of a node that begins anew.
    let node = f.node();
    f.control
        .wait("a second connection", |h| (h.connections == 2).then_some(()))
        .await;
    f.control.want(task(2, &["sleep"])).await;
    f.control.phase(&id(2), Phase::Running).await;
    assert_eq!(f.machine.starts(), ["app", "app"], "one start of each task");
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_node_finds_its_containers_untouched() {
    let f = Fixture::new();
    let node = f.node();
    f.control.want(task(1, &["sleep"])).await;
    let before = f.control.phase(&id(1), Phase::Running).await;
    node.kill().await;
    assert_eq!(f.machine.shims(), 1, "the container outlives the node");

    let node = f.node();
    f.control
        .wait("a second connection", |h| (h.connections == 2).then_some(()))
        .await;
    f.control
        .wait("the report again", |h| (h.phases.len() == 2).then_some(()))
        .await;
    let after = f.control.heard(|h| h.reports[&id(1)].clone());
    assert_eq!(after, before);
    f.machine.exit("app", 0);
    f.control.phase(&id(1), Phase::Stopped).await;
    assert_eq!(f.machine.starts().len(), 1);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_while_the_node_was_away_is_told_with_its_code() {
    let f = Fixture::new();
    let node = f.node();
    f.control.want(task(1, &["sleep"])).await;
    f.control.phase(&id(1), Phase::Running).await;
    node.kill().await;
    f.machine.exit("app", 42);
    let node = f.node();
    let stopped = f.control.phase(&id(1), Phase::Stopped).await;
    assert_eq!(stopped.containers[0].exit_code, Some(42));
    assert_eq!((f.machine.networks(), f.machine.shims()), (0, 0));
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_whose_shim_died_are_told_as_killed_and_not_run_again() {
    let f = Fixture::new();
    let node = f.node();
    f.control.want(task(1, &["sleep"])).await;
    f.control.phase(&id(1), Phase::Running).await;
    node.kill().await;
    f.machine.lose_shims();
    let node = f.node();
    let stopped = f.control.phase(&id(1), Phase::Stopped).await;
    assert_eq!(stopped.containers[0].exit_code, Some(137));
    assert!(
        stopped.containers[0]
            .reason
            .as_deref()
            .unwrap()
            .contains("ContainerRuntimeError")
    );

    f.control.want(task(2, &["sleep"])).await;
    f.control.phase(&id(2), Phase::Running).await;
    f.machine.lose_shims();
    f.control.phase(&id(2), Phase::Stopped).await;
    assert_eq!(f.machine.starts().len(), 2);
    assert_eq!(f.machine.networks(), 0);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_control_no_longer_wants_after_a_restart_is_stopped_and_removed() {
    let f = Fixture::new();
    let node = f.node();
    f.control.want(task(1, &["sleep"])).await;
    f.control.phase(&id(1), Phase::Running).await;
    node.kill().await;
    f.control.unwant_silently(&id(1));
    let node = f.node();
    f.control.phase(&id(1), Phase::Stopped).await;
    f.gone(1).await;
    assert_eq!((f.machine.networks(), f.machine.shims()), (0, 0));
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_repeated_until_they_are_stored() {
    let f = Fixture::new();
    f.control.storing(false);
    let node = f.node();
    f.control.want(task(1, &["exit", "0"])).await;
    f.control.phase(&id(1), Phase::Stopped).await;
    f.control.unwant(&id(1)).await;
    node.kill().await;
    assert!(f.task_dir_exists(1), "the last word is kept until control has it");
    f.control.storing(true);
    let node = f.node();
    f.gone(1).await;
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_had_fails_the_task_by_name() {
    let f = Fixture::new();
    f.machine.miss_image("busybox");
    let node = f.node();
    f.control.want(task(1, &["sleep"])).await;
    let stopped = f.control.phase(&id(1), Phase::Stopped).await;
    assert_eq!(stopped.stop_code.as_deref(), Some("TaskFailedToStart"));
    let reason = "CannotPullContainerError: failed to resolve ref busybox: not found";
    assert_eq!(stopped.stopped_reason.as_deref(), Some(reason));
    assert_eq!(stopped.containers[0].reason.as_deref(), Some(reason));
    assert!(f.machine.starts().is_empty());
    assert_eq!((f.machine.networks(), f.machine.shims()), (0, 0));
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_cannot_start_fails_the_task_with_the_engines_words() {
    let f = Fixture::new();
    let node = f.node();
    f.control.want(task(1, &["/missing"])).await;
    let stopped = f.control.phase(&id(1), Phase::Stopped).await;
    assert_eq!(stopped.stop_code.as_deref(), Some("TaskFailedToStart"));
    assert!(
        stopped
            .stopped_reason
            .as_deref()
            .unwrap()
            .starts_with("CannotStartContainerError: exec")
    );
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_environment_file_fails_the_task_and_names_its_place() {
    let f = Fixture::new();
    let node = f.node();
    let mut spec = task(1, &["sleep"]);
    spec.containers[0].environment_files = vec!["arn:aws:s3:::conf/app.env".to_owned()];
    f.control.want(spec.clone()).await;
    let stopped = f.control.phase(&id(1), Phase::Stopped).await;
    let reason = stopped.stopped_reason.unwrap();
    assert!(reason.starts_with("ResourceInitializationError"), "{reason}");
    let place = f.dir.path().join("s3/conf/app.env");
    assert!(reason.contains(&place.display().to_string()), "{reason}");

    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::write(&place, "COLOR=blue\n").unwrap();
    spec.id = id(2);
    f.control.want(spec).await;
    f.control.phase(&id(2), Phase::Running).await;
    let env = f.machine.launch("app").env;
    assert!(
        env.contains(&"COLOR=blue".to_owned()) && env.contains(&"AWS_REGION=us-east-1".to_owned()),
        "{env:?}"
    );
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_ignores_its_stop_signal_is_killed_after_its_time() {
    let f = Fixture::new();
    f.machine.ignore_sigterm();
    let node = f.node();
    f.control.want(task(1, &["sleep"])).await;
    f.control.phase(&id(1), Phase::Running).await;
    let mut stop = task(1, &["sleep"]);
    stop.stop = order();
    f.control.want(stop).await;
    let stopped = f.control.phase(&id(1), Phase::Stopped).await;
    assert_eq!(stopped.containers[0].exit_code, Some(137));
    let took = stopped.stopped_at.unwrap().since(stopped.stopping_at.unwrap());
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(4),
        "{took:?}"
    );
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_start_in_the_order_of_their_dependencies() {
    let f = Fixture::new();
    let node = f.node();
    let mut spec = task(1, &["sleep"]);
    spec.containers[0].depends_on = vec![Dependency {
        container: "init".to_owned(),
        condition: Condition::Success,
    }];
    let mut init = container("init", &["exit", "0"]);
    init.essential = false;
    spec.containers.push(init);
    f.control.want(spec).await;
    let running = f.control.phase(&id(1), Phase::Running).await;
    assert_eq!(f.machine.starts(), ["init", "app"]);
    assert_eq!(running.containers[1].exit_code, Some(0));
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_reach_control_once_and_the_last_lines_before_the_task_goes() {
    let f = Fixture::new();
    let node = f.node();
    f.control.want(task(1, &["sleep"])).await;
    f.control.phase(&id(1), Phase::Running).await;
    f.machine.print("app", &["one", "two"]);
    f.control.logged(&source(1, "app"), &["one", "two"]).await;

    // Sent and not stored, then the node dies: the same batch comes again and counts once.
    f.control.storing(false);
    f.machine.print("app", &["three"]);
    f.control
        .wait("a batch", |h| {
            h.logs.iter().any(|b| b.events[0].message == "three").then_some(())
        })
        .await;
    node.kill().await;
    f.machine.print("app", &["four"]);
    f.control.storing(true);
    let node = f.node();
    f.control
        .logged(&source(1, "app"), &["one", "two", "three", "four"])
        .await;

    f.machine.print("app", &["last"]);
    f.machine.exit("app", 0);
    f.control.phase(&id(1), Phase::Stopped).await;
    f.control
        .logged(&source(1, "app"), &["one", "two", "three", "four", "last"])
        .await;
    f.control.unwant(&id(1)).await;
    f.gone(1).await;
    let kept = f
        .dir
        .path()
        .join(format!("logs/containers/default_web_{}/app/0.log", id(1)));
    assert!(kept.exists(), "the files stay a while for whoever reads them");
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_has_its_stream_before_its_container_starts_also_across_restarts_of_both_sides() {
    let mut f = Fixture::new();
    f.control.change(|heard| heard.opens_no_log = true);
    let node = f.node();
    f.control.want(task(1, &["sleep"])).await;
    let asked = |heard: &support::Heard| heard.opened.first().cloned();
    let opening = f.control.wait("an opening", asked).await;
    assert_eq!(
        (opening.source, opening.group),
        (source(1, "app"), "/ecs/web".to_owned())
    );
    assert!(f.machine.starts().is_empty());

    // A node that begins anew asks anew, and so does one that meets another control.
    node.kill().await;
    let node = f.node();
    f.control.wait("another", |h| (h.opened.len() >= 2).then_some(())).await;
    f.restart_control().await;
    f.control.wait("an opening", asked).await;
    f.control.phase(&id(1), Phase::Running).await;
    assert_eq!(f.machine.starts(), ["app"]);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_stops_without_starting_when_its_log_group_is_missing() {
    let f = Fixture::new();
    f.control.change(|heard| {
        heard.missing_groups.insert("/ecs/web".to_owned());
    });
    let node = f.node();
    f.control.want(task(1, &["sleep"])).await;
    let stopped = f.control.phase(&id(1), Phase::Stopped).await;
    assert_eq!(stopped.stop_code.as_deref(), Some("TaskFailedToStart"));
    assert_eq!(
        stopped.stopped_reason.unwrap(),
        format!(
            "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed \
             to create Cloudwatch log stream: {} : exit status 1",
            support::NO_GROUP
        )
    );
    assert!(f.machine.starts().is_empty());
    f.control.unwant(&id(1)).await;
    f.gone(1).await;
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_log_to_be_opened() {
    let f = Fixture::new();
    f.control.change(|heard| heard.opens_no_log = true);
    let node = f.node();
    let mut spec = task(1, &["sleep"]);
    f.control.want(spec.clone()).await;
    f.control.wait("an opening", |h| h.opened.first().cloned()).await;
    spec.stop = order();
    f.control.want(spec).await;
    f.control.phase(&id(1), Phase::Stopped).await;
    assert!(f.machine.starts().is_empty());
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_refused_with_a_reason_when_the_node_has_no_room() {
    let f = Fixture::new();
    let mut config = NodeConfig::new(f.dir.path(), &f.dir.path().join("link.sock"), Path::new("/nonexistent"));
    config.min_free_bytes = u64::MAX;
    let (shutdown, down) = oneshot::channel::<()>();
    let ports = f.machine.ports();
    let running =
        tokio::spawn(async move { run_with(ports, Arc::default(), config, async { drop(down.await) }).await });
    f.control.want(task(1, &["sleep"])).await;
    let stopped = f.control.phase(&id(1), Phase::Stopped).await;
    let reason = stopped.stopped_reason.unwrap();
    assert!(
        reason.starts_with("ResourceInitializationError") && reason.contains("free space"),
        "{reason}"
    );
    drop(shutdown);
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tasks_ask_of_control_is_carried_there_and_back_whichever_control_it_is() {
    let mut f = Fixture::new();
    let config = NodeConfig::new(f.dir.path(), &f.dir.path().join("link.sock"), Path::new("/nonexistent"));
    let (shutdown, down) = oneshot::channel::<()>();
    let (ports, registry) = (f.machine.ports(), Arc::new(Registry::default()));
    let known = registry.clone();
    let running = tokio::spawn(async move { run_with(ports, known, config, async { drop(down.await) }).await });
    for task in ["one", "two"] {
        let answer = registry.questions.ask(task, None).await;
        let expected = ProtectionAnswer::Failure {
            reason: task.to_owned(),
            detail: None,
        };
        assert_eq!(answer, Ok(expected));
        f.restart_control().await;
    }
    drop(shutdown);
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_tasks_come_and_go() {
    let f = Fixture::new();
    let node = f.node();
    for n in 0..100 {
        f.control.want(task(n, &["exit", "0"])).await;
    }
    for n in 0..100 {
        f.control.phase(&id(n), Phase::Stopped).await;
        f.control.unwant(&id(n)).await;
    }
    for n in 0..100 {
        f.gone(n).await;
    }
    assert_eq!(
        (f.machine.networks(), f.machine.shims(), f.machine.starts().len()),
        (0, 0, 100)
    );
    node.kill().await;
}
