"""Security groups, isolation, ways out and public addresses of real tasks, by boto3 and real packets."""

import os
import signal
import socket
import subprocess
import time

import pytest
from botocore.exceptions import ClientError

import images
import leaks
from neargate import Neargate, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and nftables need root")

PORT = 8080
WEB = "echo ok > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"
# What a call from a task's namespace says: what came, or why nothing did.
CALL = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 1.5) as s:
        s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        print("served" if s.makefile("rb").read().endswith(b"ok\\n") else "connected")
except socket.timeout:
    print("dropped")
except OSError as e:
    print(e.strerror)
"""


@pytest.fixture(scope="module")
def ng(tmp_path_factory):
    with Neargate("--healthy-after", "1", "--vpc-cidr", "10.74.0.0/16", "--bridge-cidr", "198.18.74.0/24",
                  "--public-cidr", "198.19.74.0/24", "--load-balancer-listen", "127.74.0.1") as running:
        layout = tmp_path_factory.mktemp("images") / "busybox"
        images.busybox(layout)
        running.neargate("images", "load", str(layout))
        ecs = running.client("ecs")
        ecs.create_cluster(clusterName="sg")
        ecs.register_task_definition(
            family="web", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
            containerDefinitions=[{"name": "web", "image": "busybox:test", "command": ["sh", "-c", WEB], "stopTimeout": 2}])
        yield running


class Task:
    """A running task: its interface, and calls from inside its network."""

    def __init__(self, ng, groups, subnet=None, public=False):
        self.ng, self.ecs, self.ec2 = ng, ng.client("ecs"), ng.client("ec2")
        subnet = subnet or default_subnet(self.ec2)
        answer = self.ecs.run_task(
            cluster="sg", taskDefinition="web", launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": {
                "subnets": [subnet], "securityGroups": groups, "assignPublicIp": "ENABLED" if public else "DISABLED"}})
        assert not answer["failures"], answer["failures"]
        self.arn = answer["tasks"][0]["taskArn"]
        task = wait_for(self.running, "task RUNNING", 60)
        details = {d["name"]: d["value"] for a in task["attachments"] for d in a["details"]}
        self.address, self.interface = details["privateIPv4Address"], details["networkInterfaceId"]

    def running(self):
        task = self.ecs.describe_tasks(cluster="sg", tasks=[self.arn])["tasks"][0]
        assert task["lastStatus"] != "STOPPED", task.get("stoppedReason")
        return task if task["lastStatus"] == "RUNNING" else None

    def describe(self):
        return self.ec2.describe_network_interfaces(NetworkInterfaceIds=[self.interface])["NetworkInterfaces"][0]

    def call(self, address, port=PORT):
        namespace = f"/run/neargate-{leaks.instance_of(self.ng.data)}/netns/{self.arn.split('/')[-1]}"
        command = ["nsenter", f"--net={namespace}", "python3", "-c", CALL, address, str(port)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def soon(self, address, answer="served", port=PORT):
        """Calls until the answer is this one: a server listens a moment after its task runs."""
        wait_for(lambda: self.call(address, port) == answer, f"{answer} from {address}", 15)

    def stop(self):
        self.ecs.stop_task(cluster="sg", task=self.arn)


def call(address, port=PORT):
    """From the machine itself."""
    return subprocess.run(["python3", "-c", CALL, address, str(port)], capture_output=True, text=True, check=True).stdout.strip()


def default_subnet(ec2):
    return ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"][0]["SubnetId"]


@pytest.fixture()
def groups(ng):
    """Makes security groups of the default VPC."""
    ec2 = ng.client("ec2")
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    made = []

    def make(name):
        made.append(ec2.create_security_group(GroupName=f"{name}-{time.monotonic_ns()}", Description=name, VpcId=vpc)["GroupId"])
        return made[-1]

    return make


@pytest.fixture()
def tasks(ng):
    """Runs tasks, and stops them afterwards."""
    made = []

    def run(*groups, **more):
        made.append(Task(ng, list(groups), **more))
        return made[-1]

    yield run
    for task in made:
        task.stop()


def tcp(port=PORT, **peer):
    return [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **peer}]


def anyone(cidr="0.0.0.0/0"):
    return {"IpRanges": [{"CidrIp": cidr}]}


def members(group):
    return {"UserIdGroupPairs": [{"GroupId": group}]}


def test_rules_change_on_running_tasks_at_once(ng, groups, tasks):
    ec2 = ng.client("ec2")
    front, back = groups("front"), groups("back")
    client, server = tasks(front), tasks(back)
    assert client.call(server.address) == "dropped" and call(server.address) == "dropped"
    ec2.authorize_security_group_ingress(GroupId=back, IpPermissions=tcp(**members(front)))
    client.soon(server.address)
    assert call(server.address) == "dropped", "the machine is not in the group"
    ec2.revoke_security_group_ingress(GroupId=back, IpPermissions=tcp(**members(front)))
    client.soon(server.address, "dropped")
    ec2.authorize_security_group_ingress(GroupId=back, IpPermissions=tcp(**anyone("10.74.0.0/16")))
    client.soon(server.address)
    assert call(server.address) == "served"
    ec2.revoke_security_group_egress(GroupId=front, IpPermissions=[{"IpProtocol": "-1", **anyone()}])
    client.soon(server.address, "dropped")
    ec2.authorize_security_group_egress(GroupId=front, IpPermissions=tcp(**members(back)))
    client.soon(server.address)


def test_group_members_are_the_tasks_run_in_it_and_nobody_changes_their_interfaces(ng, groups, tasks):
    ec2 = ng.client("ec2")
    front, back, other = groups("front"), groups("back"), groups("other")
    ec2.authorize_security_group_ingress(GroupId=back, IpPermissions=tcp(**members(front)))
    server = tasks(back)
    tasks(front).soon(server.address)
    stranger, member = tasks(other), tasks(other, front)
    member.soon(server.address)
    assert stranger.call(server.address) == "dropped"
    with pytest.raises(ClientError) as caught:
        ec2.modify_network_interface_attribute(NetworkInterfaceId=stranger.interface, Groups=[other, front])
    assert caught.value.response["Error"]["Code"] == "AuthFailure"
    allocation = ec2.allocate_address(Domain="vpc")["AllocationId"]
    with pytest.raises(ClientError) as caught:
        ec2.associate_address(AllocationId=allocation, NetworkInterfaceId=stranger.interface)
    assert caught.value.response["Error"]["Code"] == "AuthFailure"
    ec2.release_address(AllocationId=allocation)
    assert [g["GroupId"] for g in stranger.describe()["Groups"]] == [other]
    assert stranger.call(server.address) == "dropped"


def test_the_default_group_admits_its_own_members_only(ng, groups, tasks):
    first, second, stranger = tasks(), tasks(), tasks(groups("other"))
    first.soon(second.address)
    assert stranger.call(second.address) == "dropped"


def test_a_task_reaches_neither_the_machine_nor_control(ng, groups, tasks):
    task = tasks(groups("open"), public=True)
    with socket.create_server(("0.0.0.0", 0)) as service:
        port = service.getsockname()[1]
        machine = {"10.74.0.2", *subprocess.run(["hostname", "-I"], capture_output=True, text=True).stdout.split()}
        for address in (a for a in machine if ":" not in a):
            for target in (port, ng.port):
                assert task.call(address, target) not in ("served", "connected"), f"{address}:{target}"
    assert task.call("127.0.0.1", ng.port) == "Connection refused"


def test_a_private_subnet_has_no_way_out_and_another_vpc_is_far_away(ng, groups, tasks):
    ec2 = ng.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.174.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.174.1.0/24")["Subnet"]["SubnetId"]
    wide = ec2.create_security_group(GroupName="wide", Description="wide", VpcId=vpc)["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=wide, IpPermissions=[{"IpProtocol": "-1", **anyone()}])
    here = groups("here")
    ec2.authorize_security_group_ingress(GroupId=here, IpPermissions=[{"IpProtocol": "-1", **anyone()}])
    away, beside, home = tasks(wide, subnet=subnet), tasks(wide, subnet=subnet), tasks(here, public=True)
    away.soon(beside.address)
    begun = time.monotonic()
    assert home.call(away.address) == "No route to host" and away.call(home.address) == "No route to host"
    assert away.call("203.0.113.9") == "No route to host"
    assert time.monotonic() - begun < 3, "refused at once, not in silence"
    public = home.describe()["Association"]["PublicIp"]
    assert away.call(public) == "No route to host", "there is no way out to it"

    door = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=door, VpcId=vpc)
    table = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"][0]["RouteTableId"]
    caller = tasks(wide, subnet=subnet, public=True)
    beside.soon(caller.address)
    own = caller.describe()["Association"]["PublicIp"]
    assert call(own) == "No route to host", "answers would not find back"
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=door)
    caller.soon(public)
    assert call(own) == "served"
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
    wait_for(lambda: call(own) == "No route to host", "the public address leads nowhere again", 15)
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=door)
    wait_for(lambda: call(own) == "served", "served by the public address", 15)
    assert caller.call(home.address) == "No route to host", "its private address stays in its VPC"


def test_a_public_address_is_reached_from_outside_and_rules_see_who_calls(ng, groups, tasks):
    ec2 = ng.client("ec2")
    group = groups("public")
    server = tasks(group, public=True)
    public = server.describe()["Association"]["PublicIp"]
    assert public.startswith("198.19.74.")
    assert call(public) == "dropped"
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=tcp(**anyone()))
    wait_for(lambda: call(public) == "served", "served by the public address", 15)
    server.stop()
    wait_for(lambda: call(public) == "No route to host", "the public address is free again", 30)


def test_callers_are_seen_by_their_public_or_nat_address(ng, groups, tasks):
    ec2 = ng.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.176.0.0/16")["Vpc"]["VpcId"]
    front = ec2.create_subnet(VpcId=vpc, CidrBlock="10.176.0.0/24")["Subnet"]["SubnetId"]
    back = ec2.create_subnet(VpcId=vpc, CidrBlock="10.176.1.0/24")["Subnet"]["SubnetId"]
    door = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=door, VpcId=vpc)
    main = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"][0]["RouteTableId"]
    ec2.create_route(RouteTableId=main, DestinationCidrBlock="0.0.0.0/0", GatewayId=door)
    address = ec2.allocate_address(Domain="vpc")
    nat = ec2.create_nat_gateway(SubnetId=front, AllocationId=address["AllocationId"])["NatGateway"]["NatGatewayId"]
    ec2.get_waiter("nat_gateway_available").wait(NatGatewayIds=[nat])
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=table, SubnetId=back)
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
    group, wide = groups("seen"), ec2.create_security_group(GroupName="seen", Description="seen", VpcId=vpc)["GroupId"]
    server = tasks(group, public=True)
    outside, inside = tasks(wide, subnet=front, public=True), tasks(wide, subnet=back)
    target = server.describe()["Association"]["PublicIp"]
    own = outside.describe()["Association"]["PublicIp"]
    for allowed, answers in ((own, ("served", "dropped")), (address["PublicIp"], ("dropped", "served"))):
        rule = tcp(**anyone(f"{allowed}/32"))
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rule)
        for caller, answer in zip((outside, inside), answers):
            caller.soon(target, answer)
        ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=rule)
        outside.soon(target, "dropped")
        inside.soon(target, "dropped")
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=tcp(**anyone("10.176.0.0/16")))
    assert outside.call(target) == "dropped" and inside.call(target) == "dropped", "nobody comes by a private address"


def test_rules_hold_while_the_node_is_killed(ng, groups, tasks):
    ec2 = ng.client("ec2")
    front, back = groups("front"), groups("back")
    ec2.authorize_security_group_ingress(GroupId=back, IpPermissions=tcp(**members(front)))
    client, server, stranger = tasks(front), tasks(back), tasks(groups("other"))
    client.soon(server.address)
    node = ng.pid_of("node")
    os.kill(node, signal.SIGKILL)
    assert client.call(server.address) == "served" and stranger.call(server.address) == "dropped"
    wait_for(lambda: ng.pid_of("node") != node, "a new node", 20)
    assert stranger.call(server.address) == "dropped"
    ec2.revoke_security_group_ingress(GroupId=back, IpPermissions=tcp(**members(front)))
    client.soon(server.address, "dropped")


def asked(ng, task, name, resolver):
    """What the resolver answers the task."""
    namespace = f"/run/neargate-{leaks.instance_of(ng.data)}/netns/{task.arn.split('/')[-1]}"
    query = b"\x4e\x47\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + b"".join(
        bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\x00\x00\x01\x00\x01"
    ask = ("import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(3); "
           f"s.sendto(bytes.fromhex('{query.hex()}'), ('{resolver}', 53)); print(socket.inet_ntoa(s.recv(512)[-4:]))")
    done = subprocess.run(["nsenter", f"--net={namespace}", "python3", "-c", ask], capture_output=True, text=True)
    return done.stdout.strip() or done.stderr


def test_names_are_answered_inside_by_the_vpcs_own_resolver(ng, groups, tasks):
    ec2 = ng.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.175.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.175.1.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="names", Description="names", VpcId=vpc)["GroupId"]
    home, away = tasks(groups("names"), public=True), tasks(group, subnet=subnet)
    for task, resolver in (home, "10.74.0.2"), (away, "10.175.0.2"):
        files = [path for path in ng.data.rglob("resolv.conf") if task.arn.split("/")[-1] in str(path)]
        assert [path.read_text().split()[:2] for path in files] == [["nameserver", resolver]]
        for server in resolver, "169.254.169.253":
            assert asked(ng, task, task.describe()["PrivateDnsName"], server) == task.address
    association = home.describe()["Association"]
    assert asked(ng, home, association["PublicDnsName"], "10.74.0.2") == home.address
    assert asked(ng, away, association["PublicDnsName"], "10.175.0.2") == association["PublicIp"]
