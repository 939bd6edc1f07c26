//! Taking over a task that an earlier process of the node left: what does its shim say, and what is still there?

use super::Task;
use crate::plan::observed::{Event, Image, Piece, Run};
use crate::plan::{Step, network_of};
use crate::ports::EngineError;
use neargate_runtime::{Status, TaskState};
use std::sync::Arc;
use tokio::sync::mpsc::unbounded_channel;

impl Task {
    /// Brings what the journal tells in line with what there is.
    pub(super) async fn adopt(&mut self) {
        if self.observed.cleanup == Piece::Ready {
            return;
        }
        self.observed.interrupted();
        self.find_holder().await;
        self.find_networks().await;
        self.find_images().await;
        // Asked for by a process that did not live to hear the answer. Asking again does no harm to one that runs.
        let unanswered = self
            .observed
            .containers
            .iter()
            .enumerate()
            .filter(|(_, c)| c.run == Run::Starting);
        let again: Vec<Step> = unanswered.map(|(container, _)| Step::Start { container }).collect();
        self.perform(again.into_iter());
        for index in 0..self.spec.containers.len() {
            self.follow(index);
            if self.observed.containers[index].stopped()
                && let Some(following) = &self.logs[index]
            {
                following.finish();
            }
        }
    }

    async fn find_holder(&mut self) {
        let (told, engine) = unbounded_channel();
        let found = self.shared.ports.engine.attach(self.dir.path(), told).await;
        match found {
            Ok(Some((holder, state))) => {
                self.engine = engine;
                self.holder = Some(holder);
                self.reconcile(&state, true);
                if self.observed.shim != Piece::Ready {
                    self.note(&[Event::ShimReady]);
                }
            }
            not_there => {
                if let Err(EngineError::Lost(why) | EngineError::NotApplicable(why) | EngineError::Refused(why)) =
                    not_there
                {
                    tracing::warn!(
                        task = self.spec.id,
                        why,
                        "the task's shim does not answer and is removed"
                    );
                }
                let dir = self.dir.path().to_owned();
                match self.shared.ports.engine.clean_up(&dir).await {
                    Ok(Some(state)) => self.reconcile(&state, false),
                    Ok(None) => {}
                    Err(error) => tracing::error!(task = self.spec.id, error, "what a task left running stays"),
                }
                self.note(&[Event::ShimLost]);
            }
        }
    }

    /// Notes what the shim knows and the journal does not. `alive` when the shim still holds what runs.
    pub(super) fn reconcile(&mut self, state: &TaskState, alive: bool) {
        for index in 0..self.spec.containers.len() {
            let known = &self.observed.containers[index];
            let found = state.containers.get(&self.spec.containers[index].name);
            // Only the start that the journal speaks of: an earlier one is what a restart came after.
            let found = found.filter(|c| c.starts > known.restarts);
            match (known.run, found.map(|c| &c.status)) {
                (Run::Starting, Some(Status::Running { started_at, .. })) => {
                    self.container_started(index, *started_at);
                }
                (Run::Starting, Some(Status::Exited { started_at, exit })) => {
                    self.container_started(index, *started_at);
                    self.container_exited(index, exit);
                }
                (Run::Running, Some(Status::Exited { exit, .. })) => self.container_exited(index, exit),
                (Run::Running, None) if alive => {
                    let reason = Some(crate::plan::reason::SHIM_LOST.to_owned());
                    self.note(&[Event::Exited {
                        container: index,
                        code: Some(137),
                        oom_killed: false,
                        reason,
                    }]);
                }
                // What ran in a shim that is gone is dealt with when its loss is noted.
                (Run::Starting | Run::Running, _) | (Run::Waiting | Run::Stopped { .. }, _) => {}
            }
        }
    }

    async fn find_networks(&mut self) {
        for index in 0..self.observed.networks.len() {
            let network = self.observed.networks[index].clone();
            if network.state != Piece::Ready {
                continue;
            }
            let of = (0..self.spec.containers.len()).find(|c| network_of(&self.spec, *c) == index);
            let bindings = of
                .map(|c| self.observed.containers[c].bindings.clone())
                .unwrap_or_default();
            let spec = self.spec.clone();
            match self
                .shared
                .ports
                .network
                .adopt(&spec, index, network.address, &bindings)
                .await
            {
                Ok(made) => self.networks[index] = Some(made.network),
                Err(error) => {
                    tracing::warn!(task = self.spec.id, error, "a task's network cannot be taken over");
                    let in_use = (0..self.spec.containers.len())
                        .any(|c| network_of(&self.spec, c) == index && self.observed.containers[c].run == Run::Running);
                    if !in_use {
                        self.note(&[Event::NetworkLost { network: index }]);
                    }
                }
            }
        }
    }

    async fn find_images(&mut self) {
        for index in 0..self.spec.containers.len() {
            let c = &self.observed.containers[index];
            let (Image::Ready, Some(digest), false) = (&c.image, c.digest.clone(), c.stopped()) else {
                continue;
            };
            let image = self.spec.containers[index].image.clone();
            match self.shared.ports.images.present(&image, &digest).await {
                Some(ready) => self.images[index] = Some(Arc::new(ready)),
                None if self.observed.containers[index].run == Run::Waiting => {
                    self.note(&[Event::ImageLost { container: index }]);
                }
                None => tracing::warn!(task = self.spec.id, image, "the image of a running container is gone"),
            }
        }
    }
}
