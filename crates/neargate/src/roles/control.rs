//! The control role: state, services, the AWS endpoint, the node link and the reconcilers, put together.

use super::planes::{Balancers, Certificates, LogLines, Networks, Tasks};
use super::ready;
use crate::instance::Instance;
use crate::shutdown::{self, Shutdown};
use crate::{credentials, paths};
use neargate_acm::Acm;
use neargate_control::front_door::{FrontDoor, RootCredentials};
use neargate_control::gateways::Gateways;
use neargate_control::nodes::{Nodes, NodesOptions};
use neargate_core::{AwsError, Clock, Ids, RequestContext, clock::SystemClock, ids::RandomIds};
use neargate_ec2::region::RegionError;
use neargate_ec2::{Ec2, VpcRecord};
use neargate_ecs::Ecs;
use neargate_ecs::records::NodeRecord;
use neargate_elbv2::Elbv2;
use neargate_iam::Iam;
use neargate_link::{LinkListener, Timing};
use neargate_logs::Logs;
use neargate_netns::Cidr;
use neargate_seal::Seal;
use neargate_store::{Snapshot, Store};
use neargate_sts::Sts;
use neargate_wire::dispatch::{Outcome, Running, ServiceDispatch};
use neargate_wire::schema::Service;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
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
    kinds.extend(neargate_acm::kinds());
    kinds.extend(neargate_iam::kinds());
    kinds.extend(neargate_elbv2::kinds());
    let store = Store::open(paths::store(&instance.data), &kinds).map_err(|e| e.to_string())?;

    let range: Cidr = settings.vpc_cidr.parse()?;
    let public: Cidr = settings.public_cidr.parse()?;
    let ec2 = Ec2 {
        store: store.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        account: settings.account.clone(),
        vpc_cidr: (range.base(), range.prefix()),
        public_cidr: (public.base(), public.prefix()),
        foreign_ranges: foreign_ranges(instance, &store),
        rules_per_group: settings.quotas.rules_per_security_group,
    };
    fit_regions(&store, &ec2).await?;
    let mut ecs = Ecs::new(store.clone(), clock.clone(), ids.clone(), &settings.account);
    ecs.healthy_after = Duration::from_secs(u64::from(settings.healthy_after));
    let ecs = Arc::new(ecs);

    let logs = paths::logs(&instance.data);
    let logs = Logs::open(store.clone(), &logs, clock.clone(), ids.clone(), &settings.account);
    let logs = Arc::new(logs.map_err(|e| e.to_string())?);

    let seal = Arc::new(Seal::open_or_create(paths::seal_key(&instance.data)).map_err(|e| e.to_string())?);
    let in_use: neargate_acm::InUse = Arc::new(neargate_elbv2::users_of_certificate);
    let acm = Acm {
        store: store.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        account: settings.account.clone(),
        seal: seal.clone(),
        in_use: in_use.clone(),
    };
    let acm = Arc::new(acm);
    acm.open(&paths::authority(&instance.data))
        .await
        .map_err(|e| e.to_string())?;
    let iam = Arc::new(Iam {
        store: store.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        account: settings.account.clone(),
        seal: seal.clone(),
        in_use,
    });
    let elbv2 = Arc::new(Elbv2 {
        store: store.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        account: settings.account.clone(),
        certificates: Arc::new(Certificates { seal }),
        instances: Arc::new(instance_address),
        rules_per_balancer: settings.quotas.rules_per_application_load_balancer,
    });

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
            ec2: ec2.clone(),
        }),
        Arc::new(InRegion {
            inner: elbv2.clone(),
            ec2,
        }),
        logs.clone(),
        acm.clone(),
        iam,
    ];
    let credentials = RootCredentials::new(&settings.account, key.access_key_id, key.secret_access_key);
    let mut front_door = FrontDoor::new(services, Arc::new(credentials), clock, ids, &settings.account);
    let disk = store.clone();
    front_door.is_full = Box::new(move || disk.is_full());

    let link =
        LinkListener::bind_unix(&paths::link_socket(&instance.data), Timing::default()).map_err(|e| e.to_string())?;
    let nodes = Nodes::new(
        store.clone(),
        Arc::new(Tasks(ecs.clone())),
        Arc::new(Networks),
        Arc::new(LogLines(logs.clone())),
        NodesOptions::default(),
    );
    let gateway_link = LinkListener::bind_unix(&paths::gateway_socket(&instance.data), Timing::default())
        .map_err(|e| e.to_string())?;
    let balancers = Balancers { elbv2: elbv2.clone() };
    let gateways = Gateways::new(store, Arc::new(balancers));

    ready()?;
    let work = async {
        tokio::join!(
            front_door.serve(listener, shutdown::requested(shutdown.clone())),
            ecs.run(shutdown.clone()),
            logs.run(shutdown.clone()),
            elbv2.run(shutdown.clone()),
            acm.run(shutdown.clone()),
        );
        Ok::<(), String>(())
    };
    tokio::select! {
        done = work => done,
        () = nodes.serve(link) => Err("the node link ended".into()),
        () = gateways.serve(gateway_link) => Err("the gateway link ended".into()),
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

/// Networks that this machine has besides those of this Neargate's VPCs: no VPC may overlap one, or addresses of tasks
/// would hide machines that are there.
fn foreign_ranges(instance: &Instance, store: &Store) -> Arc<dyn Fn() -> Vec<(Ipv4Addr, u8)> + Send + Sync> {
    if instance.settings.simulated_nodes.is_some() {
        return Arc::new(Vec::new);
    }
    let store = store.clone();
    Arc::new(move || {
        let snapshot = store.snapshot();
        let own: Vec<Cidr> = snapshot
            .range::<VpcRecord>("")
            .flat_map(|(_, vpc)| vpc.ranges())
            .filter_map(|(base, prefix)| Cidr::containing(base, prefix))
            .collect();
        match neargate_netns::Network::foreign(&own) {
            Ok(ranges) => ranges.iter().map(|r| (r.base(), r.prefix())).collect(),
            Err(error) => {
                tracing::warn!(%error, "the machine's networks cannot be listed");
                Vec::new()
            }
        }
    })
}

/// Where targets named by a container instance are reached. The gateway runs on the same machine as every node so far.
fn instance_address(snapshot: &Snapshot, _region: &str, instance_id: &str) -> Option<IpAddr> {
    let mut nodes = snapshot.range::<NodeRecord>("");
    nodes
        .any(|(_, node)| node.ec2_instance_id() == instance_id)
        .then_some(IpAddr::V4(Ipv4Addr::LOCALHOST))
}
