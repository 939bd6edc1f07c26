//! Downloading a layer: hashed while it streams to a file, and resumed where a broken connection or process left it.

use super::http::Broken;
use super::{Failed, Repository};
use crate::error::is_full;
use crate::gc::{blocking, free_bytes};
use crate::layers::Layer;
use crate::{Digest, ImageError};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// A downloaded layer: its file, locked against other processes, and whole.
pub(crate) struct Download {
    pub file: File,
    pub path: PathBuf,
}

/// After so many connections for one layer, getting further no longer counts.
const MAX_CONNECTIONS: u32 = 100;

/// The file with what is known of its content so far.
struct Partial {
    file: File,
    path: PathBuf,
    hash: Sha256,
    have: u64,
}

impl Repository {
    /// Brings all of `layer` to this machine.
    ///
    /// # Errors
    /// As for manifests, and `Corrupt`, `DiskFull`.
    pub(crate) async fn download(&self, layer: &Layer) -> Result<Download, ImageError> {
        let (inner, wanted) = (self.inner.clone(), layer.clone());
        let mut partial = blocking(move || {
            let free = free_bytes(inner.dirs.root())?;
            let path = inner.dirs.partial(&wanted.blob);
            let have = fs::metadata(&path).map_or(0, |m| m.len());
            if free
                < wanted
                    .size
                    .saturating_sub(have)
                    .saturating_add(inner.options.keep_free_bytes)
            {
                return Err(ImageError::DiskFull { path });
            }
            Partial::open(path, || inner.dirs.fresh("download"), wanted.size)
        })
        .await?;
        let resumed = partial.have > 0;
        let mut restarted = false;
        // Failures since the last byte, and connections in all: a registry that brings a byte each must end, too.
        let (mut tries, mut connections) = (0, 0);
        loop {
            connections += 1;
            let before = partial.have;
            let outcome;
            (partial, outcome) = self.attempt(layer, partial).await;
            match outcome {
                Ok(()) => {
                    let found = Digest::from_hash(partial.hash.clone().finalize().as_slice());
                    if found == layer.blob {
                        return Ok(Download {
                            file: partial.file,
                            path: partial.path,
                        });
                    }
                    // What an earlier run left may be what is wrong: once more from the start.
                    let error = ImageError::digest_mismatch(format!("layer {}", layer.blob), &layer.blob, &found);
                    partial
                        .restart()
                        .map_err(|e| ImageError::io("writing", &partial.path, e))?;
                    if !resumed || restarted {
                        let _ = fs::remove_file(&partial.path);
                        return Err(error);
                    }
                    restarted = true;
                }
                Err(failed) => {
                    let further = partial.have > before && connections < MAX_CONNECTIONS;
                    tries = if further { 1 } else { tries + 1 };
                    let pause = self.next_try(tries, failed)?;
                    tracing::debug!(layer = %layer.blob, at = partial.have, "resuming a download");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// One connection's worth.
    async fn attempt(&self, layer: &Layer, mut partial: Partial) -> (Partial, Result<(), Failed>) {
        if partial.have == layer.size {
            return (partial, Ok(()));
        }
        let url = self.blob_url(&layer.blob);
        let mut headers = HeaderMap::new();
        if partial.have > 0 {
            let range = HeaderValue::try_from(format!("bytes={}-", partial.have)).expect("digits are a valid header");
            headers.insert(header::RANGE, range);
        }
        let answer = match self.request(Method::GET, &url, headers).await {
            Ok(answer) => answer,
            Err(failed) => return (partial, Err(failed)),
        };
        let io_error = |path: &Path, e| Failed::Final(ImageError::io("writing", path, e));
        match answer.status() {
            StatusCode::PARTIAL_CONTENT if starts_at(answer.headers()) == Some(partial.have) => {}
            // The server knows no ranges, or another one: from the start.
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                let whole = answer.status() == StatusCode::OK;
                if let Err(e) = partial.restart() {
                    let failed = io_error(&partial.path, e);
                    return (partial, Err(failed));
                }
                if !whole {
                    let why = "the registry answered another range than asked for".to_owned();
                    return (partial, Err(self.broken(Broken::Connection(why))));
                }
            }
            _ => return (partial, Err(self.refusal(&url, answer).await)),
        }
        let already = partial.have;
        let (sender, receiver) = mpsc::channel::<Bytes>(16);
        let writer = tokio::task::spawn_blocking(move || partial.write(receiver));
        let end = self.stream(answer.into_body(), sender, layer.size - already).await;
        let (partial, written) = match writer.await {
            Ok(out) => out,
            Err(e) => std::panic::resume_unwind(e.into_panic()),
        };
        let outcome = match (written, end) {
            (Err(e), _) => Err(io_error(&partial.path, e)),
            (Ok(()), Err(broken)) => Err(self.broken(broken)),
            (Ok(()), Ok(())) if partial.have < layer.size => {
                let why = format!("the connection ended after {} of {} bytes", partial.have, layer.size);
                Err(self.broken(Broken::Connection(why)))
            }
            (Ok(()), Ok(())) => Ok(()),
        };
        if partial.have > layer.size {
            let path = partial.path.clone();
            let why = format!("it should have {} bytes and the registry sends more", layer.size);
            let _ = fs::remove_file(path);
            return (
                partial,
                Err(Failed::Final(ImageError::corrupt(format!("layer {}", layer.blob), why))),
            );
        }
        (partial, outcome)
    }

    /// Passes the body on, until more came than `expected`. The writer going away ends this quietly: it tells why.
    async fn stream(&self, mut body: Incoming, to: mpsc::Sender<Bytes>, expected: u64) -> Result<(), Broken> {
        let mut passed = 0;
        while let Some(piece) = self.inner.http.frame(&mut body).await? {
            passed += piece.len() as u64;
            if to.send(piece).await.is_err() || passed > expected {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Partial {
    /// Opens the resumable file, or one of its own while another process writes that.
    fn open(path: PathBuf, fresh: impl FnOnce() -> PathBuf, size: u64) -> Result<Partial, ImageError> {
        let open = |path: &Path| {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path);
            file.map_err(|e| ImageError::io("opening", path, e))
        };
        let mut partial = Partial {
            file: open(&path)?,
            path,
            hash: Sha256::new(),
            have: 0,
        };
        if flock(&partial.file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let path = fresh();
            partial = Partial {
                file: open(&path)?,
                path,
                hash: Sha256::new(),
                have: 0,
            };
        }
        partial
            .take_over(size)
            .map_err(|e| ImageError::io("reading", &partial.path, e))?;
        Ok(partial)
    }

    /// Hashes what is there already.
    fn take_over(&mut self, size: u64) -> io::Result<()> {
        if self.file.metadata()?.len() > size {
            return self.restart();
        }
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let n = self.file.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            self.hash.update(&buffer[..n]);
            self.have += n as u64;
        }
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hash = Sha256::new();
        self.have = 0;
        Ok(())
    }

    fn write(mut self, mut pieces: mpsc::Receiver<Bytes>) -> (Partial, io::Result<()>) {
        while let Some(piece) = pieces.blocking_recv() {
            if let Err(e) = self.file.write_all(&piece) {
                if is_full(&e) {
                    // What does not fit helps nobody, and others need the room.
                    let _ = self.restart();
                    let _ = fs::remove_file(&self.path);
                }
                return (self, Err(e));
            }
            self.hash.update(&piece);
            self.have += piece.len() as u64;
        }
        (self, Ok(()))
    }
}

/// First byte of `Content-Range: bytes 5-9/10`.
fn starts_at(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    text.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}
