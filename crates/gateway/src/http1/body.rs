//! Carries a body from one connection to the other, no further than it goes, with the bounded buffers of one direction.
//!
//! What the receiver does not take at once is kept; nothing more is read until it is taken, so a slow receiver slows the
//! sender down. Used both ways by `exchange`.

use super::chunked::{BadChunk, Chunks, Step};
use super::head::Framing;
use crate::buffers;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};

/// How much of a body is still to come.
#[derive(Debug)]
pub enum Rest {
    Nothing,
    Length(u64),
    Chunked(Chunks),
    Close,
}

impl Rest {
    /// All of a body that is framed so; `chunks` reads it where it is chunked.
    pub fn of(framing: Framing, chunks: Chunks) -> Rest {
        match framing {
            Framing::None => Rest::Nothing,
            Framing::Length(length) => Rest::Length(length),
            Framing::Chunked => Rest::Chunked(chunks),
            Framing::Close => Rest::Close,
        }
    }

    /// All of it has been read.
    pub fn is_read(&self) -> bool {
        match self {
            Rest::Nothing | Rest::Length(0) => true,
            Rest::Chunked(chunks) => chunks.is_done(),
            Rest::Length(_) | Rest::Close => false,
        }
    }
}

/// Why a body does not get across.
#[derive(Debug)]
pub enum Broken {
    /// The sender's connection failed, or ended before the body did.
    Sender,
    Receiver,
    Malformed,
}

/// One direction of one exchange.
#[derive(Debug)]
pub struct Pump {
    rest: Rest,
    /// Written first; what the receiver did not take yet.
    pub pending: Vec<u8>,
    written: usize,
    /// Chunks are taken apart for receivers that know none.
    unwrap: bool,
    dirty: bool,
    done: bool,
    /// Bytes of content and framing that were passed on, the head included.
    pub passed: u64,
    /// Bytes of the body that were read, framing included.
    pub body: u64,
}

impl Pump {
    /// Sends `pending` and then a body.
    pub fn new(framing: Framing, pending: Vec<u8>, unwrap: bool) -> Pump {
        Pump {
            rest: Rest::of(framing, Chunks::default()),
            pending,
            written: 0,
            unwrap,
            dirty: false,
            done: false,
            passed: 0,
            body: 0,
        }
    }

    /// All of it has been written.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// All of it has been read.
    pub fn is_read(&self) -> bool {
        self.rest.is_read()
    }

    /// Goes on as far as both sides allow. `carry` holds what was read of `from` before, and gets what was read too much.
    pub fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        carry: &mut Vec<u8>,
        to: &mut W,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        loop {
            if !carry.is_empty() && !self.is_read() {
                let mut pending = std::mem::take(&mut self.pending);
                let taken = self.take(carry, |bytes| pending.extend_from_slice(bytes));
                self.pending = pending;
                carry.drain(..taken.map_err(|_| Broken::Malformed)?);
            }
            ready!(self.poll_write(cx, to))?;
            if self.is_read() {
                if self.dirty {
                    ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(|_| Broken::Receiver)?;
                    self.dirty = false;
                }
                self.done = true;
                return Poll::Ready(Ok(()));
            }
            let most = match &self.rest {
                // A byte more than there should be: only a read that is not filled shows that nothing else waits, and
                // saves the next use of the connection from asking.
                Rest::Length(left) => usize::try_from(*left).unwrap_or(buffers::READ).saturating_add(1),
                _ => buffers::READ,
            };
            let read = buffers::poll_read(cx, from, most, |cx, bytes| {
                if bytes.is_empty() {
                    return self.end();
                }
                // Written from where it was read, so that only what is not taken is copied.
                let whole = !self.unwrap || !matches!(self.rest, Rest::Chunked(_));
                let mut kept = std::mem::take(&mut self.pending);
                let taken = self.take(bytes, |piece| {
                    if !whole {
                        kept.extend_from_slice(piece);
                    }
                });
                self.pending = kept;
                let taken = taken.map_err(|_| Broken::Malformed)?;
                carry.extend_from_slice(&bytes[taken..]);
                if whole {
                    let wrote = match Pin::new(&mut *to).poll_write(cx, &bytes[..taken]) {
                        Poll::Ready(Ok(wrote)) if wrote > 0 => wrote,
                        Poll::Ready(_) => return Err(Broken::Receiver),
                        Poll::Pending => 0,
                    };
                    self.passed += wrote as u64;
                    self.dirty = true;
                    self.pending.extend_from_slice(&bytes[wrote..taken]);
                }
                Ok(())
            });
            match read {
                Poll::Ready(Ok(done)) => done?,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Sender)),
                Poll::Pending => {
                    if self.dirty {
                        ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(|_| Broken::Receiver)?;
                        self.dirty = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn poll_write<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<Result<(), Broken>> {
        while self.written < self.pending.len() {
            let wrote: io::Result<usize> = ready!(Pin::new(&mut *to).poll_write(cx, &self.pending[self.written..]));
            match wrote {
                Ok(wrote) if wrote > 0 => {
                    self.written += wrote;
                    self.passed += wrote as u64;
                    self.dirty = true;
                }
                _ => return Poll::Ready(Err(Broken::Receiver)),
            }
        }
        self.pending.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// How many of `bytes` are the body's; `each` gets what is passed on of them.
    fn take(&mut self, bytes: &[u8], each: impl FnMut(&[u8])) -> Result<usize, BadChunk> {
        let taken = self.taken(bytes, each)?;
        self.body += taken as u64;
        Ok(taken)
    }

    fn taken(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<usize, BadChunk> {
        match &mut self.rest {
            Rest::Nothing => Ok(0),
            Rest::Close => {
                each(bytes);
                Ok(bytes.len())
            }
            Rest::Length(left) => {
                let here = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= here as u64;
                each(&bytes[..here]);
                Ok(here)
            }
            Rest::Chunked(chunks) if !self.unwrap => {
                let taken = chunks.take(bytes)?;
                each(&bytes[..taken]);
                Ok(taken)
            }
            Rest::Chunked(chunks) => {
                let mut taken = 0;
                while taken < bytes.len() && !chunks.is_done() {
                    match chunks.step(&bytes[taken..])? {
                        Step::Data(n) => {
                            each(&bytes[taken..taken + n]);
                            taken += n;
                        }
                        Step::Framing(n) | Step::End(n) => taken += n,
                    }
                }
                Ok(taken)
            }
        }
    }

    fn end(&mut self) -> Result<(), Broken> {
        match self.rest {
            Rest::Close => {
                self.rest = Rest::Nothing;
                Ok(())
            }
            _ => Err(Broken::Sender),
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        buffers::give_back(std::mem::take(&mut self.pending));
    }
}
