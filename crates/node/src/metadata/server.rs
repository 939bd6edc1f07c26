//! Serves the endpoint over HTTP on the resolver's address, where the firewall leads tasks that ask 169.254.170.2.

use super::agent::{self, Wanted};
use super::document::{self, Around, Version};
use super::stats::{self, Machine, Sample};
use super::{Found, Known, Registry, Storage};
use crate::bundle::launch::runtime_id;
use crate::ports::TaskNetwork;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use neargate_core::{Clock as CoreClock, Timestamp};
use neargate_link::LaunchType;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections at once; more wait to be accepted.
const CONNECTIONS: usize = 1024;
/// Of one address; more are closed, so that no task keeps the others from asking.
const CONNECTIONS_EACH: usize = 32;
/// How long a request's head may take, and a connection may say nothing.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// After a failed accept: descriptors have run out.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// What a request's body may hold, in bytes, and how long it may take.
const BODY: usize = 16 * 1024;
const BODY_WITHIN: Duration = Duration::from_secs(5);
/// Samples older than this say nothing of now.
const STALE: Duration = Duration::from_secs(600);

/// What answers are made from.
pub struct Server {
    registry: Arc<Registry>,
    clock: Arc<dyn CoreClock>,
    network: Box<dyn TaskNetwork>,
    storage: Storage,
    /// Of all tasks of this node.
    cgroup_base: String,
    machine: Machine,
    /// The latest sample of each container, by id.
    samples: Mutex<HashMap<String, Sample>>,
}

impl Server {
    pub fn new(
        registry: Arc<Registry>,
        clock: Arc<dyn CoreClock>,
        network: Box<dyn TaskNetwork>,
        storage: Storage,
        cgroup_base: String,
    ) -> Server {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let machine = Machine {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory: stats::machine_memory(&meminfo),
        };
        Server {
            registry,
            clock,
            network,
            storage,
            cgroup_base,
            machine,
            samples: Mutex::default(),
        }
    }

    /// The answer to a path, when there is one.
    fn answer(&self, path: &str, peer: Ipv4Addr) -> Result<Value, String> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match parts[..] {
            ["v2", "metadata"] => {
                let own = self.own(peer)?;
                Ok(document::task(&own, Version::V2, &self.around(&own), false))
            }
            ["v2", "metadata", id] => {
                let found = self.found(id, peer)?;
                let around = self.around(&found.task);
                Ok(document::container(&found.task, found.container, Version::V2, &around))
            }
            ["v2", "stats"] => Ok(self.all_stats(&self.own(peer)?)),
            ["v2", "stats", id] => Ok(self.stats_of(&self.found(id, peer)?)),
            [version @ ("v3" | "v4"), id, ref what @ ..] => {
                let version = if version == "v4" { Version::V4 } else { Version::V3 };
                let found = self.found(id, peer)?;
                let mut around = self.around(&found.task);
                if let ["task" | "taskWithTags"] = what
                    && version == Version::V4
                    && found.task.spec.launch_type == LaunchType::Fargate
                {
                    around.storage_used = self.storage.used(&found.task.spec.id);
                }
                match what {
                    [] => Ok(document::container(&found.task, found.container, version, &around)),
                    ["task"] => Ok(document::task(&found.task, version, &around, false)),
                    ["taskWithTags"] => Ok(document::task(&found.task, version, &around, true)),
                    ["stats"] => Ok(self.stats_of(&found)),
                    ["task", "stats"] => Ok(self.all_stats(&found.task)),
                    _ => Err(format!("there is no /{} in the task metadata endpoint", what.join("/"))),
                }
            }
            _ => Err(format!("there is no {path} in the task metadata endpoint")),
        }
    }

    fn found(&self, id: &str, peer: Ipv4Addr) -> Result<Found, String> {
        let found = self.registry.container(id, peer);
        found.ok_or_else(|| format!("no container {id} of the task that asks from {peer}"))
    }

    fn own(&self, peer: Ipv4Addr) -> Result<Known, String> {
        let own = self.registry.task_at(peer);
        own.ok_or_else(|| format!("no task with a network interface of its own asks from {peer}"))
    }

    fn all_stats(&self, task: &Known) -> Value {
        let of = |container| {
            let id = runtime_id(&task.spec, container);
            let task = task.clone();
            (id, self.stats_of(&Found { task, container }))
        };
        let all: Map<String, Value> = (0..task.spec.containers.len()).map(of).collect();
        Value::Object(all)
    }

    /// Null while the container does not run, as from ECS.
    fn stats_of(&self, found: &Found) -> Value {
        let spec = &found.task.spec;
        let (id, name) = (
            runtime_id(spec, found.container),
            &spec.containers[found.container].name,
        );
        let usage = neargate_runtime::usage(&self.cgroup_base, &spec.id, name);
        let Ok(Some(usage)) = usage else { return Value::Null };
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let now = Sample {
            at: self.now(),
            usage,
            machine_cpu: stats::machine_cpu(&stat, rustix::param::clock_ticks_per_second()),
            network: self.network.counters(spec, found.container),
        };
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.retain(|_, sample| now.at.since(sample.at) < STALE);
        let before = samples.insert(id.clone(), now.clone());
        drop(samples);
        stats::document(&id, name, &now, before.as_ref(), self.machine)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn around(&self, task: &Known) -> Around {
        Around {
            resolver: self.network.resolver_of(&task.spec.network),
            at: self.now(),
            error_bound_millis: error_bound(),
            storage_used: None,
        }
    }
}

/// How far the machine's clock may be off; none: nobody keeps it right.
fn error_bound() -> Option<f64> {
    // SAFETY: all zeroes is a request to change nothing, and the kernel fills the rest in.
    let (state, now) = unsafe {
        let mut now: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&mut now), now)
    };
    let synchronized = state >= 0 && state != libc::TIME_ERROR && now.status & libc::STA_UNSYNC == 0;
    synchronized.then(|| now.maxerror as f64 / 1000.0)
}

/// How many connections there are of each address.
#[derive(Default)]
struct Guests(Mutex<HashMap<Ipv4Addr, usize>>);

/// One of them, until dropped.
struct Guest {
    guests: Arc<Guests>,
    peer: Ipv4Addr,
}

impl Guests {
    fn lock(&self) -> MutexGuard<'_, HashMap<Ipv4Addr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None: it has as many as it may have.
    fn admit(self: &Arc<Guests>, peer: Ipv4Addr) -> Option<Guest> {
        let mut all = self.lock();
        let held = all.entry(peer).or_default();
        if *held >= CONNECTIONS_EACH {
            return None;
        }
        *held += 1;
        let guests = self.clone();
        Some(Guest { guests, peer })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut all = self.guests.lock();
        if let Some(held) = all.get_mut(&self.peer) {
            *held -= 1;
            if *held == 0 {
                all.remove(&self.peer);
            }
        }
    }
}

/// Serves on `address` until dropped.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(address: Ipv4Addr, server: Arc<Server>) -> io::Result<()> {
    let listener = TcpListener::bind((address, neargate_netns::METADATA_PORT)).await?;
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let guests = Arc::new(Guests::default());
    loop {
        // Never closed.
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return Ok(());
        };
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let IpAddr::V4(peer) = peer.ip() else { continue };
        let Some(guest) = guests.admit(peer) else { continue };
        let server = server.clone();
        tokio::spawn(async move {
            let (_slot, _guest) = (slot, guest);
            let service = service_fn(move |request| respond(server.clone(), request, peer));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .serve_connection(TokioIo::new(stream), service);
            // A task that goes away ends its connection: nobody else is concerned.
            let _ = connection.await;
        });
    }
}

async fn respond(
    server: Arc<Server>,
    request: Request<Incoming>,
    peer: Ipv4Addr,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    if let Some(token) = agent::token(&path) {
        let (status, document) = act(&server.registry, token, peer, request).await;
        return Ok(json_response(status, &document));
    }
    let answer = match *request.method() {
        Method::GET => tokio::task::spawn_blocking(move || server.answer(&path, peer)).await,
        _ => {
            return Ok(json_response(
                StatusCode::METHOD_NOT_ALLOWED,
                &json!("only GET is served here"),
            ));
        }
    };
    Ok(match answer {
        Ok(Ok(document)) => json_response(StatusCode::OK, &document),
        Ok(Err(why)) => json_response(StatusCode::NOT_FOUND, &json!(why)),
        Err(_) => json_response(
            StatusCode::INTERNAL_SERVER_ERROR,
            &json!("the answer could not be made"),
        ),
    })
}

/// Answers what a task asks of control.
async fn act<B>(registry: &Registry, token: &str, peer: Ipv4Addr, request: Request<B>) -> agent::Answer
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let wanted = match *request.method() {
        Method::GET => None,
        Method::PUT => {
            let body = Limited::new(request.into_body(), BODY).collect();
            let body = match tokio::time::timeout(BODY_WITHIN, body).await {
                Ok(Ok(body)) => body.to_bytes(),
                // Read no further: it is no request.
                Ok(Err(_)) | Err(_) => Bytes::new(),
            };
            match Wanted::parse(&body) {
                Ok(wanted) => Some(wanted),
                Err(answer) => return answer,
            }
        }
        _ => {
            return (
                StatusCode::METHOD_NOT_ALLOWED,
                json!("only GET and PUT are served here"),
            );
        }
    };
    let Some(task) = registry.acting(token, peer) else {
        return agent::not_found();
    };
    let change = match wanted.map(|wanted| wanted.change(&task.arn)).transpose() {
        Ok(change) => change,
        Err(answer) => return answer,
    };
    agent::answer(&task.arn, registry.questions.ask(&task.id, change).await)
}

fn json_response(status: StatusCode, document: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(document.to_string())));
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::observed::{Event, Observed};
    use crate::testing;
    use neargate_link::ProtectionAnswer;

    /// A task at an address of its own, and the token of its first container.
    fn registered(own: Ipv4Addr) -> (Arc<Registry>, String, String) {
        let (registry, spec) = (Registry::default(), Arc::new(testing::task("app")));
        let mut observed = Observed::new(&spec);
        let ready = Event::NetworkReady {
            network: 0,
            address: Some(own),
            bindings: Vec::new(),
        };
        observed.apply(&spec, &ready, Timestamp(0));
        registry.observe(&spec, &observed);
        let token = registry.tokens.of(&runtime_id(&spec, 0));
        (Arc::new(registry), token, spec.arn.clone())
    }

    fn request(method: Method, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = method;
        request
    }

    #[tokio::test]
    async fn a_task_is_protected_as_it_asks_and_nobody_else_is() {
        let own = Ipv4Addr::new(172, 31, 0, 10);
        let (registry, token, arn) = registered(own);
        let control = {
            let registry = registry.clone();
            tokio::spawn(async move {
                let mut asked = Vec::new();
                for until in [None, Some(Timestamp(1000))] {
                    let request = registry.questions.next().await;
                    registry
                        .questions
                        .answered(request.number, ProtectionAnswer::Protection { until });
                    asked.push(request.change.map(|c| (c.enabled, c.expires_in_minutes)));
                }
                asked
            })
        };
        let (status, told) = act(&registry, &token, own, request(Method::GET, "")).await;
        assert_eq!((status, &told["protection"]["TaskArn"]), (StatusCode::OK, &json!(arn)));
        assert_eq!(told["protection"]["ProtectionEnabled"], false);
        let wanted = r#"{"ProtectionEnabled":true,"ExpiresInMinutes":60}"#;
        let (status, told) = act(&registry, &token, own, request(Method::PUT, wanted)).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(told["protection"]["ProtectionEnabled"], true);
        assert_eq!(control.await.unwrap(), [None, Some((true, Some(60)))]);

        let elsewhere = Ipv4Addr::new(172, 31, 0, 11);
        for (token, peer, request, expected) in [
            (&*token, elsewhere, request(Method::GET, ""), StatusCode::NOT_FOUND),
            (&*token, elsewhere, request(Method::PUT, wanted), StatusCode::NOT_FOUND),
            ("00", own, request(Method::PUT, wanted), StatusCode::NOT_FOUND),
            (&*token, own, request(Method::PUT, "{}"), StatusCode::BAD_REQUEST),
            (
                &*token,
                own,
                request(Method::PUT, vec![b' '; BODY + 1]),
                StatusCode::BAD_REQUEST,
            ),
            (
                &*token,
                own,
                request(Method::POST, wanted),
                StatusCode::METHOD_NOT_ALLOWED,
            ),
        ] {
            let (status, told) = act(&registry, token, peer, request).await;
            assert_eq!(status, expected, "{told}");
        }
    }

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let guests = Arc::new(Guests::default());
        let (one, other) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let mut held: Vec<Guest> = (0..CONNECTIONS_EACH).filter_map(|_| guests.admit(one)).collect();
        assert_eq!(held.len(), CONNECTIONS_EACH);
        assert!(guests.admit(one).is_none());
        assert!(guests.admit(other).is_some());
        held.pop();
        assert!(guests.admit(one).is_some());
        drop(held);
        assert!(guests.lock().is_empty());
    }
}
