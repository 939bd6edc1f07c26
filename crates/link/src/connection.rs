//! A connection of the link over any byte stream: frames out through a bounded queue, frames in one at a time.
//!
//! Both sides use it; control's side of the Unix socket and a simulated stream are the same to it. Invariants: what a
//! peer does not read holds at most `QUEUED_BYTES` here, then senders wait; a peer that says nothing for
//! `Timing::silence` ends the connection; order of frames is kept.

use crate::LinkError;
use crate::frame::{self, Decoded, Decoder, Framed};
use serde::{Serialize, de::DeserializeOwned};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};

/// How long a connection may be quiet.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A heartbeat is sent after this long without a frame.
    pub heartbeat: Duration,
    /// The connection ends after hearing nothing for this long.
    pub silence: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            heartbeat: Duration::from_secs(4),
            silence: Duration::from_secs(15),
        }
    }
}

/// Both directions; `split` when different tasks use them.
#[derive(Debug)]
pub struct Connection<Out, In> {
    sender: Sender<Out>,
    receiver: Receiver<In>,
}

/// A node's end.
pub type NodeConnection = Connection<crate::FromNode, crate::ToNode>;
/// Control's end.
pub type ControlConnection = Connection<crate::ToNode, crate::FromNode>;

/// Bytes that may wait to be written before senders wait.
pub const QUEUED_BYTES: usize = 4 * 1024 * 1024;

struct Queued {
    bytes: Vec<u8>,
    /// Gives its share of `QUEUED_BYTES` back when dropped.
    _budget: tokio::sync::OwnedSemaphorePermit,
}

/// The sending half; clones share the queue. When the last clone is dropped what is queued is still written, then the
/// stream is shut down.
#[derive(Debug)]
pub struct Sender<Out> {
    queue: mpsc::UnboundedSender<Queued>,
    budget: Arc<Semaphore>,
    kind: PhantomData<fn(Out)>,
}

impl<Out> Clone for Sender<Out> {
    fn clone(&self) -> Self {
        Sender {
            queue: self.queue.clone(),
            budget: self.budget.clone(),
            kind: PhantomData,
        }
    }
}

impl<Out: Serialize> Sender<Out> {
    /// Queues a message of or for `node`; waits while the queue is full.
    ///
    /// # Errors
    /// `Closed` once the stream is gone, `FrameTooLong`.
    pub async fn send(&self, node: &str, message: &Out) -> Result<(), LinkError> {
        let bytes = frame::encode(node, message)?;
        // A frame larger than the whole budget passes alone.
        let share = bytes.len().min(QUEUED_BYTES) as u32;
        let budget = self
            .budget
            .clone()
            .acquire_many_owned(share)
            .await
            .map_err(|_| LinkError::Closed)?;
        self.queue
            .send(Queued { bytes, _budget: budget })
            .map_err(|_| LinkError::Closed)
    }

    /// Answers once the stream is gone.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }
}

/// The receiving half.
pub struct Receiver<In> {
    stream: Box<dyn AsyncRead + Send + Sync + Unpin>,
    decoder: Decoder,
    silence: Duration,
    heard: Instant,
    kind: PhantomData<fn() -> In>,
}

impl<In> std::fmt::Debug for Receiver<In> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver")
            .field("heard", &self.heard)
            .finish_non_exhaustive()
    }
}

impl<In: DeserializeOwned> Receiver<In> {
    /// The next message; none when the peer closed in good order. Dropping the future loses nothing.
    ///
    /// # Errors
    /// `Silent`, `FrameTooLong`, `Decode`, `Io`; the connection is of no further use then.
    pub async fn recv(&mut self) -> Result<Option<Framed<In>>, LinkError> {
        loop {
            match self.decoder.take()? {
                Decoded::Frame(frame) => return Ok(Some(frame)),
                Decoded::Heartbeat => continue,
                Decoded::Incomplete => {}
            }
            let read = self.stream.read_buf(self.decoder.buffer());
            match tokio::time::timeout_at(self.heard + self.silence, read).await {
                Err(_) => return Err(LinkError::Silent { after: self.silence }),
                Ok(Err(error)) => return Err(LinkError::Io(error)),
                Ok(Ok(0)) if self.decoder.is_empty() => return Ok(None),
                Ok(Ok(0)) => return Err(LinkError::Truncated),
                Ok(Ok(_)) => self.heard = Instant::now(),
            }
        }
    }

    /// A message that has come already, without waiting for more.
    ///
    /// # Errors
    /// `FrameTooLong`, `Decode`; the connection is of no further use then.
    pub fn buffered(&mut self) -> Option<Result<Framed<In>, LinkError>> {
        loop {
            match self.decoder.take() {
                Ok(Decoded::Frame(frame)) => return Some(Ok(frame)),
                Ok(Decoded::Heartbeat) => {}
                Ok(Decoded::Incomplete) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// When the peer was last heard.
    pub fn heard(&self) -> Instant {
        self.heard
    }
}

impl<Out, In> Connection<Out, In>
where
    Out: Serialize + 'static,
    In: DeserializeOwned + 'static,
{
    /// Greets the peer over `stream` and, when both speak the same protocol, takes the stream over. Needs a tokio
    /// runtime: a task writes what is queued.
    ///
    /// # Errors
    /// `NotNeargate`, `Version`, `Silent` for a peer that does not greet, `Io`.
    pub async fn establish<S>(stream: S, timing: Timing) -> Result<Self, LinkError>
    where
        S: AsyncRead + AsyncWrite + Send + Sync + 'static,
    {
        let (mut read, mut write) = tokio::io::split(stream);
        let greet = async {
            write.write_all(&frame::greeting(frame::PROTOCOL)).await?;
            write.flush().await?;
            let mut theirs = [0; frame::GREETING];
            read.read_exact(&mut theirs).await?;
            frame::check_greeting(&theirs)
        };
        timeout(timing.silence, greet)
            .await
            .map_err(|_| LinkError::Silent { after: timing.silence })??;

        let (queue, queued) = mpsc::unbounded_channel();
        let budget = Arc::new(Semaphore::new(QUEUED_BYTES));
        tokio::spawn(write_queued(write, queued, timing.heartbeat, budget.clone()));
        let receiver = Receiver {
            stream: Box::new(read),
            decoder: Decoder::default(),
            silence: timing.silence,
            heard: Instant::now(),
            kind: PhantomData,
        };
        Ok(Connection {
            sender: Sender {
                queue,
                budget,
                kind: PhantomData,
            },
            receiver,
        })
    }

    /// See `Sender::send`.
    ///
    /// # Errors
    /// As `Sender::send`.
    pub async fn send(&self, node: &str, message: &Out) -> Result<(), LinkError> {
        self.sender.send(node, message).await
    }

    /// See `Receiver::recv`.
    ///
    /// # Errors
    /// As `Receiver::recv`.
    pub async fn recv(&mut self) -> Result<Option<Framed<In>>, LinkError> {
        self.receiver.recv().await
    }

    pub fn split(self) -> (Sender<Out>, Receiver<In>) {
        (self.sender, self.receiver)
    }
}

/// Writes what is queued, many frames in one call when they wait together, and heartbeats in between.
async fn write_queued<W: AsyncWrite>(
    write: W,
    mut queued: mpsc::UnboundedReceiver<Queued>,
    heartbeat: Duration,
    budget: Arc<Semaphore>,
) {
    let mut write = std::pin::pin!(write);
    let mut together = Vec::new();
    let outcome: std::io::Result<()> = async {
        loop {
            match timeout(heartbeat, queued.recv()).await {
                Err(_) => write.write_all(&frame::HEARTBEAT).await?,
                Ok(None) => return Ok(()),
                Ok(Some(first)) => match queued.try_recv() {
                    Err(_) => write.write_all(&first.bytes).await?,
                    Ok(second) => {
                        together.extend_from_slice(&first.bytes);
                        together.extend_from_slice(&second.bytes);
                        let mut held = vec![first._budget, second._budget];
                        while together.len() < TOGETHER
                            && let Ok(next) = queued.try_recv()
                        {
                            together.extend_from_slice(&next.bytes);
                            held.push(next._budget);
                        }
                        write.write_all(&together).await?;
                        together.clear();
                        together.shrink_to(TOGETHER);
                    }
                },
            }
            write.flush().await?;
        }
    }
    .await;
    if let Err(error) = outcome {
        tracing::debug!(%error, "the link's peer is gone");
    }
    // Senders that wait for room must learn that none will come.
    queued.close();
    budget.close();
    if let Err(error) = write.shutdown().await {
        tracing::debug!(%error, "the link's stream was already closed");
    }
}

const TOGETHER: usize = 64 * 1024;
