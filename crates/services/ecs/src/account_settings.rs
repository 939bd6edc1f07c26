//! Account settings: their names and values, and what holds for a principal.
//!
//! The account's own setting is that of its root user; it holds for every principal that has none of its own.

use crate::api::{self, errors};
use crate::records::AccountSettingRecord;
use crate::refusal::unsupported;
use neargate_core::{Arn, AwsError, RequestContext};
use neargate_store::Snapshot;

/// A setting: its name, the values it may be put to, and the one that holds when nobody put it.
struct Rule {
    name: &'static str,
    values: &'static [&'static str],
    default: &'static str,
}

/// Ascending by name.
const RULES: &[Rule] = &[
    Rule {
        name: "awsvpcTrunking",
        values: &["enabled", "disabled"],
        default: "disabled",
    },
    Rule {
        name: "containerInsights",
        values: &["enabled", "disabled", "enhanced"],
        default: "disabled",
    },
    Rule {
        name: "containerInstanceLongArnFormat",
        values: &["enabled", "disabled"],
        default: "enabled",
    },
    Rule {
        name: "defaultLogDriverMode",
        values: &["blocking", "non-blocking"],
        default: "non-blocking",
    },
    Rule {
        name: "fargateEventWindows",
        values: &["enabled", "disabled"],
        default: "disabled",
    },
    Rule {
        name: "fargateFIPSMode",
        values: &["enabled", "disabled"],
        default: "disabled",
    },
    Rule {
        name: "fargateTaskRetirementWaitPeriod",
        values: &["0", "7", "14"],
        default: "7",
    },
    Rule {
        name: "guardDutyActivate",
        values: &["on", "off"],
        default: "off",
    },
    Rule {
        name: "serviceLongArnFormat",
        values: &["enabled", "disabled"],
        default: "enabled",
    },
    Rule {
        name: "tagResourceAuthorization",
        values: &["on", "off"],
        default: "on",
    },
    Rule {
        name: "taskLongArnFormat",
        values: &["enabled", "disabled"],
        default: "enabled",
    },
];

/// AWS's own setting, which nobody may put.
const AWS_MANAGED: &str = "guardDutyActivate";

fn rule(name: &str) -> Result<&'static Rule, AwsError> {
    RULES
        .iter()
        .find(|rule| rule.name == name)
        .ok_or_else(|| errors::invalid_parameter_exception(format!("Unknown account setting name: {name}")))
}

/// Checks that `name` may be put to `value`.
///
/// # Errors
/// `InvalidParameterException`; `ClientException` for a value that asks for what is not there.
pub fn admit(name: &str, value: &str) -> Result<(), AwsError> {
    let rule = changeable(name)?;
    if !rule.values.contains(&value) {
        return Err(errors::invalid_parameter_exception(format!(
            "Invalid value for account setting {name}: {value}. Valid values are {}.",
            rule.values.join(", ")
        )));
    }
    match (name, value) {
        ("fargateFIPSMode", "enabled") => Err(unsupported("fargateFIPSMode enabled")),
        // Terraform lets it pass by these words when it destroys such a setting.
        (name, "disabled") if name.ends_with("LongArnFormat") => Err(errors::invalid_parameter_exception(
            "You can no longer disable Long Arn settings",
        )),
        _ => Ok(()),
    }
}

/// Checks that `name` is a setting which the account may change.
///
/// # Errors
/// `InvalidParameterException`.
pub fn admit_name(name: &str) -> Result<(), AwsError> {
    changeable(name).map(|_| ())
}

fn changeable(name: &str) -> Result<&'static Rule, AwsError> {
    if name == AWS_MANAGED {
        return Err(errors::invalid_parameter_exception(format!(
            "The account setting {name} is managed by AWS and cannot be modified."
        )));
    }
    rule(name)
}

/// The account's root user.
pub fn root(cx: &RequestContext) -> String {
    let partition = neargate_core::arn::partition_of(&cx.region);
    format!("arn:{partition}:iam::{}:root", cx.account)
}

/// Whose setting a request means: the named principal's, else the caller's; none for root, whose setting is everyone's.
///
/// # Errors
/// `InvalidParameterException` when it is no user, role or root of the account, `AccessDeniedException` when the caller is
/// neither root nor the principal.
pub fn principal(cx: &RequestContext, named: Option<&str>) -> Result<Option<String>, AwsError> {
    let root = root(cx);
    let Some(named) = named.filter(|n| !n.is_empty()) else {
        return Ok((cx.caller_arn != root).then(|| cx.caller_arn.clone()));
    };
    let known = named.parse::<Arn>().is_ok_and(|arn| {
        let kind = arn.resource == "root" || arn.resource.starts_with("user/") || arn.resource.starts_with("role/");
        arn.service == "iam" && arn.account == cx.account && kind
    });
    if !known {
        return Err(errors::invalid_parameter_exception(format!(
            "Invalid principalArn: {named}"
        )));
    }
    if cx.caller_arn != root && cx.caller_arn != named {
        return Err(errors::access_denied_exception(
            "You must be the root user, or the principal, to use the principalArn parameter.",
        ));
    }
    Ok((named != root).then(|| named.to_owned()))
}

/// What holds for a principal (none: root): its own setting, else root's, else AWS's default.
pub fn effective(snapshot: &Snapshot, region: &str, principal: Option<&str>, name: &str) -> String {
    let stored = |principal: Option<&str>| {
        let key = AccountSettingRecord::key(region, principal, name);
        snapshot.get::<AccountSettingRecord>(&key).map(|s| s.value.clone())
    };
    let own = principal.and_then(|p| stored(Some(p)));
    own.or_else(|| stored(None))
        .unwrap_or_else(|| rule(name).map_or("", |rule| rule.default).to_owned())
}

/// The settings of a principal, ascending by name: those put for it, or with `all` every one that holds for it.
pub fn of_principal(snapshot: &Snapshot, cx: &RequestContext, principal: Option<&str>, all: bool) -> Vec<api::Setting> {
    let mut out = Vec::new();
    for rule in RULES {
        let key = AccountSettingRecord::key(&cx.region, principal, rule.name);
        let own = snapshot.get::<AccountSettingRecord>(&key);
        if own.is_none() && !all {
            continue;
        }
        let holder = if own.is_some() { principal } else { None };
        let value = effective(snapshot, &cx.region, principal, rule.name);
        out.push(shape(cx, rule.name, &value, holder));
    }
    out
}

/// A setting as it is answered.
pub fn shape(cx: &RequestContext, name: &str, value: &str, principal: Option<&str>) -> api::Setting {
    api::Setting {
        name: Some(name.to_owned()),
        value: Some(value.to_owned()),
        principal_arn: Some(principal.map_or_else(|| root(cx), str::to_owned)),
        r#type: Some(if name == AWS_MANAGED { "aws_managed" } else { "user" }.to_owned()),
    }
}
