"""Elastic Load Balancing v2 by boto3, on simulated nodes: shapes, states, errors, paging, waiters, tags."""

import pytest
from botocore.exceptions import ClientError
from neargate import wait_for


def refusal(call, **kwargs):
    with pytest.raises(ClientError) as caught:
        call(**kwargs)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


@pytest.fixture(scope="module")
def elb(sim):
    return sim.client("elbv2")


@pytest.fixture(scope="module")
def vpc(sim):
    ec2 = sim.client("ec2")
    vpc = next(v["VpcId"] for v in ec2.describe_vpcs()["Vpcs"] if v["IsDefault"])
    subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    return {"id": vpc, "subnets": sorted(subnets, key=lambda s: s["AvailabilityZone"])}


def address(vpc, subnet, host):
    network = vpc["subnets"][subnet]["CidrBlock"].split("/")[0].split(".")
    return ".".join(network[:3] + [str(int(network[3]) + host)])


class Stack:
    """A load balancer and a target group, deleted afterwards."""

    def __init__(self, elb, vpc, name, **more):
        self.elb, self.vpc, self.name = elb, vpc, name
        ids = [s["SubnetId"] for s in vpc["subnets"][:2]]
        self.made = elb.create_load_balancer(Name=name, Subnets=ids, **more)["LoadBalancers"][0]
        self.arn = self.made["LoadBalancerArn"]
        self.groups = []

    def group(self, suffix="", **more):
        asked = {"Protocol": "HTTP", "Port": 80, "VpcId": self.vpc["id"], "TargetType": "ip", **more}
        made = self.elb.create_target_group(Name=self.name + suffix, **asked)["TargetGroups"][0]
        self.groups.append(made["TargetGroupArn"])
        return made["TargetGroupArn"]

    def listener(self, group, port=80, protocol="HTTP", **more):
        return self.elb.create_listener(
            LoadBalancerArn=self.arn, Protocol=protocol, Port=port,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}], **more)["Listeners"][0]["ListenerArn"]

    def end(self):
        self.elb.delete_load_balancer(LoadBalancerArn=self.arn)
        for group in self.groups:
            self.elb.delete_target_group(TargetGroupArn=group)


@pytest.fixture()
def stack(elb, vpc, request):
    name = request.node.name.replace("_", "-").removeprefix("test-")[:28].strip("-")
    stack = Stack(elb, vpc, name)
    yield stack
    stack.end()


def attributes(reply):
    return {a["Key"]: a["Value"] for a in reply["Attributes"]}


def test_a_load_balancer_lives_and_leaves(sim, elb, vpc):
    stack = Stack(elb, vpc, "life", Tags=[{"Key": "team", "Value": "a"}])
    assert stack.made["Type"] == "application" and stack.made["Scheme"] == "internet-facing"
    assert stack.made["IpAddressType"] == "ipv4" and stack.made["VpcId"] == vpc["id"]
    assert stack.made["DNSName"].startswith("life-") and stack.made["DNSName"].endswith(".us-east-1.elb.localhost")
    assert [z["ZoneName"] for z in stack.made["AvailabilityZones"]] == ["us-east-1a", "us-east-1b"]
    elb.get_waiter("load_balancer_available").wait(LoadBalancerArns=[stack.arn], WaiterConfig={"Delay": 1, "MaxAttempts": 3})
    tags = elb.describe_tags(ResourceArns=[stack.arn])["TagDescriptions"][0]
    assert tags == {"ResourceArn": stack.arn, "Tags": [{"Key": "team", "Value": "a"}]}
    described = elb.describe_load_balancers(Names=["life"])["LoadBalancers"]
    assert described == [stack.made]
    stack.end()
    elb.get_waiter("load_balancers_deleted").wait(LoadBalancerArns=[stack.arn], WaiterConfig={"Delay": 1, "MaxAttempts": 3})
    assert refusal(elb.describe_load_balancers, Names=["life"]) == ("LoadBalancerNotFound", "Load balancers '[life]' not found")
    elb.delete_load_balancer(LoadBalancerArn=stack.arn)


def test_creating_again(elb, vpc, stack):
    ids = [s["SubnetId"] for s in vpc["subnets"][:2]]
    again = elb.create_load_balancer(Name=stack.name, Subnets=ids)["LoadBalancers"][0]
    assert again["LoadBalancerArn"] == stack.arn
    code, message = refusal(elb.create_load_balancer, Name=stack.name, Subnets=ids, Scheme="internal")
    assert code == "DuplicateLoadBalancerName" and "exists, but with different settings" in message
    group = stack.group()
    assert stack.group() == group
    assert refusal(stack.group, Port=81)[0] == "DuplicateTargetGroupName"


def test_bad_load_balancers(elb, vpc):
    one = [vpc["subnets"][0]["SubnetId"]]
    two = [s["SubnetId"] for s in vpc["subnets"][:2]]
    assert refusal(elb.create_load_balancer, Name="bad", Subnets=one) == (
        "ValidationError", "At least two subnets in two different Availability Zones must be specified")
    assert refusal(elb.create_load_balancer, Name="bad", Subnets=[*one, "subnet-0"])[0] == "SubnetNotFound"
    assert refusal(elb.create_load_balancer, Name="bad", Subnets=one * 2)[0] == "InvalidConfigurationRequest"
    assert refusal(elb.create_load_balancer, Name="b" * 33, Subnets=two)[0] == "ValidationError"
    for unserved in ({"Type": "gateway"}, {"IpAddressType": "dualstack"}):
        code, message = refusal(elb.create_load_balancer, Name="bad", Subnets=two, **unserved)
        assert code == "InvalidConfigurationRequest" and "not supported by Neargate" in message
    assert refusal(elb.describe_load_balancers, LoadBalancerArns=["nonsense"])[0] == "ValidationError"


def test_attributes_of_everything(elb, stack):
    group = stack.group()
    listener = stack.listener(group)
    held = attributes(elb.modify_load_balancer_attributes(LoadBalancerArn=stack.arn, Attributes=[
        {"Key": "idle_timeout.timeout_seconds", "Value": "30"}, {"Key": "deletion_protection.enabled", "Value": "true"}]))
    assert held == attributes(elb.describe_load_balancer_attributes(LoadBalancerArn=stack.arn))
    assert held["idle_timeout.timeout_seconds"] == "30" and held["routing.http2.enabled"] == "true"
    code, message = refusal(elb.delete_load_balancer, LoadBalancerArn=stack.arn)
    assert code == "OperationNotPermitted" and "deletion protection is enabled" in message
    elb.modify_load_balancer_attributes(LoadBalancerArn=stack.arn, Attributes=[{"Key": "deletion_protection.enabled", "Value": "false"}])
    for bad, code in (("idle_timeout.timeout_seconds", "ValidationError"), ("waf.fail_open.enabled", "InvalidConfigurationRequest"),
                      ("nothing.like.it", "ValidationError")):
        asked = [{"Key": bad, "Value": "true"}]
        assert refusal(elb.modify_load_balancer_attributes, LoadBalancerArn=stack.arn, Attributes=asked)[0] == code
    sticky = [{"Key": "stickiness.enabled", "Value": "true"}, {"Key": "stickiness.lb_cookie.duration_seconds", "Value": "60"}]
    elb.modify_target_group_attributes(TargetGroupArn=group, Attributes=sticky)
    held = attributes(elb.describe_target_group_attributes(TargetGroupArn=group))
    assert held["stickiness.enabled"] == "true" and held["deregistration_delay.timeout_seconds"] == "300"
    elb.modify_listener_attributes(ListenerArn=listener, Attributes=[{"Key": "routing.http.response.server.enabled", "Value": "false"}])
    assert attributes(elb.describe_listener_attributes(ListenerArn=listener))["routing.http.response.server.enabled"] == "false"


def test_rules_of_every_kind(elb, stack):
    group, other = stack.group(), stack.group("-b")
    listener = stack.listener(group)
    conditions = [
        {"Field": "host-header", "HostHeaderConfig": {"Values": ["*.example.com"]}},
        {"Field": "path-pattern", "PathPatternConfig": {"RegexValues": ["^/api/v[0-9]+"]}},
        {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Team", "Values": ["a*"]}},
        {"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "v", "Value": "1"}]}},
        {"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}},
    ]
    forward = [{"Type": "forward", "ForwardConfig": {
        "TargetGroups": [{"TargetGroupArn": group, "Weight": 9}, {"TargetGroupArn": other, "Weight": 1}],
        "TargetGroupStickinessConfig": {"Enabled": True, "DurationSeconds": 60}}}]
    transforms = [{"Type": "url-rewrite", "UrlRewriteConfig": {"Rewrites": [{"Regex": "^/api/(.*)", "Replace": "/$1"}]}}]
    made = elb.create_rule(ListenerArn=listener, Priority=10, Conditions=conditions, Actions=forward, Transforms=transforms)["Rules"][0]
    assert made["Actions"] == forward and made["Transforms"] == transforms and made["Priority"] == "10"
    assert made["Conditions"][0]["Values"] == ["*.example.com"]
    redirect = [{"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}}]
    second = elb.create_rule(ListenerArn=listener, Priority=5, Actions=redirect, Tags=[{"Key": "a", "Value": "1"}], Conditions=[
        {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["GET", "HEAD"]}}])["Rules"][0]
    assert second["Actions"][0]["RedirectConfig"]["Path"] == "/#{path}"
    assert [r["Priority"] for r in elb.describe_rules(ListenerArn=listener)["Rules"]] == ["5", "10", "default"]
    assert refusal(elb.create_rule, ListenerArn=listener, Priority=5, Actions=redirect, Conditions=conditions) == (
        "PriorityInUse", "Priority '5' is currently in use")
    elb.set_rule_priorities(RulePriorities=[{"RuleArn": made["RuleArn"], "Priority": 5}, {"RuleArn": second["RuleArn"], "Priority": 10}])
    rules = elb.describe_rules(ListenerArn=listener)["Rules"]
    assert [r["RuleArn"] for r in rules[:2]] == [made["RuleArn"], second["RuleArn"]]
    assert refusal(elb.delete_rule, RuleArn=rules[2]["RuleArn"])[0] == "OperationNotPermitted"
    six = [{"Field": "path-pattern", "Values": [f"/{n}" for n in range(6)]}]
    assert refusal(elb.create_rule, ListenerArn=listener, Priority=1, Actions=redirect, Conditions=six) == (
        "ValidationError", "A rule can only have '5' condition values")
    changed = elb.modify_rule(RuleArn=made["RuleArn"], ResetTransforms=True, Actions=[
        {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503", "ContentType": "text/plain", "MessageBody": "later"}}])["Rules"][0]
    assert "Transforms" not in changed and changed["Actions"][0]["FixedResponseConfig"]["MessageBody"] == "later"
    pages = elb.get_paginator("describe_rules").paginate(ListenerArn=listener, PaginationConfig={"PageSize": 1})
    assert [r["RuleArn"] for page in pages for r in page["Rules"]] == [r["RuleArn"] for r in rules]
    code, message = refusal(elb.create_rule, ListenerArn=listener, Priority=1, Conditions=conditions, Actions=[
        {"Type": "authenticate-oidc", "Order": 1, "AuthenticateOidcConfig": {
            "Issuer": "https://i", "AuthorizationEndpoint": "https://a", "TokenEndpoint": "https://t",
            "UserInfoEndpoint": "https://u", "ClientId": "c", "ClientSecret": "s"}}, {**forward[0], "Order": 2}])
    assert code == "InvalidConfigurationRequest" and "authenticate-oidc" in message


def test_listeners_and_what_they_hold(elb, vpc, stack):
    group = stack.group()
    listener = stack.listener(group)
    assert stack.listener(group) == listener
    code, message = refusal(stack.listener, group=group, Tags=[{"Key": "other", "Value": "settings"}])
    assert (code, message) == ("DuplicateListener", f"A listener already exists on this port for this load balancer '{stack.arn}'")
    assert refusal(elb.delete_target_group, TargetGroupArn=group) == (
        "ResourceInUse", f"Target group '{group}' is currently in use by a listener or a rule")
    assert elb.describe_target_groups(TargetGroupArns=[group])["TargetGroups"][0]["LoadBalancerArns"] == [stack.arn]
    assert elb.describe_target_groups(LoadBalancerArn=stack.arn)["TargetGroups"][0]["TargetGroupArn"] == group
    assert refusal(stack.listener, group=group, port=443, protocol="HTTPS")[0] == "ValidationError"
    missing = [{"CertificateArn": "arn:aws:acm:us-east-1:000000000000:certificate/12345678-1234-1234-1234-123456789012"}]
    assert refusal(stack.listener, group=group, port=443, protocol="HTTPS", Certificates=missing)[0] == "CertificateNotFound"
    moved = elb.modify_listener(ListenerArn=listener, Port=8080)["Listeners"][0]
    assert moved["Port"] == 8080 and moved["DefaultActions"][0]["TargetGroupArn"] == group
    assert [listed["ListenerArn"] for listed in elb.describe_listeners(LoadBalancerArn=stack.arn)["Listeners"]] == [listener]
    elb.delete_listener(ListenerArn=listener)
    assert refusal(elb.describe_listeners, ListenerArns=[listener]) == ("ListenerNotFound", "One or more listeners not found")


def test_errors_of_other_operations_are_told_too(elb, stack):
    groups = [{"TargetGroupArn": stack.group(suffix=f"-{n}"), "Weight": 1} for n in range(6)]
    listener = stack.listener(groups[0]["TargetGroupArn"])
    many = [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]
    assert refusal(elb.modify_listener, ListenerArn=listener, DefaultActions=many)[0] == "TooManyTargetGroups"
    code, text = refusal(elb.describe_ssl_policies, Names=["ELBSecurityPolicy-TLS13-1-1-2021-06"])
    assert code == "InvalidConfigurationRequest" and "not supported" in text


def test_https_with_a_certificate_of_the_local_authority(sim, elb, stack):
    acm = sim.client("acm")
    first, second = (acm.request_certificate(DomainName=f"{n}.example.com")["CertificateArn"] for n in ("a", "b"))
    group = stack.group()
    made = elb.create_listener(
        LoadBalancerArn=stack.arn, Protocol="HTTPS", Port=443, Certificates=[{"CertificateArn": first}],
        SslPolicy="ELBSecurityPolicy-TLS13-1-2-2021-06", DefaultActions=[{"Type": "forward", "TargetGroupArn": group}])["Listeners"][0]
    assert made["SslPolicy"] == "ELBSecurityPolicy-TLS13-1-2-2021-06" and made["Certificates"] == [{"CertificateArn": first}]
    elb.add_listener_certificates(ListenerArn=made["ListenerArn"], Certificates=[{"CertificateArn": second}])
    listed = elb.describe_listener_certificates(ListenerArn=made["ListenerArn"])["Certificates"]
    assert listed == [{"CertificateArn": first, "IsDefault": True}, {"CertificateArn": second, "IsDefault": False}]
    for default in second, first:
        elb.modify_listener(ListenerArn=made["ListenerArn"], Certificates=[{"CertificateArn": default}])
        now = elb.describe_listener_certificates(ListenerArn=made["ListenerArn"])["Certificates"]
        assert now == [{"CertificateArn": default, "IsDefault": True}, {"CertificateArn": second, "IsDefault": False}]
    assert refusal(acm.delete_certificate, CertificateArn=second)[0] == "ResourceInUseException"
    elb.remove_listener_certificates(ListenerArn=made["ListenerArn"], Certificates=[{"CertificateArn": second}])
    acm.delete_certificate(CertificateArn=second)
    assert refusal(elb.remove_listener_certificates, ListenerArn=made["ListenerArn"], Certificates=[{"CertificateArn": first}])[0] == "OperationNotPermitted"
    elb.delete_listener(ListenerArn=made["ListenerArn"])
    acm.delete_certificate(CertificateArn=first)


def test_targets(elb, vpc, stack):
    group = stack.group()
    target = {"Id": address(vpc, 0, 200)}
    health = lambda: elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    elb.register_targets(TargetGroupArn=group, Targets=[target])
    assert health()[0]["TargetHealth"]["State"] == "unused" and health()[0]["TargetHealth"]["Reason"] == "Target.NotInUse"
    assert health()[0]["Target"] == {**target, "Port": 80, "AvailabilityZone": vpc["subnets"][0]["AvailabilityZone"]}
    stack.listener(group)
    # Beside simulated nodes the gateway pretends too: what a listener uses is healthy.
    wait_for(lambda: health()[0]["TargetHealth"]["State"] == "healthy", "the target is healthy")
    unknown = elb.describe_target_health(TargetGroupArn=group, Targets=[{"Id": address(vpc, 0, 201)}])["TargetHealthDescriptions"]
    assert unknown[0]["TargetHealth"] == {
        "State": "unused", "Reason": "Target.NotRegistered", "Description": "Target is not registered to the target group"}
    assert refusal(elb.register_targets, TargetGroupArn=group, Targets=[{"Id": "8.8.8.8"}])[0] == "InvalidTarget"
    assert refusal(elb.register_targets, TargetGroupArn=group, Targets=[{"Id": "i-0123456789abcdef0"}])[0] == "ValidationError"
    elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": address(vpc, 0, 202)}])
    # A port override has to be named when it goes.
    elb.register_targets(TargetGroupArn=group, Targets=[{**target, "Port": 8081}])
    elb.deregister_targets(TargetGroupArn=group, Targets=[target])
    left = {t["Target"]["Port"] for t in health() if t["TargetHealth"]["State"] != "draining"}
    assert left == {8081}
    elb.deregister_targets(TargetGroupArn=group, Targets=[{**target, "Port": 8081}])
    assert {t["TargetHealth"]["State"] for t in health()} <= {"draining"}


def test_an_address_outside_the_vpc_is_reached_across_zones(elb, vpc, stack):
    group = stack.group()
    stack.listener(group)
    # The load balancer has no subnet in that zone.
    target = {"Id": "192.168.77.7", "AvailabilityZone": vpc["subnets"][2]["AvailabilityZone"]}
    for wrong in ({}, {"AvailabilityZone": "us-east-1x"}):
        assert refusal(elb.register_targets, TargetGroupArn=group, Targets=[{"Id": target["Id"], **wrong}])[0] in (
            "InvalidTarget", "ValidationError")
    elb.register_targets(TargetGroupArn=group, Targets=[target])
    health = lambda: elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"][0]["TargetHealth"]
    wait_for(lambda: health()["State"] == "healthy", "the target is healthy")
    elb.modify_target_group_attributes(
        TargetGroupArn=group, Attributes=[{"Key": "load_balancing.cross_zone.enabled", "Value": "false"}])
    assert (health()["State"], health()["Reason"]) == ("unused", "Target.NotInUse")


def test_network_groups_by_protocol(elb, stack):
    ends, ill = "deregistration_delay.connection_termination.enabled", "target_health_state.unhealthy.connection_termination.enabled"
    for protocol, expected in (("TCP", ("false", "true")), ("UDP", ("true", "false")), ("TCP_UDP", ("true", "false"))):
        group = stack.group(suffix=protocol.replace("_", ""), Protocol=protocol)
        shown = elb.describe_target_group_attributes(TargetGroupArn=group)["Attributes"]
        assert tuple({a["Key"]: a["Value"] for a in shown}[key] for key in (ends, ill)) == expected, protocol
    set_to_true = lambda key: refusal(
        elb.modify_target_group_attributes, TargetGroupArn=group, Attributes=[{"Key": key, "Value": "true"}])
    assert set_to_true(ill)[0] == "ValidationError"
    group = stack.group(suffix="tls", Protocol="TLS")
    assert set_to_true("stickiness.enabled")[0] == "ValidationError"


def test_a_network_load_balancer_with_an_address_of_its_choice(elb, vpc):
    chosen = address(vpc, 1, 210)
    made = elb.create_load_balancer(Name="net", Type="network", Scheme="internal", SubnetMappings=[
        {"SubnetId": vpc["subnets"][1]["SubnetId"], "PrivateIPv4Address": chosen}])["LoadBalancers"][0]
    assert made["DNSName"].startswith("internal-net-") and "SecurityGroups" not in made
    assert made["AvailabilityZones"][0]["LoadBalancerAddresses"] == [{"PrivateIPv4Address": chosen}]
    group = elb.create_target_group(Name="net", Protocol="TCP", Port=5432, VpcId=vpc["id"], TargetType="ip")["TargetGroups"][0]
    assert group["HealthCheckProtocol"] == "TCP" and "Matcher" not in group
    arn = made["LoadBalancerArn"]
    elb.create_listener(LoadBalancerArn=arn, Protocol="TCP", Port=5432, DefaultActions=[
        {"Type": "forward", "TargetGroupArn": group["TargetGroupArn"]}])
    assert refusal(elb.create_listener, LoadBalancerArn=arn, Protocol="HTTP", Port=80, DefaultActions=[
        {"Type": "forward", "TargetGroupArn": group["TargetGroupArn"]}])[0] == "ValidationError"
    elb.delete_load_balancer(LoadBalancerArn=arn)
    elb.delete_target_group(TargetGroupArn=group["TargetGroupArn"])


def test_its_interfaces_and_groups_in_ec2(sim, elb, vpc, stack):
    ec2 = sim.client("ec2")
    mine = lambda: [i for i in ec2.describe_network_interfaces()["NetworkInterfaces"] if i["Description"].startswith(f"ELB app/{stack.name}/")]
    assert len(mine()) == 2 and all(i["RequesterManaged"] for i in mine())
    group = ec2.create_security_group(GroupName=stack.name, Description="door", VpcId=vpc["id"])["GroupId"]
    assert elb.set_security_groups(LoadBalancerArn=stack.arn, SecurityGroups=[group])["SecurityGroupIds"] == [group]
    assert all([g["GroupId"] for g in i["Groups"]] == [group] for i in mine())
    assert refusal(ec2.delete_security_group, GroupId=group)[0] == "DependencyViolation"
    zones = elb.set_subnets(LoadBalancerArn=stack.arn, Subnets=[s["SubnetId"] for s in vpc["subnets"][1:3]])["AvailabilityZones"]
    assert [z["ZoneName"] for z in zones] == ["us-east-1b", "us-east-1c"] and len(mine()) == 2
    stack.end()
    assert mine() == []
    ec2.delete_security_group(GroupId=group)


def test_limits_policies_and_pages(elb, vpc, stack):
    limits = {limit["Name"]: limit["Max"] for limit in elb.describe_account_limits()["Limits"]}
    assert limits["rules-per-application-load-balancer"] == "100" and limits["targets-per-target-group"] == "1000"
    policies = elb.describe_ssl_policies(LoadBalancerType="application")["SslPolicies"]
    assert {p for policy in policies for p in policy["SslProtocols"]} == {"TLSv1.2", "TLSv1.3"}
    assert refusal(elb.describe_ssl_policies, Names=["Mine"])[0] == "SSLPolicyNotFound"
    assert elb.describe_capacity_reservation(LoadBalancerArn=stack.arn)["CapacityReservationState"] == []
    names = [stack.group(f"-{n}") for n in range(3)]
    pages = elb.get_paginator("describe_target_groups").paginate(PaginationConfig={"PageSize": 2})
    seen = [g["TargetGroupArn"] for page in pages for g in page["TargetGroups"]]
    assert set(names) <= set(seen) and len(seen) == len(set(seen))
    assert refusal(elb.describe_load_balancers, Marker="nonsense")[0] == "ValidationError"
