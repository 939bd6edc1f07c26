//! A service's deployment configuration: defaults filled in, rules checked.

use super::{invalid, unsupported};
use crate::api;
use neargate_core::AwsError;

/// The configuration that `given` makes of `base` (the service's present one, or none for a new service). Members not
/// given keep what they were.
///
/// # Errors
/// `InvalidParameterException`, `UnsupportedFeatureException`.
pub fn admit(
    given: Option<&api::DeploymentConfiguration>,
    base: Option<&api::DeploymentConfiguration>,
    daemon: bool,
) -> Result<api::DeploymentConfiguration, AwsError> {
    let empty = api::DeploymentConfiguration::default();
    let given = given.unwrap_or(&empty);
    let base = base.unwrap_or(&empty);
    refuse_absent(given)?;
    let (minimum, maximum) = if daemon { (0, 100) } else { (100, 200) };
    let minimum = given
        .minimum_healthy_percent
        .or(base.minimum_healthy_percent)
        .unwrap_or(minimum);
    let maximum = given.maximum_percent.or(base.maximum_percent).unwrap_or(maximum);
    admit_percents(minimum, maximum, daemon)?;
    let breaker = given
        .deployment_circuit_breaker
        .as_ref()
        .or(base.deployment_circuit_breaker.as_ref());
    Ok(api::DeploymentConfiguration {
        deployment_circuit_breaker: Some(admit_breaker(breaker)?),
        maximum_percent: Some(maximum),
        minimum_healthy_percent: Some(minimum),
        alarms: Some(api::DeploymentAlarms {
            alarm_names: Some(Vec::new()),
            enable: Some(false),
            rollback: Some(false),
        }),
        strategy: Some("ROLLING".to_owned()),
        bake_time_in_minutes: Some(0),
        ..api::DeploymentConfiguration::default()
    })
}

fn refuse_absent(given: &api::DeploymentConfiguration) -> Result<(), AwsError> {
    match given.strategy.as_deref() {
        None | Some("ROLLING") => {}
        Some(other) => return Err(unsupported(format!("deploymentConfiguration.strategy {other}"))),
    }
    if given.alarms.as_ref().is_some_and(|a| a.enable.unwrap_or(false)) {
        return Err(unsupported("deploymentConfiguration.alarms"));
    }
    if given.bake_time_in_minutes.is_some_and(|minutes| minutes != 0) {
        return Err(unsupported("deploymentConfiguration.bakeTimeInMinutes"));
    }
    if given.lifecycle_hooks.as_ref().is_some_and(|hooks| !hooks.is_empty()) {
        return Err(unsupported("deploymentConfiguration.lifecycleHooks"));
    }
    if given.linear_configuration.is_some() {
        return Err(unsupported("deploymentConfiguration.linearConfiguration"));
    }
    if given.canary_configuration.is_some() {
        return Err(unsupported("deploymentConfiguration.canaryConfiguration"));
    }
    if given
        .early_success_criteria
        .as_ref()
        .is_some_and(|c| c.enable.unwrap_or(false))
    {
        return Err(unsupported("deploymentConfiguration.earlySuccessCriteria"));
    }
    Ok(())
}

fn admit_percents(minimum: i32, maximum: i32, daemon: bool) -> Result<(), AwsError> {
    if !(0..=100).contains(&minimum) {
        return Err(invalid("minimumHealthyPercent must be between 0 and 100."));
    }
    if daemon && maximum != 100 {
        return Err(invalid(
            "maximumPercent must be 100 for services that use the DAEMON scheduling strategy.",
        ));
    }
    if maximum < 100 {
        return Err(invalid("maximumPercent must be greater than or equal to 100."));
    }
    if maximum == 100 && minimum == 100 {
        return Err(invalid(
            "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.",
        ));
    }
    Ok(())
}

fn admit_breaker(given: Option<&api::DeploymentCircuitBreaker>) -> Result<api::DeploymentCircuitBreaker, AwsError> {
    let Some(given) = given else {
        return Ok(api::DeploymentCircuitBreaker {
            enable: Some(false),
            rollback: Some(false),
            ..api::DeploymentCircuitBreaker::default()
        });
    };
    if let Some(threshold) = &given.threshold_configuration {
        match threshold.r#type.as_deref() {
            Some("COUNT" | "BOUNDED_PERCENT" | "UNBOUNDED_PERCENT") => {}
            other => {
                return Err(invalid(format!(
                    "Unknown deploymentCircuitBreaker threshold type: {}",
                    other.unwrap_or("none")
                )));
            }
        }
        if threshold.value.is_none_or(|v| v < 1) {
            return Err(invalid(
                "The deploymentCircuitBreaker threshold value must be greater than 0.",
            ));
        }
    }
    let (enable, rollback) = (given.enable.unwrap_or(false), given.rollback.unwrap_or(false));
    Ok(api::DeploymentCircuitBreaker {
        enable: Some(enable),
        rollback: Some(rollback),
        ..given.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(minimum: Option<i32>, maximum: Option<i32>) -> api::DeploymentConfiguration {
        api::DeploymentConfiguration {
            minimum_healthy_percent: minimum,
            maximum_percent: maximum,
            ..api::DeploymentConfiguration::default()
        }
    }

    #[test]
    fn defaults_are_awss_and_given_members_replace_only_themselves() {
        let fresh = admit(None, None, false).unwrap();
        assert_eq!(
            (fresh.minimum_healthy_percent, fresh.maximum_percent),
            (Some(100), Some(200))
        );
        let daemon = admit(None, None, true).unwrap();
        assert_eq!(
            (daemon.minimum_healthy_percent, daemon.maximum_percent),
            (Some(0), Some(100))
        );
        let changed = admit(Some(&with(Some(50), None)), Some(&fresh), false).unwrap();
        assert_eq!(
            (changed.minimum_healthy_percent, changed.maximum_percent),
            (Some(50), Some(200))
        );
        assert_eq!(changed.deployment_circuit_breaker, fresh.deployment_circuit_breaker);
    }

    #[test]
    fn percents_that_block_deployments_are_refused_in_awss_words() {
        let error = admit(Some(&with(Some(100), Some(100))), None, false).unwrap_err();
        assert_eq!(error.code, "InvalidParameterException");
        assert_eq!(
            error.message,
            "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments."
        );
        assert!(admit(Some(&with(None, Some(99))), None, false).is_err());
        assert!(admit(Some(&with(Some(101), None)), None, false).is_err());
        assert!(admit(Some(&with(None, Some(200))), None, true).is_err());
    }

    #[test]
    fn what_is_not_there_is_refused_by_name_and_disabled_forms_are_taken() {
        let hooks = api::DeploymentConfiguration {
            lifecycle_hooks: Some(vec![api::DeploymentLifecycleHook::default()]),
            ..api::DeploymentConfiguration::default()
        };
        let error = admit(Some(&hooks), None, false).unwrap_err();
        assert_eq!(error.code, "UnsupportedFeatureException");
        assert!(error.message.contains("lifecycleHooks"));
        let disabled = api::DeploymentConfiguration {
            lifecycle_hooks: Some(Vec::new()),
            alarms: Some(api::DeploymentAlarms {
                enable: Some(false),
                ..Default::default()
            }),
            strategy: Some("ROLLING".to_owned()),
            bake_time_in_minutes: Some(0),
            ..api::DeploymentConfiguration::default()
        };
        assert!(admit(Some(&disabled), None, false).is_ok());
    }
}
