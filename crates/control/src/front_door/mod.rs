//! The AWS endpoint: one port for every service.
//!
//! The binary makes a `FrontDoor` of the services it serves and runs it. Every request takes the same visible steps, one
//! file each: identify -> verify -> authorize -> decode -> room -> dispatch -> encode (`answer` strings them together). Nothing here
//! knows what a service does, and nothing unsigned reaches one.

mod answer;
mod authorize;
mod body;
mod connection;
mod credentials;
mod dispatch;
mod health;
mod identify;
mod room;
mod verify;

pub use connection::Limits;
pub use credentials::{AccessKey, Credentials, RootCredentials, Secret};

use neargate_core::{Clock, Ids};
use neargate_wire::ServiceDispatch;
use std::future::Future;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// The endpoint and what it stands on.
pub struct FrontDoor {
    pub services: Vec<Arc<dyn ServiceDispatch>>,
    pub credentials: Arc<dyn Credentials>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    /// The account that Neargate plays, 12 digits.
    pub account: String,
    pub limits: Limits,
    /// Whether the disk is full that the store writes to.
    pub is_full: Box<dyn Fn() -> bool + Send + Sync>,
    keys: verify::KeyCache,
    large_bodies: Semaphore,
}

impl FrontDoor {
    pub fn new(
        services: Vec<Arc<dyn ServiceDispatch>>,
        credentials: Arc<dyn Credentials>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        account: impl Into<String>,
    ) -> FrontDoor {
        FrontDoor {
            services,
            credentials,
            clock,
            ids,
            account: account.into(),
            limits: Limits::default(),
            is_full: Box::new(|| false),
            keys: verify::KeyCache::default(),
            large_bodies: Semaphore::new(body::LARGE_AT_ONCE),
        }
    }

    /// Answers requests on `listener` until `shutdown` completes, then lets running requests end, for a while.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) {
        connection::serve(Arc::new(self), listener, shutdown).await;
    }
}
