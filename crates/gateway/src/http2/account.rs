//! What is counted and logged of one stream, and what it holds while it lasts. Finished when dropped, however it ends.

use super::asked::Asked;
use super::life::{Life, Stream};
use crate::arrival::{Arrival, without_port};
use crate::decide;
use crate::record::Record;
use crate::serving::{self, Served, Worker};
use h2::RecvStream;
use http::header::USER_AGENT;
use neargate_core::Timestamp;
use neargate_routing::{Class, Group, Outstanding, Reason};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

/// The client went before there was an answer.
const CLIENT_CLOSED: u16 = 460;

/// Filled while the stream runs. In a box, since it goes from hand to hand.
pub struct Account {
    pub worker: Rc<Worker>,
    pub arrival: Rc<Arrival>,
    pub served: Arc<Served>,
    pub stream: Stream,
    created: SystemTime,
    begun: Instant,
    pub asked: Rc<Asked>,
    pub grpc: bool,
    /// Place of its rule in the listener.
    pub rule: Option<usize>,
    pub class: (Class, Option<Reason>),
    pub action: Option<&'static str>,
    pub redirect: Option<Vec<u8>>,
    pub group: Option<Arc<Group>>,
    /// It had no target.
    pub idle_group: Option<Arc<Group>>,
    /// Counts the stream on its target while its response lasts.
    pub target: Option<Outstanding>,
    pub address: Option<SocketAddr>,
    pub fail_open: bool,
    pub answered: Option<Instant>,
    pub target_status: Option<u16>,
    pub status: Option<u16>,
    pub upstream: Rc<Upstream>,
    pub returned: u64,
    pub trace: Vec<u8>,
    pub host_after: Option<Vec<u8>>,
    pub url_after: Option<Vec<u8>>,
}

/// A request's body: what of it goes to no target, and what is known of what does.
pub struct Upstream {
    /// What nobody reads now.
    unread: Cell<Option<RecvStream>>,
    /// Some of it is on its way to a target.
    going: Cell<bool>,
    /// Waits for the end of that.
    waits: Cell<Option<Waker>>,
    pub received: Cell<u64>,
    /// When its last byte went.
    pub sent: Cell<Option<Instant>>,
    touched: Cell<Instant>,
    life: Rc<Life>,
}

impl Upstream {
    /// Something passed, either way.
    pub fn touch(&self) {
        self.touch_at(Instant::now());
    }

    pub fn touch_at(&self, now: Instant) {
        self.touched.set(now);
        self.life.touch_at(now);
    }

    /// Takes what goes to a target. None: there is no body.
    pub fn take(&self) -> Option<RecvStream> {
        let taken = self.unread.take();
        self.going.set(taken.is_some());
        taken
    }

    /// The target takes no more: `rest` is what it left.
    pub fn put_back(&self, rest: Option<RecvStream>) {
        self.unread.set(rest);
        self.going.set(false);
        if let Some(waker) = self.waits.take() {
            waker.wake();
        }
    }

    /// What no target takes, once that is settled.
    pub fn poll_unread(&self, cx: &mut Context<'_>) -> Poll<Option<RecvStream>> {
        if self.going.get() {
            self.waits.set(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        Poll::Ready(self.unread.take())
    }

    /// How long nothing passed.
    pub fn silent(&self) -> Duration {
        self.touched.get().elapsed()
    }
}

impl Account {
    pub fn new(
        worker: Rc<Worker>,
        arrival: Rc<Arrival>,
        served: Arc<Served>,
        stream: Stream,
        (asked, body): (Rc<Asked>, RecvStream),
        begun: Instant,
    ) -> Box<Account> {
        let life = stream.life();
        Box::new(Account {
            worker,
            arrival,
            served,
            stream,
            created: SystemTime::now(),
            begun,
            grpc: decide::is_grpc(&asked.parts.headers),
            asked,
            rule: None,
            class: (Class::Compliant, None),
            action: None,
            redirect: None,
            group: None,
            idle_group: None,
            target: None,
            address: None,
            fail_open: false,
            answered: None,
            target_status: None,
            status: None,
            upstream: Rc::new(Upstream {
                sent: Cell::new(body.is_end_stream().then_some(begun)),
                unread: Cell::new((!body.is_end_stream()).then_some(body)),
                going: Cell::new(false),
                waits: Cell::new(None),
                received: Cell::new(0),
                touched: Cell::new(begun),
                life,
            }),
            returned: 0,
            trace: Vec::new(),
            host_after: None,
            url_after: None,
        })
    }

    /// When the request came.
    pub fn came(&self) -> Timestamp {
        serving::timestamp(self.created)
    }

    /// True once the target or the balancer is gone from what is served.
    pub fn is_cut(&self) -> bool {
        let (Some(group), Some(target)) = (&self.group, &self.target) else {
            return false;
        };
        !self.worker.now_serving().holds(&self.served.balancer, group, target)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let ended = Instant::now();
        self.stream.end(ended);
        let parts = &self.asked.parts;
        let record = Record {
            method: parts.method.as_str().as_bytes(),
            host: without_port(self.asked.host()),
            path_and_query: self.asked.path_and_query().as_bytes(),
            user_agent: parts.headers.get(USER_AGENT).map(http::HeaderValue::as_bytes),
            http2: true,
            grpc: self.grpc,
            rule: self.rule.and_then(|place| self.served.listener.rules().get(place)),
            class: self.class,
            action: self.action,
            redirect: self.redirect.take(),
            group: self.group.as_deref(),
            idle_group: self.idle_group.as_deref(),
            target: self.address,
            fail_open: self.fail_open,
            sent: self.upstream.sent.get(),
            answered: self.answered,
            target_status: self.target_status,
            status: Some(self.status.unwrap_or(CLIENT_CLOSED)),
            received: self.upstream.received.get(),
            returned: self.returned,
            trace: std::mem::take(&mut self.trace),
            host_after: self.host_after.take(),
            url_after: self.url_after.take(),
            ..Record::of("HTTP/2.0", self.created, self.begun)
        };
        record.finish(ended, &self.worker, &self.served, &self.arrival);
    }
}
