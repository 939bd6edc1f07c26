//! Pulling: from a reference to an image that is whole here, asking as little of the registry as possible.
//!
//! What is pinned by digest and here is used as it is. A tag is asked for each time, as the ECS agent does by default,
//! and when that fails an image already here is used. Images loaded from a file are used without asking anyone.
//! Callers that want the same at the same time share one pull, and one that nobody waits for any longer stops.

use crate::gc::blocking;
use crate::index::{self, Origin, StoredImage};
use crate::layers::{Fetched, Layer, Source, ensure, layers_of};
use crate::manifest::{self, Document, MAX_CONFIG, Manifest};
use crate::registry::{Download, Repository};
use crate::store::{Inner, Pin, diff_ids, read_config};
use crate::{Digest, Image, ImageError, ImageStore, Reference};
use futures_util::future::{BoxFuture, FutureExt, Shared, WeakShared};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::sync::OwnedMutexGuard;

/// What to pull.
#[derive(Clone, Debug, Default)]
pub struct PullRequest {
    /// As a task definition names it: `nginx`, `localhost:5000/web:1`, `…@sha256:…`.
    pub image: String,
    /// Digest the service revision pinned; wins over the reference's tag.
    pub digest: Option<Digest>,
    pub credentials: Option<Credentials>,
}

impl PullRequest {
    /// By reference alone.
    pub fn of(image: impl Into<String>) -> PullRequest {
        PullRequest {
            image: image.into(),
            ..PullRequest::default()
        }
    }
}

/// A registry account.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.username)
    }
}

type Outcome = Result<Image, ImageError>;
type Key = (Reference, Option<Credentials>);

/// Pulls that run now.
#[derive(Default)]
pub(crate) struct Pulls(Mutex<HashMap<Key, WeakShared<BoxFuture<'static, Outcome>>>>);

impl Pulls {
    fn join(
        &self,
        key: Key,
        start: impl FnOnce() -> BoxFuture<'static, Outcome>,
    ) -> Shared<BoxFuture<'static, Outcome>> {
        let mut running = self.0.lock().unwrap_or_else(|e| e.into_inner());
        // One that has finished answers what was true then; a new caller wants what is true now.
        running.retain(|_, pull| pull.upgrade().is_some_and(|p| p.peek().is_none()));
        if let Some(pull) = running.get(&key).and_then(WeakShared::upgrade) {
            return pull;
        }
        let pull = start().shared();
        if let Some(weak) = pull.downgrade() {
            running.insert(key, weak);
        }
        pull
    }
}

impl ImageStore {
    /// The image, pulled if it is not here.
    ///
    /// # Errors
    /// Every variant of `ImageError`; `ImageError::stopped_reason` words it for a task.
    pub async fn pull(&self, request: PullRequest) -> Result<Image, ImageError> {
        let mut reference: Reference = request.image.parse()?;
        if request.digest.is_some() {
            reference.digest = request.digest;
        }
        if let Some(image) = self.inner.usable(&reference)? {
            return Ok(image);
        }
        let (inner, credentials) = (self.inner.clone(), request.credentials);
        let key = (reference.clone(), credentials.clone());
        self.inner
            .pulls
            .join(key, || run(inner, reference, credentials).boxed())
            .await
    }
}

impl Inner {
    /// The image if it may be used without asking: pinned by digest, or loaded.
    fn usable(&self, reference: &Reference) -> Result<Option<Image>, ImageError> {
        let key = reference.index_key();
        let digest = match &reference.digest {
            Some(digest) => Some(digest.clone()),
            None => index::get(&self.dirs, &key)?
                .filter(|row| row.origin == Origin::Loaded)
                .map(|row| row.digest),
        };
        let Some(digest) = digest else { return Ok(None) };
        let image = self.local(&reference.to_string(), &digest)?;
        if image.is_some() {
            index::touch(&self.dirs, &key);
        }
        Ok(image)
    }
}

async fn run(inner: Arc<Inner>, reference: Reference, credentials: Option<Credentials>) -> Outcome {
    let leased = inner.clone();
    let _lease = blocking(move || leased.lease()).await?;
    let mut pin = inner.pin();
    let key = reference.index_key();
    let mut cached = None;
    if let Some(row) = index::get(&inner.dirs, &key)? {
        pin.add(&row.digest);
        cached = inner.local(&reference.to_string(), &row.digest)?;
    }
    // Waiting long for a registry makes no sense when there is something to fall back on.
    let attempts = if cached.is_some() {
        1
    } else {
        inner.options.attempts.max(1)
    };
    let repository = Arc::new(Repository::new(inner.clone(), reference.clone(), credentials, attempts));
    match from_registry(&inner, &mut pin, &repository, &reference, cached.is_some()).await {
        Ok(image) => {
            let row = StoredImage {
                reference: key,
                digest: image.digest.clone(),
                origin: Origin::Pulled,
            };
            if index::get(&inner.dirs, &row.reference)?.as_ref() == Some(&row) {
                index::touch(&inner.dirs, &row.reference);
            } else {
                blocking(move || index::put(&inner.dirs, &row)).await?;
            }
            Ok(image)
        }
        Err(error) => match cached {
            Some(image) => {
                tracing::warn!(%error, "the pull failed; using the image that is here");
                index::touch(&inner.dirs, &key);
                Ok(image)
            }
            None => Err(error),
        },
    }
}

async fn from_registry(
    inner: &Arc<Inner>,
    pin: &mut Pin,
    repository: &Arc<Repository>,
    reference: &Reference,
    ask_first: bool,
) -> Outcome {
    let name = reference.to_string();
    // Asking for the digest alone does not count against rate limits.
    if ask_first && let Some(digest) = repository.resolve().await? {
        pin.add(&digest);
        if let Some(image) = inner.local(&name, &digest)? {
            return Ok(image);
        }
    }
    let (digest, bytes) = repository.manifest(None).await?;
    pin.add(&digest);
    let manifest = match manifest::parse(&name, &bytes)? {
        Document::Image(manifest) => manifest,
        Document::List(list) => {
            let entry = manifest::select(&list, &inner.platform)?.digest.clone();
            pin.add(&entry);
            let (_, bytes) = repository.manifest(Some(&entry)).await?;
            let Document::Image(manifest) = manifest::parse(&name, &bytes)? else {
                return Err(ImageError::corrupt(name, "its manifest list names a list again"));
            };
            keep(inner, entry, bytes).await?;
            manifest
        }
    };
    keep(inner, digest.clone(), bytes).await?;
    let config = manifest.config.digest.clone();
    pin.add(&config);
    let bytes = match inner.dirs.read_blob(&config, MAX_CONFIG)? {
        Some(bytes) => bytes,
        None => repository.config(&config).await?,
    };
    complete(inner, pin, repository, &name, &digest, &manifest, bytes).await
}

/// Stores a blob off the runtime.
async fn keep(inner: &Arc<Inner>, digest: Digest, bytes: Vec<u8>) -> Result<(), ImageError> {
    let inner = inner.clone();
    blocking(move || inner.dirs.put_blob(&digest, &bytes)).await
}

/// Makes an image whole whose manifests are stored: its config, given, and its layers. Shared with `load`.
pub(crate) async fn complete<S: Source>(
    inner: &Arc<Inner>,
    pin: &mut Pin,
    source: &Arc<S>,
    name: &str,
    digest: &Digest,
    manifest: &Manifest,
    config: Vec<u8>,
) -> Outcome {
    let config_digest = &manifest.config.digest;
    let parsed = read_config(config_digest, &config)?;
    let platform = parsed.platform();
    if !platform.architecture.is_empty()
        && (&*platform.os, &*platform.architecture) != (&*inner.platform.os, &*inner.platform.architecture)
    {
        return Err(ImageError::NoMatchingPlatform {
            wanted: inner.platform.clone(),
            available: platform.to_string(),
        });
    }
    let layers = layers_of(name, manifest, &diff_ids(config_digest, &parsed)?)?;
    keep(inner, config_digest.clone(), config).await?;
    ensure(inner, pin, source, &layers).await?;
    inner.local(name, digest)?.ok_or_else(|| {
        let gone = io::Error::new(io::ErrorKind::NotFound, "it was removed meanwhile");
        ImageError::io("reading", inner.dirs.root(), gone)
    })
}

impl Source for Repository {
    async fn fetch(&self, layer: &Layer) -> Result<Fetched, ImageError> {
        let alone = self.store().fetching.lock(&layer.blob).await;
        // The semaphore lives as long as the store and is never closed.
        let _permit = self.store().downloads.acquire().await.expect("the semaphore is open");
        let Download { mut file, path } = self.download(layer).await?;
        file.rewind().map_err(|e| ImageError::io("reading", &path, e))?;
        Ok(Box::new(Downloaded {
            file,
            path,
            _alone: alone,
        }))
    }
}

/// A downloaded layer; the file goes when it was read.
struct Downloaded {
    file: File,
    path: PathBuf,
    _alone: OwnedMutexGuard<()>,
}

impl Read for Downloaded {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read(buf)
    }
}

impl Drop for Downloaded {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
