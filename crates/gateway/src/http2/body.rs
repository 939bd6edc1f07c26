//! Bodies on their way: to a target, counted and never held back; to a client, which ends its stream's account.

use super::account::{Account, Upstream};
use super::life::Looks;
use super::plain;
use super::pool::Running;
use bytes::Bytes;
use h2::RecvStream;
use http::header::{CONTENT_LENGTH, HeaderMap};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A request's body.
pub struct ToTarget {
    /// None: there is none.
    incoming: Option<RecvStream>,
    /// What is left of it, as its client says.
    left: Option<u64>,
    /// Trailers are looked for.
    data_over: bool,
    upstream: Rc<Upstream>,
}

impl ToTarget {
    pub fn new(headers: &HeaderMap, upstream: Rc<Upstream>) -> ToTarget {
        let said = || headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
        let incoming = upstream.take();
        ToTarget {
            left: incoming.as_ref().map_or(Some(0), |_| said()),
            incoming,
            data_over: false,
            upstream,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        if !self.data_over {
            if let Some(data) = ready!(incoming.poll_data(cx)) {
                let data = data?;
                // What is taken is written before more is.
                incoming.flow_control().release_capacity(data.len())?;
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            self.data_over = true;
        }
        let trailers = ready!(incoming.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

impl Drop for ToTarget {
    fn drop(&mut self) {
        if let Some(incoming) = self.incoming.take() {
            self.upstream
                .put_back(Some(incoming).filter(|left| !left.is_end_stream()));
        }
    }
}

impl Body for ToTarget {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let frame = ready!(self.poll(cx));
        self.upstream.touch();
        if let Some(Ok(frame)) = &frame {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            self.upstream.received.set(self.upstream.received.get() + length);
        }
        if frame.is_none() || self.is_end_stream() {
            self.upstream.sent.set(Some(Instant::now()));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
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
    looks: Looks,
    limit: Duration,
}

impl ToClient {
    /// A target that sends nothing for `limit`, to a client that would take it, has its stream reset.
    pub fn target(content: Content, account: Box<Account>, limit: Duration) -> ToClient {
        ToClient::Target(Box::new(FromTarget {
            content,
            looks: account.stream.looks(),
            account,
            limit,
        }))
    }

    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match self {
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

    pub fn is_end_stream(&self) -> bool {
        match self {
            ToClient::Own { left, .. } => left.is_none(),
            ToClient::Target(body) => body.content.is_end_stream(),
        }
    }

    /// The client took some of it.
    pub fn touch(&self) {
        if let ToClient::Target(body) = self {
            body.account.upstream.touch();
        }
    }

    /// How much is left of it, when that is known.
    pub fn length(&self) -> Option<u64> {
        match self {
            ToClient::Own { left, .. } => Some(left.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            ToClient::Target(body) => body.content.length(),
        }
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

    fn length(&self) -> Option<u64> {
        match self {
            Content::One(answer) => answer.length(),
            Content::Many(incoming, _) => incoming.size_hint().exact(),
        }
    }
}

impl FromTarget {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let Poll::Ready(frame) = self.content.poll_frame(cx) else {
            if self.looks.is_due() {
                if self.account.upstream.silent() >= self.limit {
                    return Poll::Ready(Some(Err("the target sends nothing any more".into())));
                }
                if self.account.is_cut() {
                    return Poll::Ready(Some(Err("the target is gone".into())));
                }
            }
            return Poll::Pending;
        };
        if !self.content.is_end_stream() {
            self.account.upstream.touch();
        }
        if let Some(Ok(frame)) = &frame {
            self.account.returned += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        Poll::Ready(frame)
    }
}
