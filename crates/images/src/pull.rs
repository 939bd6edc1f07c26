//! Pulling.
use crate::{Digest, Image, ImageError, ImageStore};

/// What to pull.
#[derive(Clone, Debug, Default)]
pub struct PullRequest {
    /// As a task definition names it: `nginx`, `localhost:5000/web:1`, `…@sha256:…`.
    pub image: String,
    /// Digest the service revision pinned; wins over the reference's tag.
    pub digest: Option<Digest>,
    pub credentials: Option<Credentials>,
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

#[derive(Default)]
pub(crate) struct Pulls;

impl ImageStore {
    /// Pulls.
    pub async fn pull(&self, request: PullRequest) -> Result<Image, ImageError> {
        self.get(&request.image)?.ok_or(ImageError::NotFound {
            reference: request.image,
        })
    }
}
