//! When a flow has to end because of its target: deregistered, unhealthy, or its listener gone.
//!
//! Source: "Connection termination for unhealthy targets" and "Deregistration delay" of the Network Load Balancers Guide.

use super::is_well;
use crate::serving::{Worker, now};
use neargate_core::Timestamp;
use neargate_link::gateway::TargetSpec;
use neargate_routing::{Group, GroupSettings, Target};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a flow looks around. NLB takes seconds too.
const LOOK: Duration = Duration::from_secs(1);

/// Ready when a flow to `target` has to end.
pub fn wait(
    worker: &Rc<Worker>,
    listener: &Arc<str>,
    group: &Arc<Group>,
    target: &Arc<Target>,
) -> impl Future<Output = ()> + use<> {
    let (worker, listener) = (worker.clone(), listener.clone());
    let (group, target) = (group.clone(), target.clone());
    // One that goes to an unhealthy target because all are stays.
    let mut well = is_well(target.state());
    let mut ill_since = None;
    async move {
        let mut settings = group.settings.clone();
        loop {
            tokio::time::sleep(LOOK).await;
            let serving = worker.now_serving();
            if serving.listener(&listener).is_none() {
                return;
            }
            let latest = serving.routes.group(&group.arn);
            if let Some(latest) = latest {
                settings.clone_from(&latest.settings);
            }
            let registered = |other: &&Arc<Target>| other.spec.registered_at == target.spec.registered_at;
            let spec = latest
                .and_then(|latest| latest.target(&target.spec.id, target.spec.port))
                .filter(registered)
                .map(|target| &target.spec);
            let is = is_well(target.state());
            if is {
                ill_since = None;
            } else if well {
                ill_since = Some(Instant::now());
            }
            well = is;
            if ends(&settings, spec, ill_since.map(|since| since.elapsed()), now()) {
                return;
            }
        }
    }
}

/// `ill`: how long the target has been unhealthy, when it was not at the flow's begin.
fn ends(settings: &GroupSettings, registered: Option<&TargetSpec>, ill: Option<Duration>, now: Timestamp) -> bool {
    let delay_over = registered.is_none_or(|spec| spec.draining_until.is_some_and(|until| until <= now));
    if delay_over && settings.terminate_on_deregistration {
        return true;
    }
    match ill {
        Some(_) if settings.terminate_on_unhealthy => true,
        Some(ill) => !settings.unhealthy_draining.is_zero() && ill >= settings.unhealthy_draining,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> GroupSettings {
        let attributes = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        GroupSettings::new(&attributes)
    }

    fn spec(draining_until: Option<Timestamp>) -> TargetSpec {
        TargetSpec {
            id: "10.0.0.1".to_owned(),
            port: 80,
            address: [10, 0, 0, 1].into(),
            zone: None,
            registered_at: Timestamp(1),
            draining_until,
        }
    }

    #[test]
    fn flows_outlive_a_deregistration_unless_the_group_says_otherwise() {
        let now = Timestamp(1_000);
        let over = spec(Some(now));
        let lasting = spec(Some(Timestamp(1_001)));
        let keeps = settings(&[]);
        assert!(!ends(&keeps, Some(&over), None, now) && !ends(&keeps, None, None, now));
        let cuts = settings(&[("deregistration_delay.connection_termination.enabled", "true")]);
        assert!(ends(&cuts, Some(&over), None, now) && ends(&cuts, None, None, now));
        assert!(!ends(&cuts, Some(&lasting), None, now), "the delay is not over");
    }

    #[test]
    fn an_unhealthy_target_loses_its_flows_at_once_later_or_never() {
        let second = Duration::from_secs(1);
        let termination = "target_health_state.unhealthy.connection_termination.enabled";
        let lost = |settings: &GroupSettings, ill| ends(settings, Some(&spec(None)), Some(ill), Timestamp(1));
        assert!(lost(&settings(&[]), Duration::ZERO));
        assert!(!lost(&settings(&[(termination, "false")]), 900 * second));
        let drains = [
            (termination, "false"),
            ("target_health_state.unhealthy.draining_interval_seconds", "60"),
        ];
        assert!(!lost(&settings(&drains), 59 * second));
        assert!(lost(&settings(&drains), 60 * second));
    }
}
