//! The deployment circuit breaker's arithmetic. Source: `DeploymentCircuitBreaker` and `ThresholdConfiguration` of the
//! ECS model, and "How the Amazon ECS deployment circuit breaker detects failures" of the developer guide.

use crate::api;

const MINIMUM: u32 = 3;
const MAXIMUM: u32 = 200;

/// What a service asked of its circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    pub enabled: bool,
    pub rollback: bool,
    pub reset_on_healthy_task: bool,
    /// Failures at which it triggers.
    pub threshold: u32,
}

/// The breaker of `configuration` for `desired` tasks.
pub fn of(configuration: &api::DeploymentConfiguration, desired: u32) -> Breaker {
    let given = configuration.deployment_circuit_breaker.as_ref();
    Breaker {
        enabled: given.and_then(|b| b.enable).unwrap_or(false),
        rollback: given.and_then(|b| b.rollback).unwrap_or(false),
        reset_on_healthy_task: given.and_then(|b| b.reset_on_healthy_task).unwrap_or(true),
        threshold: threshold(given.and_then(|b| b.threshold_configuration.as_ref()), desired),
    }
}

/// Failures that are one too many: a share of `desired` rounded up, within 3 and 200 unless asked otherwise.
pub fn threshold(configuration: Option<&api::ThresholdConfiguration>, desired: u32) -> u32 {
    let value = configuration
        .and_then(|c| c.value)
        .and_then(|v| u32::try_from(v).ok())
        .unwrap_or(50);
    let share = u32::try_from((u64::from(desired) * u64::from(value)).div_ceil(100)).unwrap_or(u32::MAX);
    match configuration.and_then(|c| c.r#type.as_deref()) {
        Some("COUNT") => value.max(1),
        Some("UNBOUNDED_PERCENT") => share.max(1),
        _ => share.clamp(MINIMUM, MAXIMUM),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_type(r#type: &str, value: i32, desired: u32) -> u32 {
        threshold(
            Some(&api::ThresholdConfiguration {
                r#type: Some(r#type.to_owned()),
                value: Some(value),
            }),
            desired,
        )
    }

    #[test]
    fn the_threshold_is_half_of_desired_within_three_and_two_hundred() {
        for (desired, expected) in [(0, 3), (1, 3), (6, 3), (7, 4), (25, 13), (400, 200), (800, 200)] {
            assert_eq!(threshold(None, desired), expected, "desired {desired}");
            assert_eq!(of_type("BOUNDED_PERCENT", 50, desired), expected, "desired {desired}");
        }
    }

    #[test]
    fn counts_and_unbounded_shares_are_taken_as_they_are() {
        assert_eq!(of_type("COUNT", 2, 800), 2);
        assert_eq!(of_type("UNBOUNDED_PERCENT", 50, 1), 1);
        assert_eq!(of_type("UNBOUNDED_PERCENT", 50, 800), 400);
        assert_eq!(of_type("UNBOUNDED_PERCENT", 200, 3), 6);
        assert_eq!(of_type("BOUNDED_PERCENT", 10, 800), 80);
    }
}
