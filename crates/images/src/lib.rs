//! Container images: pulled from registries or loaded from files, unpacked once, shared, and removed when unused.
//!
//! The node's process pulls and collects; `neargate images load` works on the same directory at the same time from a
//! process of its own. The invariants: what stands under `blobs/` has the digest it is named by, what stands under
//! `layers/` is whole and was verified, and nothing that a running task, a pull or a load uses is ever removed.
//! This crate deliberately knows no task, no runtime and no AWS service; it only words errors as Amazon ECS does.

mod config;
mod digest;
mod dirs;
mod error;
mod gc;
mod image;
mod index;
mod layers;
mod load;
mod manifest;
mod pull;
mod reference;
mod registry;
mod store;
mod unpack;

pub use config::{ImageConfig, ImageHealthcheck};
pub use digest::Digest;
pub use error::ImageError;
pub use gc::{DiskUsage, GcPolicy, GcReport};
pub use image::Image;
pub use index::{Origin, StoredImage};
pub use load::LoadedImage;
pub use manifest::Platform;
pub use pull::{Credentials, PullRequest};
pub use reference::{DOCKER_HUB, Reference};
pub use store::{ImageStore, Options, Pin};
