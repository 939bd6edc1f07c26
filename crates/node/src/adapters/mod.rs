//! The real engine, images and network behind `ports`.

mod engine;
mod images;
mod network;
mod registry_auth;

pub use engine::ShimEngine;
pub use images::StoredImages;
pub use network::HostNetwork;

/// Runs what blocks away from the runtime's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        // Only a panic ends here, since the handle is never aborted: let it go on where the work was asked for.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
