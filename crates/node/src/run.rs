//! The node role from start to shutdown.

use crate::adapters::{HostNetwork, ShimEngine, StoredImages};
use crate::config::NodeConfig;
use crate::dirs::Dirs;
use crate::inventory;
use crate::keeper::{Connector, Keeper, LogRetention};
use crate::logs::LogHub;
use crate::metadata::{self, Registry, Tokens};
use crate::ports::Ports;
use crate::quota;
use crate::slots::Slots;
use crate::task::{Settings, Shared};
use neargate_core::clock::SystemClock;
use neargate_core::ids::RandomIds;
use neargate_images::{ImageError, ImageStore};
use neargate_link::{LinkError, NodeConnection, Timing, connect_unix};
use neargate_netns::{Network, NetworkError};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the node cannot run.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("{what} {}: {source}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the node's network: {0}")]
    Network(#[from] NetworkError),
    #[error("the node's images: {0}")]
    Images(#[from] ImageError),
}

impl NodeError {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> NodeError {
        let path = path.to_owned();
        move |source| NodeError::Io { what, path, source }
    }
}

/// Runs the node of this machine until `shutdown`, and calls `ready` once the machine's network is its. Containers stay;
/// the next run finds them.
///
/// # Errors
/// When the machine lacks something the node stands on; the text says what.
pub async fn run(
    config: NodeConfig,
    ready: impl FnOnce(),
    shutdown: impl Future<Output = ()>,
) -> Result<(), NodeError> {
    let engine = ShimEngine::open(&config.exe).map_err(NodeError::io("prepare the program of shims", &config.exe))?;
    let images = ImageStore::open_with(config.images_dir(), config.images.clone())?;
    let network_config = config.network();
    let network = blocking(move || Network::start(network_config)).await?;
    let network = Arc::new(network);
    ready();
    let ports = Ports {
        engine: Box::new(engine),
        images: Box::new(StoredImages::new(images, config.image_gc, config.registry_auth.clone())),
        network: Box::new(HostNetwork::new(network.clone())),
        clock: Arc::new(SystemClock),
    };
    let dirs = Dirs::new(&config.data_dir);
    dirs.prepare()
        .map_err(NodeError::io("prepare the data directory", &config.data_dir))?;
    let tokens = Tokens::open(&dirs).map_err(NodeError::io("keep the secret of tokens in", &dirs.agent_key()))?;
    let registry = Arc::new(Registry::new(tokens));
    let resolver = network.resolver();
    let server = metadata::Server::new(
        registry.clone(),
        ports.clock.clone(),
        Box::new(HostNetwork::new(network.clone())),
        metadata::Storage::new(dirs),
        config.cgroup_base(),
    );
    let metadata = tokio::spawn(async move {
        if let Err(error) = metadata::serve(resolver, Arc::new(server)).await {
            tracing::error!(%error, "tasks have no metadata endpoint");
        }
    });
    let dns = tokio::spawn(async move {
        if let Err(error) = network.serve_dns().await {
            tracing::error!(%error, "tasks have no DNS");
        }
    });
    let ended = run_with(ports, registry, config, shutdown).await;
    dns.abort();
    metadata.abort();
    ended
}

/// As `run`, standing on other ports. What is known of tasks is noted in `metadata`.
///
/// # Errors
/// When the data directory cannot be used.
pub async fn run_with(
    ports: Ports,
    metadata: Arc<Registry>,
    config: NodeConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), NodeError> {
    let dirs = Dirs::new(&config.data_dir);
    dirs.prepare()
        .map_err(NodeError::io("prepare the data directory", &config.data_dir))?;
    let slots = Slots::open(&dirs.slots()).map_err(NodeError::io("open", &dirs.slots()))?;
    let node_id =
        inventory::node_id(&dirs, &RandomIds).map_err(NodeError::io("keep the node's id in", &dirs.node_id()))?;
    let quotas = quota::is_enforced(&dirs.tasks());
    let mut attributes = config.attributes.clone();
    let enforced = if quotas { "enforced" } else { "not-enforced" };
    attributes.insert(quota::ATTRIBUTE.to_owned(), enforced.to_owned());
    let hello = inventory::hello(&config, node_id, attributes);
    let (logs, to_control) = LogHub::start();
    let settings = Settings {
        cgroup_base: config.cgroup_base(),
        runtime: config.runtime.clone(),
        log_max_bytes: config.log_max_bytes,
        log_files: config.log_files,
        min_free_bytes: config.min_free_bytes,
        nofile_limit: inventory::nofile_limit(),
        quotas,
        hostname: hello.hostname.clone(),
    };
    let tasks = dirs.tasks();
    let shared = Arc::new(Shared {
        ports,
        dirs,
        slots,
        logs,
        settings,
        metadata,
    });
    let retention = LogRetention {
        kept_for: config.logs_kept_for,
        tasks: config.logs_kept_tasks,
    };
    let mut keeper = Keeper::new(shared, hello, retention, to_control);
    keeper.adopt_all().map_err(NodeError::io("read the tasks in", &tasks))?;
    keeper
        .run(
            UnixConnector {
                socket: config.link_socket,
            },
            shutdown,
        )
        .await;
    Ok(())
}

struct UnixConnector {
    socket: PathBuf,
}

impl Connector for UnixConnector {
    async fn connect(&self) -> Result<NodeConnection, LinkError> {
        connect_unix(&self.socket, Timing::default()).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        // Only a panic ends here, since the handle is never aborted.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
