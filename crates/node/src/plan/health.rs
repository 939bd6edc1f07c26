//! The health of one container, as Docker and ECS count it.
//!
//! Called by `Observed::apply` and `plan`. A check runs every `interval`, the next one that long after the last ended;
//! while a container with a start period has never been healthy, it runs every five seconds instead, as Docker does.
//! Failures in the start period do not count; `retries` failures in a row make it UNHEALTHY, one success HEALTHY.

use neargate_core::Timestamp;
use neargate_link::{Health, HealthCheck};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Docker's interval during the start period.
const START_INTERVAL: Duration = Duration::from_secs(5);

/// What is known of a container's health.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HealthState {
    pub status: Health,
    /// Failures in a row that counted.
    pub failing: u32,
    /// A check is running.
    pub probing: bool,
    /// When the next check is due; none when the container has no check or does not run.
    pub next_at: Option<Timestamp>,
}

impl HealthState {
    /// The container started at `now`: its health is unknown again.
    pub fn started(check: Option<&HealthCheck>, now: Timestamp) -> HealthState {
        let next_at = check.map(|c| now.plus(interval(c, Health::Unknown, now, now)));
        HealthState {
            next_at,
            ..HealthState::default()
        }
    }

    /// A check that began at `probe_began` ended at `now`.
    pub fn probed(
        &self,
        check: &HealthCheck,
        container_started: Timestamp,
        probe_began: Timestamp,
        now: Timestamp,
        passed: bool,
    ) -> HealthState {
        let in_start_period = probe_began.since(container_started) < Duration::from_secs(check.start_period.into());
        let (status, failing) = match (passed, self.status) {
            (true, _) => (Health::Healthy, 0),
            (false, Health::Unknown) if in_start_period => (Health::Unknown, self.failing),
            (false, _) if self.failing + 1 >= check.retries.max(1) => (Health::Unhealthy, self.failing + 1),
            (false, before) => (before, self.failing + 1),
        };
        let next_at = Some(now.plus(interval(check, status, container_started, now)));
        HealthState {
            status,
            failing,
            probing: false,
            next_at,
        }
    }
}

fn interval(check: &HealthCheck, status: Health, container_started: Timestamp, now: Timestamp) -> Duration {
    let usual = Duration::from_secs(check.interval.max(1).into());
    let starting = now.since(container_started) < Duration::from_secs(check.start_period.into());
    if status == Health::Unknown && starting {
        START_INTERVAL.min(usual)
    } else {
        usual
    }
}

/// A task's health from its essential containers' (AWS's `HealthCheck` documentation): UNHEALTHY before UNKNOWN before
/// HEALTHY. Essential containers without a check do not count; with none that has one, the task is UNKNOWN.
pub fn task_health(essential_with_check: impl IntoIterator<Item = Health>) -> Health {
    let mut any = false;
    let mut worst = Health::Healthy;
    for health in essential_with_check {
        any = true;
        worst = match (worst, health) {
            (_, Health::Unhealthy) | (Health::Unhealthy, _) => Health::Unhealthy,
            (_, Health::Unknown) | (Health::Unknown, _) => Health::Unknown,
            _ => Health::Healthy,
        };
    }
    if any { worst } else { Health::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK: HealthCheck = HealthCheck {
        command: Vec::new(),
        interval: 30,
        timeout: 5,
        retries: 3,
        start_period: 0,
    };

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    /// Runs checks one after another and writes what is seen: `+` a pass, `-` a failure.
    fn script(check: &HealthCheck, results: &str) -> String {
        let mut state = HealthState::started(Some(check), at(0));
        let mut out = String::new();
        for result in results.chars() {
            let began = state.next_at.expect("a check is due");
            state = state.probed(check, at(0), began, began, result == '+');
            let status = match state.status {
                Health::Unknown => "unknown",
                Health::Healthy => "healthy",
                Health::Unhealthy => "unhealthy",
            };
            out.push_str(&format!("{}s {result} {status}\n", began.secs()));
        }
        out
    }

    #[test]
    fn retries_in_a_row_make_it_unhealthy_and_one_success_heals() {
        let seen = script(&CHECK, "--+--+---+");
        assert_eq!(
            seen,
            "30s - unknown\n60s - unknown\n90s + healthy\n120s - healthy\n150s - healthy\n180s + healthy\n\
             210s - healthy\n240s - healthy\n270s - unhealthy\n300s + healthy\n"
        );
    }

    #[test]
    fn failures_in_the_start_period_do_not_count_and_checks_come_every_five_seconds() {
        let check = HealthCheck {
            start_period: 12,
            retries: 1,
            ..CHECK
        };
        assert_eq!(script(&check, "---"), "5s - unknown\n10s - unknown\n15s - unhealthy\n");
        assert_eq!(
            script(&check, "+--"),
            "5s + healthy\n35s - unhealthy\n65s - unhealthy\n"
        );
    }

    #[test]
    fn a_success_in_the_start_period_ends_the_grace() {
        let check = HealthCheck {
            start_period: 300,
            retries: 2,
            ..CHECK
        };
        assert_eq!(
            script(&check, "-+--"),
            "5s - unknown\n10s + healthy\n40s - healthy\n70s - unhealthy\n"
        );
    }

    #[test]
    fn the_tables_of_the_aws_documentation_hold() {
        use Health::{Healthy as H, Unhealthy as U, Unknown as N};
        for (containers, task) in [
            (vec![U, N], U),
            (vec![U, H], U),
            (vec![H, N], N),
            (vec![H, H], H),
            (vec![U, N, N], U),
            (vec![U, N, H], U),
            (vec![U, H, H], U),
            (vec![H, N, H], N),
            (vec![H, N, N], N),
            (vec![H, H, H], H),
            (vec![], N),
        ] {
            assert_eq!(task_health(containers.clone()), task, "{containers:?}");
        }
    }
}
