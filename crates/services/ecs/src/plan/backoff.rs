//! How long a deployment waits before it launches again after repeated failures.
//!
//! AWS throttles only tasks that never reach RUNNING, up to 27 minutes between attempts ("Amazon ECS service throttle
//! logic"). Tasks that exit soon after RUNNING are held back there by how long a launch takes, tens of seconds; a launch
//! here takes milliseconds, so that such a crash loop gets a short, capped pace of its own. The first early exits wait
//! for nothing.

use crate::records::{Backoff, BackoffCause, Unplaced};
use neargate_core::Timestamp;
use std::time::Duration;

/// AWS's longest wait between attempts to start.
const LONGEST_START: Duration = Duration::from_secs(27 * 60);
/// The slowest pace of a crash loop.
const LONGEST_EXIT: Duration = Duration::from_secs(60);
/// The first round of waiting for a node; doubles up to `LONGEST_START`.
const FIRST_UNPLACED: Duration = Duration::from_secs(30);
/// Rounds after which AWS tells that tasks cannot be started consistently.
const TOLD_FROM: u32 = 3;

/// The wait after `step` failed rounds.
pub fn delay(cause: BackoffCause, step: u32) -> Duration {
    match (cause, step) {
        (_, 0) | (BackoffCause::ExitedEarly, 1 | 2) => Duration::ZERO,
        (BackoffCause::FailedToStart, n) => doubled(Duration::from_secs(1), n - 1).min(LONGEST_START),
        (BackoffCause::ExitedEarly, n) => doubled(Duration::from_secs(1), n - 3).min(LONGEST_EXIT),
    }
}

fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1u32 << times.min(20))
}

/// Counts the failure of a task made at `created_at`. Tasks of a round that already counted add nothing, so that ten
/// tasks failing together are one failed round. True when the throttle is to be told as an event.
pub fn fail(backoff: &mut Backoff, cause: BackoffCause, created_at: Timestamp, now: Timestamp) -> bool {
    // It reached RUNNING, so starting works.
    if cause == BackoffCause::ExitedEarly && backoff.cause == BackoffCause::FailedToStart {
        *backoff = Backoff::default();
    }
    if backoff.step > 0 && created_at < backoff.failed_at {
        return false;
    }
    let step = backoff.step.saturating_add(1);
    *backoff = Backoff {
        cause,
        step,
        failed_at: now,
        retry_at: now.plus(delay(cause, step)),
    };
    cause == BackoffCause::FailedToStart && step >= TOLD_FROM
}

/// Notes that tasks wait for a node because of `event`. Answers whether to tell it, and how many rounds ended.
pub fn wait(unplaced: &mut Option<Unplaced>, event: &str, now: Timestamp) -> (bool, u32) {
    let Some(state) = unplaced else {
        *unplaced = Some(Unplaced {
            event: event.to_owned(),
            rounds: 0,
            next_at: now.plus(FIRST_UNPLACED),
        });
        return (true, 0);
    };
    let mut ended = 0;
    while now >= state.next_at {
        ended += 1;
        state.rounds = state.rounds.saturating_add(1);
        // From `now`: a control plane that was down for a day has not tried meanwhile.
        state.next_at = now.plus(doubled(FIRST_UNPLACED, state.rounds).min(LONGEST_START));
    }
    let told = state.event != event;
    if told {
        event.clone_into(&mut state.event);
    }
    (told, ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_to_start_wait_longer_up_to_27_minutes() {
        let seconds: Vec<u64> = (0..14)
            .map(|n| delay(BackoffCause::FailedToStart, n).as_secs())
            .collect();
        assert_eq!(seconds, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1620, 1620]);
        assert_eq!(delay(BackoffCause::FailedToStart, u32::MAX).as_secs(), 1620);
    }

    #[test]
    fn the_first_early_exits_wait_for_nothing_and_the_pace_stays_within_a_minute() {
        let seconds: Vec<u64> = (0..11).map(|n| delay(BackoffCause::ExitedEarly, n).as_secs()).collect();
        assert_eq!(seconds, [0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn tasks_that_fail_together_are_one_round() {
        let mut b = Backoff::default();
        let made = Timestamp(0);
        for _ in 0..10 {
            fail(&mut b, BackoffCause::FailedToStart, made, Timestamp(100));
        }
        assert_eq!((b.step, b.retry_at), (1, Timestamp(1100)));
        fail(&mut b, BackoffCause::FailedToStart, Timestamp(1100), Timestamp(1200));
        assert_eq!((b.step, b.retry_at), (2, Timestamp(3200)));
    }

    #[test]
    fn reaching_running_ends_the_throttle_but_not_the_pace() {
        let mut b = Backoff {
            cause: BackoffCause::FailedToStart,
            step: 9,
            ..Backoff::default()
        };
        fail(&mut b, BackoffCause::ExitedEarly, Timestamp(5), Timestamp(9));
        assert_eq!(
            (b.cause, b.step, b.retry_at),
            (BackoffCause::ExitedEarly, 1, Timestamp(9))
        );
    }

    #[test]
    fn waiting_for_a_node_is_told_once_per_reason_and_counts_by_rounds() {
        let mut u = None;
        assert_eq!(wait(&mut u, " because no.", Timestamp(0)), (true, 0));
        assert_eq!(wait(&mut u, " because no.", Timestamp(29_999)), (false, 0));
        assert_eq!(wait(&mut u, " because no.", Timestamp(30_000)), (false, 1));
        assert_eq!(wait(&mut u, " because less.", Timestamp(89_999)), (true, 0));
        assert_eq!(wait(&mut u, " because less.", Timestamp(90_000)), (false, 1));
    }
}
