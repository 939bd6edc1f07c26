//! An image that is whole on this machine.

use crate::{Digest, ImageConfig, Platform};
use std::path::PathBuf;
use std::sync::Arc;

/// An image ready to run: every layer is unpacked. Clones share everything.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// The normalised reference it was asked for by, e.g. `docker.io/library/nginx:1.27`.
    pub reference: String,
    /// What the reference stands for: the manifest list's digest where there is one. Pinning it pins the image on
    /// machines of every architecture; ECS calls it `imageDigest`.
    pub digest: Digest,
    /// The manifest of this machine's platform; equal to `digest` when there is no list.
    pub manifest_digest: Digest,
    /// Docker's image id.
    pub config_digest: Digest,
    pub platform: Platform,
    pub config: Arc<ImageConfig>,
    /// Unpacked layers, **bottom first**: overlayfs' `lowerdir=` wants them reversed. Never empty: an image without
    /// layers has one empty directory. Whiteouts are in overlayfs' form.
    pub layers: Arc<[PathBuf]>,
}
