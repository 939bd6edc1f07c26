//! One request and its response between a client and a target: both bodies at once, each as fast as its receiver takes it.
//!
//! Called by `connection` with a request whose head is parsed and whose target is chosen. Nothing is spawned for a
//! request. Invariants: a request is sent a second time only when its connection had been idle, nothing of a response
//! came, and repeating it changes nothing; what a target says after its response never reaches a client.

use super::body::{Broken, Pump};
use super::head::{Framing, Head, Parser, Progress};
use super::patience::Patience;
use super::rewrite;
use super::upstream::Upstream;
use crate::buffers;
use crate::leash::Leash;
use crate::serving::Served;
use neargate_routing::{Choice, Cookies};
use std::task::Poll;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

/// Most bytes that a client may send ahead of its next request's turn.
const AHEAD: usize = 64 * 1024;
/// Most interim responses (1xx) to one request.
const INTERIM: usize = 16;

/// Why there is no response to pass on, or no whole one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The client left: 460.
    Client,
    /// The client's body is not chunked as it should be: 400.
    BadBody,
    /// A kept connection turned out closed before it said anything.
    Stale,
    /// The target closed before its response: 502.
    Closed,
    /// What came is no response: 502.
    Garbage,
    /// Nothing passed for too long: 504, or 408 when it is the client's body that does not come.
    Timeout { waiting_for_client: bool },
    /// After the response began: all that is left is to close.
    Cut,
}

/// What is common to an exchange's steps.
pub struct Exchange<'e, 't, C> {
    pub leash: Leash<'e>,
    pub client: &'e mut C,
    pub carry: &'e mut Vec<u8>,
    pub patience: &'e mut Patience<'t>,
    pub parser: &'e mut Parser,
    /// Bytes of the response that have come.
    pub answer: &'e mut Vec<u8>,
    /// The request's.
    pub head: &'e Head,
    pub buffer: &'e [u8],
    pub marks: &'e mut Marks,
}

/// When what happened, and how much passed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks {
    /// The whole request had been sent.
    pub sent: Option<Instant>,
    /// The response's head had come.
    pub answered: Option<Instant>,
    pub returned: u64,
}

/// How the client's side goes on.
pub struct Ended {
    /// The target's connection can be kept.
    pub reusable: bool,
    /// Nothing more is taken over the client's connection.
    pub close: bool,
    /// The whole request was read.
    pub request_read: bool,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Exchange<'_, '_, C> {
    /// Sends the request and waits for the head of the response; interim ones go to the client.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub async fn ask(&mut self, target: &mut Upstream, up: &mut Pump, reused: bool) -> Result<(), Trouble> {
        self.parser.restart();
        self.answer.clear();
        for _ in 0..INTERIM {
            self.await_head(target, up, reused).await?;
            let head = &self.parser.head;
            if !(100..200).contains(&head.status) || head.status == 101 {
                self.marks.answered = Some(Instant::now());
                return Ok(());
            }
            if self.head.minor == 1 {
                let written = self.client.write_all(&self.answer[..head.length]).await;
                written.and(self.client.flush().await).map_err(|_| Trouble::Client)?;
            }
            self.answer.drain(..self.parser.head.length);
            self.parser.restart();
        }
        Err(Trouble::Garbage)
    }

    async fn await_head(&mut self, target: &mut Upstream, up: &mut Pump, reused: bool) -> Result<(), Trouble> {
        // What came behind an interim response.
        if !self.answer.is_empty() && self.parser.feed(self.answer).map_err(|_| Trouble::Garbage)? == Progress::Done {
            return Ok(());
        }
        let mut refused = false;
        std::future::poll_fn(|cx| {
            let passed = up.passed;
            if !refused && !up.is_done() {
                match up.poll(cx, self.client, self.carry, target) {
                    Poll::Ready(Ok(())) => self.marks.sent = Some(Instant::now()),
                    Poll::Ready(Err(Broken::Sender)) => return Poll::Ready(Err(Trouble::Client)),
                    Poll::Ready(Err(Broken::Malformed)) => return Poll::Ready(Err(Trouble::BadBody)),
                    // It may have answered before it stopped listening.
                    Poll::Ready(Err(Broken::Receiver)) => refused = true,
                    Poll::Pending => {}
                }
            }
            if up.passed != passed {
                self.patience.touch();
            }
            loop {
                match buffers::poll_append(cx, target, self.answer) {
                    Poll::Ready(Ok(false)) => match self.parser.feed(self.answer) {
                        Ok(Progress::Done) => return Poll::Ready(Ok(())),
                        Ok(Progress::More) => self.patience.touch(),
                        Err(_) => return Poll::Ready(Err(Trouble::Garbage)),
                    },
                    Poll::Ready(_) if reused && self.answer.is_empty() => return Poll::Ready(Err(Trouble::Stale)),
                    Poll::Ready(_) => return Poll::Ready(Err(Trouble::Closed)),
                    // What it still said, or its end, comes at once where it takes nothing more.
                    Poll::Pending => break,
                }
            }
            // A client that leaves is noticed while its request runs.
            while up.is_read() && self.carry.len() < AHEAD {
                match buffers::poll_append(cx, self.client, self.carry) {
                    Poll::Ready(Ok(false)) => {}
                    Poll::Ready(_) => return Poll::Ready(Err(Trouble::Client)),
                    Poll::Pending => break,
                }
            }
            if self.leash.is_cut() {
                return Poll::Ready(Err(Trouble::Closed));
            }
            if self.patience.poll(cx).is_ready() {
                let waiting_for_client = !up.is_read() && !refused && up.pending.is_empty();
                return Poll::Ready(Err(Trouble::Timeout { waiting_for_client }));
            }
            Poll::Pending
        })
        .await
    }

    /// Passes the response on whose head has come.
    ///
    /// # Errors
    /// `Client`, `Cut`, and `Garbage` while nothing of it has gone to the client.
    pub async fn answer(
        &mut self,
        target: &mut Upstream,
        up: &mut Pump,
        served: &Served,
        cookies: Option<(&Choice<'_>, Cookies<'_>)>,
        close: bool,
    ) -> Result<Ended, Trouble> {
        let head = &self.parser.head;
        let framing = head.response_framing(self.head.method.of(self.buffer));
        let old_client = self.head.minor == 0;
        let unwrap = old_client && framing == Framing::Chunked;
        let close = close || framing == Framing::Close || unwrap || !up.is_read();
        let mut out = buffers::lend();
        let response = rewrite::Response {
            head,
            buffer: self.answer,
            served,
            close,
            old_client,
            upgrade: false,
        };
        response.write(&mut out);
        if let Some((choice, with)) = cookies {
            let fields = rewrite::Fields {
                head,
                buffer: self.answer,
            };
            choice.set_cookies(&with, &fields, &mut |cookie| {
                rewrite::put_field(&mut out, b"Set-Cookie", cookie.as_bytes());
            });
        }
        out.extend_from_slice(b"\r\n");
        let lasting = head.persistent();
        let length = head.length;
        self.answer.drain(..length);
        let mut down = Pump::new(framing, out, unwrap);
        let done = self.pass(target, up, &mut down).await;
        self.marks.returned += down.passed;
        done?;
        Ok(Ended {
            reusable: lasting && framing != Framing::Close && up.is_done() && self.answer.is_empty(),
            close,
            request_read: up.is_read(),
        })
    }

    async fn pass(&mut self, target: &mut Upstream, up: &mut Pump, down: &mut Pump) -> Result<(), Trouble> {
        let mut refused = false;
        std::future::poll_fn(|cx| {
            let before = (up.passed, down.passed);
            match down.poll(cx, target, self.answer, self.client) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(Broken::Receiver)) => return Poll::Ready(Err(Trouble::Client)),
                Poll::Ready(Err(Broken::Malformed)) if down.passed == 0 => return Poll::Ready(Err(Trouble::Garbage)),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Trouble::Cut)),
                Poll::Pending => {}
            }
            if !refused && !up.is_done() {
                match up.poll(cx, self.client, self.carry, target) {
                    Poll::Ready(Err(Broken::Sender)) => return Poll::Ready(Err(Trouble::Client)),
                    Poll::Ready(Err(Broken::Malformed)) => return Poll::Ready(Err(Trouble::Cut)),
                    Poll::Ready(Err(Broken::Receiver)) => refused = true,
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
            }
            if (up.passed, down.passed) != before {
                self.patience.touch();
            }
            if self.patience.poll(cx).is_ready() || self.leash.is_cut() {
                return Poll::Ready(Err(Trouble::Cut));
            }
            Poll::Pending
        })
        .await
    }

    /// Passes a 101 on, and what either side said behind it.
    ///
    /// # Errors
    /// `Cut` when one of them is gone.
    pub async fn switch(&mut self, target: &mut Upstream, served: &Served) -> Result<(), Trouble> {
        let head = &self.parser.head;
        let mut out = buffers::lend();
        let response = rewrite::Response {
            head,
            buffer: self.answer,
            served,
            close: false,
            old_client: false,
            upgrade: true,
        };
        response.write(&mut out);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.answer[head.length..]);
        self.answer.clear();
        let told = async {
            self.client.write_all(&out).await?;
            self.client.flush().await?;
            target.write_all(self.carry).await?;
            target.flush().await
        };
        let told = told.await;
        self.marks.returned += out.len() as u64;
        self.carry.clear();
        buffers::give_back(out);
        told.map_err(|_| Trouble::Cut)
    }
}
