//! A client's connection: one request after the other, until one side has had enough. Where all speak HTTPS, what comes
//! without TLS is told so.
//!
//! Run by the accept loops, one task a connection. Invariant: while nothing is asked the connection holds no buffer.

use super::head::{Kind, Parser, Progress, Refusal};
use super::patience::Patience;
use super::rewrite;
use super::target_form;
use super::turn::{After, Given, Turn, Upgraded};
use crate::answers::Answer;
use crate::arrival::Arrival;
use crate::buffers;
use crate::doors::{Behind, Names};
use crate::http2;
use crate::leash::Leash;
use crate::nlb::tunnel::{self, Wire};
use crate::record::Record;
use crate::serving::{Served, Worker};
use neargate_routing::{BalancerCounter, Class, Reason};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;

/// How long a client may be idle whose balancer is not known yet: ALB's default.
const IDLE: Duration = Duration::from_secs(60);
/// How long a client may take to read a last answer and close.
const LINGER: Duration = Duration::from_secs(2);
/// How long a client may still ask once its door is closed.
const FAREWELL: Duration = Duration::from_secs(2);
/// Most bytes that are read for nothing meanwhile.
const LINGER_BYTES: usize = 1024 * 1024;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// Serves a client that speaks HTTP/1.1, or HTTP/2 without asking.
pub async fn serve<C: Wire + 'static>(client: C, arrival: Arrival, worker: Rc<Worker>) {
    let sleep = tokio::time::sleep(IDLE);
    tokio::pin!(sleep);
    let mut connection = Connection {
        client,
        input: Vec::new(),
        answer: Vec::new(),
        requests: Parser::new(Kind::Request),
        responses: Parser::new(Kind::Response),
        patience: Patience::new(sleep, IDLE),
        arrival,
        worker,
        known: None,
        counted: None,
    };
    let end = connection.run().await;
    let Connection {
        client,
        input,
        arrival,
        worker,
        counted,
        ..
    } = connection;
    match end {
        End::Gone => {}
        End::Close => Box::pin(linger(client)).await,
        End::Http2 => Box::pin(http2::serve(client, input, arrival, worker.clone())).await,
    }
    if let Some(served) = counted {
        served
            .balancer
            .metrics
            .less(worker.shard, BalancerCounter::ActiveConnectionCount, 1);
    }
}

enum End {
    Gone,
    Close,
    Http2,
}

struct Connection<'t, C> {
    client: C,
    /// What was read and not served yet.
    input: Vec<u8>,
    answer: Vec<u8>,
    requests: Parser,
    responses: Parser,
    patience: Patience<'t>,
    arrival: Arrival,
    worker: Rc<Worker>,
    /// What the last request was for, under which epoch.
    known: Option<(u64, Rc<Behind>, Arc<Served>)>,
    /// Whose connection it counts as.
    counted: Option<Arc<Served>>,
}

/// What came instead of a request, or with it.
enum Got {
    Request,
    /// The client closed, or this side does while nothing is asked.
    Nothing,
    Refused(Refusal),
    /// It began and does not end.
    Slow,
}

impl<C: Wire + 'static> Connection<'_, C> {
    async fn run(&mut self) -> End {
        loop {
            match self.read().await {
                Got::Request | Got::Refused(Refusal::Version) if self.is_plain_at_https() => {
                    return self
                        .last_answer(&Answer::plain_at_https(), (Class::Compliant, None))
                        .await;
                }
                Got::Request => {}
                Got::Nothing => return End::Gone,
                Got::Refused(Refusal::Version) if self.is_preface() => return End::Http2,
                Got::Refused(refusal) => return self.refuse(refusal).await,
                Got::Slow => return self.last_answer(&Answer::last(408), (Class::Compliant, None)).await,
            }
            match self.turn().await {
                After::Next => {}
                After::Close => return End::Close,
                After::Cut | After::Tunnel(_) => return End::Gone,
            }
        }
    }

    /// Waits for a request's head.
    async fn read(&mut self) -> Got {
        self.requests.restart();
        let idle = self.idle_timeout();
        self.patience.wait(idle);
        let (mut begun, mut farewell) = (false, false);
        std::future::poll_fn(|cx| {
            loop {
                if !self.input.is_empty() {
                    match self.requests.feed(&self.input) {
                        Ok(Progress::Done) => return Poll::Ready(Got::Request),
                        Ok(Progress::More) => {}
                        Err(refusal) => return Poll::Ready(Got::Refused(refusal)),
                    }
                    if !begun {
                        begun = true;
                        // From here on it is not enough to send a byte now and then.
                        self.patience.wait(idle);
                    }
                }
                match buffers::poll_append(cx, &mut self.client, &mut self.input) {
                    Poll::Ready(Ok(false)) => {}
                    Poll::Ready(_) => return Poll::Ready(Got::Nothing),
                    Poll::Pending => break,
                }
            }
            // A request may be on its way, and would be lost if its connection closed now: the next one is answered with
            // `Connection: close`, and who asks nothing for a while is let go. A new connection waits as ever.
            let leaves = !self.arrival.door.is_open() || self.worker.is_ending();
            if !begun && !farewell && leaves && self.counted.is_some() {
                farewell = true;
                self.patience.wait(FAREWELL.min(idle));
            }
            match self.patience.poll(cx) {
                Poll::Ready(()) if begun => Poll::Ready(Got::Slow),
                Poll::Ready(()) => Poll::Ready(Got::Nothing),
                Poll::Pending => {
                    if self.input.is_empty() {
                        buffers::give_back(std::mem::take(&mut self.input));
                    }
                    Poll::Pending
                }
            }
        })
        .await
    }

    async fn turn(&mut self) -> After<'static> {
        let length = self.requests.head.length;
        let mut carry = Vec::new();
        if self.input.len() > length {
            carry = buffers::lend();
            carry.extend_from_slice(&self.input[length..]);
            self.input.truncate(length);
        }
        if self.requests.head.upgrade {
            // A WebSocket keeps its head for as long as it lasts: for the access log.
            self.input.shrink_to_fit();
        }
        let head = &self.requests.head;
        let written = head.host.map_or(&b""[..], |host| host.of(&self.input));
        // The host in an absolute URL goes before the header, also for whom the request is.
        let host = match head.target.of(&self.input) {
            [b'/', ..] => written,
            target => {
                let parsed = target_form::parse(head.method.of(&self.input), target);
                parsed.and_then(|target| target.host).unwrap_or(written)
            }
        };
        let Some(behind) = self.arrival.behind(host) else {
            return self.nobody(&Answer::nobody()).await;
        };
        if !behind.admits(self.arrival.client.ip(), self.arrival.local.port()) {
            return After::Cut;
        }
        let Some(served) = self.find(&behind) else {
            return self.nobody(&Answer::last(503)).await;
        };
        self.count(&served);
        if self.answer.capacity() == 0 {
            self.answer = buffers::lend();
        }
        let kept_for = served.balancer.settings.client_keep_alive;
        let fields = rewrite::Fields {
            head: &self.requests.head,
            buffer: &self.input,
        };
        let turn = Turn {
            given: Given {
                head: &self.requests.head,
                buffer: &self.input,
                fields: &fields,
                arrival: &self.arrival,
                worker: &self.worker,
                served: &served,
                source: behind.source,
                last: self.arrival.at.elapsed() >= kept_for,
            },
            client: &mut self.client,
            carry: &mut carry,
            patience: &mut self.patience,
            parser: &mut self.responses,
            answer: &mut self.answer,
        };
        // Boxed for as long as it runs: an idle connection has the room of a busy one otherwise, thrice its own.
        let after = match Box::pin(turn.run()).await {
            After::Next => After::Next,
            After::Close => After::Close,
            After::Cut => After::Cut,
            After::Tunnel(upgraded) => {
                // It may last for days.
                buffers::give_back(std::mem::take(&mut carry));
                buffers::give_back(std::mem::take(&mut self.answer));
                let by = (&*self.worker, &*served, &self.arrival);
                Box::pin(carry_on(&mut self.client, *upgraded, by)).await;
                After::Cut
            }
        };
        buffers::give_back(std::mem::replace(&mut self.input, carry));
        if self.input.is_empty() {
            buffers::give_back(std::mem::take(&mut self.answer));
        }
        after
    }

    /// What is served to whom `behind` stands for, looked up once for each table.
    fn find(&mut self, behind: &Rc<Behind>) -> Option<Arc<Served>> {
        let epoch = self.worker.epoch();
        if let Some((then, same, served)) = &self.known
            && *then == epoch
            && Rc::ptr_eq(same, behind)
        {
            return Some(served.clone());
        }
        let served = self.worker.now_serving().listener(&behind.listener)?.clone();
        self.known = Some((epoch, behind.clone(), served.clone()));
        Some(served)
    }

    /// Counts the connection for the balancer of its first request.
    fn count(&mut self, served: &Arc<Served>) {
        if self.counted.is_none() {
            let (metrics, shard) = (&served.balancer.metrics, self.worker.shard);
            metrics.add(shard, BalancerCounter::NewConnectionCount, 1);
            metrics.add(shard, BalancerCounter::ActiveConnectionCount, 1);
            self.counted = Some(served.clone());
        }
    }

    fn idle_timeout(&self) -> Duration {
        match &self.known {
            Some((_, _, served)) => served.balancer.settings.idle_timeout,
            None => match self.arrival.behind(b"") {
                Some(behind) => {
                    let serving = self.worker.now_serving();
                    serving
                        .listener(&behind.listener)
                        .map_or(IDLE, |served| served.balancer.settings.idle_timeout)
                }
                None => IDLE,
            },
        }
    }

    fn is_plain_at_https(&self) -> bool {
        self.arrival.tls.is_none() && self.arrival.door.names() == Names::Tls
    }

    fn is_preface(&self) -> bool {
        let one = self.arrival.behind(b"");
        let serving = self.worker.now_serving();
        let admits = |behind: &Behind| {
            let served = serving.listener(&behind.listener);
            behind.admits(self.arrival.client.ip(), self.arrival.local.port())
                && served.is_some_and(|served| served.balancer.settings.http2)
        };
        // Behind a shared door every stream says whom it is for.
        let wanted = one.is_none_or(|behind| admits(&behind));
        wanted && self.arrival.tls.is_none() && self.input.starts_with(PREFACE)
    }

    /// Answers what is no request, and closes.
    async fn refuse(&mut self, refusal: Refusal) -> End {
        tracing::debug!(%refusal, client = %self.arrival.client, "a request was refused");
        let (status, class) = match refusal {
            Refusal::NoRequest(_) => (400, (Class::Compliant, None)),
            Refusal::Malformed(_) => (400, (Class::Severe, Some(Reason::BadHeader))),
            Refusal::Odd(reason) => (400, (reason.class(), Some(reason))),
            Refusal::Coding => (501, (Class::Severe, Some(Reason::BadTransferEncoding))),
            Refusal::LineTooLong => (414, (Class::Compliant, None)),
            Refusal::TooLarge => (400, (Class::Compliant, None)),
            Refusal::Version => (505, (Class::Acceptable, Some(Reason::NonCompliantVersion))),
        };
        self.last_answer(&Answer::last(status), class).await
    }

    async fn last_answer(&mut self, answer: &Answer, class: (Class, Option<Reason>)) -> End {
        let served = match self.arrival.behind(b"") {
            Some(behind) if behind.admits(self.arrival.client.ip(), self.arrival.local.port()) => self.find(&behind),
            Some(_) => return End::Gone,
            None => None,
        };
        let mut out = buffers::lend();
        rewrite::own_answer(answer, served.as_deref(), false, true, false, &mut out);
        let mut record = Record::new("-");
        record.status = Some(answer.status);
        record.class = class;
        record.returned = out.len() as u64;
        if let Some(served) = &served {
            self.count(served);
            record.finish(Instant::now(), &self.worker, served, &self.arrival);
        }
        self.write(out).await
    }

    async fn nobody(&mut self, answer: &Answer) -> After<'static> {
        let mut out = buffers::lend();
        rewrite::own_answer(answer, None, false, true, false, &mut out);
        match self.write(out).await {
            End::Close => After::Close,
            _ => After::Cut,
        }
    }

    async fn write(&mut self, out: Vec<u8>) -> End {
        let write = async {
            self.client.write_all(&out).await?;
            self.client.flush().await
        };
        let written = tokio::time::timeout(LINGER, write).await;
        buffers::give_back(out);
        match written {
            Ok(Ok(())) => End::Close,
            _ => End::Gone,
        }
    }
}

/// Closes so that the client reads what was sent last: closing with something unread would reset the connection.
async fn linger<C: Wire>(mut client: C) {
    let finish = async {
        client.shutdown().await?;
        let mut left = LINGER_BYTES;
        while left > 0 {
            let read = std::future::poll_fn(|cx| buffers::poll_read(cx, &mut client, buffers::READ, |_, b| b.len()));
            match read.await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        std::io::Result::Ok(())
    };
    // Whatever comes of it, the connection is closed now.
    let _ = tokio::time::timeout(LINGER, finish).await;
}

async fn carry_on<C: Wire>(
    client: &mut C,
    upgraded: Upgraded<'_>,
    (worker, served, arrival): (&Worker, &Served, &Arrival),
) {
    let mut record = upgraded.record;
    let mut leash = Leash::new(worker, &served.balancer, &upgraded.group, &upgraded.outstanding);
    let cut = std::future::poll_fn(|_| match leash.is_cut() {
        true => Poll::Ready(()),
        false => Poll::Pending,
    });
    let (_, passed) = tunnel::run(client, upgraded.target, upgraded.idle, cut).await;
    record.received += passed.sent;
    record.returned += passed.received;
    record.finish(Instant::now(), worker, served, arrival);
}
