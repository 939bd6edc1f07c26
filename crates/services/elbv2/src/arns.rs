//! ARNs of Elastic Load Balancing and the keys of the records they name.
//!
//! An ARN's last part is random, so that a name used again is another resource: a record is the one asked for only if
//! its ARN is the same, which whoever uses these keys must check.

use neargate_core::Arn;

const SERVICE: &str = "elasticloadbalancing";

/// What an ARN of this service names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// Key of the `LoadBalancerRecord`.
    LoadBalancer(String),
    /// Key of the `ListenerRecord`.
    Listener(String),
    /// Key of the `ListenerRecord` that holds the rule.
    Rule(String),
    /// Key of the `TargetGroupRecord`.
    TargetGroup(String),
}

/// What `arn` names in `region`; none for ARNs of another form, service or region.
pub fn parse(region: &str, arn: &str) -> Option<Named> {
    let arn: Arn = arn.parse().ok()?;
    if arn.service != SERVICE || arn.region != region {
        return None;
    }
    let parts: Vec<&str> = arn.resource.split('/').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return None;
    }
    match *parts.as_slice() {
        ["loadbalancer", "app" | "net" | "gwy", name, _] => Some(Named::LoadBalancer(format!("{region}/{name}"))),
        ["listener", "app" | "net" | "gwy", name, balancer, listener] => {
            Some(Named::Listener(format!("{region}/{name}/{balancer}/{listener}")))
        }
        ["listener-rule", "app" | "net" | "gwy", name, balancer, listener, _] => {
            Some(Named::Rule(format!("{region}/{name}/{balancer}/{listener}")))
        }
        ["targetgroup", name, _] => Some(Named::TargetGroup(format!("{region}/{name}"))),
        _ => None,
    }
}

/// An ARN of this service.
pub fn arn(region: &str, account: &str, resource: &str) -> String {
    Arn::new(SERVICE, region, account, resource).to_string()
}

/// The part after `prefix` in the resource of an ARN: `app/web/0123456789abcdef` of a load balancer's.
pub fn resource(arn: &str) -> &str {
    arn.splitn(6, ':').nth(5).unwrap_or_default()
}
