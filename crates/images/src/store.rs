//! The handle on a directory of images.

use crate::config::ConfigFile;
use crate::dirs::Dirs;
use crate::index::{self, StoredImage};
use crate::layers::Keyed;
use crate::manifest::{self, Document, MAX_CONFIG, MAX_MANIFEST, Manifest, chain_ids};
use crate::pull::Pulls;
use crate::registry::Http;
use crate::{Digest, Image, ImageError, Platform, Reference};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How a store behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Registries spoken to in plain HTTP, as `host` or `host:port`. Loopback addresses always are.
    pub insecure_registries: Vec<String>,
    /// A connection that brings no byte for this long is broken off.
    pub stall_timeout: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How often a download is tried without getting one byte further.
    pub attempts: u32,
    /// First pause between attempts; it doubles each time.
    pub back_off: Duration,
    /// Layers downloaded at once.
    pub parallel_downloads: usize,
    /// A layer may not unpack to more bytes than this.
    pub max_layer_bytes: u64,
    /// Nor to more than this many times its compressed size, once it has unpacked to 1 GiB.
    pub max_layer_ratio: u64,
    /// Nor to more entries.
    pub max_layer_entries: u64,
    /// Unpacking and downloading stop with `DiskFull` before the file system has less free than this.
    pub keep_free_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            insecure_registries: Vec::new(),
            stall_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(15),
            attempts: 4,
            back_off: Duration::from_millis(250),
            parallel_downloads: 6,
            max_layer_bytes: 64 << 30,
            max_layer_ratio: 1000,
            max_layer_entries: 2_000_000,
            keep_free_bytes: 64 << 20,
        }
    }
}

/// Handle to the images in one directory; clones share it. Several processes may use the same directory.
#[derive(Clone)]
pub struct ImageStore {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) dirs: Dirs,
    pub(crate) options: Options,
    pub(crate) platform: Platform,
    pub(crate) pins: Mutex<Pins>,
    /// Whole images by the digest they were asked for.
    cache: Mutex<HashMap<Digest, Image>>,
    pub(crate) pulls: Pulls,
    pub(crate) http: Http,
    /// Layers being made, by chain id.
    pub(crate) making: Keyed,
    /// Blobs being downloaded and unpacked.
    pub(crate) fetching: Keyed,
    pub(crate) downloads: Arc<Semaphore>,
    pub(crate) unpacks: Arc<Semaphore>,
}

/// What may not be removed now, counted; and how many pulls and loads run in this process.
#[derive(Default)]
pub(crate) struct Pins {
    pub(crate) counts: HashMap<Digest, usize>,
    leases: usize,
}

/// Keeps an image, layer or blob from being collected until dropped.
pub struct Pin {
    inner: Arc<Inner>,
    digests: Vec<Digest>,
}

impl Pin {
    pub(crate) fn add(&mut self, digest: &Digest) {
        *self.inner.pins().counts.entry(digest.clone()).or_default() += 1;
        self.digests.push(digest.clone());
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.inner.pins();
        for digest in &self.digests {
            if let Some(count) = pins.counts.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    pins.counts.remove(digest);
                }
            }
        }
    }
}

/// Tells other processes' garbage collection that this one pulls or loads.
pub(crate) struct Lease(Arc<Inner>);

impl Drop for Lease {
    fn drop(&mut self) {
        let mut pins = self.0.pins();
        pins.leases -= 1;
        if pins.leases == 0
            && let Err(error) = self.0.dirs.set_busy(false)
        {
            tracing::warn!(%error, "other processes will take this one for busy with images");
        }
    }
}

impl Inner {
    pub(crate) fn pins(&self) -> MutexGuard<'_, Pins> {
        // Nothing that holds the lock can leave the counts half changed.
        self.pins.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits for a running garbage collection of any process, then keeps others away. Blocks: call it off the runtime.
    pub(crate) fn lease(self: &Arc<Self>) -> Result<Lease, ImageError> {
        let gate = self.dirs.gate(false)?;
        let mut pins = self.pins();
        if pins.leases == 0 {
            self.dirs.set_busy(true)?;
        }
        pins.leases += 1;
        drop(pins);
        drop(gate);
        Ok(Lease(self.clone()))
    }

    pub(crate) fn pin(self: &Arc<Self>) -> Pin {
        Pin {
            inner: self.clone(),
            digests: Vec::new(),
        }
    }

    /// The image that `digest` stands for on this platform, if all of it is here.
    pub(crate) fn local(&self, reference: &str, digest: &Digest) -> Result<Option<Image>, ImageError> {
        let cached = self.cache().get(digest).cloned();
        let image = match cached {
            Some(image) => image,
            None => match self.assemble(digest)? {
                Some(image) => image,
                None => return Ok(None),
            },
        };
        if !image.layers.iter().all(|l| l.is_dir()) {
            self.cache().remove(digest);
            return Ok(None);
        }
        self.cache().insert(digest.clone(), image.clone());
        Ok(Some(Image {
            reference: reference.to_owned(),
            ..image
        }))
    }

    fn cache(&self) -> MutexGuard<'_, HashMap<Digest, Image>> {
        self.cache.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(crate) fn forget(&self) {
        self.cache().clear();
    }

    /// The manifest that `digest` stands for on this platform, and its own digest; none when a blob is missing.
    pub(crate) fn manifest(&self, digest: &Digest) -> Result<Option<(Digest, Manifest)>, ImageError> {
        let mut digest = digest.clone();
        // A list may name lists; two steps are the most that is seen.
        for _ in 0..3 {
            let Some(bytes) = self.dirs.read_blob(&digest, MAX_MANIFEST)? else {
                return Ok(None);
            };
            match manifest::parse(digest.as_str(), &bytes)? {
                Document::Image(manifest) => return Ok(Some((digest, manifest))),
                Document::List(list) => digest = manifest::select(&list, &self.platform)?.digest.clone(),
            }
        }
        Err(ImageError::corrupt(
            digest.as_str(),
            "manifest lists are nested too deeply",
        ))
    }

    fn assemble(&self, digest: &Digest) -> Result<Option<Image>, ImageError> {
        let Some((manifest_digest, manifest)) = self.manifest(digest)? else {
            return Ok(None);
        };
        let config_digest = manifest.config.digest;
        let Some(bytes) = self.dirs.read_blob(&config_digest, MAX_CONFIG)? else {
            return Ok(None);
        };
        let config = read_config(&config_digest, &bytes)?;
        let diff_ids = diff_ids(&config_digest, &config)?;
        let mut layers: Vec<PathBuf> = chain_ids(&diff_ids)
            .iter()
            .map(|chain| self.dirs.layer(chain).join("fs"))
            .collect();
        if layers.is_empty() {
            let empty = self.dirs.empty_layer().join("fs");
            std::fs::create_dir_all(&empty).map_err(|e| ImageError::io("creating", &empty, e))?;
            layers.push(empty);
        }
        Ok(Some(Image {
            reference: String::new(),
            digest: digest.clone(),
            manifest_digest,
            config_digest,
            platform: config.platform(),
            config: Arc::new(config.into_config()),
            layers: layers.into(),
        }))
    }
}

pub(crate) fn read_config(digest: &Digest, bytes: &[u8]) -> Result<ConfigFile, ImageError> {
    serde_json::from_slice(bytes)
        .map_err(|e| ImageError::corrupt(digest.as_str(), format!("the image's config cannot be read: {e}")))
}

pub(crate) fn diff_ids(digest: &Digest, config: &ConfigFile) -> Result<Vec<Digest>, ImageError> {
    let bad = |_| {
        ImageError::corrupt(
            digest.as_str(),
            "the image's config has a diff id that is no sha256 digest",
        )
    };
    config.rootfs.diff_ids.iter().map(|d| d.parse().map_err(bad)).collect()
}

impl ImageStore {
    /// Opens the store in `dir`, made if missing, and removes what dead processes left.
    ///
    /// # Errors
    /// `Io`, `DiskFull`.
    pub fn open(dir: impl AsRef<Path>) -> Result<ImageStore, ImageError> {
        ImageStore::open_with(dir, Options::default())
    }

    /// As `open`, with other limits.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_with(dir: impl AsRef<Path>, options: Options) -> Result<ImageStore, ImageError> {
        let dirs = Dirs::open(dir.as_ref())?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(ImageStore {
            inner: Arc::new(Inner {
                dirs,
                downloads: Arc::new(Semaphore::new(options.parallel_downloads.max(1))),
                unpacks: Arc::new(Semaphore::new(cores)),
                http: Http::new(&options),
                making: Keyed::default(),
                fetching: Keyed::default(),
                options,
                platform: Platform::host(),
                pins: Mutex::default(),
                cache: Mutex::default(),
                pulls: Pulls::default(),
            }),
        })
    }

    /// The image if it is whole here, by reference or digest, without asking any registry.
    ///
    /// # Errors
    /// `InvalidReference`, `Corrupt`, `NoMatchingPlatform`, `Io`.
    pub fn get(&self, image: &str) -> Result<Option<Image>, ImageError> {
        if let Ok(digest) = image.parse::<Digest>() {
            return self.inner.local(image, &digest);
        }
        let reference: Reference = image.parse()?;
        let digest = match &reference.digest {
            Some(digest) => Some(digest.clone()),
            None => index::get(&self.inner.dirs, &reference.index_key())?.map(|row| row.digest),
        };
        match digest {
            Some(digest) => self.inner.local(&reference.to_string(), &digest),
            None => Ok(None),
        }
    }

    /// Every reference known here, ascending.
    ///
    /// # Errors
    /// `Io`.
    pub fn list(&self) -> Result<Vec<StoredImage>, ImageError> {
        Ok(index::all(&self.inner.dirs)?.into_iter().map(|(row, _)| row).collect())
    }

    /// Forgets a reference; its content goes with the next `gc` unless something uses it. False when there is none.
    ///
    /// # Errors
    /// `InvalidReference`, `Io`.
    pub fn remove(&self, image: &str) -> Result<bool, ImageError> {
        let reference: Reference = image.parse()?;
        index::remove(&self.inner.dirs, &reference.index_key())
    }

    /// Keeps an image (by `Image::digest` or `Image::manifest_digest`) from being collected while the answer lives.
    pub fn pin(&self, digest: &Digest) -> Pin {
        let mut pin = self.inner.pin();
        pin.add(digest);
        pin
    }
}
