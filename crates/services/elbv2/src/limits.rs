//! The account's limits: AWS's defaults, enforced by the operations that reach them and shown by
//! DescribeAccountLimits. Source: "Quotas for your Application Load Balancers" and its sibling for Network ones.

pub const TARGET_GROUPS: usize = 3000;
pub const LOAD_BALANCERS: usize = 50;
pub const TARGETS_PER_GROUP: u64 = 1000;
pub const LISTENERS: usize = 50;
pub const CONDITION_VALUES: usize = 5;
pub const CONDITION_WILDCARDS: usize = 6;
/// Besides the default one.
pub const CERTIFICATES: usize = 25;
pub const GROUPS_PER_ACTION: usize = 5;
pub const GROUPS_PER_LOAD_BALANCER: usize = 100;
/// Load balancers that one DescribeLoadBalancers names.
pub const DESCRIBED: usize = 20;
pub const REGISTRATIONS_PER_TARGET: usize = 1000;
pub const SECURITY_GROUPS: usize = 5;

/// Name and value, as DescribeAccountLimits shows them. `rules`: what a load balancer may have.
pub fn all(rules: usize) -> Vec<(&'static str, u64)> {
    let of = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    vec![
        ("application-load-balancers", of(LOAD_BALANCERS)),
        ("certificates-per-application-load-balancer", of(CERTIFICATES)),
        ("certificates-per-network-load-balancer", of(CERTIFICATES)),
        ("condition-values-per-alb-rule", of(CONDITION_VALUES)),
        ("condition-wildcards-per-alb-rule", of(CONDITION_WILDCARDS)),
        ("listeners-per-application-load-balancer", of(LISTENERS)),
        ("listeners-per-network-load-balancer", of(LISTENERS)),
        ("network-load-balancers", of(LOAD_BALANCERS)),
        ("rules-per-application-load-balancer", of(rules)),
        ("target-groups", of(TARGET_GROUPS)),
        (
            "target-groups-per-action-on-application-load-balancer",
            of(GROUPS_PER_ACTION),
        ),
        (
            "target-groups-per-action-on-network-load-balancer",
            of(GROUPS_PER_ACTION),
        ),
        (
            "target-groups-per-application-load-balancer",
            of(GROUPS_PER_LOAD_BALANCER),
        ),
        (
            "target-id-registrations-per-application-load-balancer",
            of(REGISTRATIONS_PER_TARGET),
        ),
        ("targets-per-application-load-balancer", TARGETS_PER_GROUP),
        (
            "targets-per-availability-zone-per-network-load-balancer",
            TARGETS_PER_GROUP,
        ),
        ("targets-per-network-load-balancer", TARGETS_PER_GROUP),
        ("targets-per-target-group", TARGETS_PER_GROUP),
    ]
}
