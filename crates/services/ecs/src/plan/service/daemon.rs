//! DAEMON: one task on every node that the placement constraints allow, nodes coming and going.
//!
//! maximumPercent is 100, so that a node's old task is STOPPED before its new one is made; minimumHealthyPercent says how
//! many nodes may be without meanwhile.

use super::{Draft, TaskView};
use crate::records::{RolloutState, TaskState};
use std::collections::{BTreeMap, BTreeSet};

impl<'a> Draft<'a> {
    pub(super) fn scale_daemon(&mut self) {
        if self.service.deployments.is_empty() {
            return;
        }
        self.stop_misplaced();
        self.fill_nodes();
        self.roll_nodes();
        self.stop_one_unhealthy();
        for at in 1..self.service.deployments.len() {
            let id = self.service.deployments[at].id.clone();
            self.service.deployments[at].target = super::count(self.live_of(&id));
        }
        let failed = self.primary_failed();
        let id = self.service.deployments[0].id.clone();
        let live = super::count(self.live_of(&id));
        self.service.deployments[0].target = if failed { live } else { self.limits.desired };
    }

    /// The deployment that nodes without a task get: the PRIMARY, or when it failed the last that had completed.
    fn wanted_deployment(&self) -> Option<usize> {
        let usable = |at: &usize| {
            let d = &self.service.deployments[*at];
            d.rollout != RolloutState::Failed && (*at == 0 || self.primary_failed() && d.proven)
        };
        (0..self.service.deployments.len()).find(usable)
    }

    /// Stops tasks on nodes where none belongs, and all but the best where there are several.
    fn stop_misplaced(&mut self) {
        let known: BTreeSet<&str> = self.view.nodes.iter().map(|n| n.id).collect();
        let wanted = self
            .wanted_deployment()
            .map(|at| self.service.deployments[at].id.clone());
        let worth = |(at, t): &(usize, &TaskView<'_>)| {
            (
                Some(t.deployment) == wanted.as_deref(),
                self.healthy(t),
                t.serving(),
                t.state,
                std::cmp::Reverse(*at),
            )
        };
        let mut best: BTreeMap<&str, (usize, &TaskView<'_>)> = BTreeMap::new();
        let mut surplus = Vec::new();
        for (at, task) in self.live() {
            let Some(node) = task.node.filter(|n| known.contains(n)) else {
                surplus.push(at);
                continue;
            };
            match best.get(node) {
                Some(held) if worth(held) >= worth(&(at, task)) => surplus.push(at),
                _ => surplus.extend(best.insert(node, (at, task)).map(|(at, _)| at)),
            }
        }
        for at in surplus {
            if !self.stop_surplus(at) {
                return;
            }
        }
    }

    /// Launches on open nodes that hold no task of the service, not even one that is still going.
    fn fill_nodes(&mut self) {
        let Some(deployment) = self.wanted_deployment() else {
            return;
        };
        let occupied: BTreeSet<&str> = self
            .view
            .tasks
            .iter()
            .filter(|t| t.state < TaskState::Stopped)
            .filter_map(|t| t.node)
            .collect();
        let empty: Vec<&'a str> = self
            .view
            .nodes
            .iter()
            .filter(|n| n.open && !occupied.contains(n.id))
            .map(|n| n.id)
            .collect();
        if empty.is_empty() {
            return;
        }
        let backoff = self.service.deployments[deployment].backoff;
        if backoff.step > 0 && self.now < backoff.retry_at {
            self.wake(backoff.retry_at);
            return;
        }
        let slots = self.limits.upper.saturating_sub(self.counted()) as usize;
        for node in empty.into_iter().take(slots) {
            if self.launch(deployment, 1, 0, Some(node)) == 0 {
                return;
            }
        }
    }

    /// Stops tasks of old deployments as far as minimumHealthyPercent allows; their nodes are filled once they are gone.
    fn roll_nodes(&mut self) {
        let primary = &self.service.deployments[0];
        // No more nodes are taken down while the new revision fails to come up.
        if primary.rollout == RolloutState::Failed || primary.backoff.step > 0 || primary.unplaced.is_some() {
            return;
        }
        let id = primary.id.clone();
        let mut floor = self.floor();
        let old: Vec<usize> = self
            .live()
            .filter(|(_, t)| t.deployment != id)
            .map(|(at, _)| at)
            .collect();
        let most = super::count(old.iter());
        self.stop_some(old, most, &mut floor);
    }

    /// An unhealthy task goes first, since there is no room for its replacement; one at a time.
    fn stop_one_unhealthy(&mut self) {
        let moving = self.leaving() > 0
            || !self.plan.launch.is_empty()
            || self
                .live()
                .any(|(_, t)| !t.unhealthy() && !self.healthy(t) && t.waiting.is_none());
        if moving {
            return;
        }
        let unhealthy = self.live().find(|(_, t)| t.unhealthy()).map(|(at, _)| at);
        if let Some(at) = unhealthy {
            self.stop_unhealthy(at);
        }
    }
}
