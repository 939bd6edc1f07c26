//! What a node stands on, each behind a narrow trait: the engine that runs containers, the images, the network.
//!
//! The executor is the only caller. The real implementations are in `adapters`; tests bring fakes. Methods may be called
//! from any task at once; futures may be dropped, and what they were doing is then undone or finished by a later call.

use neargate_core::{Clock, Timestamp};
use neargate_link::{NetworkBinding, NetworkSpec, TaskSpec};
pub use neargate_netns::{Counters, NetworkChange};
use neargate_runtime::{ContainerLaunch, Exec, ExecResult, Exit, ShimLaunch, TaskState};
use std::future::Future;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What an image says about running it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageConfig {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    pub user: String,
    pub working_dir: String,
    /// Paths inside that are volumes.
    pub volumes: Vec<String>,
    /// `80/tcp`.
    pub exposed_ports: Vec<String>,
    pub stop_signal: Option<String>,
}

/// An image that is on the node, held there until dropped.
pub struct ReadyImage {
    /// Digest of the manifest, `sha256:…`.
    pub digest: String,
    pub config: ImageConfig,
    /// Unpacked layers, the topmost first.
    pub layers: Vec<PathBuf>,
    /// Keeps garbage collection away.
    pub pin: Box<dyn Send + Sync>,
}

/// The images of a node.
pub trait Images: Send + Sync + 'static {
    /// Has the image on the node, pulled if need be. `digest` pins it; otherwise its tag is resolved anew.
    ///
    /// # Errors
    /// The stopped reason, ECS's error name included.
    fn obtain<'a>(&'a self, image: &'a str, digest: Option<&'a str>) -> BoxFuture<'a, Result<ReadyImage, String>>;

    /// The image of this digest if it is on the node already: adopted tasks pin theirs.
    fn present<'a>(&'a self, image: &'a str, digest: &'a str) -> BoxFuture<'a, Option<ReadyImage>>;

    /// Removes what nobody pins until the disk is as free as it should be.
    fn collect_garbage(&self) -> BoxFuture<'_, ()>;
}

/// A namespace made for a task.
#[derive(Clone, Debug, PartialEq)]
pub struct MadeNetwork {
    pub network: neargate_runtime::Network,
    pub address: Option<Ipv4Addr>,
    pub bindings: Vec<NetworkBinding>,
}

/// The network of the machine.
pub trait TaskNetwork: Send + Sync + 'static {
    /// Makes network `index` of a task: the task's own interface, or in bridge mode the container's, ports published.
    ///
    /// # Errors
    /// The stopped reason, ECS's error name included.
    fn make<'a>(&'a self, spec: &'a TaskSpec, index: usize) -> BoxFuture<'a, Result<MadeNetwork, String>>;

    /// Takes over what an earlier process of the node made.
    ///
    /// # Errors
    /// Why the ports cannot be held any more.
    fn adopt<'a>(
        &'a self,
        spec: &'a TaskSpec,
        index: usize,
        address: Option<Ipv4Addr>,
        bindings: &'a [NetworkBinding],
    ) -> BoxFuture<'a, Result<MadeNetwork, String>>;

    /// Removes the network; what is gone already is no error.
    ///
    /// # Errors
    /// What could not be removed.
    fn remove<'a>(&'a self, spec: &'a TaskSpec, index: usize) -> BoxFuture<'a, Result<(), String>>;

    /// Takes over a change of control's network table: afterwards it is what packets meet.
    ///
    /// # Errors
    /// Why the machine is not there yet; the next change brings it there.
    fn enforce(&self, change: NetworkChange) -> BoxFuture<'_, Result<(), String>>;

    /// Brings back what somebody took from the machine: firewall, routes, addresses.
    ///
    /// # Errors
    /// What cannot be brought back.
    fn uphold(&self) -> BoxFuture<'_, Result<(), String>>;

    /// What network `index` of a task has carried; none when it has no interface of its own.
    fn counters(&self, spec: &TaskSpec, index: usize) -> Option<Counters>;

    /// Address of the resolver, where this machine serves tasks.
    fn resolver(&self) -> Ipv4Addr;

    /// Address by which a task with such a network asks the resolver: that of its VPC, as on AWS.
    fn resolver_of(&self, network: &NetworkSpec) -> Ipv4Addr;
}

/// What an engine says of a task without being asked.
#[derive(Clone, Debug, PartialEq)]
pub enum EngineEvent {
    Started {
        container: String,
        at: Timestamp,
    },
    Exited {
        container: String,
        exit: Exit,
    },
    /// The process that holds the task's containers is gone, and they with it.
    Lost,
}

/// Why an engine did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineError {
    /// It cannot be done; the text is the container's reason, ECS's error name included.
    Refused(String),
    /// The container is not in a state for it: it runs already, or no more.
    NotApplicable(String),
    /// The task's holder is gone.
    Lost(String),
}

/// A holder found again, with the states of its containers.
pub type Attached = (Arc<dyn Holder>, TaskState);

/// What runs containers.
pub trait Engine: Send + Sync + 'static {
    /// Makes the process that holds a task's containers. Its events arrive at `events`.
    fn spawn(
        &self,
        launch: ShimLaunch,
        events: UnboundedSender<EngineEvent>,
    ) -> BoxFuture<'_, Result<Arc<dyn Holder>, EngineError>>;

    /// Finds the holder of `task_dir` that still runs, with the states of its containers.
    fn attach<'a>(
        &'a self,
        task_dir: &'a Path,
        events: UnboundedSender<EngineEvent>,
    ) -> BoxFuture<'a, Result<Option<Attached>, EngineError>>;

    /// What the holder of `task_dir` wrote last, and removes everything it left running.
    ///
    /// # Errors
    /// What could not be read or removed.
    fn clean_up<'a>(&'a self, task_dir: &'a Path) -> BoxFuture<'a, Result<Option<TaskState>, String>>;
}

/// The holder of one task's containers.
pub trait Holder: Send + Sync + 'static {
    /// Starts a container and answers once its program runs; `EngineEvent::Started` has come before.
    fn start(&self, launch: ContainerLaunch) -> BoxFuture<'_, Result<(), EngineError>>;
    fn signal<'a>(&'a self, container: &'a str, signal: i32) -> BoxFuture<'a, Result<(), EngineError>>;
    fn exec(&self, exec: Exec) -> BoxFuture<'_, Result<ExecResult, EngineError>>;
    /// Ends the holder; no container runs any more.
    fn shut_down(&self) -> BoxFuture<'_, Result<(), EngineError>>;
}

/// Everything a node stands on.
pub struct Ports {
    pub engine: Box<dyn Engine>,
    pub images: Box<dyn Images>,
    pub network: Box<dyn TaskNetwork>,
    pub clock: Arc<dyn Clock>,
}
