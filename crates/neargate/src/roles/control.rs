//! The control role: state, services, the AWS endpoint, the node link and the reconcilers, put together.

use super::ready;
use crate::instance::Instance;
use crate::shutdown::{self, Shutdown};
use crate::{credentials, paths};
use neargate_control::front_door::{FrontDoor, RootCredentials};
use neargate_control::nodes::{BoxFuture, LogSink, Nodes, NodesOptions, TaskPlane};
use neargate_core::{AwsError, Clock, Ids, RequestContext, clock::SystemClock, ids::RandomIds};
use neargate_ec2::region::RegionError;
use neargate_ec2::{Ec2, VpcRecord};
use neargate_ecs::Ecs;
use neargate_ecs::records::TaskRecord;
use neargate_link::{LinkListener, LogBatch, NodeHello, TaskReport, TaskSpec, Timing};
use neargate_logs::Logs;
use neargate_store::{CommitError, Snapshot, Store};
use neargate_sts::Sts;
use neargate_wire::dispatch::{Outcome, Running, ServiceDispatch};
use neargate_wire::schema::Service;
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::fd::FromRawFd as _;
use std::sync::Arc;
use std::time::Duration;

pub async fn run(instance: &Instance, shutdown: Shutdown) -> Result<(), String> {
    let listener = listener(instance)?;
    let key = credentials::read(&instance.data)?;
    let settings = &instance.settings;
    let (clock, ids): (Arc<dyn Clock>, Arc<dyn Ids>) = (Arc::new(SystemClock), Arc::new(RandomIds));

    let mut kinds = neargate_ec2::kinds();
    kinds.extend(neargate_ecs::records::kinds());
    kinds.extend(neargate_logs::kinds());
    let store = Store::open(paths::store(&instance.data), &kinds).map_err(|e| e.to_string())?;

    let range: neargate_netns::Cidr = settings.vpc_cidr.parse()?;
    let ec2 = Ec2 {
        store: store.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        account: settings.account.clone(),
        vpc_cidr: (range.base(), range.prefix()),
    };
    fit_regions(&store, &ec2).await?;
    let mut ecs = Ecs::new(store.clone(), clock.clone(), ids.clone(), &settings.account);
    ecs.healthy_after = Duration::from_secs(u64::from(settings.healthy_after));
    let ecs = Arc::new(ecs);

    let logs = paths::logs(&instance.data);
    let logs = Logs::open(store.clone(), &logs, clock.clone(), ids.clone(), &settings.account);
    let logs = Arc::new(logs.map_err(|e| e.to_string())?);

    let services: Vec<Arc<dyn ServiceDispatch>> = vec![
        Arc::new(Sts {
            account: settings.account.clone(),
        }),
        Arc::new(InRegion {
            inner: Arc::new(ec2.clone()),
            ec2: ec2.clone(),
        }),
        Arc::new(InRegion {
            inner: ecs.clone(),
            ec2,
        }),
        logs.clone(),
    ];
    let credentials = RootCredentials::new(&settings.account, key.access_key_id, key.secret_access_key);
    let front_door = FrontDoor::new(services, Arc::new(credentials), clock, ids, &settings.account);

    let link =
        LinkListener::bind_unix(&paths::link_socket(&instance.data), Timing::default()).map_err(|e| e.to_string())?;
    let nodes = Nodes::new(
        store,
        Arc::new(Plane(ecs.clone())),
        Arc::new(Sink(logs.clone())),
        NodesOptions::default(),
    );

    ready()?;
    let work = async {
        tokio::join!(
            front_door.serve(listener, shutdown::requested(shutdown.clone())),
            ecs.run(shutdown.clone()),
            logs.run(shutdown.clone()),
        );
        Ok::<(), String>(())
    };
    tokio::select! {
        done = work => done,
        () = nodes.serve(link) => Err("the node link ended".into()),
    }
}

/// The socket that `up` bound, so that clients wait while control starts again; or one of its own.
fn listener(instance: &Instance) -> Result<tokio::net::TcpListener, String> {
    let listener = match std::env::var("NEARGATE_LISTEN_FD").ok().and_then(|fd| fd.parse().ok()) {
        // SAFETY: `up` left this descriptor open for this process, and nothing else here uses it.
        Some(fd) => unsafe { std::net::TcpListener::from_raw_fd(fd) },
        None => std::net::TcpListener::bind(instance.settings.listen).map_err(|e| e.to_string())?,
    };
    listener.set_nonblocking(true).map_err(|e| e.to_string())?;
    tokio::net::TcpListener::from_std(listener).map_err(|e| e.to_string())
}

/// A service whose operations find the region's default VPC in place.
struct InRegion<S> {
    inner: Arc<S>,
    ec2: Ec2,
}

impl<S: ServiceDispatch> ServiceDispatch for InRegion<S> {
    fn schema(&self) -> &'static Service {
        self.inner.schema()
    }

    fn call<'a>(&'a self, operation: &str, cx: &'a RequestContext, input: Value) -> Option<Running<'a>> {
        let running = self.inner.call(operation, cx, input)?;
        Some(Box::pin(async move {
            self.ec2.ensure_region(&cx.region).await.map_err(|e| {
                tracing::error!(error = %e, region = cx.region, "cannot make the default VPC");
                AwsError::internal()
            })?;
            let outcome: Outcome = running.await;
            outcome
        }))
    }
}

/// ECS as the node link sees it.
struct Plane(Arc<Ecs>);

/// A full disk or a race passes, so the node link tries again; what the store would never take, it would refuse for ever.
fn stored(done: Result<(), CommitError>) -> Result<(), AwsError> {
    done.map_err(|e| match e {
        CommitError::Storage(_) | CommitError::Conflict { .. } => {
            tracing::error!(error = %e, "cannot store what a node said");
            AwsError::internal()
        }
        other => AwsError::new("ClientException", 400, other.to_string()),
    })
}

/// Fits the VPCs that are here to the range asked for.
///
/// # Errors
/// Tasks hold addresses of another range; the text says what to do.
async fn fit_regions(store: &Store, ec2: &Ec2) -> Result<(), String> {
    let snapshot = store.snapshot();
    let regions: BTreeSet<String> = snapshot
        .range::<VpcRecord>("")
        .map(|(_, vpc)| vpc.region.clone())
        .collect();
    for region in regions {
        ec2.ensure_region(&region)
            .await
            .map_err(|e| match &e {
                RegionError::RangeInUse { stored, .. } => format!(
                    "--vpc-cidr: {e}: start with --vpc-cidr {stored}, stop its services and tasks through the API, then start again"
                ),
                _ => e.to_string(),
            })?;
    }
    Ok(())
}

impl TaskPlane for Plane {
    fn node_joined(&self, hello: NodeHello) -> BoxFuture<'_, Result<(), AwsError>> {
        Box::pin(async move { stored(self.0.node_joined(hello).await) })
    }

    fn node_lost<'a>(&'a self, node_id: &'a str) -> BoxFuture<'a, Result<(), AwsError>> {
        Box::pin(async move { stored(self.0.node_lost(node_id).await) })
    }

    fn apply_reports<'a>(&'a self, node_id: &'a str, reports: Vec<TaskReport>) -> BoxFuture<'a, Result<(), AwsError>> {
        Box::pin(async move { stored(self.0.apply_reports(node_id, reports).await) })
    }

    fn assignment(&self, snapshot: &Snapshot, task: &TaskRecord) -> Option<Arc<TaskSpec>> {
        neargate_ecs::assign::assignment(snapshot, task)
    }
}

/// CloudWatch Logs as the node link sees it.
struct Sink(Arc<Logs>);

impl LogSink for Sink {
    fn ingest(&self, batch: LogBatch) -> BoxFuture<'_, Result<(), AwsError>> {
        Box::pin(self.0.ingest(batch))
    }
}
