//! Gives a stream its response: head, body and trailers, as fast as the client takes them.

use super::body::ToClient;
use super::exchange::{self, Begun};
use super::headers;
use super::life::Life;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::Response;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// Bodies of at most so much are handed over whole, whatever the client takes now.
const SMALL: u64 = 16 * 1024;

/// Runs a stream and sends its answer. Ends early, and drops what runs for it, when the client resets it.
pub async fn give(begun: Begun, mut respond: SendResponse<Bytes>, life: Rc<Life>) {
    let (response, upstream, unread) = match begun {
        Begun::Answered(response, unread) => (response, None, Some(unread)),
        Begun::Runs(account) => {
            let upstream = account.upstream.clone();
            let mut running = pin!(exchange::run(account));
            let answered = poll_fn(|cx| match running.as_mut().poll(cx) {
                Poll::Ready(response) => Poll::Ready(Some(response)),
                Poll::Pending => respond.poll_reset(cx).map(|_| None),
            });
            let Some(response) = answered.await else {
                return;
            };
            (response, Some(upstream), None)
        }
    };
    let sent = match Out::start(response, &mut respond) {
        Ok(Some(mut out)) => poll_fn(|cx| out.poll(cx)).await,
        Ok(None) => Ok(()),
        Err(error) => Err(Unsent::Gone(error)),
    };
    match sent {
        Ok(()) => {
            let unread = match upstream {
                Some(upstream) => poll_fn(|cx| upstream.poll_unread(cx)).await,
                None => unread,
            };
            if let Some(unread) = unread {
                read_out(unread, &life).await;
            }
        }
        Err(Unsent::Gone(error)) => tracing::trace!(%error, "a client took no response"),
        Err(Unsent::Failed(error)) => {
            tracing::debug!(%error, "a response broke");
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

/// Reads what a client still sends after its answer, as over HTTP/1.1: many take a reset for a failure of the whole.
async fn read_out(mut body: RecvStream, life: &Life) {
    while let Some(Ok(data)) = body.data().await {
        life.touch_at(Instant::now());
        if body.flow_control().release_capacity(data.len()).is_err() {
            return;
        }
    }
}

#[derive(Debug)]
enum Unsent {
    /// The stream is no more.
    Gone(h2::Error),
    /// What was to be sent.
    Failed(super::body::Failure),
}

/// A body's way out.
struct Out {
    stream: SendStream<Bytes>,
    body: ToClient,
    /// Waits for the client to take it, and whether it is the last.
    held: Option<(Bytes, bool)>,
    small: bool,
}

impl Out {
    /// Sends the head. None: that was all.
    fn start(response: Response<ToClient>, respond: &mut SendResponse<Bytes>) -> Result<Option<Out>, h2::Error> {
        let (mut parts, body) = response.into_parts();
        let over = body.is_end_stream();
        let length = body.length();
        headers::complete(&mut parts.headers, if over { None } else { length });
        let stream = respond.send_response(Response::from_parts(parts, ()), over)?;
        Ok((!over).then_some(Out {
            stream,
            body,
            held: None,
            small: length.is_some_and(|length| length <= SMALL),
        }))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        loop {
            if let Some((data, last)) = self.held.take() {
                if !self.small && !data.is_empty() {
                    if !self.has_room(cx)? {
                        self.held = Some((data, last));
                        return self.poll_gone(cx);
                    }
                    // How long the client took is not the target's silence.
                    self.body.touch();
                }
                self.stream.send_data(data, last).map_err(Unsent::Gone)?;
                if last {
                    return Poll::Ready(Ok(()));
                }
            }
            let Poll::Ready(frame) = self.body.poll_frame(cx) else {
                return self.poll_gone(cx);
            };
            let Some(frame) = frame.transpose().map_err(Unsent::Failed)? else {
                self.stream.send_data(Bytes::new(), true).map_err(Unsent::Gone)?;
                return Poll::Ready(Ok(()));
            };
            match frame.into_data() {
                Ok(data) => {
                    let last = self.body.is_end_stream();
                    if !self.small && !data.is_empty() {
                        // What is more than that is asked for when it is handed over.
                        self.stream.reserve_capacity(1);
                    }
                    self.held = Some((data, last));
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        self.stream.send_trailers(trailers).map_err(Unsent::Gone)?;
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// Whether the client takes anything now.
    fn has_room(&mut self, cx: &mut Context<'_>) -> Result<bool, Unsent> {
        while self.stream.capacity() == 0 {
            match self.stream.poll_capacity(cx) {
                Poll::Ready(Some(room)) => drop(room.map_err(Unsent::Gone)?),
                Poll::Ready(None) => return Err(Unsent::Gone(Reason::CANCEL.into())),
                Poll::Pending => return Ok(false),
            }
        }
        Ok(true)
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        let reason = ready!(self.stream.poll_reset(cx)).map_err(Unsent::Gone)?;
        Poll::Ready(Err(Unsent::Gone(reason.into())))
    }
}
