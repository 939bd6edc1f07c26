//! Tells an exchange or tunnel that its target is gone: deregistered, and its deregistration delay over.
//!
//! Asked whenever a connection's task runs; every table wakes them all. Cheap unless a new table came.

use crate::serving::Worker;
use neargate_routing::{Group, Target};

/// Holds a request or connection to its target's registration.
pub struct Leash<'a> {
    worker: &'a Worker,
    group: &'a Group,
    target: &'a Target,
    seen: u64,
}

impl<'a> Leash<'a> {
    pub fn new(worker: &'a Worker, group: &'a Group, target: &'a Target) -> Leash<'a> {
        Leash {
            worker,
            group,
            target,
            seen: worker.epoch(),
        }
    }

    /// True once the target is gone from what is served.
    pub fn is_cut(&mut self) -> bool {
        let epoch = self.worker.epoch();
        if std::mem::replace(&mut self.seen, epoch) == epoch {
            return false;
        }
        let spec = &self.target.spec;
        let serving = self.worker.now_serving();
        let group = serving.routes.group(&self.group.arn);
        let there = group.and_then(|group| group.target(&spec.id, spec.port));
        there.is_none_or(|there| there.spec.registered_at != spec.registered_at)
    }
}
