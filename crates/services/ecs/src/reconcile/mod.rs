//! The loops: each is woken by signal and by timer alike, so that recovery is the ordinary path.

pub mod expiry;
pub mod placement;
pub mod service;
pub mod targets;

use crate::Ecs;
use crate::task_definition::deletion;
use std::sync::Arc;
use tokio::sync::watch;

impl Ecs {
    /// Runs every loop of the service until `shutdown` turns true.
    pub async fn run(self: Arc<Self>, shutdown: watch::Receiver<bool>) {
        tokio::join!(
            tokio::spawn(placement::run(self.clone(), shutdown.clone())).finished(),
            tokio::spawn(service::run(self.clone(), shutdown.clone())).finished(),
            tokio::spawn(expiry::run(self.clone(), shutdown.clone())).finished(),
            tokio::spawn(targets::run(self.clone(), shutdown.clone())).finished(),
            tokio::spawn(deletion::run(self.clone(), shutdown)).finished(),
        );
    }
}

/// Waits for a loop; one that ended by itself is told, never passed over.
trait Finished {
    async fn finished(self);
}

impl Finished for tokio::task::JoinHandle<()> {
    async fn finished(self) {
        if let Err(error) = self.await {
            tracing::error!(%error, "a reconciler ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    #[tokio::test]
    async fn every_loop_ends_when_told() {
        let world = World::new().await;
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(world.ecs.clone().run(stopped));
        stop.send(true).unwrap();
        running.await.unwrap();
    }
}
