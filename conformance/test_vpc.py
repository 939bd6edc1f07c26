"""EC2's VPC operations by boto3 and the AWS CLI, on simulated nodes: shapes, errors, filters, paging, waiters, tags."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError, WaiterError


def refusal(call, **kwargs):
    with pytest.raises(ClientError) as caught:
        call(**kwargs)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def by(name, *values):
    return {"Filters": [{"Name": name, "Values": list(values)}]}


def tags(kind, **pairs):
    return [{"ResourceType": kind, "Tags": [{"Key": k, "Value": v} for k, v in pairs.items()]}]


@pytest.fixture(scope="module")
def ec2(sim):
    return sim.client("ec2")


class Place:
    """A VPC, and everything that a test makes in it: taken down in order afterwards."""

    def __init__(self, ec2, cidr):
        self.ec2 = ec2
        self.cidr = cidr
        self.id = ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
        self.addresses = []

    def subnet(self, third=0, **more):
        base = self.cidr.split(".")
        asked = {"CidrBlock": f"{base[0]}.{base[1]}.{third}.0/24", **more}
        return self.ec2.create_subnet(VpcId=self.id, **asked)["Subnet"]["SubnetId"]

    def gateway(self):
        made = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=made, VpcId=self.id)
        return made

    def group(self, name="web"):
        return self.ec2.create_security_group(VpcId=self.id, GroupName=name, Description=f"{name} of a test")["GroupId"]

    def table(self, **more):
        return self.ec2.create_route_table(VpcId=self.id, **more)["RouteTable"]["RouteTableId"]

    def main(self):
        filters = [{"Name": "vpc-id", "Values": [self.id]}, {"Name": "association.main", "Values": ["true"]}]
        return self.ec2.describe_route_tables(Filters=filters)["RouteTables"][0]

    def address(self, **more):
        made = self.ec2.allocate_address(Domain="vpc", **more)
        self.addresses.append(made["AllocationId"])
        return made

    def end(self):
        ec2, here = self.ec2, by("vpc-id", self.id)
        for nat in ec2.describe_nat_gateways(Filter=here["Filters"])["NatGateways"]:
            ec2.delete_nat_gateway(NatGatewayId=nat["NatGatewayId"])
        endpoints = [e["VpcEndpointId"] for e in ec2.describe_vpc_endpoints(**here)["VpcEndpoints"]]
        if endpoints:
            assert not ec2.delete_vpc_endpoints(VpcEndpointIds=endpoints)["Unsuccessful"]
        for interface in ec2.describe_network_interfaces(**here)["NetworkInterfaces"]:
            ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
        for allocation in self.addresses:
            ec2.release_address(AllocationId=allocation)
        for gateway in ec2.describe_internet_gateways(**by("attachment.vpc-id", self.id))["InternetGateways"]:
            ec2.detach_internet_gateway(InternetGatewayId=gateway["InternetGatewayId"], VpcId=self.id)
            ec2.delete_internet_gateway(InternetGatewayId=gateway["InternetGatewayId"])
        for subnet in ec2.describe_subnets(**here)["Subnets"]:
            ec2.delete_subnet(SubnetId=subnet["SubnetId"])
        for table in ec2.describe_route_tables(**here)["RouteTables"]:
            if not any(a["Main"] for a in table["Associations"]):
                ec2.delete_route_table(RouteTableId=table["RouteTableId"])
        groups = ec2.describe_security_groups(**here)["SecurityGroups"]
        for group in groups:
            if group["IpPermissions"]:
                ec2.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=group["IpPermissions"])
        for group in groups:
            if group["GroupName"] != "default":
                ec2.delete_security_group(GroupId=group["GroupId"])
        ec2.delete_vpc(VpcId=self.id)


@pytest.fixture()
def place(ec2):
    made = Place(ec2, "10.41.0.0/16")
    yield made
    made.end()


def test_a_vpc_is_made_found_changed_and_deleted(ec2):
    made = ec2.create_vpc(CidrBlock="10.42.0.9/16", TagSpecifications=tags("vpc", Name="mine"))["Vpc"]
    try:
        assert made["CidrBlock"] == "10.42.0.0/16" and not made["IsDefault"] and made["State"] in ("pending", "available")
        assert made["Tags"] == [{"Key": "Name", "Value": "mine"}] and made["InstanceTenancy"] == "default"
        ec2.get_waiter("vpc_available").wait(VpcIds=[made["VpcId"]])
        found = ec2.describe_vpcs(**by("tag:Name", "mi*"))["Vpcs"]
        assert [v["VpcId"] for v in found] == [made["VpcId"]]
        assert [v["VpcId"] for v in ec2.describe_vpcs(**by("cidr", "10.42.0.0/16"))["Vpcs"]] == [made["VpcId"]]
        ask = lambda name: ec2.describe_vpc_attribute(VpcId=made["VpcId"], Attribute=name)
        assert ask("enableDnsSupport")["EnableDnsSupport"]["Value"]
        assert not ask("enableDnsHostnames")["EnableDnsHostnames"]["Value"]
        ec2.modify_vpc_attribute(VpcId=made["VpcId"], EnableDnsHostnames={"Value": True})
        ec2.modify_vpc_attribute(VpcId=made["VpcId"], EnableDnsSupport={"Value": False})
        assert ask("enableDnsHostnames")["EnableDnsHostnames"]["Value"]
        assert not ask("enableDnsSupport")["EnableDnsSupport"]["Value"]
        change = lambda **what: refusal(ec2.modify_vpc_attribute, VpcId=made["VpcId"], **what)
        on = {"Value": True}
        assert change(EnableDnsHostnames=on)[0] == "InvalidParameterValue", "without DNS there are no names"
        assert change(EnableDnsHostnames=on, EnableDnsSupport=on) == (
            "InvalidParameterCombination",
            "Fields for multiple attribute types specified: enableDnsHostnames, enableDnsSupport")
        code, text = refusal(ec2.associate_vpc_cidr_block, VpcId=made["VpcId"], CidrBlock="192.168.0.0/16")
        assert code == "InvalidVpc.Range" and "is restricted" in text
        second = ec2.associate_vpc_cidr_block(VpcId=made["VpcId"], CidrBlock="10.43.0.0/16")["CidrBlockAssociation"]
        now = ec2.describe_vpcs(VpcIds=[made["VpcId"]])["Vpcs"][0]
        assert [c["CidrBlock"] for c in now["CidrBlockAssociationSet"]] == ["10.42.0.0/16", "10.43.0.0/16"]
        gone = ec2.disassociate_vpc_cidr_block(AssociationId=second["AssociationId"])
        assert gone["CidrBlockAssociation"]["CidrBlockState"]["State"] == "disassociating"
    finally:
        ec2.delete_vpc(VpcId=made["VpcId"])
    assert refusal(ec2.describe_vpcs, VpcIds=[made["VpcId"]]) == (
        "InvalidVpcID.NotFound", f"The vpc ID '{made['VpcId']}' does not exist")
    assert refusal(ec2.delete_vpc, VpcId=made["VpcId"])[0] == "InvalidVpcID.NotFound"


@pytest.mark.parametrize("cidr, code", [
    ("10.0.0.0/8", "InvalidVpc.Range"), ("10.0.0.0/29", "InvalidVpc.Range"), ("127.0.0.0/24", "InvalidVpc.Range"),
    ("224.0.0.0/16", "InvalidVpc.Range"), ("10.0.0/16", "InvalidParameterValue"), ("x", "InvalidParameterValue")])
def test_ranges_that_no_vpc_can_have(ec2, cidr, code):
    before = len(ec2.describe_vpcs()["Vpcs"])
    assert refusal(ec2.create_vpc, CidrBlock=cidr)[0] == code
    assert len(ec2.describe_vpcs()["Vpcs"]) == before


def test_a_network_of_the_machine_is_no_range_for_a_vpc(ec2):
    code, text = refusal(ec2.create_vpc, CidrBlock="198.19.0.0/16")
    assert code == "InvalidVpc.Range" and "198.19." in text


def test_dry_runs_do_nothing(ec2):
    before = [len(ec2.describe_vpcs()["Vpcs"]), len(ec2.describe_addresses()["Addresses"])]
    assert refusal(ec2.create_vpc, CidrBlock="10.42.0.0/16", DryRun=True) == (
        "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
    assert refusal(ec2.allocate_address, DryRun=True)[0] == "DryRunOperation"
    assert [len(ec2.describe_vpcs()["Vpcs"]), len(ec2.describe_addresses()["Addresses"])] == before


def test_the_default_vpc_has_all_that_aws_gives_it(ec2):
    vpc = ec2.describe_vpcs(**by("is-default", "true"))["Vpcs"][0]
    here = by("vpc-id", vpc["VpcId"])
    subnets = ec2.describe_subnets(Filters=[*here["Filters"], {"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
    assert len(subnets) == 3 and all(s["MapPublicIpOnLaunch"] for s in subnets)
    gateways = ec2.describe_internet_gateways(**by("attachment.vpc-id", vpc["VpcId"]))["InternetGateways"]
    tables = ec2.describe_route_tables(**here)["RouteTables"]
    assert len(gateways) == len(tables) == 1
    routes = {r["DestinationCidrBlock"]: r["GatewayId"] for r in tables[0]["Routes"]}
    assert routes == {vpc["CidrBlock"]: "local", "0.0.0.0/0": gateways[0]["InternetGatewayId"]}
    acls = ec2.describe_network_acls(**here)["NetworkAcls"]
    assert {a["SubnetId"] for a in acls[0]["Associations"]} == {s["SubnetId"] for s in subnets}
    options = ec2.describe_dhcp_options(DhcpOptionsIds=[vpc["DhcpOptionsId"]])["DhcpOptions"]
    assert options[0]["OwnerId"] == vpc["OwnerId"]
    attributes = ec2.describe_account_attributes(AttributeNames=["default-vpc"])["AccountAttributes"]
    assert attributes[0]["AttributeValues"] == [{"AttributeValue": vpc["VpcId"]}]
    assert refusal(ec2.create_default_vpc)[0] == "DefaultVpcAlreadyExists"
    zone = subnets[0]["AvailabilityZone"]
    assert refusal(ec2.create_default_subnet, AvailabilityZone=zone)[0] == "DefaultSubnetAlreadyExistsInAvailabilityZone"


def test_subnets_are_made_described_changed_and_refused(ec2, place):
    made = ec2.create_subnet(VpcId=place.id, CidrBlock="10.41.1.0/24", AvailabilityZone="us-east-1b",
                             TagSpecifications=tags("subnet", tier="one"))["Subnet"]
    assert made["AvailabilityZoneId"] == "use1-az2" and made["AvailableIpAddressCount"] == 251
    ec2.get_waiter("subnet_available").wait(SubnetIds=[made["SubnetId"]])
    ec2.modify_subnet_attribute(SubnetId=made["SubnetId"], MapPublicIpOnLaunch={"Value": True})
    found = ec2.describe_subnets(**by("tag:tier", "one"))["Subnets"]
    assert [s["SubnetId"] for s in found] == [made["SubnetId"]] and found[0]["MapPublicIpOnLaunch"]
    for cidr, expected in [
        ("10.41.1.128/25", ("InvalidSubnet.Conflict", "The CIDR '10.41.1.128/25' conflicts with another subnet")),
        ("10.44.1.0/24", ("InvalidSubnet.Range", "The CIDR '10.44.1.0/24' is invalid.")),
        ("10.41.2.0/30", ("InvalidSubnet.Range", "The CIDR '10.41.2.0/30' is invalid.")),
    ]:
        assert refusal(ec2.create_subnet, VpcId=place.id, CidrBlock=cidr) == expected
    assert refusal(ec2.delete_vpc, VpcId=place.id) == (
        "DependencyViolation", f"The vpc '{place.id}' has dependencies and cannot be deleted.")
    ec2.delete_subnet(SubnetId=made["SubnetId"])
    assert refusal(ec2.delete_subnet, SubnetId=made["SubnetId"]) == (
        "InvalidSubnetID.NotFound", f"The subnet ID '{made['SubnetId']}' does not exist")


def test_of_requests_at_once_one_wins(ec2, place):
    def subnet(_):
        try:
            return ec2.create_subnet(VpcId=place.id, CidrBlock="10.41.7.0/24")["Subnet"]["State"]
        except ClientError as error:
            return error.response["Error"]["Code"]

    def group(_):
        try:
            return place.group("one")[:3]
        except ClientError as error:
            return error.response["Error"]["Code"]

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(subnet, range(8))) == ["InvalidSubnet.Conflict"] * 7 + ["available"]
        assert sorted(pool.map(group, range(8))) == ["InvalidGroup.Duplicate"] * 7 + ["sg-"]


def test_lists_come_in_pages(ec2, place):
    made = {place.subnet(n) for n in range(12)}
    pages = ec2.get_paginator("describe_subnets").paginate(**by("vpc-id", place.id), PaginationConfig={"PageSize": 5})
    sizes, seen = [], set()
    for page in pages:
        sizes.append(len(page["Subnets"]))
        seen |= {s["SubnetId"] for s in page["Subnets"]}
    assert seen == made and sizes == [5, 5, 2]
    assert refusal(ec2.describe_subnets, NextToken="nonsense")[0] in ("InvalidNextToken", "InvalidParameterValue")
    assert refusal(ec2.describe_subnets, MaxResults=5, SubnetIds=[made.pop()])[0] == "InvalidParameterCombination"
    assert refusal(ec2.describe_route_tables, **by("color", "red")) == (
        "InvalidParameterValue", "The filter 'color' is invalid")


def test_gateways_attach_once_and_detach(ec2, place):
    gateway = place.gateway()
    waiting = ec2.get_waiter("internet_gateway_exists")
    waiting.wait(InternetGatewayIds=[gateway])
    found = ec2.describe_internet_gateways(InternetGatewayIds=[gateway])["InternetGateways"][0]
    assert found["Attachments"] == [{"State": "available", "VpcId": place.id}]
    assert refusal(ec2.attach_internet_gateway, InternetGatewayId=gateway, VpcId=place.id) == (
        "Resource.AlreadyAssociated", f"resource {gateway} is already attached to network {place.id}")
    second = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    assert refusal(ec2.attach_internet_gateway, InternetGatewayId=second, VpcId=place.id)[0] == "InvalidParameterValue"
    assert refusal(ec2.detach_internet_gateway, InternetGatewayId=second, VpcId=place.id) == (
        "Gateway.NotAttached", f"resource {second} is not attached to network {place.id}")
    ec2.delete_internet_gateway(InternetGatewayId=second)
    assert refusal(ec2.delete_internet_gateway, InternetGatewayId=second) == (
        "InvalidInternetGatewayID.NotFound", f"The internetGateway ID '{second}' does not exist")
    assert refusal(ec2.delete_internet_gateway, InternetGatewayId=gateway) == (
        "DependencyViolation", f"The internetGateway '{gateway}' has dependencies and cannot be deleted.")


def test_routes_and_tables(ec2, place):
    gateway, subnet = place.gateway(), place.subnet()
    table = place.table(ClientToken="one")
    assert place.table(ClientToken="one") == table
    assert ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)["Return"]
    associated = ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    assert associated["AssociationState"]["State"] == "associated"
    found = ec2.describe_route_tables(**by("association.subnet-id", subnet))["RouteTables"][0]
    assert found["RouteTableId"] == table
    assert [(r["DestinationCidrBlock"], r["GatewayId"], r["Origin"], r["State"]) for r in found["Routes"]] == [
        ("10.41.0.0/16", "local", "CreateRouteTable", "active"), ("0.0.0.0/0", gateway, "CreateRoute", "active")]
    interface = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    to = {"RouteTableId": table, "NetworkInterfaceId": interface}
    for reserved in ("169.254.168.0/22", "169.254.169.254/32"):
        assert refusal(ec2.create_route, DestinationCidrBlock=reserved, **to)[0] == "InvalidParameterValue"
    assert refusal(ec2.create_route, DestinationCidrBlock="0.0.0.0/0", **to) == (
        "RouteAlreadyExists", "The route identified by 0.0.0.0/0 already exists.")
    ec2.replace_route(DestinationCidrBlock="0.0.0.0/0", **to)
    assert refusal(ec2.replace_route, DestinationCidrBlock="9.0.0.0/8", **to)[0] == "InvalidParameterValue"
    assert refusal(ec2.delete_route, RouteTableId=table, DestinationCidrBlock="9.0.0.0/8") == (
        "InvalidRoute.NotFound", f"no route with destination-cidr-block 9.0.0.0/8 in route table {table}")
    ec2.delete_network_interface(NetworkInterfaceId=interface)
    found = ec2.describe_route_tables(**by("route.state", "blackhole"))["RouteTables"]
    assert [t["RouteTableId"] for t in found] == [table]
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
    assert refusal(ec2.delete_route_table, RouteTableId=table) == (
        "DependencyViolation", f"The routeTable '{table}' has dependencies and cannot be deleted.")
    # The main table is exchanged, and back.
    main = place.main()
    association = main["Associations"][0]["RouteTableAssociationId"]
    moved = ec2.replace_route_table_association(AssociationId=association, RouteTableId=table)["NewAssociationId"]
    assert place.main()["RouteTableId"] == table
    ec2.replace_route_table_association(AssociationId=moved, RouteTableId=main["RouteTableId"])
    ec2.disassociate_route_table(AssociationId=associated["AssociationId"])
    assert refusal(ec2.disassociate_route_table, AssociationId=associated["AssociationId"])[0] == (
        "InvalidAssociationID.NotFound")
    assert refusal(ec2.create_route, RouteTableId=table, DestinationIpv6CidrBlock="::/0", GatewayId=gateway)[0] == (
        "UnsupportedOperation")


def test_addresses_and_nat_gateways(ec2, place):
    subnet = place.subnet()
    address = place.address(TagSpecifications=tags("elastic-ip", Name="out"))
    allocation = address["AllocationId"]
    assert address["PublicIp"].startswith("198.19.") and address["Domain"] == "vpc"
    place.gateway()
    made = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=allocation, ClientToken="n")["NatGateway"]
    again = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=allocation, ClientToken="n")["NatGateway"]
    assert made["State"] == "pending" and made["NatGatewayId"] == again["NatGatewayId"]
    assert refusal(ec2.create_nat_gateway, SubnetId=subnet, ConnectivityType="private", ClientToken="n")[0] == (
        "IdempotentParameterMismatch")
    nat = made["NatGatewayId"]
    ec2.get_waiter("nat_gateway_available").wait(NatGatewayIds=[nat])
    found = ec2.describe_nat_gateways(NatGatewayIds=[nat])["NatGateways"][0]
    assert found["NatGatewayAddresses"][0]["PublicIp"] == address["PublicIp"] and found["ConnectivityType"] == "public"
    interface = ec2.describe_network_interfaces(**by("interface-type", "nat_gateway"))["NetworkInterfaces"][0]
    assert interface["Description"] == f"Interface for NAT Gateway {nat}" and interface["RequesterManaged"]
    held = ec2.describe_addresses(**by("tag:Name", "out"))["Addresses"][0]
    assert held["NetworkInterfaceId"] == interface["NetworkInterfaceId"]
    assert held["AssociationId"] == found["NatGatewayAddresses"][0]["AssociationId"]
    assert refusal(ec2.disassociate_address, AssociationId=held["AssociationId"])[0] == "AuthFailure"
    assert refusal(ec2.modify_network_interface_attribute, NetworkInterfaceId=held["NetworkInterfaceId"],
                   Description={"Value": "mine"}) == (
        "AuthFailure", "You do not have permission to access the specified resource.")
    assert refusal(ec2.release_address, AllocationId=allocation) == (
        "InvalidIPAddress.InUse", f"Address {address['PublicIp']} is in use.")
    ec2.delete_nat_gateway(NatGatewayId=nat)
    ec2.get_waiter("nat_gateway_deleted").wait(NatGatewayIds=[nat])
    assert "AssociationId" not in ec2.describe_addresses(AllocationIds=[allocation])["Addresses"][0]
    private = ec2.create_nat_gateway(SubnetId=subnet, ConnectivityType="private")["NatGateway"]
    assert private["ConnectivityType"] == "private" and "PublicIp" not in private["NatGatewayAddresses"][0]

    own = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    association = ec2.associate_address(AllocationId=allocation, NetworkInterfaceId=own)["AssociationId"]
    assert ec2.associate_address(AllocationId=allocation, NetworkInterfaceId=own)["AssociationId"] == association
    seen = ec2.describe_network_interfaces(**by("association.public-ip", address["PublicIp"]))["NetworkInterfaces"][0]
    assert seen["Association"]["AllocationId"] == allocation
    name = by("association.public-dns-name", seen["Association"]["PublicDnsName"])
    assert ec2.describe_network_interfaces(**name)["NetworkInterfaces"][0]["NetworkInterfaceId"] == own
    ec2.disassociate_address(AssociationId=association)
    assert refusal(ec2.disassociate_address, AssociationId=association)[0] == "InvalidAssociationID.NotFound"
    attributes = ec2.describe_addresses_attribute(AllocationIds=[allocation], Attribute="domain-name")["Addresses"]
    assert attributes[0]["AllocationId"] == allocation
    assert refusal(ec2.describe_addresses, AllocationIds=["eipalloc-00000000000000000"]) == (
        "InvalidAllocationID.NotFound", "The allocation ID 'eipalloc-00000000000000000' does not exist")
    assert refusal(ec2.describe_nat_gateways, NatGatewayIds=["nat-00000000000000000"])[0] == "NatGatewayNotFound"


def test_nat_gateways_that_fail(ec2, place):
    subnet, allocation = place.subnet(), place.address()["AllocationId"]
    describe = lambda nat: ec2.describe_nat_gateways(NatGatewayIds=[nat])["NatGateways"][0]

    def failed(**asked):
        made = ec2.create_nat_gateway(SubnetId=subnet, **asked)["NatGateway"]
        assert made["State"] == "pending" and "FailureCode" not in made
        with pytest.raises(WaiterError, match="terminal failure state"):
            ec2.get_waiter("nat_gateway_available").wait(NatGatewayIds=[made["NatGatewayId"]])
        found = describe(made["NatGatewayId"])
        assert found["State"] == "failed" and "NetworkInterfaceId" not in found["NatGatewayAddresses"][0]
        return made["NatGatewayId"], found["FailureCode"], found["FailureMessage"]

    first, *why = failed(AllocationId=allocation)
    assert why == ["Gateway.NotAttached", f"Network {place.id} has no Internet gateway attached"]
    assert refusal(ec2.create_route, RouteTableId=place.main()["RouteTableId"], DestinationCidrBlock="0.0.0.0/0",
                   NatGatewayId=first)[0] == "InvalidNatGatewayID.NotFound"
    assert "AssociationId" not in ec2.describe_addresses(AllocationIds=[allocation])["Addresses"][0]
    assert not ec2.describe_network_interfaces(**by("subnet-id", subnet))["NetworkInterfaces"]

    place.gateway()
    holder = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=allocation)["NatGateway"]["NatGatewayId"]
    ec2.get_waiter("nat_gateway_available").wait(NatGatewayIds=[holder])
    second, *why = failed(AllocationId=allocation)
    assert why == ["Resource.AlreadyAssociated", f"Elastic IP address [{allocation}] is already associated"]
    assert describe(holder)["State"] == "available"
    here = [{"Name": "vpc-id", "Values": [place.id]}, {"Name": "state", "Values": ["failed"]}]
    found = ec2.describe_nat_gateways(Filter=here)["NatGateways"]
    assert {n["NatGatewayId"] for n in found} == {first, second}
    ec2.delete_nat_gateway(NatGatewayId=second)
    ec2.get_waiter("nat_gateway_deleted").wait(NatGatewayIds=[second])

    missing = "eipalloc-00000000000000000"
    assert refusal(ec2.create_nat_gateway, SubnetId=subnet, AllocationId=missing) == (
        "InvalidAllocationID.NotFound", f"The allocation ID '{missing}' does not exist")
    assert refusal(ec2.create_nat_gateway, SubnetId="subnet-00000000000000000", AllocationId=allocation)[0] == (
        "InvalidSubnetID.NotFound")


def test_interfaces(ec2, place):
    subnet, group = place.subnet(), place.group()
    asked = {"SubnetId": subnet, "PrivateIpAddress": "10.41.0.50", "Groups": [group], "Description": "mine", "ClientToken": "i"}
    named = tags("network-interface", Name="eni")
    made = ec2.create_network_interface(**asked, TagSpecifications=named)["NetworkInterface"]
    id = made["NetworkInterfaceId"]
    ec2.get_waiter("network_interface_available").wait(NetworkInterfaceIds=[id])
    assert made["PrivateIpAddress"] == "10.41.0.50" and made["TagSet"] == [{"Key": "Name", "Value": "eni"}]
    again = ec2.create_network_interface(**asked, TagSpecifications=named)["NetworkInterface"]
    assert again["NetworkInterfaceId"] == id
    assert refusal(ec2.create_network_interface, **asked)[0] == "IdempotentParameterMismatch"
    assert ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"] == 250
    ec2.modify_network_interface_attribute(NetworkInterfaceId=id, Description={"Value": "yours"})
    described = ec2.describe_network_interface_attribute(NetworkInterfaceId=id, Attribute="description")
    assert described["Description"] == {"Value": "yours"}
    default = ec2.describe_security_groups(Filters=[
        {"Name": "vpc-id", "Values": [place.id]}, {"Name": "group-name", "Values": ["default"]}])["SecurityGroups"][0]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=id, Groups=[default["GroupId"]])
    found = ec2.describe_network_interfaces(**by("group-id", default["GroupId"]))["NetworkInterfaces"]
    assert [i["NetworkInterfaceId"] for i in found] == [id]
    assert refusal(ec2.create_network_interface, SubnetId=subnet, PrivateIpAddress="10.41.0.50") == (
        "InvalidIPAddress.InUse", "Address 10.41.0.50 is in use.")
    assert refusal(ec2.attach_network_interface, NetworkInterfaceId=id, InstanceId="i-0", DeviceIndex=1)[0] == (
        "InvalidInstanceID.NotFound")
    assert refusal(ec2.detach_network_interface, AttachmentId="eni-attach-0")[0] == "InvalidAttachmentID.NotFound"
    assert refusal(ec2.delete_subnet, SubnetId=subnet) == (
        "DependencyViolation", f"The subnet '{subnet}' has dependencies and cannot be deleted.")
    assert refusal(ec2.create_network_interface, SubnetId=subnet, Groups=[f"sg-{n:017x}" for n in range(6)])[0] == (
        "SecurityGroupsPerInterfaceLimitExceeded")
    ec2.delete_network_interface(NetworkInterfaceId=id)
    assert refusal(ec2.delete_network_interface, NetworkInterfaceId=id) == (
        "InvalidNetworkInterfaceID.NotFound", f"The networkInterface ID '{id}' does not exist")


def test_groups_and_rules(ec2, place):
    web, app = place.group("web"), place.group("app")
    ec2.get_waiter("security_group_exists").wait(GroupIds=[web])
    assert refusal(ec2.create_security_group, VpcId=place.id, GroupName="web", Description="d") == (
        "InvalidGroup.Duplicate", f"The security group 'web' already exists for VPC '{place.id}'")
    http = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80,
            "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "all"}], "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}
    made = ec2.authorize_security_group_ingress(
        GroupId=web, IpPermissions=[http], TagSpecifications=tags("security-group-rule", Name="http"))
    assert [r.get("CidrIpv4", r.get("CidrIpv6")) for r in made["SecurityGroupRules"]] == ["0.0.0.0/0", "::/0"]
    assert refusal(ec2.authorize_security_group_ingress, GroupId=web, IpPermissions=[http], IpProtocol="tcp", FromPort=22,
                   ToPort=22, CidrIp="10.0.0.0/8")[0] == "InvalidParameterCombination"
    ec2.authorize_security_group_ingress(GroupId=web, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="10.0.0.0/8")
    ec2.authorize_security_group_ingress(GroupId=app, IpPermissions=[
        {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": web, "Description": "from web"}, {"GroupId": app}]}])
    assert refusal(ec2.authorize_security_group_ingress, GroupId=web, IpPermissions=[http]) == (
        "InvalidPermission.Duplicate",
        'the specified rule "peer: 0.0.0.0/0, TCP, from port: 80, to port: 80, ALLOW" already exists')
    group = ec2.describe_security_groups(GroupIds=[web])["SecurityGroups"][0]
    assert [p["FromPort"] for p in group["IpPermissions"]] == [80, 22]
    assert group["SecurityGroupArn"].endswith(f":security-group/{web}")
    found = ec2.describe_security_groups(**by("ip-permission.group-id", web))["SecurityGroups"]
    assert [g["GroupId"] for g in found] == [app]

    rule = made["SecurityGroupRules"][0]["SecurityGroupRuleId"]
    ec2.modify_security_group_rules(GroupId=web, SecurityGroupRules=[{"SecurityGroupRuleId": rule, "SecurityGroupRule": {
        "IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8081, "CidrIpv4": "10.0.0.0/8", "Description": "less"}}])
    found = ec2.describe_security_group_rules(**by("tag:Name", "http"))["SecurityGroupRules"]
    assert {r["SecurityGroupRuleId"] for r in found} == {r["SecurityGroupRuleId"] for r in made["SecurityGroupRules"]}
    found = ec2.describe_security_group_rules(SecurityGroupRuleIds=[rule])["SecurityGroupRules"][0]
    assert (found["FromPort"], found["ToPort"], found["CidrIpv4"], found["Description"]) == (8080, 8081, "10.0.0.0/8", "less")
    ec2.update_security_group_rule_descriptions_ingress(
        GroupId=web, SecurityGroupRuleDescriptions=[{"SecurityGroupRuleId": rule, "Description": "least"}])
    found = ec2.describe_security_group_rules(SecurityGroupRuleIds=[rule])["SecurityGroupRules"][0]
    assert found["Description"] == "least"
    rules = ec2.get_paginator("describe_security_group_rules").paginate(
        **by("group-id", web), PaginationConfig={"PageSize": 5}).build_full_result()["SecurityGroupRules"]
    assert sorted(r["IsEgress"] for r in rules) == [False, False, False, True]

    assert refusal(ec2.revoke_security_group_ingress, GroupId=web, IpPermissions=[http]) == (
        "InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
    gone = ec2.revoke_security_group_ingress(GroupId=web, SecurityGroupRuleIds=[rule])
    assert gone["RevokedSecurityGroupRules"][0]["SecurityGroupRuleId"] == rule
    assert refusal(ec2.revoke_security_group_ingress, GroupId=web, SecurityGroupRuleIds=[rule])[0] == (
        "InvalidSecurityGroupRuleId.NotFound")
    everything = ec2.describe_security_groups(GroupIds=[web])["SecurityGroups"][0]["IpPermissionsEgress"]
    ec2.revoke_security_group_egress(GroupId=web, IpPermissions=everything)
    assert not ec2.describe_security_groups(GroupIds=[web])["SecurityGroups"][0]["IpPermissionsEgress"]
    ec2.authorize_security_group_egress(GroupId=web, IpPermissions=everything)
    assert refusal(ec2.delete_security_group, GroupId=web) == (
        "DependencyViolation", f"resource {web} has a dependent object")
    default = ec2.describe_security_groups(Filters=[
        {"Name": "vpc-id", "Values": [place.id]}, {"Name": "group-name", "Values": ["default"]}])["SecurityGroups"][0]
    assert refusal(ec2.delete_security_group, GroupId=default["GroupId"])[0] == "CannotDelete"
    assert refusal(ec2.describe_security_groups, GroupIds=["sg-00000000000000000"]) == (
        "InvalidGroup.NotFound", "The security group 'sg-00000000000000000' does not exist")


def test_at_most_sixty_rules_a_direction(ec2, place):
    group = place.group()
    rules = [{"IpProtocol": "udp", "FromPort": n, "ToPort": n, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]} for n in range(61)]
    assert refusal(ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=rules)[0] == (
        "RulesPerSecurityGroupLimitExceeded")
    assert not ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rules[:60])


def test_prefix_lists(ec2, place):
    aws = ec2.describe_prefix_lists(**by("prefix-list-name", "com.amazonaws.us-east-1.s3"))["PrefixLists"]
    assert aws[0]["PrefixListId"] == "pl-63a5400a"
    made = ec2.create_managed_prefix_list(
        PrefixListName="offices", AddressFamily="IPv4", MaxEntries=3, TagSpecifications=tags("prefix-list", k="v"),
        Entries=[{"Cidr": "192.0.2.0/24", "Description": "here"}])["PrefixList"]
    id = made["PrefixListId"]
    try:
        assert (made["State"], made["Version"], made["MaxEntries"]) == ("create-complete", 1, 3)
        changed = ec2.modify_managed_prefix_list(
            PrefixListId=id, CurrentVersion=1, AddEntries=[{"Cidr": "198.51.100.0/24"}],
            RemoveEntries=[{"Cidr": "192.0.2.0/24"}])["PrefixList"]
        assert changed["Version"] == 2
        entries = ec2.get_managed_prefix_list_entries(PrefixListId=id)["Entries"]
        assert [e["Cidr"] for e in entries] == ["198.51.100.0/24"]
        assert refusal(ec2.modify_managed_prefix_list, PrefixListId=id, CurrentVersion=1,
                       AddEntries=[{"Cidr": "203.0.113.0/24"}])[0] == "PrefixListVersionMismatch"
        group = place.group()
        permission = [{"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2, "PrefixListIds": [{"PrefixListId": id}]}]
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=permission)
        assert refusal(ec2.delete_managed_prefix_list, PrefixListId=id)[0] == "DependencyViolation"
        assert refusal(ec2.modify_managed_prefix_list, PrefixListId=id, MaxEntries=1000)[0] == (
            "RulesPerSecurityGroupLimitExceeded")
        ec2.modify_managed_prefix_list(PrefixListId=id, MaxEntries=4)
        assert refusal(ec2.modify_managed_prefix_list, PrefixListId=id, PrefixListName="com.amazonaws.x")[0] == (
            "InvalidParameterValue")
        ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=permission)
    finally:
        ec2.delete_managed_prefix_list(PrefixListId=id)
    assert refusal(ec2.get_managed_prefix_list_entries, PrefixListId=id)[0] == "InvalidPrefixListID.NotFound"


def test_endpoints(ec2, place):
    main = place.main()["RouteTableId"]
    s3 = ec2.create_vpc_endpoint(VpcId=place.id, ServiceName="com.amazonaws.us-east-1.s3", RouteTableIds=[main],
                                 TagSpecifications=tags("vpc-endpoint", Name="s3"))["VpcEndpoint"]
    assert s3["State"].lower() == "available" and s3["VpcEndpointType"] == "Gateway"
    routes = [(r.get("DestinationPrefixListId"), r["GatewayId"]) for r in place.main()["Routes"]]
    assert ("pl-63a5400a", s3["VpcEndpointId"]) in routes
    subnet, group = place.subnet(), place.group()
    ecr = ec2.create_vpc_endpoint(
        VpcId=place.id, ServiceName="com.amazonaws.us-east-1.ecr.dkr", VpcEndpointType="Interface", SubnetIds=[subnet],
        SecurityGroupIds=[group], PrivateDnsEnabled=False)["VpcEndpoint"]
    interface = ec2.describe_network_interfaces(NetworkInterfaceIds=ecr["NetworkInterfaceIds"])["NetworkInterfaces"][0]
    assert interface["InterfaceType"] == "vpc_endpoint" and interface["Groups"][0]["GroupId"] == group
    assert json.loads(s3["PolicyDocument"])["Statement"]
    services = ec2.describe_vpc_endpoint_services(ServiceNames=["com.amazonaws.us-east-1.s3"])
    assert services["ServiceDetails"][0]["ServiceType"] == [{"ServiceType": "Gateway"}]
    assert refusal(ec2.create_vpc_endpoint, VpcId=place.id, ServiceName="com.example.x")[0] == "InvalidServiceName"
    assert refusal(ec2.create_vpc_endpoint, VpcId=place.id, ServiceName="com.amazonaws.us-east-1.xray")[0] == (
        "UnsupportedOperation")
    found = ec2.describe_vpc_endpoints(**by("vpc-endpoint-type", "Gateway"))["VpcEndpoints"]
    assert [e["VpcEndpointId"] for e in found] == [s3["VpcEndpointId"]]
    gone = ec2.delete_vpc_endpoints(VpcEndpointIds=["vpce-00000000000000000"])["Unsuccessful"]
    assert gone[0]["Error"]["Code"] == "InvalidVpcEndpointId.NotFound"


def test_tags(ec2, place):
    subnet, group = place.subnet(), place.group()
    ec2.create_tags(Resources=[place.id, subnet, group], Tags=[{"Key": "team", "Value": "a"}, {"Key": "empty", "Value": ""}])
    listed = ec2.describe_tags(Filters=[{"Name": "key", "Values": ["team"]}])["Tags"]
    assert {(t["ResourceId"], t["ResourceType"]) for t in listed} == {
        (place.id, "vpc"), (subnet, "subnet"), (group, "security-group")}
    assert [s["SubnetId"] for s in ec2.describe_subnets(**by("tag:team", "a", "b"))["Subnets"]] == [subnet]
    ec2.delete_tags(Resources=[subnet], Tags=[{"Key": "team", "Value": "other"}, {"Key": "empty"}])
    assert ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["Tags"] == [{"Key": "team", "Value": "a"}]
    assert refusal(ec2.create_tags, Resources=[place.id, "subnet-00000000000000000"], Tags=[{"Key": "x", "Value": "y"}]) == (
        "InvalidSubnetID.NotFound", "The subnet ID 'subnet-00000000000000000' does not exist")
    assert not ec2.describe_tags(Filters=[{"Name": "key", "Values": ["x"]}])["Tags"]
    assert [t["Value"] for t in ec2.describe_tags(Filters=[{"Name": "tag:team", "Values": ["*"]}])["Tags"]] == [
        t["Value"] for t in ec2.describe_tags(Filters=[{"Name": "key", "Values": ["team"]}])["Tags"]]
    assert refusal(ec2.create_tags, Resources=[place.id], Tags=[{"Key": "aws:x", "Value": "y"}])[0] == (
        "InvalidParameterValue")
    assert refusal(ec2.create_tags, Resources=[place.id], Tags=[{"Key": "x", "Value": "1"}, {"Key": "x", "Value": "2"}]) == (
        "InvalidParameterValue", "Duplicate tag key 'x' specified.")
    assert refusal(ec2.create_tags, Resources=["i-00000000000000000"], Tags=[{"Key": "x", "Value": "y"}])[0] == (
        "InvalidInstanceID.NotFound")
    assert refusal(ec2.create_vpc, CidrBlock="10.42.0.0/16", TagSpecifications=tags("instance", a="b")) == (
        "InvalidParameterValue", "'instance' is not a valid taggable resource type for this operation.")


def test_operations_that_are_not_served_say_so(ec2):
    code, text = refusal(ec2.describe_transit_gateways)
    assert "DescribeTransitGateways" in text, (code, text)


def test_the_cli_sees_the_same(sim, ec2, place):
    group = place.group("cli")
    sim.aws("ec2", "authorize-security-group-ingress", "--group-id", group, "--protocol", "tcp", "--port", "443",
            "--cidr", "10.0.0.0/8")
    shown = sim.aws("ec2", "describe-security-groups", "--group-ids", group)["SecurityGroups"][0]
    assert shown["IpPermissions"][0]["FromPort"] == 443
    made = sim.aws("ec2", "create-route-table", "--vpc-id", place.id, "--tag-specifications",
                   "ResourceType=route-table,Tags=[{Key=Name,Value=cli}]")["RouteTable"]
    assert made["Tags"] == [{"Key": "Name", "Value": "cli"}]
    failed = sim.aws("ec2", "delete-vpc", "--vpc-id", place.id, check=False)
    assert "(DependencyViolation)" in failed.stderr
