//! One stream: decided like a request, sent to its target, answered.
//!
//! Runs within its connection's task; dropped when the client resets it, which drops what runs for it. Invariant: a request
//! is sent a second time only when not a byte of it was sent before.

use super::account::Account;
use super::asked::{self, Asked};
use super::body::{Content, ToClient, ToTarget};
use super::headers;
use super::life::Life;
use super::plain;
use super::pool::{Lease, Unsent};
use crate::answers::Answer;
use crate::arrival::Arrival;
use crate::decide::{self, Answered, Chosen, Decided, Decision};
use crate::dial::DialError;
use crate::http1::head::{FIELD_LIMIT, LINE_LIMIT};
use crate::http1::target_form;
use crate::http1::upstream::{Place, is_repeatable};
use crate::leash::Leash;
use crate::serving::{Served, Worker};
use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper::body::Body as _;
use neargate_link::gateway::ProtocolVersion;
use neargate_routing::desync::{Reason, Verdict, judge};
use neargate_routing::{Choice, Cookies, GroupCounter, RequestHead, forwarded};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

/// Kept connections that may turn out closed before a new one is made.
const STALE: usize = 3;

/// How a stream begins.
pub enum Begun {
    /// With its answer; what its client sends says nothing to anybody.
    Answered(Response<ToClient>, RecvStream),
    /// `run` finds its answer.
    Runs(Box<Account>),
}

/// Begins a stream. None: its client is not let in, and its connection is cut.
pub fn begin(
    worker: &Rc<Worker>,
    arrival: &Rc<Arrival>,
    life: &Rc<Life>,
    request: Request<RecvStream>,
) -> Option<Begun> {
    let now = Instant::now();
    let stream = life.begin(now);
    let (parts, body) = request.into_parts();
    let Some(behind) = arrival.behind(asked::host(&parts)) else {
        return Some(Begun::Answered(unheard(stream, &Answer::nobody(), &parts.method), body));
    };
    if !behind.admits(arrival.client.ip(), arrival.local.port()) {
        tracing::debug!(client = %arrival.client, "the security groups of the load balancer do not admit it");
        life.cut();
        return None;
    }
    let Some(served) = worker.now_serving().listener(&behind.listener).cloned() else {
        return Some(Begun::Answered(
            unheard(stream, &Answer::page(503), &parts.method),
            body,
        ));
    };
    life.count(&served, worker.shard);
    let asked = Rc::new(Asked {
        parts,
        source: behind.source,
    });
    let account = Account::new(worker.clone(), arrival.clone(), served, stream, (asked, body), now);
    Some(Begun::Runs(account))
}

/// Finds a stream's answer, from its target most often.
pub async fn run(mut account: Box<Account>) -> Response<ToClient> {
    let (asked, worker) = (account.asked.clone(), account.worker.clone());
    let (arrival, served) = (account.arrival.clone(), account.served.clone());
    let chosen = match decided(&mut account, &asked, (&worker, &served, &arrival)) {
        Ok(chosen) => chosen,
        Err(answer) => return own(account, &answer),
    };
    let mut host = chosen.host.unwrap_or_default();
    if host.is_empty() {
        let preserve = served.balancer.settings.preserve_host;
        decide::outgoing_host(asked.host(), served.listener.port, preserve, &mut host);
    }
    let body = ToTarget::new(&asked.parts.headers, account.upstream.clone());
    let again = is_repeatable(asked.parts.method.as_str().as_bytes()) && body.is_end_stream();
    let mut body = Some(body);
    let mut choice = chosen.choice;
    let (mut stale, mut tried_another) = (0, false);
    loop {
        let place = Place {
            target: choice.target.address(),
            source: asked.source,
            tls: decide::is_tls(&choice),
        };
        let told = match told(&mut account, &asked, &choice, (&place, &host, chosen.url.as_deref())) {
            Ok(told) => told,
            Err(answer) => return own(account, &answer),
        };
        account.chosen(&choice);
        let http2 = matches!(told, Told::Many(..));
        let kept = (stale < STALE).then(|| Lease::kept(place, http2, !again)).flatten();
        let connected = match kept {
            Some(kept) => Ok(kept),
            // In a box: a stream's future would be many times as large.
            None => {
                let new = Box::pin(Lease::new(place, http2)).await;
                account.upstream.touch();
                new
            }
        };
        let lease = match connected {
            Ok(lease) => lease,
            Err(error) => {
                tracing::debug!(%error, target = %place.target, "cannot connect");
                let counter = GroupCounter::TargetConnectionErrorCount;
                choice.group.metrics().add(worker.shard, counter, 1);
                // Nothing has been sent: another target may have it, once.
                let headers = &asked.parts.headers;
                let now = account.came();
                let another = (!tried_another)
                    .then(|| decide::choose(&worker, &served, &arrival, chosen.forward, headers, now).ok())
                    .flatten()
                    .filter(|other| other.target.address() != place.target);
                if let Some(another) = another {
                    (choice, tried_another) = (another, true);
                    continue;
                }
                let status = if matches!(error, DialError::Timeout) { 504 } else { 502 };
                return own(account, &Answer::page(status));
            }
        };
        let Some(taken) = body.take() else {
            return own(account, &Answer::page(502));
        };
        let answered = {
            let mut asking = Asking::new(&asked, lease, told, taken, again);
            let mut leash = Leash::new(&worker, &served.balancer, choice.group, &choice.target);
            let mut looks = account.stream.looks();
            poll_fn(|cx| {
                if let Poll::Ready(answered) = asking.poll(cx) {
                    return Poll::Ready(Some(answered));
                }
                if looks.is_due() && account.upstream.silent() >= served.balancer.settings.idle_timeout {
                    return Poll::Ready(None);
                }
                match leash.is_cut() {
                    true => Poll::Ready(Some(Err(Unsent::Broken("the target is gone".into())))),
                    false => Poll::Pending,
                }
            })
            .await
        };
        match answered {
            Some(Ok(response)) => return pass(account, response, choice),
            Some(Err(Unsent::Returned(returned))) if stale < STALE => {
                stale += 1;
                body = Some(returned);
            }
            Some(Err(Unsent::Broken(error))) => {
                tracing::debug!(%error, target = %place.target, "no response");
                return own(account, &Answer::page(502));
            }
            Some(Err(Unsent::Returned(_))) => return own(account, &Answer::page(502)),
            None => return own(account, &Answer::page(504)),
        }
    }
}

/// Where the request goes, or the balancer's own answer.
fn decided<'r>(
    account: &mut Account,
    asked: &'r Asked,
    (worker, served, arrival): (&Worker, &'r Served, &'r Arrival),
) -> Result<Chosen<'r>, Answer> {
    // There is no WebSocket over HTTP/2, and no proxying.
    if asked.parts.method == Method::CONNECT {
        return Err(Answer::page(400));
    }
    if asked.parts.method == Method::TRACE {
        return Err(Answer::page(405));
    }
    // What an HTTP/1.1 target could read in two ways is judged as if it had come so.
    account.class = asked.reasons().worst();
    let refused = judge(served.balancer.settings.desync, account.class.0) == Verdict::Refuse;
    // Two lengths are refused in every mode, as of HTTP/1.1.
    let doubled = account.class.1 == Some(Reason::DuplicateContentLength);
    let too_long =
        |(name, value): (&http::HeaderName, &http::HeaderValue)| name.as_str().len() + value.len() > FIELD_LIMIT;
    let too_long = asked.parts.headers.iter().any(too_long);
    if refused || doubled || too_long || asked.host().is_empty() || !target_form::is_host(asked.host()) {
        return Err(Answer::page(400));
    }
    let line = asked.parts.method.as_str().len() + asked.path_and_query().len() + "  HTTP/1.1".len();
    if line > LINE_LIMIT {
        return Err(Answer::page(414));
    }
    let now = account.came();
    let head = RequestHead {
        method: asked.parts.method.as_str().as_bytes(),
        path: asked.parts.uri.path().as_bytes(),
        query: asked.parts.uri.query().map(str::as_bytes),
        host: asked.host(),
        headers: &asked.parts.headers,
        source: arrival.client.ip(),
        https: arrival.tls.is_some(),
        port: served.listener.port,
    };
    let Decided { rule, decision } = decide::decide(worker, served, arrival, &head, true, now);
    let rules = served.listener.rules();
    account.rule = rules.iter().position(|other| std::ptr::eq(other, rule));
    match decision {
        Decision::Forward(chosen) => {
            account.action = Some("forward");
            account.host_after.clone_from(&chosen.host);
            account.url_after.clone_from(&chosen.url);
            Ok(chosen)
        }
        Decision::Answer(Answered { answer, action, group }) => {
            account.action = Some(action);
            account.idle_group = group.cloned();
            account.redirect.clone_from(&answer.location);
            let existing = asked.parts.headers.get(headers::TRACE_ID);
            let random = [worker.random.draw(), worker.random.draw()];
            let existing = existing.map(http::HeaderValue::as_bytes);
            forwarded::trace_id(existing, now, random, &mut account.trace);
            Err(answer)
        }
    }
}

/// What a target is told: the head as it is sent over HTTP/1.1, or URL and headers.
enum Told {
    One(Vec<u8>),
    Many(Box<(Uri, HeaderMap)>),
}

fn told(
    account: &mut Account,
    asked: &Asked,
    choice: &Choice<'_>,
    (place, host, url): (&Place, &Vec<u8>, Option<&[u8]>),
) -> Result<Told, Answer> {
    let http2 = choice.group.version != ProtocolVersion::Http1;
    let random = &account.worker.random;
    let rewritten = headers::ToTarget {
        headers: &asked.parts.headers,
        served: &account.served,
        arrival: &account.arrival,
        now: account.came(),
        random: [random.draw(), random.draw()],
        host: (!http2).then_some(host),
    };
    let uri = asked.uri(url, http2.then_some((place, host)));
    let uri = uri.ok_or_else(|| Answer::page(500))?;
    let told = match http2 {
        true => rewritten
            .make(&mut account.trace)
            .map(|headers| Told::Many(Box::new((uri, headers)))),
        false => asked.head(&uri, &rewritten, &mut account.trace).map(Told::One),
    };
    told.map_err(|_| Answer::page(463))
}

/// A request on its way, and the head of its response.
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one")]
enum Asking {
    One(plain::Asking),
    Many(Pin<Box<dyn Future<Output = Result<Response<Content>, Unsent>>>>),
    /// The group's version is another by now.
    Never,
}

impl Asking {
    fn new(asked: &Asked, lease: Lease, told: Told, body: ToTarget, again: bool) -> Asking {
        match (lease, told) {
            (Lease::One(connection), Told::One(mut head)) => {
                let chunked = asked.put_framing(&body, &mut head);
                let asked = plain::Asked {
                    head,
                    method: asked.parts.method.clone(),
                    chunked,
                    again,
                };
                Asking::One(connection.ask(asked, body))
            }
            (Lease::Many(mut running), Told::Many(told)) => {
                let request = asked.outgoing(told.0, told.1, body);
                Asking::Many(Box::pin(async move {
                    let response = running.send(request).await?;
                    Ok(response.map(|incoming| Content::Many(incoming, Some(running))))
                }))
            }
            _ => Asking::Never,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<Content>, Unsent>> {
        match self {
            Asking::One(asking) => asking
                .poll(cx)
                .map_ok(|response| response.map(|answer| Content::One(Box::new(answer)))),
            Asking::Many(asking) => asking.as_mut().poll(cx),
            Asking::Never => Poll::Ready(Err(Unsent::Broken("the target's protocol changed".into()))),
        }
    }
}

/// Passes a target's response on.
fn pass(mut account: Box<Account>, response: Response<Content>, choice: Choice<'_>) -> Response<ToClient> {
    let now = Instant::now();
    account.answered = Some(now);
    account.upstream.touch_at(now);
    if account.upstream.sent.get().is_none() {
        account.upstream.sent.set(Some(now));
    }
    let (mut parts, content) = response.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return own(account, &Answer::page(502));
    }
    account.target_status = Some(parts.status.as_u16());
    account.status = Some(parts.status.as_u16());
    account.stream.answered();
    let mut cookies = Vec::new();
    if choice.sets_cookies() {
        let with = Cookies {
            key: &account.worker.cookies,
            now: crate::serving::now(),
            random: account.worker.random.draw(),
            https: account.arrival.tls.is_some(),
        };
        choice.set_cookies(&with, &parts.headers, &mut |cookie| {
            cookies.extend(http::HeaderValue::from_str(cookie));
        });
    }
    headers::to_client(&mut parts.headers, &account.served);
    for cookie in cookies {
        parts.headers.append(http::header::SET_COOKIE, cookie);
    }
    parts.version = http::Version::HTTP_2;
    parts.extensions = http::Extensions::new();
    let limit = account.served.balancer.settings.idle_timeout;
    account.target = Some(choice.target);
    Response::from_parts(parts, ToClient::target(content, account, limit))
}

/// An answer of the balancer's own.
fn own(mut account: Box<Account>, answer: &Answer) -> Response<ToClient> {
    account.status = Some(answer.status);
    account.stream.answered();
    let headers = headers::own(answer, Some(&account.served), account.grpc);
    let bodiless = account.grpc || account.asked.parts.method == Method::HEAD || answer.body.is_empty();
    let left = (!bodiless).then(|| Bytes::from(answer.body.clone().into_owned()));
    dressed(
        answer.status,
        headers,
        ToClient::Own {
            left,
            account: Some(account),
        },
    )
}

/// An answer for which no balancer stands.
fn unheard(mut stream: super::life::Stream, answer: &Answer, method: &Method) -> Response<ToClient> {
    stream.answered();
    let left = (method != Method::HEAD).then(|| Bytes::from(answer.body.clone().into_owned()));
    dressed(
        answer.status,
        headers::own(answer, None, false),
        ToClient::Own { left, account: None },
    )
}

fn dressed(status: u16, headers: HeaderMap, body: ToClient) -> Response<ToClient> {
    let mut response = Response::new(body);
    // 460 and the like are statuses too; what is none cannot be configured.
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = headers;
    response
}

impl Account {
    /// A target was chosen, in place of the one before.
    fn chosen(&mut self, choice: &Choice<'_>) {
        self.group = Some(choice.group.clone());
        self.address = Some(choice.target.address());
        self.fail_open = choice.fail_open;
    }
}
