//! The image index: which digest a reference stands for here. One small file a reference, replaced atomically, so that
//! several processes can use it at once. A file's modification time is when its image was last used.

use crate::dirs::{Dirs, list};
use crate::{Digest, ImageError};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

/// Where an image came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// From a registry, which is asked again when its tag is used.
    Pulled,
    /// From a file: no registry is asked, and it is never collected.
    Loaded,
}

/// A row of the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredImage {
    /// `docker.io/library/nginx:1.27`, or `name@digest` when it was pulled by digest.
    pub reference: String,
    pub digest: Digest,
    pub origin: Origin,
}

fn path_of(dirs: &Dirs, reference: &str) -> PathBuf {
    dirs.images()
        .join(format!("{}.json", Digest::of(reference.as_bytes()).hex()))
}

pub(crate) fn put(dirs: &Dirs, image: &StoredImage) -> Result<(), ImageError> {
    let bytes = serde_json::to_vec(image).expect("an index row is plain data");
    dirs.write_atomic(&path_of(dirs, &image.reference), &bytes)
}

/// The row of `reference`; a row that cannot be read counts as absent.
pub(crate) fn get(dirs: &Dirs, reference: &str) -> Result<Option<StoredImage>, ImageError> {
    let path = path_of(dirs, reference);
    match fs::read(&path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(ImageError::io("reading", &path, e)),
    }
}

pub(crate) fn remove(dirs: &Dirs, reference: &str) -> Result<bool, ImageError> {
    let path = path_of(dirs, reference);
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(ImageError::io("removing", &path, e)),
    }
}

/// Notes that the image is used now.
pub(crate) fn touch(dirs: &Dirs, reference: &str) {
    // Losing this only makes the image look older to the garbage collection.
    if let Ok(file) = File::open(path_of(dirs, reference)) {
        let now = rustix::fs::Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_NOW,
        };
        let _ = rustix::fs::futimens(
            &file,
            &rustix::fs::Timestamps {
                last_access: now,
                last_modification: now,
            },
        );
    }
}

/// Every row with the time of its last use, ascending by reference.
pub(crate) fn all(dirs: &Dirs) -> Result<Vec<(StoredImage, SystemTime)>, ImageError> {
    let mut out = Vec::new();
    for path in list(&dirs.images())? {
        let (Ok(bytes), Ok(meta)) = (fs::read(&path), fs::metadata(&path)) else {
            continue;
        };
        match serde_json::from_slice::<StoredImage>(&bytes) {
            Ok(image) => out.push((image, meta.modified().unwrap_or(SystemTime::UNIX_EPOCH))),
            Err(error) => tracing::warn!(path = %path.display(), %error, "an image index row cannot be read"),
        }
    }
    out.sort_by(|a, b| a.0.reference.cmp(&b.0.reference));
    Ok(out)
}
