use super::*;
use neargate_core::Timestamp;
use neargate_link::{
    DesiredSet, FromNode, LogEvent, NodeConnection, Phase, Receiver, Sender, StopOrder, Timing, ToNode, connect_unix,
};
use neargate_store::Txn;
use std::collections::VecDeque;
use std::sync::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

/// Long enough for a busy machine, short enough to wait for when something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, PartialEq)]
enum Told {
    Joined(String),
    Lost(String),
    Reports(String, Vec<String>),
    Logs(u64),
    Opened(String),
    Asked(String, ProtectionRequest),
}

/// Stands for ECS and CloudWatch Logs: notes what it is told.
struct Fake {
    told: mpsc::UnboundedSender<Told>,
    /// Outcomes of the next calls; then all is well.
    outcomes: Mutex<VecDeque<AwsError>>,
    /// One permit for each log batch that may be stored.
    logs_may: Semaphore,
}

impl Fake {
    fn outcome(&self, told: Told) -> Result<(), AwsError> {
        if let Some(error) = self.outcomes.lock().unwrap().pop_front() {
            return Err(error);
        }
        let _ = self.told.send(told);
        Ok(())
    }
}

impl TaskPlane for Fake {
    fn node_joined(&self, hello: NodeHello) -> BoxFuture<'_, Result<(), AwsError>> {
        Box::pin(async move { self.outcome(Told::Joined(hello.node_id)) })
    }

    fn node_lost<'a>(&'a self, node_id: &'a str) -> BoxFuture<'a, Result<(), AwsError>> {
        Box::pin(async move { self.outcome(Told::Lost(node_id.to_owned())) })
    }

    fn apply_reports<'a>(&'a self, node_id: &'a str, reports: Vec<TaskReport>) -> BoxFuture<'a, Result<(), AwsError>> {
        let ids = reports.into_iter().map(|report| report.task_id).collect();
        Box::pin(async move { self.outcome(Told::Reports(node_id.to_owned(), ids)) })
    }

    fn task_protection<'a>(&'a self, node_id: &'a str, request: ProtectionRequest) -> BoxFuture<'a, ProtectionAnswer> {
        Box::pin(async move {
            let until = request.change.map(|_| Timestamp(1));
            let _ = self.told.send(Told::Asked(node_id.to_owned(), request));
            ProtectionAnswer::Protection { until }
        })
    }

    fn assignment(&self, _: &Snapshot, task: &TaskRecord) -> Option<Arc<TaskSpec>> {
        use neargate_ecs::records::{DesiredStatus, TaskState};
        let stop = StopOrder {
            code: "UserInitiated".to_owned(),
            reason: String::new(),
        };
        (task.state != TaskState::Stopped).then(|| {
            Arc::new(TaskSpec {
                arn: task.arn.clone(),
                id: task.id.clone(),
                region: task.region.clone(),
                cluster: task.cluster.clone(),
                family: task.family.clone(),
                revision: task.revision,
                launch_type: neargate_link::LaunchType::Ec2,
                service: None,
                availability_zone: None,
                tags: Default::default(),
                network: neargate_link::NetworkSpec::None,
                containers: Vec::new(),
                volumes: Vec::new(),
                cpu: None,
                memory: None,
                ephemeral_storage_gib: None,
                pid_mode: neargate_link::NamespaceMode::Private,
                ipc_mode: neargate_link::NamespaceMode::Private,
                stop: (task.desired == DesiredStatus::Stopped).then_some(stop),
            })
        })
    }
}

impl NetworkPlane for Fake {
    fn table(&self, _: &Snapshot) -> Vec<NetworkEntry> {
        Vec::new()
    }

    fn changes(&self, _: &Snapshot, _: &Change) -> Vec<(String, Option<NetworkEntry>)> {
        Vec::new()
    }
}

impl LogSink for Fake {
    fn open(&self, opening: LogOpening) -> BoxFuture<'_, Result<(), AwsError>> {
        Box::pin(async move { self.outcome(Told::Opened(opening.source)) })
    }

    fn ingest(&self, batch: LogBatch) -> BoxFuture<'_, Result<(), AwsError>> {
        Box::pin(async move {
            self.logs_may.acquire().await.unwrap().forget();
            self.outcome(Told::Logs(batch.to_offset))
        })
    }
}

/// A control with a fake behind it.
struct Stage {
    directory: tempfile::TempDir,
    store: Store,
    fake: Arc<Fake>,
    told: mpsc::UnboundedReceiver<Told>,
    serving: JoinHandle<()>,
    nodes: Nodes,
}

impl Stage {
    fn new(silence: Duration) -> Stage {
        Stage::over(Store::in_memory(&[]), silence)
    }

    fn over(store: Store, silence: Duration) -> Stage {
        let directory = tempfile::tempdir().unwrap();
        let (tell, told) = mpsc::unbounded_channel();
        let fake = Arc::new(Fake {
            told: tell,
            outcomes: Mutex::default(),
            logs_may: Semaphore::new(0),
        });
        let listener = LinkListener::bind_unix(&directory.path().join("link.sock"), Timing::default()).unwrap();
        let nodes = Nodes::new(
            store.clone(),
            fake.clone(),
            fake.clone(),
            fake.clone(),
            NodesOptions { silence },
        );
        let serving = tokio::spawn(nodes.clone().serve(listener));
        Stage {
            directory,
            store,
            fake,
            told,
            serving,
            nodes,
        }
    }

    async fn told(&mut self) -> Told {
        tokio::time::timeout(PATIENCE, self.told.recv())
            .await
            .expect("control tells it in time")
            .unwrap()
    }

    async fn connect(&self) -> NodeConnection {
        connect_unix(&self.directory.path().join("link.sock"), Timing::default())
            .await
            .unwrap()
    }

    /// A node that has joined and holds its first set.
    async fn node(&mut self, id: &str) -> Node {
        let (sender, receiver) = self.connect().await.split();
        let mut node = Node {
            id: id.to_owned(),
            sender,
            receiver,
            set: DesiredSet::new(),
        };
        node.say(FromNode::Hello(hello(id))).await;
        assert_eq!(self.told().await, Told::Joined(id.to_owned()));
        node.desired().await;
        node
    }

    async fn put(&self, task: TaskRecord) {
        let mut txn = Txn::new();
        txn.put(&task.own_key(), task);
        self.store.commit(txn).await.unwrap();
    }

    fn fail_next(&self, error: AwsError) {
        self.fake.outcomes.lock().unwrap().push_back(error);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct Node {
    id: String,
    sender: Sender<FromNode>,
    receiver: Receiver<ToNode>,
    set: DesiredSet,
}

impl Node {
    async fn say(&self, message: FromNode) {
        self.sender.send(&self.id, &message).await.unwrap();
    }

    /// The next message that is not about networks.
    async fn hear(&mut self) -> ToNode {
        loop {
            let heard = tokio::time::timeout(PATIENCE, self.receiver.recv())
                .await
                .expect("control answers in time");
            let frame = heard.unwrap().expect("control keeps the connection");
            assert_eq!(*frame.node, *self.id);
            if !matches!(frame.message, ToNode::Network { .. }) {
                return frame.message;
            }
        }
    }

    /// Takes the next desired set over; answers its generation and whether it came whole.
    async fn desired(&mut self) -> (u64, bool) {
        let message = self.hear().await;
        let ToNode::Desired { generation, base, .. } = &message else {
            panic!("{message:?}")
        };
        let (generation, whole) = (*generation, base.is_none());
        self.set.apply(message).unwrap();
        (generation, whole)
    }

    fn tasks(&self) -> Vec<(String, bool)> {
        self.set
            .tasks()
            .map(|task| (task.id.clone(), task.stop.is_some()))
            .collect()
    }
}

fn hello(id: &str) -> NodeHello {
    NodeHello {
        node_id: id.to_owned(),
        hostname: "host".to_owned(),
        version: "0".to_owned(),
        cpu: neargate_core::CpuUnits(1024),
        memory: neargate_core::MiB(1024),
        os_family: "LINUX".to_owned(),
        cpu_architecture: "X86_64".to_owned(),
        attributes: Default::default(),
        simulated: true,
    }
}

fn task(id: &str, node: &str) -> TaskRecord {
    serde_json::from_value(serde_json::json!({
        "region": "us-east-1", "cluster": "default", "id": id,
        "arn": format!("arn:aws:ecs:us-east-1:000000000000:task/default/{id}"),
        "family": "web", "revision": 1, "group": "family:web", "launch_type": "EC2", "network_mode": "none",
        "overrides": {}, "placement_constraints": [], "placement_strategy": [], "tags": {},
        "enable_execute_command": false, "pinned_digests": {}, "desired": "RUNNING", "state": "PENDING", "version": 1,
        "node": node, "reserved_cpu": 0, "reserved_memory": 0, "host_ports": [], "containers": [], "health": "Unknown",
        "created_at": 0.0,
    }))
    .unwrap()
}

fn report(id: &str) -> TaskReport {
    TaskReport {
        task_id: id.to_owned(),
        phase: Phase::Running,
        containers: Vec::new(),
        pull_started_at: None,
        pull_stopped_at: None,
        started_at: None,
        stopping_at: None,
        execution_stopped_at: None,
        stopped_at: None,
        stop_code: None,
        stopped_reason: None,
    }
}

fn logs(offset: u64) -> FromNode {
    FromNode::Logs(LogBatch {
        source: "task/web".to_owned(),
        from_offset: offset - 1,
        to_offset: offset,
        region: "us-east-1".to_owned(),
        group: "/web".to_owned(),
        stream: "web/web/task".to_owned(),
        events: vec![LogEvent {
            timestamp: Timestamp::default(),
            message: "line".to_owned(),
        }],
    })
}

fn opening() -> FromNode {
    FromNode::OpenLog(LogOpening {
        source: "task/web".to_owned(),
        region: "us-east-1".to_owned(),
        group: "/web".to_owned(),
        stream: "web/web/task".to_owned(),
        create_group: false,
    })
}

fn a_fault() -> AwsError {
    AwsError::internal()
}

#[tokio::test]
async fn what_tasks_ask_is_answered_by_its_number() {
    use neargate_link::ProtectionChange;
    let mut stage = Stage::new(PATIENCE);
    let mut node = stage.node("n1").await;
    for (number, enabled) in [(7, true), (3, false)] {
        let change = Some(ProtectionChange {
            enabled,
            expires_in_minutes: None,
        });
        let request = ProtectionRequest {
            number,
            task_id: "t1".to_owned(),
            change: change.filter(|change| change.enabled),
        };
        node.say(FromNode::Protection(request.clone())).await;
        assert_eq!(stage.told().await, Told::Asked("n1".to_owned(), request));
        let ToNode::Protection {
            number: answered,
            answer,
        } = node.hear().await
        else {
            panic!("another answer")
        };
        let until = enabled.then_some(Timestamp(1));
        assert_eq!((answered, answer), (number, ProtectionAnswer::Protection { until }));
    }
}

#[tokio::test]
async fn a_node_gets_its_whole_set_and_then_every_change_to_it() {
    let mut stage = Stage::new(PATIENCE);
    stage.put(task("t1", "n1")).await;
    stage.put(task("other", "n2")).await;
    let mut node = stage.node("n1").await;
    assert_eq!(node.tasks(), [("t1".to_owned(), false)]);
    assert_eq!(stage.nodes.connected(), ["n1"]);

    stage.put(task("t2", "n1")).await;
    let (generation, whole) = node.desired().await;
    assert!(!whole && generation >= stage.store.snapshot().revision());
    let mut stopping = task("t1", "n1");
    stopping.desired = neargate_ecs::records::DesiredStatus::Stopped;
    stage.put(stopping.clone()).await;
    node.desired().await;
    assert_eq!(node.tasks(), [("t1".to_owned(), true), ("t2".to_owned(), false)]);

    // Neither a change that the node need not know nor one of another node is sent; the next message is the removal.
    stage.put(task("other2", "n2")).await;
    stopping.version += 1;
    stage.put(stopping.clone()).await;
    stopping.state = neargate_ecs::records::TaskState::Stopped;
    stage.put(stopping).await;
    node.desired().await;
    assert_eq!(node.tasks(), [("t2".to_owned(), false)]);

    // A record that vanishes while it is assigned, or moves, leaves the node too.
    stage.put(task("t2", "n2")).await;
    node.desired().await;
    assert_eq!(node.tasks(), []);
    stage.put(task("t3", "n1")).await;
    node.desired().await;
    let mut txn = Txn::new();
    txn.delete::<TaskRecord>(&task("t3", "n1").own_key());
    stage.store.commit(txn).await.unwrap();
    node.desired().await;
    assert_eq!(node.tasks(), []);
}

#[tokio::test]
async fn a_node_that_asks_gets_the_whole_set_under_a_newer_generation() {
    let mut stage = Stage::new(PATIENCE);
    stage.put(task("t1", "n1")).await;
    let mut node = stage.node("n1").await;
    node.set = DesiredSet::restored(1_000, []);
    node.say(FromNode::Applied { generation: 1_000 }).await;
    node.say(FromNode::Resync).await;
    assert_eq!(node.desired().await, (1_001, true));
    assert_eq!(node.tasks(), [("t1".to_owned(), false)]);
    node.say(FromNode::Ping).await;
    assert!(matches!(node.hear().await, ToNode::Pong));
}

#[tokio::test]
async fn commits_too_fast_to_follow_are_made_up_for() {
    let mut stage = Stage::new(PATIENCE);
    let mut node = stage.node("n1").await;
    // On this one thread nothing else runs in between, and more than the store keeps for a follower.
    for n in 0..5_000 {
        stage
            .put(task(&format!("t{}", n % 50), if n < 4_990 { "n1" } else { "n2" }))
            .await;
    }
    while node.set.tasks().len() != 40 {
        node.desired().await;
    }
    stage.put(task("last", "n1")).await;
    node.desired().await;
    assert_eq!(node.set.tasks().len(), 41);
}

#[tokio::test]
async fn reports_are_acknowledged_once_they_are_stored() {
    let mut stage = Stage::new(PATIENCE);
    let mut node = stage.node("n1").await;
    stage.fail_next(a_fault());
    stage.fail_next(a_fault());
    node.say(FromNode::Reports {
        sequence: 1,
        tasks: vec![report("t1")],
    })
    .await;
    assert!(matches!(node.hear().await, ToNode::ReportsStored { sequence: 1 }));
    assert_eq!(
        stage.told().await,
        Told::Reports("n1".to_owned(), vec!["t1".to_owned()]),
        "it was tried until it worked"
    );

    stage.fail_next(AwsError::new("ClientException", 400, "never"));
    node.say(FromNode::Reports {
        sequence: 2,
        tasks: vec![report("t2")],
    })
    .await;
    assert!(
        matches!(node.hear().await, ToNode::ReportsStored { sequence: 2 }),
        "what is refused is not tried for ever"
    );
}

#[tokio::test]
async fn logs_are_acknowledged_once_stored_and_hold_up_no_report() {
    let mut stage = Stage::new(PATIENCE);
    let mut node = stage.node("n1").await;
    node.say(logs(1)).await;
    node.say(logs(2)).await;
    node.say(FromNode::Reports {
        sequence: 1,
        tasks: vec![report("t1")],
    })
    .await;
    assert!(matches!(node.hear().await, ToNode::ReportsStored { sequence: 1 }));
    stage.fake.logs_may.add_permits(2);
    for expected in 1..=2 {
        let message = node.hear().await;
        assert!(
            matches!(&message, ToNode::LogsStored { offset, .. } if *offset == expected),
            "{message:?}"
        );
    }
    assert_eq!(
        stage.told().await,
        Told::Reports("n1".to_owned(), vec!["t1".to_owned()])
    );
    assert_eq!((stage.told().await, stage.told().await), (Told::Logs(1), Told::Logs(2)));
}

#[tokio::test]
async fn a_log_is_opened_past_lines_that_wait_and_refused_with_the_services_error() {
    let mut stage = Stage::new(PATIENCE);
    let mut node = stage.node("n1").await;
    node.say(logs(1)).await;
    // A fault of control's own is made good, not told.
    stage.fail_next(a_fault());
    node.say(opening()).await;
    let message = node.hear().await;
    let expected = |refusal: Option<&str>| (Some("task/web".to_owned()), refusal.map(str::to_owned));
    let answer = |message: ToNode| match message {
        ToNode::LogOpened { source, refused } => (Some(source), refused),
        _ => (None, None),
    };
    assert_eq!(answer(message), expected(None));
    assert_eq!(stage.told().await, Told::Opened("task/web".to_owned()));
    stage.fail_next(AwsError::new(
        "ResourceNotFoundException",
        400,
        "The specified log group does not exist.",
    ));
    node.say(opening()).await;
    assert_eq!(
        answer(node.hear().await),
        expected(Some(
            "ResourceNotFoundException: The specified log group does not exist."
        ))
    );
}

#[tokio::test]
async fn a_node_is_lost_after_the_silence_and_not_before() {
    let silence = Duration::from_millis(300);
    let mut stage = Stage::new(silence);
    let node = stage.node("n1").await;
    drop(node);
    let left = Instant::now();
    let mut node = stage.node("n1").await;
    assert!(left.elapsed() < silence, "the machine is too slow for this test");
    tokio::time::sleep_until(left + silence * 2).await;
    node.say(FromNode::Ping).await;
    assert!(matches!(node.hear().await, ToNode::Pong));
    assert!(stage.told.try_recv().is_err(), "it came back in time");

    drop(node);
    let left = Instant::now();
    assert_eq!(stage.told().await, Told::Lost("n1".to_owned()));
    assert!(left.elapsed() >= silence / 2);
    assert!(stage.nodes.connected().is_empty());
    stage.node("n1").await;
}

#[tokio::test]
async fn a_newer_connection_of_a_node_takes_over() {
    let silence = Duration::from_millis(200);
    let mut stage = Stage::new(silence);
    let older = stage.node("n1").await;
    let mut newer = stage.node("n1").await;
    drop(older);
    stage.put(task("t1", "n1")).await;
    newer.desired().await;
    assert_eq!(newer.tasks(), [("t1".to_owned(), false)]);
    tokio::time::sleep(silence * 2).await;
    assert!(
        stage.told.try_recv().is_err(),
        "the end of the older connection loses nothing"
    );
}

#[tokio::test]
async fn nodes_that_do_not_come_back_after_a_restart_of_control_are_lost() {
    let store = Store::in_memory(&[]);
    let mut txn = Txn::new();
    for (id, connected) in [("gone", true), ("back", true), ("never", false)] {
        let record: NodeRecord = serde_json::from_value(serde_json::json!({
            "hello": hello(id), "availability_zone_index": 0, "connected": connected, "connectivity_at": 0.0,
            "registered_at": 0.0, "version": 1,
        }))
        .unwrap();
        txn.put(id, record);
    }
    store.commit(txn).await.unwrap();
    let mut stage = Stage::over(store, Duration::from_millis(300));
    let _back = stage.node("back").await;
    assert_eq!(stage.told().await, Told::Lost("gone".to_owned()));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(stage.told.try_recv().is_err());
}

#[tokio::test]
async fn one_connection_carries_many_nodes_each_with_its_own_set() {
    let stage = Stage::new(PATIENCE);
    for n in 0..50 {
        stage.put(task(&format!("t{n}"), &format!("n{n}"))).await;
    }
    let (sender, mut receiver) = stage.connect().await.split();
    for n in 0..50 {
        let id = format!("n{n}");
        sender.send(&id, &FromNode::Hello(hello(&id))).await.unwrap();
    }
    let mut assigned = 0;
    while assigned < 50 {
        let frame = tokio::time::timeout(PATIENCE, receiver.recv())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        let upsert = match frame.message {
            ToNode::Desired { upsert, .. } => upsert,
            ToNode::Network { .. } => continue,
            other => panic!("{other:?}"),
        };
        assigned += 1;
        assert_eq!(upsert[0].id.replace('t', "n"), *frame.node);
    }
    assert_eq!(stage.nodes.connected().len(), 50);
}

#[tokio::test]
async fn a_node_must_introduce_itself_under_its_own_id() {
    let stage = Stage::new(PATIENCE);
    for first in [FromNode::Resync, FromNode::Hello(hello("n2"))] {
        let (sender, mut receiver) = stage.connect().await.split();
        sender.send("n1", &first).await.unwrap();
        let ended = tokio::time::timeout(PATIENCE, receiver.recv()).await.unwrap();
        assert!(matches!(ended, Ok(None) | Err(LinkError::Io(_))), "{ended:?}");
    }
}
