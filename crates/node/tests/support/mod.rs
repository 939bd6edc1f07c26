//! Control's end of the link for tests, and tasks to send.

#![allow(dead_code)]

use neargate_link::network::{GroupEntry, NetworkEntry, Peer, Traffic, TrafficRule};
use neargate_link::{
    ContainerSpec, FromNode, InterfaceSpec, LaunchType, LinkListener, LogBatch, LogOpening, LogSpec, NamespaceMode,
    NetworkSpec, Phase, ProtectionAnswer, Sender, TaskReport, TaskSpec, Timing, ToNode,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub mod fakes;
pub mod machine;

/// No step of a test takes longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What control says of a log without a group.
pub const NO_GROUP: &str = "ResourceNotFoundException: The specified log group does not exist.";

/// What control has heard.
#[derive(Default)]
pub struct Heard {
    pub connections: u32,
    pub reports: BTreeMap<String, TaskReport>,
    /// Every phase of every report, in order.
    pub phases: Vec<(String, Phase)>,
    pub logs: Vec<LogBatch>,
    pub opened: Vec<LogOpening>,
    /// Groups that logs cannot be opened in.
    pub missing_groups: BTreeSet<String>,
    /// Openings are heard and not answered.
    pub opens_no_log: bool,
    /// As control's dedup has it.
    pub stored: BTreeMap<String, (u64, Vec<String>)>,
    pub applied: u64,
    /// Generations of the network table that the node says are enforced.
    pub network_applied: Vec<u64>,
    sender: Option<Sender<ToNode>>,
}

#[derive(Default)]
struct State {
    heard: Mutex<Heard>,
    news: Notify,
    desired: Mutex<BTreeMap<String, Arc<TaskSpec>>>,
    generation: Mutex<u64>,
    network_generation: Mutex<u64>,
    /// Reports and logs are answered as stored.
    storing: Mutex<bool>,
}

/// A control that listens at a socket.
pub struct Control {
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

impl Control {
    pub fn start(socket: &Path) -> Control {
        let listener = LinkListener::bind_unix(socket, Timing::default()).expect("the socket is free");
        let state = Arc::new(State {
            storing: Mutex::new(true),
            ..State::default()
        });
        let accepting = tokio::spawn(accept(listener, state.clone()));
        Control { state, accepting }
    }

    /// Another control at the same socket: what was heard is forgotten, what is wanted is not.
    pub async fn restart(&mut self, socket: &Path) {
        self.accepting.abort();
        let ended = (&mut self.accepting).await;
        assert!(ended.is_err_and(|e| e.is_cancelled()));
        self.change(|heard| *heard = Heard::default());
        let listener = LinkListener::bind_unix(socket, Timing::default()).expect("the socket is free");
        self.accepting = tokio::spawn(accept(listener, self.state.clone()));
    }

    pub fn stop(self) {
        self.accepting.abort();
    }

    pub fn storing(&self, storing: bool) {
        *self.state.storing.lock().unwrap() = storing;
    }

    /// Changes how control answers from now on.
    pub fn change(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.state.heard.lock().unwrap());
    }

    /// Wants a task, or wants it otherwise.
    pub async fn want(&self, spec: TaskSpec) {
        let spec = Arc::new(spec);
        self.state.desired.lock().unwrap().insert(spec.id.clone(), spec.clone());
        self.tell(vec![spec], Vec::new()).await;
    }

    pub async fn unwant(&self, id: &str) {
        self.state.desired.lock().unwrap().remove(id);
        self.tell(Vec::new(), vec![id.to_owned()]).await;
    }

    /// Without telling: as if decided while the node was away.
    pub fn unwant_silently(&self, id: &str) {
        self.state.desired.lock().unwrap().remove(id);
    }

    /// Changes the network table.
    pub async fn tell_network(&self, upsert: Vec<NetworkEntry>, remove: Vec<String>) -> u64 {
        let sender = self.state.heard.lock().unwrap().sender.clone();
        let generation = {
            let mut generation = self.state.network_generation.lock().unwrap();
            *generation += 1;
            *generation
        };
        let message = ToNode::Network {
            generation,
            whole: false,
            upsert,
            remove,
        };
        if let Some(sender) = sender {
            let _ = sender.send("node", &message).await;
        }
        generation
    }

    /// Sends a change under a generation that the node has passed.
    pub async fn tell_network_again(&self, generation: u64) {
        let sender = self.state.heard.lock().unwrap().sender.clone();
        let message = ToNode::Network {
            generation,
            whole: false,
            upsert: Vec::new(),
            remove: vec![format!("group/{OPEN}")],
        };
        sender
            .expect("a node is connected")
            .send("node", &message)
            .await
            .unwrap();
    }

    async fn tell(&self, upsert: Vec<Arc<TaskSpec>>, remove: Vec<String>) {
        let sender = self.state.heard.lock().unwrap().sender.clone();
        let base = {
            let mut generation = self.state.generation.lock().unwrap();
            *generation += 1;
            *generation - 1
        };
        if let Some(sender) = sender {
            let message = ToNode::Desired {
                generation: base + 1,
                base: Some(base),
                upsert,
                remove,
            };
            let _ = sender.send("node", &message).await;
        }
    }

    pub async fn wait<T>(&self, what: &str, ready: impl Fn(&Heard) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let news = self.state.news.notified();
                if let Some(value) = ready(&self.state.heard.lock().unwrap()) {
                    return value;
                }
                news.await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(value) => value,
            Err(_) => {
                let heard = self.state.heard.lock().unwrap();
                panic!(
                    "never came: {what}; reports {:#?}; stored {:?}",
                    heard.reports, heard.stored
                );
            }
        }
    }

    /// Waits until the task is in `phase`.
    pub async fn phase(&self, id: &str, phase: Phase) -> TaskReport {
        let what = format!("{phase:?} of {id}");
        self.wait(&what, |h| h.reports.get(id).filter(|r| r.phase == phase).cloned())
            .await
    }

    pub fn heard<T>(&self, look: impl Fn(&Heard) -> T) -> T {
        look(&self.state.heard.lock().unwrap())
    }

    /// Waits for the messages that control holds of a log.
    pub async fn logged(&self, source: &str, messages: &[&str]) {
        let what = format!("log {messages:?} of {source}");
        self.wait(&what, |h| {
            h.stored.get(source).filter(|(_, m)| *m == messages).map(|_| ())
        })
        .await;
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: LinkListener, state: Arc<State>) {
    loop {
        let accepted = listener.accept().await.expect("accepts");
        let Ok(connection) = accepted.establish().await else {
            continue;
        };
        serve(state.clone(), connection).await;
    }
}

async fn serve(state: Arc<State>, connection: neargate_link::ControlConnection) {
    let (sender, mut receiver) = connection.split();
    let upsert: Vec<Arc<TaskSpec>> = state.desired.lock().unwrap().values().cloned().collect();
    let generation = {
        let mut generation = state.generation.lock().unwrap();
        *generation += 1;
        *generation
    };
    let whole = ToNode::Desired {
        generation,
        base: None,
        upsert,
        remove: Vec::new(),
    };
    {
        let mut heard = state.heard.lock().unwrap();
        heard.connections += 1;
        heard.sender = Some(sender.clone());
    }
    let network_generation = {
        let mut generation = state.network_generation.lock().unwrap();
        *generation += 1;
        *generation
    };
    let network = ToNode::Network {
        generation: network_generation,
        whole: true,
        upsert: vec![open_group()],
        remove: Vec::new(),
    };
    let _ = sender.send("node", &network).await;
    let _ = sender.send("node", &whole).await;
    state.news.notify_waiters();
    while let Ok(Some(framed)) = receiver.recv().await {
        let storing = *state.storing.lock().unwrap();
        let answer = take_in(&mut state.heard.lock().unwrap(), framed.message, storing);
        if let Some(answer) = answer {
            let _ = sender.send("node", &answer).await;
        }
        state.news.notify_waiters();
    }
    state.heard.lock().unwrap().sender = None;
}

fn take_in(heard: &mut Heard, message: FromNode, storing: bool) -> Option<ToNode> {
    match message {
        FromNode::Reports { sequence, tasks } => {
            for report in tasks {
                heard.phases.push((report.task_id.clone(), report.phase));
                if let Some(before) = heard.reports.get(&report.task_id) {
                    assert!(
                        before.phase <= report.phase,
                        "reports only move forward: {before:?} then {report:?}"
                    );
                }
                heard.reports.insert(report.task_id.clone(), report);
            }
            storing.then_some(ToNode::ReportsStored { sequence })
        }
        FromNode::Logs(batch) => {
            heard.logs.push(batch.clone());
            if !storing {
                return None;
            }
            let held = heard.stored.entry(batch.source.clone()).or_default();
            if batch.to_offset > held.0 {
                assert_eq!(batch.from_offset, held.0, "batches follow each other: {batch:?}");
                held.0 = batch.to_offset;
                held.1.extend(batch.events.into_iter().map(|e| e.message));
            }
            Some(ToNode::LogsStored {
                source: batch.source,
                offset: held.0,
            })
        }
        FromNode::Applied { generation } => {
            heard.applied = generation;
            None
        }
        FromNode::OpenLog(opening) => {
            heard.opened.push(opening.clone());
            (!heard.opens_no_log).then(|| ToNode::LogOpened {
                refused: heard
                    .missing_groups
                    .contains(&opening.group)
                    .then(|| NO_GROUP.to_owned()),
                source: opening.source,
            })
        }
        FromNode::NetworkApplied { generation } => {
            heard.network_applied.push(generation);
            None
        }
        FromNode::Protection(request) => Some(ToNode::Protection {
            number: request.number,
            answer: ProtectionAnswer::Failure {
                reason: request.task_id,
                detail: None,
            },
        }),
        FromNode::Hello(_) | FromNode::Resync | FromNode::Ping => None,
    }
}

/// The security group of `task`.
pub const OPEN: &str = "sg-open";

/// A group that lets everything in and out.
pub fn open_group() -> NetworkEntry {
    let everything = TrafficRule {
        traffic: Traffic::Any,
        peer: Peer::Range((Ipv4Addr::UNSPECIFIED, 0)),
    };
    NetworkEntry::Group(GroupEntry {
        id: OPEN.to_owned(),
        ingress: vec![everything.clone()],
        egress: vec![everything],
    })
}

/// A task id.
pub fn id(n: u8) -> String {
    format!("{n:032x}")
}

/// An awsvpc task of one essential container `app` that runs `command` in the image `busybox`.
pub fn task(n: u8, command: &[&str]) -> TaskSpec {
    let address = Ipv4Addr::new(10, 253, 77, 10 + n);
    TaskSpec {
        arn: format!("arn:aws:ecs:us-east-1:000000000000:task/default/{}", id(n)),
        id: id(n),
        region: "us-east-1".to_owned(),
        cluster: "default".to_owned(),
        family: "web".to_owned(),
        revision: 1,
        launch_type: LaunchType::Fargate,
        service: None,
        availability_zone: None,
        tags: Default::default(),
        network: NetworkSpec::Awsvpc(InterfaceSpec {
            interface_id: "eni-0123456789abcdef0".to_owned(),
            mac: format!("0a:00:00:00:00:{n:02x}"),
            address,
            subnet_prefix: 24,
            gateway: Ipv4Addr::new(10, 253, 77, 1),
            vpc_cidr: (Ipv4Addr::new(10, 253, 77, 0), 24),
            private_dns_name: format!("ip-{}.ec2.internal", address.to_string().replace('.', "-")),
            vpc_id: "vpc-1".to_owned(),
            groups: vec![OPEN.to_owned()],
        }),
        containers: vec![container("app", command)],
        volumes: Vec::new(),
        cpu: None,
        memory: None,
        ephemeral_storage_gib: None,
        pid_mode: NamespaceMode::Private,
        ipc_mode: NamespaceMode::Private,
        stop: None,
    }
}

pub fn container(name: &str, command: &[&str]) -> ContainerSpec {
    ContainerSpec {
        name: name.to_owned(),
        image: "busybox".to_owned(),
        essential: true,
        command: Some(command.iter().map(|c| (*c).to_owned()).collect()),
        stop_timeout: Some(2),
        log: LogSpec::Awslogs(neargate_link::AwslogsSpec {
            region: "us-east-1".to_owned(),
            group: "/ecs/web".to_owned(),
            stream: format!("ecs/{name}/0"),
            ..neargate_link::AwslogsSpec::default()
        }),
        ..ContainerSpec::default()
    }
}

/// The name of a container's log at control.
pub fn source(n: u8, container: &str) -> String {
    format!("{}/{container}", id(n))
}
