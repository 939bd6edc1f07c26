//! DescribeTargetHealth.

use crate::records::{TargetGroupRecord, TargetRecord};
use crate::{Elbv2, api, find, targets};
use neargate_core::{AwsError, RequestContext};
use neargate_link::gateway::TargetState;
use neargate_store::Snapshot;

/// # Errors
/// `TargetGroupNotFound`, `ValidationError`.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::DescribeTargetHealthInput,
) -> Result<api::DescribeTargetHealthOutput, AwsError> {
    let snapshot = service.store.snapshot();
    let arn = input.target_group_arn.unwrap_or_default();
    let group = find::target_group(&snapshot, &cx.region, &arn)?;
    let include = input.include.unwrap_or_default();
    let anomalies = include.iter().any(|i| matches!(i.as_str(), "All" | "AnomalyDetection"));
    let all = targets::targets_of_group(&snapshot, &arn);
    let mut described = Vec::new();
    let asked = input.targets.unwrap_or_default();
    if asked.is_empty() {
        described.extend(all.iter().map(|target| known(&snapshot, &group, target)));
    }
    for target in asked {
        let port = super::target_port(&group, target.port)?;
        let is_asked = |t: &&neargate_store::Versioned<TargetRecord>| {
            Some(&t.id) == target.id.as_ref() && (target.port.is_none() || t.port == port)
        };
        let mut found: Vec<_> = all
            .iter()
            .filter(is_asked)
            .map(|t| known(&snapshot, &group, t))
            .collect();
        if found.is_empty() {
            found.push(unknown(&group, target, port));
        }
        described.append(&mut found);
    }
    if anomalies {
        for target in &mut described {
            target.anomaly_detection = Some(api::AnomalyDetection {
                result: Some("normal".to_owned()),
                mitigation_in_effect: Some("no".to_owned()),
            });
        }
    }
    Ok(api::DescribeTargetHealthOutput {
        target_health_descriptions: Some(described),
    })
}

fn known(snapshot: &Snapshot, group: &TargetGroupRecord, target: &TargetRecord) -> api::TargetHealthDescription {
    let health = &target.health;
    let (state, reason, description) = if target.draining_until.is_some() {
        (
            "draining",
            Some("Target.DeregistrationInProgress"),
            Some(targets::DEREGISTRATION_IN_PROGRESS),
        )
    } else if target.is_unused(snapshot) {
        (
            "unused",
            Some("Target.NotInUse"),
            Some("Target group is not configured to receive traffic from the load balancer"),
        )
    } else if targets::is_a_balancers(snapshot, group, target) {
        ("unused", Some("Target.IpUnusable"), Some(targets::IP_UNUSABLE))
    } else if !targets::is_in_enabled_zone(snapshot, group, target) {
        ("unused", Some("Target.NotInUse"), Some(targets::ZONE_NOT_ENABLED))
    } else {
        let state = match health.state {
            TargetState::Initial => "initial",
            TargetState::Healthy => "healthy",
            TargetState::Unhealthy => "unhealthy",
            TargetState::Unavailable => "unavailable",
            TargetState::Drained => "draining",
        };
        (state, health.reason.as_deref(), health.description.as_deref())
    };
    let shown = api::TargetDescription {
        id: Some(target.id.clone()),
        port: Some(i32::from(target.port)),
        availability_zone: target.zone.clone().filter(|_| group.target_type == "ip"),
        quic_server_id: None,
    };
    let mut described = describe(group, shown, target.port, (state, reason, description));
    if !target.is_unused(snapshot) {
        // There are no zonal shifts: none is ever active.
        described.administrative_override = Some(api::AdministrativeOverride {
            state: Some("no_override".to_owned()),
            reason: Some("AdministrativeOverride.NoOverride".to_owned()),
            description: Some("No override is currently active on target".to_owned()),
        });
    }
    described
}

fn unknown(group: &TargetGroupRecord, asked: api::TargetDescription, port: u16) -> api::TargetHealthDescription {
    let shown = api::TargetDescription {
        port: Some(i32::from(port)),
        ..asked
    };
    describe(
        group,
        shown,
        port,
        ("unused", Some("Target.NotRegistered"), Some(targets::NOT_REGISTERED)),
    )
}

fn describe(
    group: &TargetGroupRecord,
    target: api::TargetDescription,
    port: u16,
    (state, reason, description): (&str, Option<&str>, Option<&str>),
) -> api::TargetHealthDescription {
    let check = &group.health_check.port;
    let check = if check == "traffic-port" {
        port.to_string()
    } else {
        check.clone()
    };
    api::TargetHealthDescription {
        target: Some(target),
        health_check_port: Some(check),
        target_health: Some(api::TargetHealth {
            state: Some(state.to_owned()),
            reason: reason.map(str::to_owned),
            description: description.map(str::to_owned),
        }),
        ..Default::default()
    }
}
