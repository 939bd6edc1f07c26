//! One request's turn on a client's connection: what `decide` says of it, carried out.
//!
//! Called by `connection` once a head has been parsed. What it answers says how the connection goes on.

use super::body::Pump;
use super::exchange::{Ended, Exchange, Marks, Trouble};
use super::head::{Framing, Head, Known, Parser};
use super::patience::Patience;
use super::rewrite::{self, Fields};
use super::target_form;
use super::upstream::{self, Place, Upstream};
use crate::answers::Answer;
use crate::arrival::{Arrival, without_port};
use crate::buffers;
use crate::decide::{self, Answered, Chosen, Decision};
use crate::dial::DialError;
use crate::leash::Leash;
use crate::nlb::tunnel::Wire;
use crate::record::Record;
use crate::serving::{Served, Worker};
use neargate_routing::desync::{Reason, Reasons, Verdict, judge};
use neargate_routing::{Cookies, Group, GroupCounter, Headers as _, Outstanding, RequestHead, forwarded};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;

/// Most bytes of a body that are read for nothing, so that the connection can go on.
const DISCARD: u64 = 1024 * 1024;

/// What a turn looks at.
#[derive(Clone, Copy)]
pub struct Given<'c> {
    pub head: &'c Head,
    pub buffer: &'c [u8],
    pub fields: &'c Fields<'c>,
    pub arrival: &'c Arrival,
    pub worker: &'c Worker,
    pub served: &'c Served,
    pub source: Option<Ipv4Addr>,
    /// The connection ends after this request, whatever it asks.
    pub last: bool,
}

/// A request and what it takes to answer it.
pub struct Turn<'g, 'c, 't, C> {
    pub given: Given<'g>,
    pub client: &'c mut C,
    /// What was read behind the head.
    pub carry: &'c mut Vec<u8>,
    pub patience: &'c mut Patience<'t>,
    /// For the response.
    pub parser: &'c mut Parser,
    pub answer: &'c mut Vec<u8>,
}

/// How the client's connection goes on.
pub enum After<'c> {
    Next,
    /// Close, after what was sent has been read.
    Close,
    /// Close at once: nothing that could be said would be understood.
    Cut,
    Tunnel(Box<Upgraded<'c>>),
}

/// A connection that is no HTTP any more. What came early has been passed on.
pub struct Upgraded<'c> {
    pub target: Upstream,
    pub group: Arc<Group>,
    /// Keeps the target busy.
    pub outstanding: Outstanding,
    pub idle: Duration,
    /// To be finished at its end.
    pub record: Record<'c>,
}

/// What a step is about.
struct Step<'r> {
    given: Given<'r>,
    fields: &'r Fields<'r>,
    close: bool,
}

impl<'g, C: Wire> Turn<'g, '_, '_, C> {
    /// Answers the request.
    pub async fn run(mut self) -> After<'g> {
        let given = self.given;
        let mut record = Record::new(if given.head.minor == 1 { "HTTP/1.1" } else { "HTTP/1.0" });
        record.received = given.head.length as u64;
        record.method = given.head.method.of(given.buffer);
        record.invalid_names = given.head.invalid_name;
        record.user_agent = given.head.first(given.buffer, Known::UserAgent);
        let mut step = Step {
            given,
            fields: given.fields,
            close: given.last || !given.head.persistent(),
        };
        let after = self.step(&mut step, &mut record).await;
        if !matches!(after, After::Tunnel(_)) {
            record.finish(Instant::now(), given.worker, given.served, given.arrival);
        }
        after
    }

    async fn step<'r>(&mut self, step: &mut Step<'r>, record: &mut Record<'r>) -> After<'r> {
        let Given {
            head,
            buffer,
            arrival,
            served,
            worker,
            ..
        } = step.given;
        if record.method == b"TRACE" {
            return self.own(step, record, &Answer::page(405), false).await;
        }
        let target = target_form::parse(record.method, head.target.of(buffer));
        let written = head.host.map_or(&b""[..], |host| host.of(buffer));
        let (Some(target), true) = (target, target_form::is_host(written)) else {
            return self.own(step, record, &Answer::last(400), false).await;
        };
        let host = target.host.unwrap_or(written);
        record.host = without_port(host);
        record.path_and_query = target.whole;
        let reasons = reasons(head, record.method);
        record.class = reasons.worst();
        match judge(served.balancer.settings.desync, record.class.0) {
            Verdict::Route => {}
            Verdict::RouteAndClose => step.close = true,
            Verdict::Refuse => return self.own(step, record, &Answer::last(400), false).await,
        }
        let ask = RequestHead {
            method: record.method,
            path: target.path,
            query: target.query,
            host,
            headers: step.fields,
            source: arrival.client.ip(),
            https: arrival.tls.is_some(),
            port: served.listener.port,
        };
        let decided = decide::decide(worker, served, arrival, &ask, false, record.at());
        record.rule = Some(decided.rule);
        match decided.decision {
            Decision::Answer(Answered { answer, action, group }) => {
                record.action = Some(action);
                record.idle_group = group.map(|group| &**group);
                record.redirect.clone_from(&answer.location);
                self.own(step, record, &answer, false).await
            }
            Decision::Forward(chosen) => {
                record.action = Some("forward");
                record.host_after.clone_from(&chosen.host);
                record.url_after.clone_from(&chosen.url);
                self.forward(step, record, chosen, host, target.whole).await
            }
        }
    }

    async fn forward<'r>(
        &mut self,
        step: &Step<'r>,
        record: &mut Record<'r>,
        chosen: Chosen<'r>,
        host: &'r [u8],
        url: &'r [u8],
    ) -> After<'r> {
        let Given {
            worker,
            served,
            arrival,
            head,
            ..
        } = step.given;
        let settings = &served.balancer.settings;
        let mut out_host = Vec::new();
        match &chosen.host {
            Some(rewritten) => out_host.extend_from_slice(rewritten),
            None => decide::outgoing_host(host, served.listener.port, settings.preserve_host, &mut out_host),
        }
        let upgrade = head.upgrade && head.minor == 1 && asks_for_websocket(head, step.given.buffer);
        let request = rewrite::Request {
            fields: step.fields,
            served,
            arrival,
            now: record.at(),
            random: [worker.random.draw(), worker.random.draw()],
            url: chosen.url.as_deref().unwrap_or(url),
            host: &out_host,
            upgrade,
        };
        // It may be sent a second time.
        let again = upstream::is_repeatable(record.method) && head.request_framing() == Framing::None;
        if head.expects && head.minor == 1 && head.request_framing() != Framing::None && self.carry.is_empty() {
            let told = async {
                self.client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
                self.client.flush().await
            };
            // Whether the client is still there is seen when its body is read.
            let _ = tokio::time::timeout(settings.idle_timeout, told).await;
        }
        let mut choice = chosen.choice;
        let mut fresh = false;
        let mut tried_another = false;
        loop {
            let place = Place {
                target: choice.target.address(),
                source: step.given.source,
                tls: decide::is_tls(&choice),
            };
            let mut out = buffers::lend();
            record.trace.clear();
            if request.write(&mut out, &mut record.trace).is_err() {
                return self.own(step, record, &Answer::page(463), false).await;
            }
            record.group = Some(choice.group);
            record.fail_open = choice.fail_open;
            record.target = Some(place.target);
            let kept = (!fresh).then(|| upstream::kept(&place, !again)).flatten();
            let reused = kept.is_some();
            let connected = match kept {
                Some(kept) => Ok(kept),
                // In a box, as it is rare and would be most of what a request takes.
                None => Box::pin(upstream::connect_in_time(&place)).await,
            };
            let mut target = match connected {
                Ok(target) => target,
                Err(error) => {
                    choice
                        .group
                        .metrics()
                        .add(worker.shard, GroupCounter::TargetConnectionErrorCount, 1);
                    tracing::debug!(%error, target = %place.target, "cannot connect");
                    // Nothing has been sent: another target may have it, once.
                    let another = (!tried_another)
                        .then(|| decide::choose(worker, served, arrival, chosen.forward, step.fields, record.at()).ok())
                        .flatten()
                        .filter(|other| other.target.address() != place.target);
                    if let Some(another) = another {
                        (choice, tried_another) = (another, true);
                        continue;
                    }
                    let status = if matches!(error, DialError::Timeout) { 504 } else { 502 };
                    return self.own(step, record, &Answer::page(status), false).await;
                }
            };
            self.patience.wait(settings.idle_timeout);
            let mut up = Pump::new(head.request_framing(), out, false);
            let mut marks = Marks::default();
            let mut exchange = Exchange {
                leash: Leash::new(worker, &served.balancer, choice.group, &choice.target),
                client: &mut *self.client,
                carry: &mut *self.carry,
                patience: &mut *self.patience,
                parser: &mut *self.parser,
                answer: &mut *self.answer,
                head,
                buffer: step.given.buffer,
                marks: &mut marks,
            };
            let asked = exchange.ask(&mut target, &mut up, reused).await;
            if asked == Err(Trouble::Stale) && again {
                fresh = true;
                continue;
            }
            let done = match asked {
                Ok(()) if exchange.parser.head.status == 101 => {
                    if !upgrade {
                        Err(Trouble::Garbage)
                    } else {
                        record.target_status = Some(101);
                        record.status = Some(101);
                        record.upgraded = true;
                        let switched = exchange.switch(&mut target, served).await;
                        record.sent = marks.sent.or(marks.answered);
                        record.answered = marks.answered;
                        record.received += up.body;
                        record.returned += marks.returned;
                        return match switched {
                            Ok(()) => After::Tunnel(Box::new(Upgraded {
                                target,
                                group: choice.group.clone(),
                                outstanding: choice.target,
                                idle: settings.idle_timeout,
                                record: std::mem::replace(record, Record::new("-")),
                            })),
                            Err(_) => After::Cut,
                        };
                    }
                }
                Ok(()) => {
                    let status = exchange.parser.head.status;
                    record.target_status = Some(status);
                    record.status = Some(status);
                    let with = Cookies {
                        key: &worker.cookies,
                        now: record.at(),
                        random: worker.random.draw(),
                        https: arrival.tls.is_some(),
                    };
                    let cookies = choice.sets_cookies().then_some((&choice, with));
                    let close = step.close || worker.is_ending() || !arrival.door.is_open();
                    exchange.answer(&mut target, &mut up, served, cookies, close).await
                }
                Err(trouble) => Err(trouble),
            };
            record.sent = marks.sent.or(marks.answered);
            record.answered = marks.answered;
            record.received += up.body;
            record.returned += marks.returned;
            return match done {
                Ok(ended) => self.ended(ended, place, target),
                Err(trouble) => {
                    drop(target);
                    self.failed(step, record, trouble, up.is_read()).await
                }
            };
        }
    }

    fn ended<'r>(&mut self, ended: Ended, place: Place, target: Upstream) -> After<'r> {
        if ended.reusable {
            upstream::keep(place, target);
        }
        match ended.close || !ended.request_read {
            true => After::Close,
            false => After::Next,
        }
    }

    async fn failed<'r>(
        &mut self,
        step: &Step<'r>,
        record: &mut Record<'r>,
        trouble: Trouble,
        read: bool,
    ) -> After<'r> {
        let answer = match trouble {
            Trouble::Client => {
                if record.status.is_none() {
                    record.status = Some(460);
                }
                return After::Cut;
            }
            Trouble::Cut => return After::Cut,
            Trouble::BadBody => Answer::last(400),
            Trouble::Timeout {
                waiting_for_client: true,
            } => Answer::last(408),
            Trouble::Timeout { .. } => Answer::page(504),
            Trouble::Stale | Trouble::Closed | Trouble::Garbage => Answer::page(502),
        };
        self.own(step, record, &answer, read).await
    }

    /// Gives an answer of the balancer's own. `read`: of the request nothing is left to read.
    async fn own<'r>(&mut self, step: &Step<'r>, record: &mut Record<'r>, answer: &Answer, read: bool) -> After<'r> {
        let Given {
            head,
            worker,
            served,
            arrival,
            ..
        } = step.given;
        record.status = Some(answer.status);
        if record.trace.is_empty() {
            let (existing, random) = (
                head.first(step.given.buffer, Known::TraceId),
                [worker.random.draw(), worker.random.draw()],
            );
            forwarded::trace_id(existing, record.at(), random, &mut record.trace);
        }
        let mut body = Pump::new(
            if read { Framing::None } else { head.request_framing() },
            Vec::new(),
            false,
        );
        let mut waits = false;
        step.fields.visit("expect", &mut |_| waits = true);
        let close =
            step.close || answer.close || worker.is_ending() || !arrival.door.is_open() || (waits && !body.is_read());
        let mut out = buffers::lend();
        let old_client = head.minor == 0;
        rewrite::own_answer(
            answer,
            Some(served),
            record.method == b"HEAD",
            close,
            old_client,
            &mut out,
        );
        self.patience.wait(served.balancer.settings.idle_timeout);
        let sent = {
            let write = async {
                self.client.write_all(&out).await?;
                self.client.flush().await
            };
            tokio::time::timeout(served.balancer.settings.idle_timeout, write).await
        };
        record.returned += out.len() as u64;
        buffers::give_back(out);
        if !matches!(sent, Ok(Ok(()))) {
            return After::Cut;
        }
        if close {
            return After::Close;
        }
        match self.discard(&mut body).await {
            true => After::Next,
            false => After::Close,
        }
    }

    /// Reads the rest of a request for nothing; false when there is too much of it.
    async fn discard(&mut self, body: &mut Pump) -> bool {
        let mut nowhere = tokio::io::sink();
        std::future::poll_fn(|cx| {
            let before = body.passed;
            let done = body.poll(cx, self.client, self.carry, &mut nowhere);
            if body.passed != before {
                self.patience.touch();
            }
            match done {
                Poll::Ready(done) => Poll::Ready(done.is_ok()),
                _ if body.passed > DISCARD => Poll::Ready(false),
                _ => self.patience.poll(cx).map(|()| false),
            }
        })
        .await
    }
}

fn reasons(head: &Head, method: &[u8]) -> Reasons {
    let mut reasons = Reasons::new();
    let (length, chunked) = head.has_framing();
    if matches!(method, b"GET" | b"HEAD") {
        if length {
            reasons.insert(match head.request_framing() {
                Framing::None => Reason::GetHeadZeroContentLength,
                _ => Reason::UndefinedContentLengthSemantics,
            });
        }
        if chunked {
            reasons.insert(Reason::UndefinedTransferEncodingSemantics);
        }
    }
    if head.non_ascii {
        reasons.insert(Reason::NonCompliantHeader);
    }
    if head.suspicious {
        reasons.insert(Reason::SuspiciousHeader);
    }
    reasons
}

/// True when the client would speak WebSocket, and nothing else, from here on. Of any other protocol, HTTP/2 most of all, the
/// requests would pass every rule unseen.
fn asks_for_websocket(head: &Head, buffer: &[u8]) -> bool {
    let mut asked = head.fields.iter().filter(|f| f.known == Known::Upgrade).peekable();
    asked.peek().is_some() && asked.all(|f| f.value.of(buffer).eq_ignore_ascii_case(b"websocket"))
}
