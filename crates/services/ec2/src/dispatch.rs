//! Every operation that EC2 serves, in one table.

use crate::{Ec2, api, ops};
use neargate_core::RequestContext;
use neargate_wire::dispatch::{Running, ServiceDispatch, find};
use neargate_wire::schema::Service;
use serde_json::Value;

neargate_wire::routes! { Ec2;
    "DescribeAvailabilityZones" => ops::describe_availability_zones::handle,
    "DescribeRegions" => ops::describe_regions::handle,
    "DescribeSecurityGroups" => ops::describe_security_groups::handle,
    "DescribeSubnets" => ops::describe_subnets::handle,
    "DescribeVpcAttribute" => ops::describe_vpc_attribute::handle,
    "DescribeVpcs" => ops::describe_vpcs::handle,
}

impl ServiceDispatch for Ec2 {
    fn schema(&self) -> &'static Service {
        &api::schema::SERVICE
    }

    fn call<'a>(&'a self, operation: &str, cx: &'a RequestContext, input: Value) -> Option<Running<'a>> {
        find(routes(), operation).map(|route| (route.call)(self, cx, input))
    }
}
