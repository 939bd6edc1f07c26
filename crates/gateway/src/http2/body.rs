//! Bodies on their way: to a target, counted and never held back; to a client, which ends its stream's account.

use super::account::{Account, Upstream};
use super::plain;
use super::pool::Running;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// How often one that waits sees whether it waits for nothing.
pub const LOOK: Duration = Duration::from_secs(1);

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A request's body.
pub struct ToTarget {
    incoming: Incoming,
    upstream: Rc<Upstream>,
}

impl ToTarget {
    pub fn new(incoming: Incoming, upstream: Rc<Upstream>) -> ToTarget {
        if incoming.is_end_stream() {
            upstream.sent.set(Some(Instant::now()));
        }
        ToTarget { incoming, upstream }
    }
}

impl Body for ToTarget {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        self.upstream.touch();
        if let Some(Ok(frame)) = &frame {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            self.upstream.received.set(self.upstream.received.get() + length);
        }
        if frame.is_none() || self.incoming.is_end_stream() {
            self.upstream.sent.set(Some(Instant::now()));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Failure::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// A response's body.
pub enum ToClient {
    /// The balancer's own.
    Own {
        left: Option<Bytes>,
        account: Option<Box<Account>>,
    },
    Target(Box<FromTarget>),
}

/// What a target sends.
pub enum Content {
    One(Box<plain::Answer>),
    /// With the place it takes on the shared connection.
    Many(Incoming, Option<Running>),
}

/// The body of a target's response.
pub struct FromTarget {
    content: Content,
    account: Box<Account>,
    /// Once it had to wait.
    timer: Option<Pin<Box<Sleep>>>,
    limit: Duration,
}

impl ToClient {
    /// A target that sends nothing for `limit`, to a client that would take it, has its stream reset.
    pub fn target(content: Content, account: Box<Account>, limit: Duration) -> ToClient {
        ToClient::Target(Box::new(FromTarget {
            content,
            account,
            timer: None,
            limit,
        }))
    }
}

impl Content {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match self {
            Content::One(answer) => answer.poll_frame(cx),
            Content::Many(incoming, running) => {
                let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
                if frame.is_none() || incoming.is_end_stream() {
                    // Its place is free for another.
                    *running = None;
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Failure::from)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Content::One(answer) => answer.is_over(),
            Content::Many(incoming, _) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Content::One(answer) => answer.size_hint(),
            Content::Many(incoming, _) => incoming.size_hint(),
        }
    }
}

impl FromTarget {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let Poll::Ready(frame) = self.content.poll_frame(cx) else {
            let look = LOOK.min(self.limit);
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(look)));
            while timer.as_mut().poll(cx).is_ready() {
                if self.account.upstream.silent() >= self.limit {
                    return Poll::Ready(Some(Err("the target sends nothing any more".into())));
                }
                if self.account.is_cut() {
                    return Poll::Ready(Some(Err("the target is gone".into())));
                }
                timer.as_mut().reset((Instant::now() + look).into());
            }
            return Poll::Pending;
        };
        self.account.upstream.touch();
        if let Some(Ok(frame)) = &frame {
            self.account.returned += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        Poll::Ready(frame)
    }
}

impl Body for ToClient {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match self.get_mut() {
            ToClient::Own { left, account } => {
                let taken = left.take();
                if let (Some(bytes), Some(account)) = (&taken, account) {
                    account.returned += bytes.len() as u64;
                }
                Poll::Ready(taken.map(|bytes| Ok(Frame::data(bytes))))
            }
            ToClient::Target(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ToClient::Own { left, .. } => left.is_none(),
            ToClient::Target(body) => body.content.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ToClient::Own { left, .. } => SizeHint::with_exact(left.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            ToClient::Target(body) => body.content.size_hint(),
        }
    }
}
