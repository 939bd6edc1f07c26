//! Deployments: the limits they roll under, and how one begins, completes, fails and is rolled back to.
//!
//! Source: `DeploymentConfiguration`, `Deployment` and `ServiceDeployment` of the ECS model.

use super::events::ServiceEvent;
use super::service::History;
use crate::api;
use crate::records::{Backoff, Deployment, RolloutState, ServiceRecord};
use neargate_core::Timestamp;

/// How many tasks there may and must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub desired: u32,
    /// Healthy tasks that a deployment leaves alone: minimumHealthyPercent of desired, rounded up.
    pub lower: u32,
    /// RUNNING and PENDING tasks: maximumPercent of desired, rounded down.
    pub upper: u32,
}

impl Limits {
    pub fn of(configuration: &api::DeploymentConfiguration, desired: u32) -> Limits {
        let percent = |p: Option<i32>, default: u64| p.and_then(|p| u64::try_from(p).ok()).unwrap_or(default);
        let n = u64::from(desired);
        let lower = (n * percent(configuration.minimum_healthy_percent, 100)).div_ceil(100);
        let upper = n * percent(configuration.maximum_percent, 200) / 100;
        let fit = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        // Below desired it could never be reached; admission refuses such a maximum.
        Limits {
            desired,
            lower: fit(lower),
            upper: fit(upper).max(desired),
        }
    }
}

pub fn in_progress(id: &str) -> String {
    format!("ECS deployment {id} in progress.")
}

pub fn completed(id: &str) -> String {
    format!("ECS deployment {id} completed.")
}

const TASKS_FAILED: &str = "ECS deployment circuit breaker: tasks failed to start.";
const STOPPED: &str = "ECS deployment stopped by user.";

/// Makes `next` the PRIMARY; what was PRIMARY becomes ACTIVE and keeps the tasks it has until it is replaced.
/// Answers the history entry of the rollout that is thereby cut short.
pub fn begin(service: &mut ServiceRecord, next: Deployment) -> Option<History> {
    let mut superseded = None;
    if let Some(old) = service.deployments.first_mut()
        && old.rollout == RolloutState::InProgress
    {
        superseded = Some(History::ended(
            &old.service_deployment,
            "STOPPED",
            "Service deployment stopped because a newer service deployment was started.",
        ));
    }
    service.spec = next.spec.clone();
    service.current_service_deployment.clone_from(&next.service_deployment);
    service.stop_requested = None;
    service.steady_at = None;
    service.rebalancing_until = None;
    service.deployments.insert(0, next);
    superseded
}

/// Why a rollout is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    CircuitBreaker,
    User,
}

/// What giving up a rollout changes besides the service.
#[derive(Debug, Default)]
pub struct Outcome {
    pub events: Vec<ServiceEvent>,
    pub history: Vec<History>,
}

/// Gives up the PRIMARY's rollout: back to the last deployment that completed when `rollback` is asked and there is one,
/// otherwise the deployment stalls where it is. `live` is how many tasks the PRIMARY has.
pub fn give_up(service: &mut ServiceRecord, cause: Cause, rollback: bool, live: u32, now: Timestamp) -> Outcome {
    let mut out = Outcome::default();
    let Some(failed) = service.deployments.first_mut() else {
        return out;
    };
    failed.rollout = RolloutState::Failed;
    failed.updated_at = now;
    failed.reason = match cause {
        Cause::CircuitBreaker => TASKS_FAILED.to_owned(),
        Cause::User => STOPPED.to_owned(),
    };
    failed.target = failed.target.min(live);
    failed.backoff = Backoff::default();
    failed.unplaced = None;
    let failed = failed.clone();
    if cause == Cause::CircuitBreaker {
        out.events.push(ServiceEvent::DeploymentFailed {
            deployment: failed.id.clone(),
        });
    }
    let history = |status, reason: &str| History {
        breaker: (cause == Cause::CircuitBreaker).then_some("TRIGGERED"),
        failures: Some(failed.failures),
        ..History::ended(&failed.service_deployment, status, reason)
    };

    let back = service.last_completed.take_if(|d| rollback && d.id != failed.id);
    let Some(back) = back else {
        let (status, reason) = match (failed.rolling_back, rollback, cause) {
            (true, ..) => ("ROLLBACK_FAILED", "Service deployment rollback failed."),
            (false, true, _) => (
                "ROLLBACK_FAILED",
                "Service deployment rollback failed because there is no completed service deployment to roll back to.",
            ),
            (false, false, Cause::CircuitBreaker) => (
                "STOPPED",
                "Service deployment stopped because the circuit breaker threshold was exceeded.",
            ),
            (false, false, Cause::User) => ("STOPPED", "Service deployment stopped by user."),
        };
        out.history.push(history(status, reason));
        return out;
    };

    // It may still have tasks, and then keeps them.
    let at = service.deployments.iter().position(|d| d.id == back.id);
    let mut back = match at {
        Some(at) => service.deployments.remove(at),
        None => Deployment { target: 0, ..back },
    };
    let why = match cause {
        Cause::CircuitBreaker => "Service deployment rolled back because the circuit breaker threshold was exceeded.",
        Cause::User => "Service deployment rolled back because of a user request.",
    };
    back.rollout = RolloutState::InProgress;
    back.reason = match cause {
        Cause::CircuitBreaker => {
            format!(
                "ECS deployment circuit breaker: rolling back to deploymentId {}.",
                back.id
            )
        }
        Cause::User => format!(
            "ECS deployment stopped by user: rolling back to deploymentId {}.",
            back.id
        ),
    };
    back.rolling_back = true;
    back.service_deployment.clone_from(&failed.service_deployment);
    back.updated_at = now;
    back.failures = 0;
    back.healthy_seen = 0;
    back.backoff = Backoff::default();
    back.unplaced = None;
    back.blocked_told = false;
    out.events.push(ServiceEvent::RollingBack {
        deployment: back.id.clone(),
    });
    out.history.push(History {
        rollback_to: Some(back.service_revision_arn.clone()),
        finished: false,
        ..history("ROLLBACK_IN_PROGRESS", why)
    });
    service.spec = back.spec.clone();
    service.deployments.insert(0, back);
    out
}

/// The PRIMARY's rollout is done.
pub fn complete(service: &mut ServiceRecord, breaker_enabled: bool, now: Timestamp) -> Outcome {
    let mut out = Outcome::default();
    let Some(done) = service.deployments.first_mut() else {
        return out;
    };
    let rolled_back = std::mem::take(&mut done.rolling_back);
    out.events.push(ServiceEvent::DeploymentCompleted {
        deployment: done.id.clone(),
    });
    out.history.push(History {
        id: done.service_deployment.clone(),
        status: if rolled_back {
            "ROLLBACK_SUCCESSFUL"
        } else {
            "SUCCESSFUL"
        },
        // Of a rollback the reason it began stays.
        reason: None,
        finished: true,
        rollback_to: None,
        breaker: (breaker_enabled && !rolled_back).then_some("MONITORING_COMPLETE"),
        failures: (!rolled_back).then_some(done.failures),
    });
    done.rollout = RolloutState::Completed;
    done.reason = completed(&done.id);
    done.updated_at = now;
    done.proven = true;
    done.failures = 0;
    done.healthy_seen = 0;
    done.blocked_told = false;
    service.last_completed = Some(done.clone());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(desired: u32, minimum: i32, maximum: i32) -> (u32, u32) {
        let l = Limits::of(
            &api::DeploymentConfiguration {
                minimum_healthy_percent: Some(minimum),
                maximum_percent: Some(maximum),
                ..Default::default()
            },
            desired,
        );
        (l.lower, l.upper)
    }

    #[test]
    fn the_minimum_is_rounded_up_and_the_maximum_down() {
        assert_eq!(limits(4, 50, 200), (2, 8));
        assert_eq!(limits(3, 50, 150), (2, 4));
        assert_eq!(limits(1, 50, 100), (1, 1));
        assert_eq!(limits(5, 33, 119), (2, 5));
        assert_eq!(limits(0, 100, 200), (0, 0));
    }
}
