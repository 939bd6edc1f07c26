//! Gives a stream its response: head, body and trailers, as fast as the client takes them.

use super::body::ToClient;
use super::exchange::NotAdmitted;
use super::headers;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::Response;
use std::pin::pin;
use std::task::{Context, Poll, ready};

/// Bodies of at most so much are handed over whole, whatever the client takes now.
const SMALL: u64 = 16 * 1024;

/// Runs a stream's exchange and sends what it answers. Ends early, and drops what runs for it, when the client resets it.
pub async fn give(
    answer: impl Future<Output = Result<Response<ToClient>, NotAdmitted>>,
    mut respond: SendResponse<Bytes>,
) {
    let mut answer = pin!(answer);
    let answered = std::future::poll_fn(|cx| match answer.as_mut().poll(cx) {
        Poll::Ready(answered) => Poll::Ready(Some(answered)),
        Poll::Pending => respond.poll_reset(cx).map(|_| None),
    })
    .await;
    let Some(answered) = answered else {
        return;
    };
    let sent = match answered {
        Ok(response) => send(response, &mut respond).await,
        Err(refused) => Err(Unsent::Failed(refused.into())),
    };
    match sent {
        Ok(()) => {}
        Err(Unsent::Gone(error)) => tracing::trace!(%error, "a client took no response"),
        Err(Unsent::Failed(error)) => {
            tracing::debug!(%error, "a response broke");
            respond.send_reset(Reason::INTERNAL_ERROR);
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

async fn send(response: Response<ToClient>, respond: &mut SendResponse<Bytes>) -> Result<(), Unsent> {
    let (mut parts, mut body) = response.into_parts();
    let over = body.is_end_stream();
    headers::complete(&mut parts.headers, if over { None } else { body.length() });
    let stream = respond.send_response(Response::from_parts(parts, ()), over);
    let mut out = Out {
        stream: stream.map_err(Unsent::Gone)?,
        held: None,
        small: body.length().is_some_and(|length| length <= SMALL),
    };
    match over {
        true => Ok(()),
        false => std::future::poll_fn(|cx| out.poll(&mut body, cx)).await,
    }
}

/// A body's way out.
struct Out {
    stream: SendStream<Bytes>,
    /// Waits for the client to take it, and whether it is the last.
    held: Option<(Bytes, bool)>,
    small: bool,
}

impl Out {
    fn poll(&mut self, body: &mut ToClient, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        loop {
            if let Some((data, last)) = self.held.take() {
                if !self.small && !data.is_empty() && !self.has_room(cx)? {
                    self.held = Some((data, last));
                    return self.poll_gone(cx);
                }
                self.stream.send_data(data, last).map_err(Unsent::Gone)?;
                if last {
                    return Poll::Ready(Ok(()));
                }
            }
            let Poll::Ready(frame) = body.poll_frame(cx) else {
                return self.poll_gone(cx);
            };
            let Some(frame) = frame.transpose().map_err(Unsent::Failed)? else {
                self.stream.send_data(Bytes::new(), true).map_err(Unsent::Gone)?;
                return Poll::Ready(Ok(()));
            };
            match frame.into_data() {
                Ok(data) => {
                    let last = body.is_end_stream();
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
