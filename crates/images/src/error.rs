//! Why an image could not be had, told so that a person can act on it.
//!
//! The node turns an `ImageError` into a task's stopped reason with `stopped_reason`; `neargate images load` prints it.
//! Errors are shared by every caller that waited for the same pull, so they can be cloned.

use crate::{Digest, Platform};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What went wrong with an image.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ImageError {
    #[error("invalid image reference \"{text}\": {why}")]
    InvalidReference { text: String, why: &'static str },
    #[error("failed to resolve ref {reference}: {reference}: not found")]
    NotFound { reference: String },
    #[error(
        "failed to resolve ref {reference}: pull access denied, repository does not exist or may require \
         authorization: server message: {message}"
    )]
    AccessDenied { reference: String, message: String },
    #[error(
        "{reference}: toomanyrequests: you have reached the pull rate limit of {registry}; wait, or pass credentials \
         that have a higher limit{message}"
    )]
    RateLimited {
        reference: String,
        registry: String,
        message: String,
    },
    /// No connection, or one that kept breaking.
    #[error("{reference}: the registry {registry} cannot be reached: {why}. Check the machine's network and DNS")]
    Unreachable {
        reference: String,
        registry: String,
        why: String,
    },
    #[error("{reference}: the registry {registry} sent no byte for {seconds} seconds; the pull was given up")]
    Stalled {
        reference: String,
        registry: String,
        seconds: u64,
    },
    #[error("{reference}: unexpected status from {url}: {status}{message}")]
    Registry {
        reference: String,
        url: String,
        status: u16,
        message: String,
    },
    /// Bytes that are not what their digest or size promised.
    #[error("{what}: failed size or digest validation: {why}. The content is corrupt; push or load the image again")]
    Corrupt { what: String, why: String },
    #[error(
        "image operating system or architecture cannot run here: no matching manifest for {wanted} in the manifest list entries ({available})"
    )]
    NoMatchingPlatform { wanted: Platform, available: String },
    #[error("write {}: no space left on device. Free space on this machine, or use a smaller image", path.display())]
    DiskFull { path: PathBuf },
    /// A layer that tries to reach out of its directory.
    #[error("layer {layer}: entry \"{entry}\" is refused: {why}. The image is malformed or malicious; rebuild it")]
    UnsafeLayer { layer: String, entry: String, why: String },
    #[error("layer {layer}: {why}")]
    TooLarge { layer: String, why: String },
    #[error("{what} is not supported: {why}")]
    Unsupported { what: String, why: String },
    /// A file that should be an OCI layout or a docker archive and is not.
    #[error("{}: {why}", path.display())]
    NotAnImage { path: PathBuf, why: String },
    #[error("{context}: {source}")]
    Io { context: String, source: Arc<io::Error> },
}

impl ImageError {
    /// An I/O failure while doing `context`; a full disk becomes `DiskFull`.
    pub(crate) fn io(context: impl Into<String>, path: &Path, source: io::Error) -> ImageError {
        if is_full(&source) {
            return ImageError::DiskFull { path: path.to_owned() };
        }
        ImageError::Io {
            context: format!("{} {}", context.into(), path.display()),
            source: Arc::new(source),
        }
    }

    pub(crate) fn corrupt(what: impl Into<String>, why: impl Into<String>) -> ImageError {
        ImageError::Corrupt {
            what: what.into(),
            why: why.into(),
        }
    }

    pub(crate) fn digest_mismatch(what: impl Into<String>, wanted: &Digest, found: &Digest) -> ImageError {
        ImageError::corrupt(what, format!("it should have digest {wanted} and has {found}"))
    }

    /// The stopped reason of a task whose image this is, worded as Amazon ECS words it.
    pub fn stopped_reason(&self) -> String {
        match self {
            ImageError::NotFound { .. } | ImageError::AccessDenied { .. } => {
                format!("CannotPullContainerError: pull image manifest has been retried 1 time(s): {self}")
            }
            _ => format!("CannotPullContainerError: {self}"),
        }
    }
}

/// The disk, or the quota on it, is used up.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
