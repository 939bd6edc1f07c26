use super::check::{self, Check, Speech};
use super::*;
use neargate_core::Timestamp;
use neargate_link::gateway::{
    Action, Balancer, BalancerKind, GatewayTable, HealthCheckSpec, Listener, Protocol, ProtocolVersion, Rule,
    TargetGroup, TargetSpec, TargetState,
};
use neargate_routing::Finding;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A server that reads something and answers every connection with `answer`, then closes it.
async fn scripted(answer: &'static [u8]) -> SocketAddr {
    counted(answer).await.0
}

async fn counted(answer: &'static [u8]) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer).await;
            });
        }
    });
    (at, asked)
}

/// Takes connections and never says anything.
async fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    at
}

fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

fn asking(target: SocketAddr, speech: Speech) -> Check {
    Check {
        target,
        source: None,
        speech,
        tls: false,
        path: "/health".to_owned(),
        timeout: Duration::from_millis(500),
    }
}

#[tokio::test]
async fn each_way_to_answer_is_found_for_what_it_is() {
    let http = |target| async move { check::run(&asking(target, Speech::Http1)).await };
    let ok = scripted(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(http(ok).await, Some(Finding::Http(204)));
    let early = scripted(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.0 500 Oh\r\n\r\n").await;
    assert_eq!(http(early).await, Some(Finding::Http(500)));
    assert_eq!(
        http(scripted(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").await).await,
        Some(Finding::Failed)
    );
    assert_eq!(
        http(scripted(b"HTTP/1.1 200 OK\r\nhalf").await).await,
        Some(Finding::Failed)
    );
    assert_eq!(http(scripted(b"").await).await, Some(Finding::Failed));
    assert_eq!(http(nobody()).await, Some(Finding::Failed));
    assert_eq!(http(silent().await).await, Some(Finding::Timeout));
    let tcp = |target| async move { check::run(&asking(target, Speech::Tcp)).await };
    assert_eq!(tcp(silent().await).await, Some(Finding::Connected));
    assert_eq!(tcp(nobody()).await, Some(Finding::Failed));
}

#[tokio::test]
async fn an_address_of_the_balancers_that_is_not_there_yet_judges_nobody() {
    let check = Check {
        source: Some([192, 0, 2, 7].into()),
        target: "192.0.2.8:80".parse().unwrap(),
        ..asking(nobody(), Speech::Http1)
    };
    assert_eq!(check::run(&check).await, None);
}

/// Serves one HTTP/2 connection after the other, answering by `answer`.
async fn speaks_http2(
    answer: impl Fn(h2::server::SendResponse<bytes::Bytes>) + Clone + Send + 'static,
) -> (SocketAddr, mpsc::UnboundedReceiver<http::Request<h2::RecvStream>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (saw, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, respond))) = connection.accept().await {
                let _ = saw.send(request);
                answer(respond);
            }
        }
    });
    (at, seen)
}

#[tokio::test]
async fn http2_and_grpc_targets_are_asked_in_their_own_tongue() {
    let status = |code: u16| http::Response::builder().status(code);
    let (at, mut seen) = speaks_http2(move |mut respond| {
        respond.send_response(status(302).body(()).unwrap(), true).unwrap();
    })
    .await;
    assert_eq!(check::run(&asking(at, Speech::Http2)).await, Some(Finding::Http(302)));
    let request = seen.recv().await.unwrap();
    assert_eq!((request.method().as_str(), request.uri().path()), ("GET", "/health"));

    let (at, mut seen) = speaks_http2(move |mut respond| {
        let mut body = respond.send_response(status(200).body(()).unwrap(), false).unwrap();
        body.send_data(bytes::Bytes::from_static(&[0; 5]), false).unwrap();
        let trailers = [("grpc-status".parse().unwrap(), "0".parse().unwrap())];
        body.send_trailers(trailers.into_iter().collect()).unwrap();
    })
    .await;
    assert_eq!(check::run(&asking(at, Speech::Grpc)).await, Some(Finding::Grpc(0)));
    let request = seen.recv().await.unwrap();
    assert_eq!(request.headers()["content-type"], "application/grpc");

    let (at, _seen) = speaks_http2(move |mut respond| {
        let only = status(200).header("grpc-status", "12").body(()).unwrap();
        respond.send_response(only, true).unwrap();
    })
    .await;
    assert_eq!(check::run(&asking(at, Speech::Grpc)).await, Some(Finding::Grpc(12)));
    let (at, _seen) = speaks_http2(move |mut respond| {
        respond.send_response(status(404).body(()).unwrap(), true).unwrap();
    })
    .await;
    assert_eq!(check::run(&asking(at, Speech::Grpc)).await, Some(Finding::Failed));
    let http1 = scripted(b"HTTP/1.1 200 OK\r\n\r\n").await;
    assert_eq!(check::run(&asking(http1, Speech::Grpc)).await, Some(Finding::Failed));
}

#[tokio::test]
async fn a_certificate_that_nobody_would_trust_is_good_enough() {
    let made = rcgen::generate_simple_self_signed(["elsewhere.example".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let settings = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(settings));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let check = Check {
        tls: true,
        timeout: Duration::from_secs(5),
        ..asking(at, Speech::Http1)
    };
    assert_eq!(check::run(&check).await, Some(Finding::Http(200)));
    let plain = scripted(b"HTTP/1.1 200 OK\r\n\r\n").await;
    let check = Check { target: plain, ..check };
    assert_eq!(check::run(&check).await, Some(Finding::Failed));
}

struct Table {
    /// Id, address, and whether it drains.
    targets: Vec<(String, SocketAddr, bool)>,
    spec: HealthCheckSpec,
    used: bool,
}

impl Table {
    fn of(targets: &[SocketAddr]) -> Table {
        Table {
            targets: targets.iter().map(|at| (at.ip().to_string(), *at, false)).collect(),
            spec: HealthCheckSpec {
                enabled: true,
                protocol: Protocol::Http,
                port: None,
                path: "/health".to_owned(),
                interval: 5,
                timeout: 2,
                healthy_threshold: 5,
                unhealthy_threshold: 2,
                matcher: "200".to_owned(),
            },
            used: true,
        }
    }

    fn routes(&self, previous: Option<&Routes>) -> Arc<Routes> {
        let targets = self.targets.iter().map(|(id, at, draining)| TargetSpec {
            id: id.clone(),
            port: at.port(),
            address: at.ip(),
            zone: None,
            registered_at: Timestamp(1),
            draining_until: draining.then_some(Timestamp(i64::MAX)),
        });
        let group = TargetGroup {
            arn: "group".to_owned(),
            id: "targetgroup/group/1".to_owned(),
            protocol: Protocol::Http,
            protocol_version: ProtocolVersion::Http1,
            health_check: self.spec.clone(),
            attributes: BTreeMap::new(),
            targets: targets.collect(),
        };
        let rule = Rule {
            arn: "rule".to_owned(),
            priority: None,
            conditions: Vec::new(),
            transforms: Vec::new(),
            action: Action::Forward {
                groups: vec![("group".to_owned(), 1)],
                stickiness: None,
            },
        };
        let listener = Listener {
            arn: "listener".to_owned(),
            port: 80,
            protocol: Protocol::Http,
            ssl_policy: None,
            certificates: Vec::new(),
            alpn_policy: None,
            attributes: BTreeMap::new(),
            rules: vec![rule],
        };
        let balancer = Balancer {
            arn: "balancer".to_owned(),
            id: "app/balancer/1".to_owned(),
            kind: BalancerKind::Application,
            dns_name: "balancer.elb.localhost".to_owned(),
            on_loopback: true,
            addresses: Vec::new(),
            ingress: None,
            attributes: BTreeMap::new(),
            listeners: vec![listener],
        };
        let table = GatewayTable {
            balancers: if self.used { vec![balancer] } else { Vec::new() },
            target_groups: BTreeMap::from([("group".to_owned(), group)]),
            certificates: BTreeMap::new(),
        };
        Arc::new(Routes::compile(&table, previous))
    }
}

fn start(table: &Table) -> (watch::Sender<Arc<Routes>>, mpsc::Receiver<TargetReport>) {
    let (tell, routes) = watch::channel(table.routes(None));
    let (reports, reported) = mpsc::channel(100);
    tokio::spawn(run(routes, reports));
    (tell, reported)
}

async fn next(reports: &mut mpsc::Receiver<TargetReport>) -> TargetReport {
    let waited = tokio::time::timeout(Duration::from_secs(20), reports.recv()).await;
    waited.expect("a report").expect("probes run")
}

/// The first check did not pass, and others follow.
async fn initial(reports: &mut mpsc::Receiver<TargetReport>) {
    let report = next(reports).await;
    assert_eq!(report.state, TargetState::Initial);
    assert_eq!(report.reason.as_deref(), Some("Elb.InitialHealthChecking"));
}

/// Nothing is reported in the time of some looks.
async fn nothing(reports: &mut mpsc::Receiver<TargetReport>, why: &str) {
    let reported = tokio::time::timeout(3 * LOOK, reports.recv()).await;
    assert!(reported.is_err(), "{why}: {reported:?}");
}

#[tokio::test]
async fn a_target_is_healthy_soon_after_it_answers_long_before_an_interval() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut table = Table::of(&[listener.local_addr().unwrap()]);
    // Longer than any test waits.
    table.spec.interval = 300;
    let (_routes, mut reports) = start(&table);
    tokio::spawn(async move {
        let mut asked = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            asked += 1;
            // It is not up yet when the first, quick checks come.
            if asked > 3 {
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            }
        }
    });
    initial(&mut reports).await;
    assert_eq!(next(&mut reports).await.state, TargetState::Healthy);
}

#[tokio::test]
async fn what_fails_is_unhealthy_after_the_threshold_and_says_why() {
    let mut table = Table::of(&[scripted(b"HTTP/1.1 500 Oh\r\n\r\n").await]);
    table.spec.interval = 1;
    table.spec.unhealthy_threshold = 2;
    let began = Instant::now();
    let (_routes, mut reports) = start(&table);
    initial(&mut reports).await;
    let report = next(&mut reports).await;
    assert_eq!(report.state, TargetState::Unhealthy);
    assert_eq!(report.reason.as_deref(), Some("Target.ResponseCodeMismatch"));
    assert_eq!(
        report.description.as_deref(),
        Some("Health checks failed with these codes: [500]")
    );
    assert!(
        began.elapsed() >= Duration::from_millis(500),
        "quick checks count once an interval"
    );
}

#[tokio::test]
async fn groups_that_no_listener_uses_are_not_checked_until_one_does() {
    let (at, asked) = counted(b"HTTP/1.1 200 OK\r\n\r\n").await;
    let mut table = Table::of(&[at]);
    table.used = false;
    let (routes, mut reports) = start(&table);
    tokio::task::yield_now().await;
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    table.used = true;
    routes.send_replace(table.routes(None));
    assert_eq!(next(&mut reports).await.state, TargetState::Healthy);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_draining_target_is_drained_when_its_last_request_ends() {
    let mut table = Table::of(&[scripted(b"HTTP/1.1 200 OK\r\n\r\n").await]);
    let (routes, mut reports) = start(&table);
    assert_eq!(next(&mut reports).await.state, TargetState::Healthy);
    let held = neargate_routing::Outstanding::new(routes.borrow().group("group").unwrap().targets()[0].clone());
    table.targets[0].2 = true;
    let draining = table.routes(Some(&routes.borrow().clone()));
    routes.send_replace(draining);
    nothing(&mut reports, "a request is left").await;
    drop(held);
    assert_eq!(next(&mut reports).await.state, TargetState::Drained);
    nothing(&mut reports, "said once").await;
}

#[tokio::test]
async fn without_health_checks_a_target_is_unavailable_and_not_asked() {
    let (at, asked) = counted(b"").await;
    let mut table = Table::of(&[at]);
    table.spec.enabled = false;
    let (_routes, mut reports) = start(&table);
    assert_eq!(next(&mut reports).await.state, TargetState::Unavailable);
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn changed_settings_are_followed_at_once() {
    let (at, asked) = counted(b"HTTP/1.1 200 OK\r\n\r\n").await;
    let mut table = Table::of(&[at]);
    table.spec.interval = 300;
    let (routes, mut reports) = start(&table);
    assert_eq!(next(&mut reports).await.state, TargetState::Healthy);
    table.spec.interval = 1;
    table.spec.matcher = "204".to_owned();
    let changed = table.routes(Some(&routes.borrow().clone()));
    routes.send_replace(changed);
    let report = next(&mut reports).await;
    assert_eq!(report.state, TargetState::Unhealthy);
    assert!(asked.load(Ordering::SeqCst) >= 3);
}

#[tokio::test]
async fn two_thousand_targets_are_all_checked_though_some_never_answer() {
    let (at, asked) = counted(b"HTTP/1.1 200 OK\r\n\r\n").await;
    let silent = silent().await;
    let mut table = Table::of(&[]);
    table.targets = (0..2_000).map(|n| (format!("i-{n}"), at, false)).collect();
    table
        .targets
        .extend((0..100).map(|n| (format!("i-silent-{n}"), silent, false)));
    let (_routes, mut reports) = start(&table);
    for _ in 0..2_000 {
        assert_eq!(next(&mut reports).await.state, TargetState::Healthy);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2_000, "once each");
}
