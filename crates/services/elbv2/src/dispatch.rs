//! Every operation that Elastic Load Balancing serves, in one table.

use crate::{Elbv2, api, ops};
use neargate_core::RequestContext;
use neargate_wire::dispatch::{Running, ServiceDispatch, find};
use neargate_wire::schema::Service;
use serde_json::Value;

neargate_wire::routes! { Elbv2;
    "AddListenerCertificates" => ops::listener_certificates::add,
    "AddTags" => ops::tags::add,
    "CreateListener" => ops::create_listener::handle,
    "CreateLoadBalancer" => ops::create_load_balancer::handle,
    "CreateRule" => ops::create_rule::handle,
    "CreateTargetGroup" => ops::create_target_group::handle,
    "DeleteListener" => ops::delete_listener::handle,
    "DeleteLoadBalancer" => ops::delete_load_balancer::handle,
    "DeleteRule" => ops::delete_rule::handle,
    "DeleteTargetGroup" => ops::delete_target_group::handle,
    "DeregisterTargets" => ops::deregister_targets::handle,
    "DescribeAccountLimits" => ops::describe_account_limits::handle,
    "DescribeCapacityReservation" => ops::describe_capacity_reservation::handle,
    "DescribeListenerAttributes" => ops::listener_attributes::describe,
    "DescribeListenerCertificates" => ops::listener_certificates::describe,
    "DescribeListeners" => ops::describe_listeners::handle,
    "DescribeLoadBalancerAttributes" => ops::load_balancer_attributes::describe,
    "DescribeLoadBalancers" => ops::describe_load_balancers::handle,
    "DescribeRules" => ops::describe_rules::handle,
    "DescribeSSLPolicies" => ops::describe_ssl_policies::handle,
    "DescribeTags" => ops::tags::describe,
    "DescribeTargetGroupAttributes" => ops::target_group_attributes::describe,
    "DescribeTargetGroups" => ops::describe_target_groups::handle,
    "DescribeTargetHealth" => ops::describe_target_health::handle,
    "ModifyListener" => ops::modify_listener::handle,
    "ModifyListenerAttributes" => ops::listener_attributes::modify,
    "ModifyLoadBalancerAttributes" => ops::load_balancer_attributes::modify,
    "ModifyRule" => ops::modify_rule::handle,
    "ModifyTargetGroup" => ops::modify_target_group::handle,
    "ModifyTargetGroupAttributes" => ops::target_group_attributes::modify,
    "RegisterTargets" => ops::register_targets::handle,
    "RemoveListenerCertificates" => ops::listener_certificates::remove,
    "RemoveTags" => ops::tags::remove,
    "SetIpAddressType" => ops::set_ip_address_type::handle,
    "SetRulePriorities" => ops::set_rule_priorities::handle,
    "SetSecurityGroups" => ops::set_security_groups::handle,
    "SetSubnets" => ops::set_subnets::handle,
}

impl ServiceDispatch for Elbv2 {
    fn schema(&self) -> &'static Service {
        &api::schema::SERVICE
    }

    fn call<'a>(&'a self, operation: &str, cx: &'a RequestContext, input: Value) -> Option<Running<'a>> {
        find(routes(), operation).map(|route| (route.call)(self, cx, input))
    }
}
