//! Actions of rules. Source: `Action` of the ELB model and "Rule action types".

use crate::api::{self, errors};
use crate::arns::{self, Named};
use crate::limits::{GROUPS_PER_ACTION, GROUPS_PER_LOAD_BALANCER};
use crate::records::{ListenerRecord, LoadBalancerRecord, TargetGroupRecord};
use crate::refusal::{configuration, unsupported, validation};
use neargate_core::AwsError;
use neargate_link::gateway::BalancerKind;
use neargate_store::{Snapshot, Txn};
use std::collections::BTreeSet;

/// Longest stay with a target group: a week.
const WEEK: i32 = 604_800;

/// The listener for which actions are checked.
pub struct Place<'a> {
    pub snapshot: &'a Snapshot,
    pub balancer: &'a LoadBalancerRecord,
    /// The listener's protocol.
    pub protocol: &'a str,
}

/// The actions of a rule: exactly one, of a type that routes.
///
/// # Errors
/// `ValidationError`, `InvalidLoadBalancerAction`, `TooManyActions`, `TargetGroupNotFound`, `IncompatibleProtocols`,
/// `TargetGroupAssociationLimit`, `TooManyTargetGroups`, `InvalidConfigurationRequest` naming what is not supported.
pub fn admit(place: &Place<'_>, asked: Vec<api::Action>) -> Result<Vec<api::Action>, AwsError> {
    let unserved = asked.iter().filter_map(|action| action.r#type.as_deref());
    let mut unserved = unserved.filter(|t| !matches!(*t, "forward" | "redirect" | "fixed-response"));
    if let Some(kind) = unserved.next() {
        return Err(unsupported(format!("The action type '{kind}'")));
    }
    let [action] = asked.as_slice() else {
        return Err(if asked.is_empty() {
            validation("At least one action must be specified")
        } else {
            errors::too_many_actions_exception(
                "A rule must have exactly one action of type forward, redirect or fixed-response",
            )
        });
    };
    let kind = action.r#type.as_deref().unwrap_or_default();
    let configs = [
        ("forward", action.forward_config.is_some(), "ForwardConfig"),
        ("forward", action.target_group_arn.is_some(), "TargetGroupArn"),
        ("redirect", action.redirect_config.is_some(), "RedirectConfig"),
        (
            "fixed-response",
            action.fixed_response_config.is_some(),
            "FixedResponseConfig",
        ),
        (
            "authenticate-oidc",
            action.authenticate_oidc_config.is_some(),
            "AuthenticateOidcConfig",
        ),
        (
            "authenticate-cognito",
            action.authenticate_cognito_config.is_some(),
            "AuthenticateCognitoConfig",
        ),
        (
            "jwt-validation",
            action.jwt_validation_config.is_some(),
            "JwtValidationConfig",
        ),
    ];
    if let Some((_, _, member)) = configs.iter().find(|(of, given, _)| *given && *of != kind) {
        return Err(validation(format!(
            "You cannot specify '{member}' for an action of type '{kind}'"
        )));
    }
    if kind != "forward" && place.balancer.kind == BalancerKind::Network {
        return Err(errors::invalid_load_balancer_action_exception(format!(
            "The action type '{kind}' is not valid with network load balancers"
        )));
    }
    let mut action = action.clone();
    match kind {
        "forward" => forward(place, &mut action)?,
        "redirect" => redirect(place, &mut action)?,
        _ => fixed_response(&action)?,
    }
    Ok(vec![action])
}

fn forward(place: &Place<'_>, action: &mut api::Action) -> Result<(), AwsError> {
    let config = action.forward_config.take();
    let groups = config
        .as_ref()
        .and_then(|c| c.target_groups.clone())
        .unwrap_or_default();
    let mut groups = match (&action.target_group_arn, groups.as_slice()) {
        (Some(arn), []) => vec![api::TargetGroupTuple {
            target_group_arn: Some(arn.clone()),
            weight: None,
        }],
        (Some(arn), [one]) if one.target_group_arn.as_ref() == Some(arn) => groups,
        (Some(_), _) => {
            return Err(validation(
                "If you specify both 'TargetGroupArn' and 'ForwardConfig', both must have the same single target group",
            ));
        }
        (None, []) => return Err(validation("A forward action must have at least one target group")),
        (None, _) => groups,
    };
    if groups.len() > GROUPS_PER_ACTION {
        return Err(errors::too_many_target_groups_exception(format!(
            "A forward action can have at most '{GROUPS_PER_ACTION}' target groups"
        )));
    }
    let mut seen = BTreeSet::new();
    for group in &mut groups {
        let arn = group.target_group_arn.clone().unwrap_or_default();
        fits(place, &arn)?;
        if !seen.insert(arn) {
            return Err(validation("A forward action cannot have the same target group twice"));
        }
        let weight = *group.weight.get_or_insert(1);
        if !(0..=999).contains(&weight) {
            return Err(validation(
                "The weight for each target group must be between 0 and 999, inclusive",
            ));
        }
    }
    let stickiness = config
        .and_then(|c| c.target_group_stickiness_config)
        .unwrap_or_default();
    let enabled = stickiness.enabled.unwrap_or(false);
    // A network load balancer keeps a client to its group for as long as weights stay as they are.
    let lasting = place.balancer.kind == BalancerKind::Network;
    match stickiness.duration_seconds {
        Some(_) if enabled && lasting => {
            return Err(validation(
                "'DurationSeconds' of target group stickiness is not supported on network load balancers",
            ));
        }
        None if enabled && !lasting => {
            return Err(validation(
                "'DurationSeconds' must be specified when target group stickiness is enabled",
            ));
        }
        Some(seconds) if !(1..=WEEK).contains(&seconds) => {
            return Err(validation(format!(
                "Target group stickiness duration must be between 1 and {WEEK} seconds"
            )));
        }
        _ => {}
    }
    action.target_group_arn = match groups.as_slice() {
        [one] => one.target_group_arn.clone(),
        _ => None,
    };
    action.forward_config = Some(api::ForwardActionConfig {
        target_groups: Some(groups),
        target_group_stickiness_config: Some(api::TargetGroupStickinessConfig {
            enabled: Some(enabled),
            duration_seconds: stickiness.duration_seconds,
        }),
    });
    Ok(())
}

/// That a listener of the place may forward to the group.
fn fits(place: &Place<'_>, arn: &str) -> Result<(), AwsError> {
    let Place {
        snapshot,
        balancer,
        protocol: listener,
    } = place;
    let group = crate::find::target_group(snapshot, &balancer.region, arn)?;
    let protocol = group.protocol.as_deref().unwrap_or_default();
    let compatible = match *listener {
        "HTTP" | "HTTPS" => matches!(protocol, "HTTP" | "HTTPS"),
        "TCP" => matches!(protocol, "TCP" | "TCP_UDP"),
        "TLS" => matches!(protocol, "TCP" | "TLS"),
        "UDP" => matches!(protocol, "UDP" | "TCP_UDP"),
        _ => protocol == "TCP_UDP",
    };
    if !compatible {
        return Err(errors::incompatible_protocols_exception(format!(
            "The listener and its associated target group '{arn}' have incompatible protocols: '{listener}' and \
             '{protocol}'"
        )));
    }
    if group.vpc_id != balancer.vpc_id {
        return Err(configuration(format!(
            "Target group '{arn}' is in a different VPC than load balancer '{}'",
            balancer.arn
        )));
    }
    if crate::targets::load_balancer_of(snapshot, arn).is_some_and(|other| other.arn != balancer.arn) {
        return Err(errors::target_group_association_limit_exception(format!(
            "The following target groups cannot be associated with more than one load balancer: {arn}"
        )));
    }
    Ok(())
}

fn without(kind: &str, member: &str) -> AwsError {
    errors::invalid_load_balancer_action_exception(format!(
        "For actions of type '{kind}', you must specify the following fields: '{member}'"
    ))
}

fn redirect(place: &Place<'_>, action: &mut api::Action) -> Result<(), AwsError> {
    let Some(config) = &mut action.redirect_config else {
        return Err(without("redirect", "RedirectConfig"));
    };
    let keep = |part: &mut Option<String>, value: &str| part.get_or_insert_with(|| value.to_owned()).clone();
    let protocol = keep(&mut config.protocol, "#{protocol}");
    let host = keep(&mut config.host, "#{host}");
    let port = keep(&mut config.port, "#{port}");
    let path = keep(&mut config.path, "/#{path}");
    let query = keep(&mut config.query, "#{query}");
    if protocol == "#{protocol}" && host == "#{host}" && port == "#{port}" && path == "/#{path}" {
        return Err(errors::invalid_load_balancer_action_exception(
            "The redirect configuration is not valid because it creates a loop.",
        ));
    }
    if protocol == "HTTP" && place.protocol == "HTTPS" {
        return Err(errors::invalid_load_balancer_action_exception(
            "You cannot redirect HTTPS to HTTP",
        ));
    }
    if port != "#{port}" && !port.parse::<u16>().is_ok_and(|p| p > 0) {
        return Err(validation(format!(
            "The redirect port '{port}' must be between 1 and 65535, or #{{port}}"
        )));
    }
    if !path.starts_with('/') {
        return Err(validation(format!("The redirect path '{path}' must begin with '/'")));
    }
    for (part, text, words) in [
        ("host", &host, &["host"][..]),
        ("path", &path, &["host", "path", "port"]),
        ("query", &query, &["protocol", "host", "port", "path", "query"]),
    ] {
        let printable = text.bytes().all(|b| (0x21..0x7f).contains(&b));
        let unknown = keywords(text).any(|word| !words.contains(&word));
        if !printable || unknown {
            return Err(validation(format!("The redirect {part} '{text}' is not valid")));
        }
    }
    Ok(())
}

/// What stands in `#{…}`.
fn keywords(text: &str) -> impl Iterator<Item = &str> {
    text.split("#{")
        .skip(1)
        .map(|rest| rest.split_once('}').map_or("", |(word, _)| word))
}

fn fixed_response(action: &api::Action) -> Result<(), AwsError> {
    let Some(config) = &action.fixed_response_config else {
        return Err(without("fixed-response", "FixedResponseConfig"));
    };
    let known = [
        "text/plain",
        "text/css",
        "text/html",
        "application/javascript",
        "application/json",
    ];
    match config.content_type.as_deref() {
        None | Some("") => Ok(()),
        Some(kind) if known.contains(&kind) => Ok(()),
        Some(kind) => Err(validation(format!(
            "The fixed response content type '{kind}' must be one of '[{}]'",
            known.join(", ")
        ))),
    }
}

/// Adds to `txn` what makes a change of a listener hold: the target groups it newly forwards to are still there, and
/// stay with this load balancer.
///
/// # Errors
/// `TooManyUniqueTargetGroupsPerLoadBalancer`.
pub fn bind(
    snapshot: &Snapshot,
    txn: &mut Txn,
    balancer: &LoadBalancerRecord,
    before: Option<&ListenerRecord>,
    after: &ListenerRecord,
) -> Result<(), AwsError> {
    let others = snapshot.range::<ListenerRecord>(&balancer.listeners_prefix());
    let others = others
        .map(|(_, listener)| listener)
        .filter(|listener| listener.arn != after.arn);
    let mut all: BTreeSet<String> = after.groups().into_iter().map(str::to_owned).collect();
    all.extend(others.flat_map(|listener| listener.groups().into_iter().map(str::to_owned).collect::<Vec<_>>()));
    if all.len() > GROUPS_PER_LOAD_BALANCER {
        return Err(errors::too_many_unique_target_groups_per_load_balancer_exception(
            format!("A load balancer can have at most '{GROUPS_PER_LOAD_BALANCER}' unique target groups"),
        ));
    }
    let old = before.map(ListenerRecord::groups).unwrap_or_default();
    for arn in after.groups().difference(&old) {
        if let Some(Named::TargetGroup(key)) = arns::parse(&balancer.region, arn)
            && let Some(group) = snapshot.get::<TargetGroupRecord>(&key)
        {
            txn.unchanged::<TargetGroupRecord>(snapshot, &key)
                .put_shared(&key, group.record);
        }
    }
    Ok(())
}
