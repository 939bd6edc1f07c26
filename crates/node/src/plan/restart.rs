//! Whether a container that exited is started again within its task (ECS `restartPolicy`).
//!
//! Called by `Observed::apply` when a container exits. The rule is the ECS agent's: never while the task stops, never
//! on an ignored exit code, and only when the container ran for the attempt period since its last start.

use neargate_core::Timestamp;
use neargate_link::RestartPolicy;
use std::time::Duration;

/// True when a container that started at `started` and exited at `now` with `code` is to be started again.
pub fn restarts(
    policy: Option<&RestartPolicy>,
    task_stops: bool,
    started: Timestamp,
    now: Timestamp,
    code: Option<i32>,
) -> bool {
    let Some(policy) = policy else { return false };
    !task_stops
        && code.is_none_or(|c| !policy.ignored_exit_codes.contains(&c))
        && now.since(started) >= Duration::from_secs(policy.attempt_period.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_restarts_only_after_its_attempt_period_and_not_on_ignored_codes() {
        let policy = RestartPolicy {
            ignored_exit_codes: vec![0, 3],
            attempt_period: 60,
        };
        let at = Timestamp::from_secs;
        assert!(restarts(Some(&policy), false, at(0), at(60), Some(1)));
        assert!(
            !restarts(Some(&policy), false, at(0), at(59), Some(1)),
            "ran too short a time"
        );
        assert!(
            !restarts(Some(&policy), false, at(0), at(600), Some(3)),
            "ignored exit code"
        );
        assert!(
            !restarts(Some(&policy), true, at(0), at(600), Some(1)),
            "the task stops"
        );
        assert!(!restarts(None, false, at(0), at(600), Some(1)), "no policy");
    }
}
