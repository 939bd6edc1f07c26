//! The gateway's life: takes tables, opens and closes doors, tells its threads, and ends in good order.

use crate::config::{GatewayConfig, GatewayError};
use crate::doors::{self, Doors};
use crate::log_files::{self, Writer};
use crate::open::{Listening, listening};
use crate::serving::{Connections, Serving, Supplies, now};
use crate::session::{Offer, Session, Taken};
use crate::workers::{Key, Order, Thread};
use crate::{key, metrics_socket, probe};
use neargate_link::GatewayTable;
use neargate_link::gateway::{BalancerKind, Problem};
use neargate_routing::{Balancer, Routes, access_log};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// How long running requests may take once the gateway is asked to end, and once another has taken over.
const GRACE: Duration = Duration::from_secs(3);
const SUCCEEDED: Duration = Duration::from_secs(300);
/// Between attempts to open a door whose port was taken.
const KNOCK: Duration = Duration::from_secs(2);

/// Runs a gateway until `shutdown`, or until another has taken over and what runs here has ended. `told` is called once it
/// serves what its predecessor served.
///
/// # Errors
/// See [`GatewayError`].
pub async fn run(
    config: GatewayConfig,
    told: impl FnOnce(),
    shutdown: impl Future<Output = ()>,
) -> Result<(), GatewayError> {
    let config = Arc::new(config);
    let cookies = key::load(&config.state_dir)?;
    let (served, serving) = watch::channel(Arc::new(Serving::default()));
    let (log, writer) = log_writer(&config)?;
    let (ending, ends) = watch::channel(false);
    let connections = Arc::new(Connections::default());
    let limit = descriptors();
    let mut threads = Vec::new();
    for shard in 0..thread_count(&config) {
        let supplies = Supplies {
            config: config.clone(),
            serving: serving.borrow().clone(),
            cookies,
            log: log.clone(),
            ending: ends.clone(),
            connections: connections.clone(),
        };
        threads.push(Thread::start(shard, supplies, limit)?);
    }
    let (routes, probed) = watch::channel(Arc::new(Routes::default()));
    let mut house = House {
        config: config.clone(),
        threads,
        served,
        routes,
        first: true,
        doors: Doors::new(),
        open: BTreeMap::new(),
    };
    let mut generation = 0;
    if let Some((kept, table)) = house.config.sockets.take_table().as_deref().and_then(read_table) {
        generation = kept;
        for problem in house.serve(kept, &table) {
            tracing::warn!(listener = problem.listener, "{}", problem.message);
        }
    }
    let (offers, mut offered) = mpsc::channel(1);
    let (reports, reported) = mpsc::channel(1024);
    let session = Session {
        socket: config.link_socket.clone(),
        name: format!("gateway-{}", std::process::id()),
        offers,
        reports: reported,
        generation,
    };
    let mut beside = JoinSet::new();
    beside.spawn(session.run());
    beside.spawn(probe::run(probed, reports));
    match metrics_socket::bind(&config.state_dir) {
        Ok(listener) => drop(beside.spawn(metrics_socket::serve(listener, serving.clone(), log.clone()))),
        Err(source) => {
            return Err(GatewayError::File {
                path: config.state_dir.clone(),
                source,
            });
        }
    }
    told();
    let sockets = config.sockets.clone();
    let superseded = sockets.superseded();
    tokio::pin!(shutdown, superseded);
    let mut knock = tokio::time::interval(KNOCK);
    let grace = loop {
        tokio::select! {
            () = &mut shutdown => break GRACE,
            () = &mut superseded => break SUCCEEDED,
            Some(offer) = offered.recv() => house.take(offer),
            _ = knock.tick() => drop(house.open_doors()),
            Some(ended) = beside.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a part of the gateway failed");
                }
            }
        }
    };
    // Control hears from the successor now.
    beside.shutdown().await;
    ending.send_replace(true);
    house.close_all();
    tokio::select! {
        _ = tokio::time::timeout(grace, connections.emptied()) => {}
        () = async { shutdown.await; tokio::time::sleep(GRACE).await }, if grace == SUCCEEDED => {}
    }
    let House { threads, .. } = house;
    drop((log, serving));
    // Joining blocks, and log files may take a moment.
    let joined = tokio::task::spawn_blocking(move || {
        threads.into_iter().for_each(Thread::end);
        writer.join();
    });
    if let Err(error) = joined.await {
        tracing::error!(%error, "the gateway did not end in good order");
    }
    Ok(())
}

/// What is open and what is served there.
struct House {
    config: Arc<GatewayConfig>,
    threads: Vec<Thread>,
    served: watch::Sender<Arc<Serving>>,
    routes: watch::Sender<Arc<Routes>>,
    first: bool,
    /// As the table wants them.
    doors: Doors,
    /// Those that are.
    open: BTreeMap<Key, Listening>,
}

impl House {
    fn take(&mut self, offer: Offer) {
        let Offer {
            generation,
            table,
            answer,
        } = offer;
        let problems = self.serve(generation, &table);
        match serde_json::to_vec(&(generation, &*table)) {
            Ok(bytes) => self.config.sockets.keep_table(&bytes),
            Err(error) => tracing::error!(%error, "the table is not kept for a successor"),
        }
        let obeyed = self.threads.iter().map(Thread::obeyed).collect();
        // The session may have ended meanwhile.
        let _ = answer.send(Taken { problems, obeyed });
    }

    /// Serves a table, as far as that is possible: first what its doors lead to, then the doors.
    fn serve(&mut self, generation: u64, table: &GatewayTable) -> Vec<Problem> {
        let previous = self.served.borrow().clone();
        let previous = (!std::mem::take(&mut self.first)).then_some(&*previous);
        let (serving, mut problems) = Serving::compile(generation, table, previous);
        let serving = Arc::new(serving);
        for thread in &self.threads {
            thread.tell(Order::Serve(serving.clone()));
        }
        self.routes.send_replace(serving.routes.clone());
        self.served.send_replace(serving);
        self.announce_logs();
        let (wanted, unshared) = doors::plan(table, self.config.loopback, &self.doors);
        problems.extend(unshared);
        self.change_doors(wanted);
        problems.extend(self.open_doors());
        self.config.sockets.forget_rest();
        problems
    }

    /// Says in each bucket that a log is written there, as AWS does for Application Load Balancers.
    fn announce_logs(&self) {
        let serving = self.served.borrow();
        let balancers = serving.routes.balancers().iter();
        for balancer in balancers.filter(|one| one.kind == BalancerKind::Application) {
            let Some(place) = &balancer.settings.access_log else {
                continue;
            };
            let key = format!("{}/{}", place.bucket, access_log::test_key(place, &self.config.account));
            let root = &self.config.logs_dir;
            if let Err(error) = log_files::announce(root, &key, &balancer.id, &now().iso8601()) {
                tracing::error!(%error, balancer = balancer.id, "cannot write to the access log's place");
            }
        }
    }

    fn change_doors(&mut self, wanted: Doors) {
        let gone: Vec<Key> = self
            .open
            .keys()
            .filter(|key| !wanted.contains_key(key))
            .copied()
            .collect();
        for key in gone {
            self.open.remove(&key);
            self.tell(key, || Order::Close(key));
            match key.0 {
                doors::Transport::Tcp => self.config.sockets.forget(key.1),
                doors::Transport::Udp => self.config.sockets.forget_udp(key.1),
            }
        }
        for (key, door) in &wanted {
            let (Some(before), Some(socket)) = (self.doors.get(key), self.open.get(key)) else {
                continue;
            };
            if before == door {
                continue;
            }
            match (key.0, socket.duplicate()) {
                // Flows belong to the listener that the door had. The socket stays: while a thread has it, it cannot be
                // bound again.
                (doors::Transport::Udp, Ok(socket)) if !door.leads_as(before) => {
                    let [thread] = self.threads_for(*key) else {
                        continue;
                    };
                    thread.tell(Order::Close(*key));
                    thread.tell(Order::Open(*key, socket, door.clone()));
                }
                _ => self.tell(*key, || Order::Change(*key, door.clone())),
            }
        }
        self.doors = wanted;
    }

    /// Opens what is wanted and not open.
    fn open_doors(&mut self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let missing: Vec<Key> = self
            .doors
            .keys()
            .filter(|key| !self.open.contains_key(key))
            .copied()
            .collect();
        for key in missing {
            if let Err(error) = self.open_door(key) {
                let listeners = self.doors.get(&key).map_or(&[][..], |door| &door.behind);
                problems.extend(listeners.iter().map(|one| Problem {
                    listener: one.listener.to_string(),
                    message: format!("cannot listen on {}: {error}", key.1),
                }));
            }
        }
        problems
    }

    fn open_door(&mut self, key: Key) -> std::io::Result<()> {
        let Some(door) = self.doors.get(&key).cloned() else {
            return Ok(());
        };
        let socket = listening(key.0, key.1, &self.config.sockets)?;
        for thread in self.threads_for(key) {
            thread.tell(Order::Open(key, socket.duplicate()?, door.clone()));
        }
        self.open.insert(key, socket);
        Ok(())
    }

    /// All threads accept; the datagrams of a socket are one thread's, because flows are.
    fn threads_for(&self, (transport, at): Key) -> &[Thread] {
        match transport {
            doors::Transport::Tcp => &self.threads,
            doors::Transport::Udp => {
                let one = usize::from(at.port()) % self.threads.len();
                &self.threads[one..=one]
            }
        }
    }

    fn tell(&self, key: Key, order: impl Fn() -> Order) {
        for thread in self.threads_for(key) {
            thread.tell(order());
        }
    }

    /// Accepts nothing more; what waits in the backlog is a successor's.
    fn close_all(&mut self) {
        for key in std::mem::take(&mut self.open).into_keys() {
            self.tell(key, || Order::Close(key));
        }
    }
}

fn read_table(bytes: &[u8]) -> Option<(u64, GatewayTable)> {
    serde_json::from_slice(bytes)
        .inspect_err(|error| tracing::warn!(%error, "the table that was kept cannot be read"))
        .ok()
}

fn thread_count(config: &GatewayConfig) -> usize {
    match config.threads {
        0 => std::thread::available_parallelism().map_or(2, usize::from),
        given => given,
    }
}

/// Raises the limit of open files as far as this process may; answers how many clients that serves: many of them are idle
/// and need no target.
fn descriptors() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const OTHERS: u64 = 512;
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => before.maximum,
        Err(_) => before.current,
    };
    let most = limit.unwrap_or(u64::from(u32::MAX)).saturating_sub(OTHERS).max(OTHERS) / 4 * 3;
    usize::try_from(most).unwrap_or(usize::MAX)
}

fn log_writer(config: &Arc<GatewayConfig>) -> Result<(log_files::Log, Writer), GatewayError> {
    let config = config.clone();
    let root = config.logs_dir.clone();
    let random = std::sync::Mutex::new(crate::serving::Random::new());
    let name = move |balancer: &Balancer| {
        let place = balancer.settings.access_log.as_ref()?;
        let address = balancer
            .addresses
            .first()
            .map_or(config.loopback, |own| IpAddr::V4(own.address));
        let end = now().plus(log_files::ROTATION);
        let random = random.lock().unwrap_or_else(std::sync::PoisonError::into_inner).draw();
        let (account, region) = (&config.account, &config.region);
        let key = match balancer.kind {
            BalancerKind::Application => {
                access_log::alb_key(place, account, region, &balancer.id, address, end, random)
            }
            BalancerKind::Network => access_log::nlb_key(place, account, region, &balancer.id, end, random),
        };
        Some(format!("{}/{key}", place.bucket))
    };
    Writer::start(root, log_files::ROTATION, name).map_err(GatewayError::Thread)
}
