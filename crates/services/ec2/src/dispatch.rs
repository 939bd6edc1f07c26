//! Every operation that EC2 serves, in one table.

use crate::{Ec2, api, ops};
use neargate_core::RequestContext;
use neargate_wire::dispatch::{Running, ServiceDispatch, find};
use neargate_wire::schema::Service;
use serde_json::Value;

neargate_wire::routes! { Ec2;
    "AllocateAddress" => ops::addresses::allocate,
    "AssociateAddress" => ops::addresses::associate,
    "AssociateRouteTable" => ops::route_tables::associate,
    "AssociateVpcCidrBlock" => ops::vpcs::associate_cidr,
    "AttachInternetGateway" => ops::internet_gateways::attach,
    "AttachNetworkInterface" => ops::interfaces::attach,
    "AuthorizeSecurityGroupEgress" => ops::group_rules::authorize_egress,
    "AuthorizeSecurityGroupIngress" => ops::group_rules::authorize_ingress,
    "CreateDefaultSubnet" => ops::subnets::create_default,
    "CreateDefaultVpc" => ops::vpcs::create_default,
    "CreateInternetGateway" => ops::internet_gateways::create,
    "CreateManagedPrefixList" => ops::prefix_lists::create,
    "CreateNatGateway" => ops::nat_gateways::create,
    "CreateNetworkInterface" => ops::interfaces::create,
    "CreateRoute" => ops::routes::create_route,
    "CreateRouteTable" => ops::route_tables::create,
    "CreateSecurityGroup" => ops::security_groups::create,
    "CreateSubnet" => ops::subnets::create,
    "CreateTags" => ops::tags::create,
    "CreateVpc" => ops::vpcs::create,
    "CreateVpcEndpoint" => ops::endpoints::create,
    "DeleteInternetGateway" => ops::internet_gateways::delete,
    "DeleteManagedPrefixList" => ops::prefix_lists::delete,
    "DeleteNatGateway" => ops::nat_gateways::delete,
    "DeleteNetworkInterface" => ops::interfaces::delete,
    "DeleteRoute" => ops::routes::delete_route,
    "DeleteRouteTable" => ops::route_tables::delete,
    "DeleteSecurityGroup" => ops::security_groups::delete,
    "DeleteSubnet" => ops::subnets::delete,
    "DeleteTags" => ops::tags::delete,
    "DeleteVpc" => ops::vpcs::delete,
    "DeleteVpcEndpoints" => ops::endpoints::delete,
    "DescribeAccountAttributes" => ops::surroundings::describe_account_attributes,
    "DescribeAddresses" => ops::addresses::describe,
    "DescribeAddressesAttribute" => ops::addresses::describe_attribute,
    "DescribeAvailabilityZones" => ops::describe_availability_zones::handle,
    "DescribeDhcpOptions" => ops::surroundings::describe_dhcp_options,
    "DescribeInternetGateways" => ops::internet_gateways::describe,
    "DescribeManagedPrefixLists" => ops::prefix_lists::describe_managed,
    "DescribeNatGateways" => ops::nat_gateways::describe,
    "DescribeNetworkAcls" => ops::surroundings::describe_network_acls,
    "DescribeNetworkInterfaceAttribute" => ops::interfaces::describe_attribute,
    "DescribeNetworkInterfaces" => ops::interfaces::describe,
    "DescribePrefixLists" => ops::prefix_lists::describe,
    "DescribeRegions" => ops::describe_regions::handle,
    "DescribeRouteTables" => ops::route_tables::describe,
    "DescribeSecurityGroupRules" => ops::group_rules::describe,
    "DescribeSecurityGroups" => ops::describe_security_groups::handle,
    "DescribeSubnets" => ops::describe_subnets::handle,
    "DescribeTags" => ops::tags::describe,
    "DescribeVpcAttribute" => ops::describe_vpc_attribute::handle,
    "DescribeVpcEndpointServices" => ops::endpoints::describe_services,
    "DescribeVpcEndpoints" => ops::endpoints::describe,
    "DescribeVpcs" => ops::describe_vpcs::handle,
    "DetachInternetGateway" => ops::internet_gateways::detach,
    "DetachNetworkInterface" => ops::interfaces::detach,
    "DisassociateAddress" => ops::addresses::disassociate,
    "DisassociateRouteTable" => ops::route_tables::disassociate,
    "DisassociateVpcCidrBlock" => ops::vpcs::disassociate_cidr,
    "GetManagedPrefixListEntries" => ops::prefix_lists::entries,
    "ModifyManagedPrefixList" => ops::prefix_lists::modify,
    "ModifyNetworkInterfaceAttribute" => ops::interfaces::modify_attribute,
    "ModifySecurityGroupRules" => ops::group_rules::modify,
    "ModifySubnetAttribute" => ops::subnets::modify_attribute,
    "ModifyVpcAttribute" => ops::vpcs::modify_attribute,
    "ModifyVpcEndpoint" => ops::endpoints::modify,
    "ReleaseAddress" => ops::addresses::release,
    "ReplaceRoute" => ops::routes::replace_route,
    "ReplaceRouteTableAssociation" => ops::route_tables::replace_association,
    "RevokeSecurityGroupEgress" => ops::group_rules::revoke_egress,
    "RevokeSecurityGroupIngress" => ops::group_rules::revoke_ingress,
    "UpdateSecurityGroupRuleDescriptionsEgress" => ops::group_rules::describe_anew_egress,
    "UpdateSecurityGroupRuleDescriptionsIngress" => ops::group_rules::describe_anew_ingress,
}

impl ServiceDispatch for Ec2 {
    fn schema(&self) -> &'static Service {
        &api::schema::SERVICE
    }

    fn call<'a>(&'a self, operation: &str, cx: &'a RequestContext, input: Value) -> Option<Running<'a>> {
        find(routes(), operation).map(|route| (route.call)(self, cx, input))
    }
}
