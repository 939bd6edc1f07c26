//! A stream's request to a target that speaks HTTP/1.1, and its response, over a connection of the pool that the HTTP/1.1
//! engine uses too.
//!
//! Called by `exchange`; nothing is spawned for a request. Invariants: a request is returned only when its connection had
//! been idle and nothing came back; a connection is kept only when the request was sent whole and nothing is left to read
//! behind its response.

use super::body::{Failure, ToTarget};
use super::pool::Unsent;
use crate::buffers;
use crate::http1::body::Rest;
use crate::http1::chunked::{Chunks, Step, may_trail};
use crate::http1::head::{Framing, Head, Kind, Known, Parser, Progress};
use crate::http1::rewrite;
use crate::http1::upstream::{self, Place, Upstream};
use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use hyper::body::{Body as _, Frame};
use std::cell::RefCell;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};

/// Most interim responses (1xx) to one request.
const INTERIM: usize = 16;
/// How much is read at a time, and how little room is left when more is made.
const READ: usize = 64 * 1024;
const LEAST: usize = 8 * 1024;
/// Headers that have room at once.
const USUAL_FIELDS: usize = 16;
/// Headers whose names are remembered.
const NAMES_KEPT: usize = 32;

/// What a request is, besides its body.
#[derive(Debug)]
pub struct Asked {
    /// As it is sent.
    pub head: Vec<u8>,
    pub method: Method,
    /// The body is sent in chunks.
    pub chunked: bool,
    /// It may be sent a second time.
    pub again: bool,
}

/// A connection to a target, for one request.
pub struct Connection {
    pub upstream: Upstream,
    pub place: Place,
    /// It had been idle.
    pub reused: bool,
}

/// The request's way to the target.
struct Upload {
    /// Written first.
    pending: Vec<u8>,
    written: usize,
    /// None once all of it is in `pending`.
    body: Option<ToTarget>,
    chunked: bool,
    dirty: bool,
}

enum Broken {
    /// The client's stream.
    Sender(Failure),
    Receiver,
}

impl Connection {
    /// Begins to send the request.
    pub fn ask(self, asked: Asked, body: ToTarget) -> Asking {
        let (body, empty) = match body.is_end_stream() {
            true => (None, Some(body)),
            false => (Some(body), None),
        };
        let upload = Upload {
            pending: asked.head,
            written: 0,
            body,
            chunked: asked.chunked,
            dirty: true,
        };
        let mut parser = Parser::new(Kind::Response);
        parser.head.fields.reserve(USUAL_FIELDS);
        Asking {
            open: Some((self.upstream, self.place, upload)),
            empty,
            method: asked.method,
            again: asked.again && self.reused,
            parser,
            came: BytesMut::new(),
            refused: false,
            interim: 0,
        }
    }
}

/// A request on its way, until the head of its response has come.
pub struct Asking {
    /// None once that has come.
    open: Option<(Upstream, Place, Upload)>,
    /// A body without content, for when the request is sent a second time.
    empty: Option<ToTarget>,
    method: Method,
    /// It may be sent a second time if it turns out that the connection is closed.
    again: bool,
    parser: Parser,
    came: BytesMut,
    /// The target takes nothing more of the request.
    refused: bool,
    interim: usize,
}

impl Asking {
    /// Goes on until the head of the response has come.
    ///
    /// # Errors
    /// See [`Unsent`].
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<Answer>, Unsent>> {
        let came = ready!(self.poll_head(cx));
        Poll::Ready(match (came, self.empty.take()) {
            (Ok(()), _) => self.response(),
            (Err(NoHead::Stale), Some(body)) => Err(Unsent::Returned(body)),
            (Err(NoHead::Stale), None) => Err(Unsent::Broken(CLOSED.into())),
            (Err(NoHead::Broken(failure)), _) => Err(Unsent::Broken(failure)),
        })
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NoHead>> {
        let Some((upstream, _, upload)) = &mut self.open else {
            return Poll::Ready(Err(broken(CLOSED)));
        };
        if !self.refused {
            match upload.poll(cx, upstream) {
                Poll::Ready(Err(Broken::Sender(error))) => return Poll::Ready(Err(NoHead::Broken(error))),
                // It may have answered before it stopped listening.
                Poll::Ready(Err(Broken::Receiver)) => self.refused = true,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        loop {
            match poll_read(cx, upstream) {
                Poll::Ready(Ok(bytes)) if !bytes.is_empty() => self.came.unsplit(bytes),
                Poll::Ready(_) if self.again && self.came.is_empty() && self.interim == 0 => {
                    return Poll::Ready(Err(NoHead::Stale));
                }
                Poll::Ready(_) => return Poll::Ready(Err(broken(CLOSED))),
                // What it still said, or its end, comes at once where it takes nothing more.
                Poll::Pending => return Poll::Pending,
            }
            let parser = &mut self.parser;
            while parser
                .feed(&self.came)
                .map_err(|refusal| NoHead::Broken(refusal.into()))?
                == Progress::Done
            {
                if !(100..200).contains(&parser.head.status) || parser.head.status == 101 {
                    return Poll::Ready(Ok(()));
                }
                self.interim += 1;
                if self.interim > INTERIM {
                    return Poll::Ready(Err(broken("interim responses without end")));
                }
                self.came.advance(parser.head.length);
                parser.restart();
            }
        }
    }

    fn response(&mut self) -> Result<Response<Answer>, Unsent> {
        let head = &self.parser.head;
        let framing = head.response_framing(self.method.as_str().as_bytes());
        let whole = std::mem::take(&mut self.came).freeze();
        let mut response = Response::new(Answer {
            rest: Rest::of(framing, Chunks::keeping_trailers()),
            came: whole.slice(head.length..),
            keeps: head.persistent() && framing != Framing::Close,
            refused: self.refused,
            open: self.open.take(),
        });
        *response.status_mut() = StatusCode::from_u16(head.status).map_err(|e| Unsent::Broken(e.into()))?;
        *response.headers_mut() = fields(head, &whole)?;
        response.body_mut().end_if_over();
        Ok(response)
    }
}

/// Why no head came.
enum NoHead {
    /// A kept connection turned out closed.
    Stale,
    Broken(Failure),
}

const CLOSED: &str = "the target closed before it answered";

fn broken(what: &'static str) -> NoHead {
    NoHead::Broken(what.into())
}

/// The head's fields but for those of this one connection; values share the memory of `whole`.
fn fields(head: &Head, whole: &Bytes) -> Result<HeaderMap, Unsent> {
    let mut out = HeaderMap::with_capacity(head.fields.len() + 2);
    let listed = rewrite::listed(head, whole);
    for field in &head.fields {
        let name = field.name.of(whole);
        let own = [
            Known::Connection,
            Known::HopByHop,
            Known::TransferEncoding,
            Known::Upgrade,
        ];
        if own.contains(&field.known) || rewrite::is_listed(&listed, whole, name) {
            continue;
        }
        let value = HeaderValue::from_maybe_shared(whole.slice_ref(field.value.of(whole)));
        out.append(named(out.len(), name)?, value.map_err(|e| Unsent::Broken(e.into()))?);
    }
    Ok(out)
}

/// A header's name. Targets send the same headers in the same order most of the time, so that the last one at its place is
/// mostly the same: telling so takes a quarter of what reading it takes.
fn named(place: usize, name: &[u8]) -> Result<HeaderName, Unsent> {
    NAMES.with_borrow_mut(|names| {
        if let Some(last) = names.get(place)
            && last.as_str().as_bytes().eq_ignore_ascii_case(name)
        {
            return Ok(last.clone());
        }
        let read = HeaderName::from_bytes(name).map_err(|e| Unsent::Broken(e.into()))?;
        if place < NAMES_KEPT {
            names.truncate(place);
            names.push(read.clone());
        }
        Ok(read)
    })
}

impl Upload {
    /// Goes on as far as both sides allow; ready once all of it is written.
    fn poll(&mut self, cx: &mut Context<'_>, to: &mut Upstream) -> Poll<Result<(), Broken>> {
        loop {
            while self.written < self.pending.len() {
                match ready!(Pin::new(&mut *to).poll_write(cx, &self.pending[self.written..])) {
                    Ok(wrote) if wrote > 0 => self.written += wrote,
                    _ => return Poll::Ready(Err(Broken::Receiver)),
                }
                self.dirty = true;
            }
            if self.written > 0 {
                buffers::give_back(std::mem::take(&mut self.pending));
                self.written = 0;
            }
            let frame = match &mut self.body {
                Some(body) => Pin::new(body).poll_frame(cx),
                None => Poll::Ready(None),
            };
            match frame {
                Poll::Ready(Some(Ok(frame))) => self.put(frame),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(Broken::Sender(error))),
                Poll::Ready(None) if self.body.take().is_some() && self.chunked => {
                    self.pending.extend_from_slice(b"0\r\n\r\n");
                }
                done => {
                    if self.dirty {
                        ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(|_| Broken::Receiver)?;
                        self.dirty = false;
                    }
                    return done.map(|_| Ok(()));
                }
            }
        }
    }

    fn put(&mut self, frame: Frame<Bytes>) {
        if self.pending.capacity() == 0 {
            self.pending = buffers::lend();
        }
        let out = &mut self.pending;
        match frame.into_data() {
            Ok(data) if !self.chunked => out.extend_from_slice(&data),
            // An empty chunk would be the last.
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                out.extend_from_slice(&data);
                out.extend_from_slice(b"\r\n");
            }
            Err(frame) => {
                // Trailers are a stream's end. Without chunks there is no place for them.
                self.body = None;
                if let (true, Ok(trailers)) = (self.chunked, frame.into_trailers()) {
                    out.extend_from_slice(b"0\r\n");
                    for (name, value) in trailers.iter().filter(|(name, _)| may_trail(name.as_str().as_bytes())) {
                        crate::http1::rewrite::put_field(out, name.as_str().as_bytes(), value.as_bytes());
                    }
                    out.extend_from_slice(b"\r\n");
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        self.body.is_none() && self.pending.is_empty() && !self.dirty
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        buffers::give_back(std::mem::take(&mut self.pending));
    }
}

/// The body of a response, and the rest of the request meanwhile.
pub struct Answer {
    rest: Rest,
    /// Read and not passed on yet.
    came: Bytes,
    /// Both sides let the connection last.
    keeps: bool,
    /// The target takes nothing more of the request.
    refused: bool,
    /// None once the body has ended.
    open: Option<(Upstream, Place, Upload)>,
}

thread_local! {
    /// What targets send is read into it and cut off, so that it is passed on without a copy.
    static ROOM: RefCell<BytesMut> = RefCell::default();
    /// See `named`.
    static NAMES: RefCell<Vec<HeaderName>> = RefCell::default();
}

/// What there is to read; nothing: the end.
fn poll_read(cx: &mut Context<'_>, from: &mut Upstream) -> Poll<io::Result<BytesMut>> {
    ROOM.with_borrow_mut(|room| {
        if room.capacity() < LEAST {
            room.reserve(READ);
        }
        let read = ready!(pin!(from.read_buf(room)).poll(cx));
        Poll::Ready(read.map(|_| room.split()))
    })
}

impl Answer {
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        loop {
            match self.next() {
                Ok(Some(frame)) => {
                    // The last frame says that it is.
                    self.end_if_over();
                    return Poll::Ready(Some(Ok(frame)));
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            self.end_if_over();
            let Some((upstream, _, upload)) = &mut self.open else {
                return Poll::Ready(None);
            };
            if !self.refused {
                match upload.poll(cx, upstream) {
                    Poll::Ready(Err(Broken::Sender(error))) => return Poll::Ready(Some(Err(error))),
                    Poll::Ready(Err(Broken::Receiver)) => self.refused = true,
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
            }
            match ready!(poll_read(cx, upstream)) {
                Ok(bytes) if bytes.is_empty() => match self.rest {
                    Rest::Close => self.rest = Rest::Nothing,
                    _ => return Poll::Ready(Some(Err("the target closed before its response ended".into()))),
                },
                Ok(bytes) => self.came = bytes.freeze(),
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    /// The next frame of what has come.
    fn next(&mut self) -> Result<Option<Frame<Bytes>>, Failure> {
        let length = match &mut self.rest {
            Rest::Nothing => 0,
            Rest::Close => self.came.len(),
            Rest::Length(left) => {
                let here = usize::try_from(*left).map_or(self.came.len(), |left| left.min(self.came.len()));
                *left -= here as u64;
                here
            }
            Rest::Chunked(chunks) => {
                skip_framing(chunks, &mut self.came)?;
                if chunks.has_trailers() && chunks.is_done() {
                    return Ok(Some(Frame::trailers(trailers(chunks)?)));
                }
                match (chunks.is_in_data() && !self.came.is_empty()).then(|| chunks.step(&self.came)) {
                    Some(Ok(Step::Data(length))) => length,
                    Some(Err(error)) => return Err(error.into()),
                    _ => 0,
                }
            }
        };
        let data = self.came.split_to(length);
        if let Rest::Chunked(chunks) = &mut self.rest {
            // Whether it was the last is known as soon as the end has come.
            skip_framing(chunks, &mut self.came)?;
        }
        Ok((length > 0).then(|| Frame::data(data)))
    }

    /// Nothing more comes.
    pub fn is_over(&self) -> bool {
        self.open.is_none()
    }

    /// Keeps or closes the connection once the body has ended.
    fn end_if_over(&mut self) {
        let over = match &self.rest {
            Rest::Chunked(chunks) => chunks.is_done() && !chunks.has_trailers(),
            rest => rest.is_read(),
        };
        if let Some((upstream, place, upload)) = over.then(|| self.open.take()).flatten()
            && self.keeps
            && upload.is_done()
            && self.came.is_empty()
        {
            upstream::keep(place, upstream);
        }
    }

    /// How much is left of it, when that is known.
    pub fn length(&self) -> Option<u64> {
        match self.rest {
            Rest::Nothing => Some(0),
            Rest::Length(left) => Some(left),
            Rest::Chunked(_) | Rest::Close => None,
        }
    }
}

/// Passes over what is no content.
fn skip_framing(chunks: &mut Chunks, came: &mut Bytes) -> Result<(), Failure> {
    while !came.is_empty() && !chunks.is_in_data() && !chunks.is_done() {
        match chunks.step(came)? {
            Step::Data(n) | Step::Framing(n) | Step::End(n) => drop(came.split_to(n)),
        }
    }
    Ok(())
}

fn trailers(chunks: &mut Chunks) -> Result<HeaderMap, Failure> {
    let mut out = HeaderMap::new();
    for (name, value) in chunks.take_trailers() {
        out.append(HeaderName::from_bytes(&name)?, HeaderValue::from_bytes(&value)?);
    }
    Ok(out)
}
