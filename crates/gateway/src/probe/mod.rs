//! Health checks of every target that a listener may forward to, and the end of draining ones.
//!
//! Run once by the gateway. One task keeps the times at which targets are due, and a short-lived task does each check, so
//! thousands of targets cost a heap entry each. What a check means is decided by `routing`; this only asks at the right
//! time and passes on what changed. Invariant: a target that this machine cannot reach for reasons of its own is not judged.

mod check;
mod schedule;

#[cfg(test)]
mod tests;

use neargate_link::gateway::TargetReport;
use neargate_routing::Routes;
use schedule::{Due, Schedule};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

/// Checks that run at once: a bound on sockets when many targets do not answer.
const AT_ONCE: usize = 1_000;
/// How often draining targets are looked at, and how long one must be without requests: a thread may still be picking by
/// the table before.
const LOOK: Duration = Duration::from_millis(50);

/// Checks the targets of the latest routes and reports what changes, until the gateway drops one of the channels.
pub async fn run(mut routes: watch::Receiver<Arc<Routes>>, reports: mpsc::Sender<TargetReport>) {
    let mut schedule = Schedule::default();
    let mut running = JoinSet::new();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let first = routes.borrow_and_update().clone();
    let mut news = schedule.follow(&first, Instant::now());
    loop {
        for report in news.drain(..) {
            if reports.send(report).await.is_err() {
                return;
            }
        }
        let mut next = None;
        while running.len() < AT_ONCE {
            match schedule.due(Instant::now()) {
                Due::Now(id, check) => drop(running.spawn(async move { (id, check::run(&check).await) })),
                Due::At(at) => {
                    next = Some(at);
                    break;
                }
                Due::Never => break,
            }
        }
        tokio::select! {
            changed = routes.changed() => {
                if changed.is_err() {
                    return;
                }
                let latest = routes.borrow_and_update().clone();
                news.extend(schedule.follow(&latest, Instant::now()));
            }
            Some(done) = running.join_next() => match done {
                Ok((id, finding)) => news.extend(schedule.found(id, finding, Instant::now())),
                // A check that panicked is seen by the target's next one.
                Err(error) => tracing::error!(%error, "a health check broke"),
            },
            () = until(next) => {}
            _ = looks.tick(), if schedule.has_draining() => {
                news.extend(schedule.drained(Instant::now()));
            }
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
