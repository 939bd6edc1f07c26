//! Tells an exchange or tunnel that its target is gone: deregistered, and its deregistration delay over. Or its load balancer,
//! and with it the addresses that targets answer to.
//!
//! Asked whenever a connection's task runs; every table wakes them all. Cheap unless a new table came.

use crate::serving::Worker;
use neargate_routing::{Balancer, Group, Target};

/// Holds a request or connection to its target's registration.
pub struct Leash<'a> {
    worker: &'a Worker,
    balancer: &'a Balancer,
    group: &'a Group,
    target: &'a Target,
    seen: u64,
}

impl<'a> Leash<'a> {
    pub fn new(worker: &'a Worker, balancer: &'a Balancer, group: &'a Group, target: &'a Target) -> Leash<'a> {
        Leash {
            worker,
            balancer,
            group,
            target,
            seen: worker.epoch(),
        }
    }

    /// True once the target or the balancer is gone from what is served.
    pub fn is_cut(&mut self) -> bool {
        let epoch = self.worker.epoch();
        if std::mem::replace(&mut self.seen, epoch) == epoch {
            return false;
        }
        let serving = self.worker.now_serving();
        !serving.holds(self.balancer, self.group, self.target)
    }
}
