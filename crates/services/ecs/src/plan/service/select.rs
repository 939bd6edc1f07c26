//! Which tasks go first. Source: `UpdateService` of the ECS model: from the zone with most tasks of the service, there
//! from the node with most; a protected task is never taken.

use super::{Draft, ServiceEvent, TaskView};
use crate::records::TaskState;
use std::collections::BTreeMap;

/// Healthy and serving tasks that are left, and must not fall below minimumHealthyPercent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor {
    lower: u32,
    healthy: u32,
    serving: u32,
}

impl Draft<'_> {
    pub(super) fn floor(&self) -> Floor {
        let (mut healthy, mut serving) = (0, 0);
        for (_, task) in self.live() {
            healthy += u32::from(self.healthy(task));
            serving += u32::from(task.serving());
        }
        Floor {
            lower: self.limits.lower,
            healthy,
            serving,
        }
    }

    /// Takes `task` out when that leaves enough. A task that serves nobody may always go; one that serves but does not
    /// count as healthy yet needs enough others that serve.
    pub(super) fn take(&self, floor: &mut Floor, task: &TaskView<'_>) -> bool {
        let healthy = self.healthy(task);
        let allowed = match (healthy, task.serving()) {
            (true, _) => floor.healthy > floor.lower,
            (false, true) => floor.serving > floor.lower,
            (false, false) => true,
        };
        if allowed {
            floor.healthy -= u32::from(healthy);
            floor.serving -= u32::from(task.serving());
        }
        allowed
    }

    /// Stops up to `most` of the `candidates` (positions), best first, as far as `floor` allows; answers the positions.
    pub(super) fn stop_some(&mut self, candidates: Vec<usize>, most: u32, floor: &mut Floor) -> Vec<usize> {
        let mut rest = candidates;
        let protected = |at: &usize| self.view.tasks[*at].protected_until.filter(|until| *until > self.now);
        let until = rest.iter().filter_map(protected).min();
        let held: Vec<usize> = rest.extract_if(.., |at| protected(at).is_some()).collect();
        let mut zones: BTreeMap<Option<&str>, u32> = BTreeMap::new();
        let mut nodes: BTreeMap<Option<&str>, u32> = BTreeMap::new();
        for (_, task) in self.live() {
            *zones.entry(task.zone).or_default() += 1;
            *nodes.entry(task.node).or_default() += 1;
        }
        let mut taken = Vec::new();
        while taken.len() < most as usize && !rest.is_empty() {
            let rank = |at: usize| {
                let task = &self.view.tasks[at];
                let crowd = |map: &BTreeMap<Option<&str>, u32>, key| map.get(&key).copied().unwrap_or(0);
                // Greatest goes first: least useful, most crowded zone, most crowded node, newest, then by id.
                (
                    self.uselessness(task),
                    crowd(&zones, task.zone),
                    crowd(&nodes, task.node),
                    task.created_at,
                    task.id,
                )
            };
            let Some(i) = (0..rest.len()).max_by_key(|i| rank(rest[*i])) else {
                break;
            };
            let at = rest.swap_remove(i);
            let task = &self.view.tasks[at];
            if !self.take(floor, task) {
                continue;
            }
            if !self.stop_surplus(at) {
                break;
            }
            for (map, key) in [(&mut zones, task.zone), (&mut nodes, task.node)] {
                if let Some(n) = map.get_mut(&key) {
                    *n -= 1;
                }
            }
            taken.push(at);
        }
        if taken.len() < most as usize
            && let Some(until) = until
        {
            self.wake(until);
            self.tell_protected(&held);
        }
        taken
    }

    /// Once until the service is steady again.
    fn tell_protected(&mut self, held: &[usize]) {
        let Some(first) = held.first().filter(|_| !self.service.protection_told) else {
            return;
        };
        self.service.protection_told = true;
        self.plan.events.push(ServiceEvent::Protected {
            deployment: self.view.tasks[*first].deployment.to_owned(),
            tasks: super::count(held.iter()),
        });
    }

    fn uselessness(&self, task: &TaskView<'_>) -> u8 {
        match task.state {
            _ if task.unhealthy() => 5,
            TaskState::Provisioning => 4,
            TaskState::Pending => 3,
            TaskState::Activating => 2,
            _ if !self.healthy(task) => 1,
            _ => 0,
        }
    }
}
