//! One file per operation; operations that share all but a verb share one.

pub mod create_listener;
pub mod create_load_balancer;
pub mod create_rule;
pub mod create_target_group;
pub mod delete_listener;
pub mod delete_load_balancer;
pub mod delete_rule;
pub mod delete_target_group;
pub mod deregister_targets;
pub mod describe_account_limits;
pub mod describe_capacity_reservation;
pub mod describe_listeners;
pub mod describe_load_balancers;
pub mod describe_rules;
pub mod describe_ssl_policies;
pub mod describe_target_groups;
pub mod describe_target_health;
pub mod listener_attributes;
pub mod listener_certificates;
pub mod load_balancer_attributes;
pub mod modify_listener;
pub mod modify_rule;
pub mod modify_target_group;
pub mod register_targets;
pub mod set_ip_address_type;
pub mod set_rule_priorities;
pub mod set_security_groups;
pub mod set_subnets;
pub mod tags;
pub mod target_group_attributes;

use crate::Elbv2;
use crate::records::TargetGroupRecord;
use crate::refusal::validation;
use neargate_core::AwsError;

/// The last part of a new ARN: 16 hex digits.
fn random_id(service: &Elbv2) -> String {
    service.ids.hex32()[16..].to_owned()
}

/// The port that a target of the group is meant by.
///
/// # Errors
/// `ValidationError`.
fn target_port(group: &TargetGroupRecord, asked: Option<i32>) -> Result<u16, AwsError> {
    let Some(asked) = asked else {
        return Ok(group.port);
    };
    let port = u16::try_from(asked).ok().filter(|p| *p > 0);
    port.ok_or_else(|| validation(format!("Target port '{asked}' must be between 1 and 65535")))
}
