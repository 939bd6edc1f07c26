//! The image store of `neargate-images`.

use super::{blocking, registry_auth};
use crate::ports::{BoxFuture, ImageConfig, Images, ReadyImage};
use neargate_images::{Credentials, Digest, GcPolicy, Image, ImageStore, PullRequest, Reference};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Images in the node's directory.
pub struct StoredImages {
    store: ImageStore,
    policy: GcPolicy,
    /// Registry accounts, in the form of Docker's configuration.
    accounts: Option<PathBuf>,
}

impl StoredImages {
    pub fn new(store: ImageStore, policy: GcPolicy, accounts: Option<PathBuf>) -> StoredImages {
        StoredImages {
            store,
            policy,
            accounts,
        }
    }

    /// The account to pull `image` with, if the machine's user has one.
    async fn account(&self, image: &str) -> Result<Option<Credentials>, String> {
        let (Some(path), Ok(reference)) = (self.accounts.clone(), image.parse::<Reference>()) else {
            return Ok(None);
        };
        blocking(move || registry_auth::account(&path, &reference.registry)).await
    }

    fn ready(&self, image: Image) -> ReadyImage {
        let config = &image.config;
        ReadyImage {
            digest: image.digest.as_str().to_owned(),
            config: ImageConfig {
                entrypoint: config.entrypoint.clone(),
                cmd: config.cmd.clone(),
                env: config.env.clone(),
                user: config.user.clone(),
                working_dir: config.working_dir.clone(),
                volumes: config.volumes.iter().cloned().collect(),
                exposed_ports: config.exposed_ports.iter().cloned().collect(),
                stop_signal: config.stop_signal.clone(),
            },
            // The store names the bottom layer first, an overlay the topmost.
            layers: image.layers.iter().rev().cloned().collect(),
            pin: Box::new(self.store.pin(&image.digest)),
        }
    }
}

impl Images for StoredImages {
    fn obtain<'a>(&'a self, image: &'a str, digest: Option<&'a str>) -> BoxFuture<'a, Result<ReadyImage, String>> {
        Box::pin(async move {
            let digest = digest
                .map(str::parse::<Digest>)
                .transpose()
                .map_err(|e| e.stopped_reason())?;
            let request = PullRequest {
                image: image.to_owned(),
                digest,
                credentials: self.account(image).await?,
            };
            let image = self.store.pull(request).await.map_err(|e| e.stopped_reason())?;
            Ok(self.ready(image))
        })
    }

    fn present<'a>(&'a self, image: &'a str, digest: &'a str) -> BoxFuture<'a, Option<ReadyImage>> {
        Box::pin(async move {
            match self.store.get(digest) {
                Ok(found) => found.map(|i| self.ready(i)),
                Err(error) => {
                    tracing::warn!(image, digest, %error, "an image in use cannot be read");
                    None
                }
            }
        })
    }

    fn collect_garbage(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // What tasks use is pinned by them.
            match self.store.gc(&BTreeSet::new(), self.policy).await {
                Ok(report) if report.bytes > 0 => {
                    tracing::info!(images = ?report.images, bytes = report.bytes, "unused images removed");
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "unused images could not be removed"),
            }
        })
    }
}
