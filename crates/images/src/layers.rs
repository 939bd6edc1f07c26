//! Getting an image's layers unpacked: each once, several at a time, shared by all images that have it.
//!
//! A layer's directory is named by its chain id, since directories that a layer only implies take their owner and mode
//! from what is below. Jobs of one image wait for the layer below and for whoever else makes the same layer, both
//! strictly lower in the chain, so that no two images can wait for each other.

use crate::digest::Hashing;
use crate::dirs::{remove_tree, sync_parent};
use crate::gc::blocking;
use crate::manifest::{Manifest, chain_ids};
use crate::store::{Inner, Pin};
use crate::unpack::{Expected, adopt_parents, unpack};
use crate::{Digest, ImageError};
use std::collections::HashMap;
use std::fs;
use std::future::Future;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::task::JoinSet;

/// One layer of an image.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub blob: Digest,
    pub size: u64,
    pub diff_id: Digest,
    pub chain: Digest,
}

/// The layers of a manifest, bottom first.
///
/// # Errors
/// `Corrupt` when manifest and config disagree.
pub(crate) fn layers_of(what: &str, manifest: &Manifest, diff_ids: &[Digest]) -> Result<Vec<Layer>, ImageError> {
    if manifest.layers.len() != diff_ids.len() {
        let (have, want) = (manifest.layers.len(), diff_ids.len());
        return Err(ImageError::corrupt(
            what,
            format!("its manifest has {have} layers and its config {want}"),
        ));
    }
    if diff_ids.len() > 500 {
        return Err(ImageError::corrupt(
            what,
            "it has more than 500 layers, the most that overlayfs stacks",
        ));
    }
    let layers = manifest.layers.iter().zip(diff_ids).zip(chain_ids(diff_ids));
    Ok(layers
        .map(|((d, diff_id), chain)| Layer {
            blob: d.digest.clone(),
            size: d.size,
            diff_id: diff_id.clone(),
            chain,
        })
        .collect())
}

/// Where a layer's bytes come from.
pub(crate) trait Source: Send + Sync + 'static {
    /// Makes the bytes readable on this machine.
    fn fetch(&self, layer: &Layer) -> impl Future<Output = Result<Fetched, ImageError>> + Send;
}

/// A layer's bytes at hand. Dropped when the layer was unpacked, or could not be.
pub(crate) type Fetched = Box<dyn Read + Send>;

/// One mutex a digest, made when needed: whoever holds it makes what the digest names.
#[derive(Default)]
pub(crate) struct Keyed(Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>);

impl Keyed {
    pub(crate) async fn lock(&self, digest: &Digest) -> OwnedMutexGuard<()> {
        let mutex = {
            let mut all = self.0.lock().unwrap_or_else(|e| e.into_inner());
            all.retain(|_, weak| weak.strong_count() > 0);
            match all.get(digest).and_then(Weak::upgrade) {
                Some(mutex) => mutex,
                None => {
                    let mutex = Arc::new(tokio::sync::Mutex::new(()));
                    all.insert(digest.clone(), Arc::downgrade(&mutex));
                    mutex
                }
            }
        };
        mutex.lock_owned().await
    }
}

/// A directory that is removed unless it was renamed away.
struct Making(PathBuf);

impl Drop for Making {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "an unfinished layer stays until the next start");
        }
    }
}

/// Makes every layer be there. `pin` must outlive the image's entry in the index.
///
/// # Errors
/// The first failure; the other layers' work is given up then.
pub(crate) async fn ensure<S: Source>(
    inner: &Arc<Inner>,
    pin: &mut Pin,
    source: &Arc<S>,
    layers: &[Layer],
) -> Result<(), ImageError> {
    let mut jobs = JoinSet::new();
    let mut below: Option<watch::Receiver<bool>> = None;
    let mut lower: Vec<PathBuf> = Vec::new();
    for layer in layers {
        pin.add(&layer.chain);
        let (done, next) = watch::channel(false);
        let wait = below.replace(next);
        let job = Job {
            inner: inner.clone(),
            source: source.clone(),
            layer: layer.clone(),
            lower: lower.iter().rev().cloned().collect(),
            below: wait,
        };
        lower.push(inner.dirs.layer(&layer.chain).join("fs"));
        jobs.spawn(async move {
            job.run().await?;
            done.send_replace(true);
            Ok::<_, ImageError>(())
        });
    }
    while let Some(finished) = jobs.join_next().await {
        match finished {
            Ok(Ok(())) => {}
            // A job whose lower neighbour failed is cancelled by dropping the set; the neighbour's error comes first.
            Ok(Err(error)) => return Err(error),
            Err(e) => match e.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(e) => {
                    return Err(ImageError::io(
                        "unpacking into",
                        &inner.dirs.layers(),
                        io::Error::other(e),
                    ));
                }
            },
        }
    }
    Ok(())
}

struct Job<S> {
    inner: Arc<Inner>,
    source: Arc<S>,
    layer: Layer,
    /// Nearest first.
    lower: Vec<PathBuf>,
    below: Option<watch::Receiver<bool>>,
}

impl<S: Source> Job<S> {
    async fn run(mut self) -> Result<(), ImageError> {
        let place = self.inner.dirs.layer(&self.layer.chain);
        if place.is_dir() {
            return Ok(());
        }
        let _alone = self.inner.making.lock(&self.layer.chain).await;
        if place.is_dir() {
            return Ok(());
        }
        let fetched = self.source.fetch(&self.layer).await?;
        let permit = self.inner.unpacks.clone().acquire_owned().await;
        let making = Making(self.inner.dirs.fresh("layer"));
        let (inner, layer) = (self.inner.clone(), self.layer.clone());
        let (making, implicit) = blocking(move || {
            let expected = Expected {
                blob: Some((&layer.blob, layer.size)),
                diff_id: &layer.diff_id,
            };
            let implicit = unpack(fetched, &expected, &making.0, &inner.options)?;
            Ok((making, implicit))
        })
        .await?;
        drop(permit);
        if let Some(below) = &mut self.below
            && below.wait_for(|done| *done).await.is_err()
        {
            // The layer below failed, and its own job tells why: stay out of its way.
            return std::future::pending().await;
        }
        let lower = std::mem::take(&mut self.lower);
        blocking(move || {
            adopt_parents(&making.0, &implicit, &lower)?;
            put_in_place(&making.0, &place)
        })
        .await
    }
}

/// Makes the unpacked layer durable, then visible. Another process may have been faster: its layer is as good.
fn put_in_place(made: &Path, place: &Path) -> Result<(), ImageError> {
    let failed = |e: io::Error| ImageError::io("storing", place, e);
    let dir = fs::File::open(made).map_err(failed)?;
    rustix::fs::syncfs(&dir).map_err(|e| failed(e.into()))?;
    match fs::rename(made, place) {
        Ok(()) => sync_parent(place).map_err(failed),
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
            ) =>
        {
            Ok(())
        }
        Err(e) => Err(failed(e)),
    }
}

/// Hashes all of `reader`.
pub(crate) fn digest_of(reader: impl Read) -> io::Result<(Digest, u64)> {
    let mut hashing = Hashing::new(reader);
    let mut buffer = vec![0; 256 * 1024];
    while hashing.read(&mut buffer)? > 0 {}
    Ok((hashing.digest(), hashing.bytes))
}
