"""Services behind a load balancer, with real containers and real packets: only healthy tasks get traffic, only through
the door, and no request fails while things are replaced."""

import http.client
import json
import os
import resource
import signal
import socket
import threading
import time

import pytest

import images
from neargate import Neargate, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="load balancers need root")

LOOPBACK = "127.76.0.1"
PORT = 8076
WEB = 'hostname > /tmp/index.html; echo ok > /tmp/health; exec httpd -f -p 8080 -h /tmp'


@pytest.fixture(scope="module")
def ng(tmp_path_factory):
    with Neargate("--healthy-after", "1", "--vpc-cidr", "10.76.0.0/16", "--bridge-cidr", "198.18.76.0/24",
                  "--public-cidr", "198.19.76.0/24", "--load-balancer-listen", LOOPBACK) as running:
        layout = tmp_path_factory.mktemp("images") / "busybox"
        images.busybox(layout)
        running.neargate("images", "load", str(layout))
        yield running


class Stack:
    """A VPC's load balancer with a service behind it; the tasks' group admits the balancer's alone."""

    def __init__(self, ng, name, port=PORT, path="/health", delay="5"):
        self.ng, self.name, self.port = ng, name, port
        self.ec2, self.elb, self.ecs = ng.client("ec2"), ng.client("elbv2"), ng.client("ecs")
        self.subnets = [s["SubnetId"] for s in self.ec2.describe_subnets()["Subnets"]]
        self.vpc = self.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        self.door = self.group("door")
        self.inside = self.group("inside")
        self.ec2.authorize_security_group_ingress(GroupId=self.door, IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}])
        self.ec2.authorize_security_group_ingress(GroupId=self.inside, IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080, "UserIdGroupPairs": [{"GroupId": self.door}]}])
        balancer = self.elb.create_load_balancer(Name=name, Subnets=self.subnets[:2], SecurityGroups=[self.door])["LoadBalancers"][0]
        self.balancer, self.dns = balancer["LoadBalancerArn"], balancer["DNSName"]
        self.target_group = self.elb.create_target_group(
            Name=name, Protocol="HTTP", Port=8080, VpcId=self.vpc, TargetType="ip", HealthCheckPath=path,
            HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2, HealthyThresholdCount=2, UnhealthyThresholdCount=2,
        )["TargetGroups"][0]["TargetGroupArn"]
        self.elb.modify_target_group_attributes(TargetGroupArn=self.target_group, Attributes=[
            {"Key": "deregistration_delay.timeout_seconds", "Value": delay}])
        self.listener = self.elb.create_listener(
            LoadBalancerArn=self.balancer, Protocol="HTTP", Port=port,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": self.target_group}])["Listeners"][0]["ListenerArn"]
        self.ecs.create_cluster(clusterName=name)

    def group(self, what):
        return self.ec2.create_security_group(GroupName=f"{self.name}-{what}", Description=what, VpcId=self.vpc)["GroupId"]

    def register(self, command=WEB, **container):
        self.ecs.register_task_definition(
            family=self.name, networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
            containerDefinitions=[{"name": "web", "image": "busybox:test", "command": ["sh", "-c", command], "stopTimeout": 2,
                                   "portMappings": [{"containerPort": 8080}], **container}])

    def serve(self, count=2, **more):
        self.ecs.create_service(
            cluster=self.name, serviceName="web", taskDefinition=self.name, desiredCount=count, launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": {"subnets": self.subnets[:2], "securityGroups": [self.inside]}},
            loadBalancers=[{"targetGroupArn": self.target_group, "containerName": "web", "containerPort": 8080}], **more)
        self.rest()

    def service(self):
        return self.ecs.describe_services(cluster=self.name, services=["web"])["services"][0]

    def rest(self, limit=90):
        def still():
            service = self.service()
            deployments = service["deployments"]
            return len(deployments) == 1 and deployments[0]["rolloutState"] == "COMPLETED"

        wait_for(still, "the service at rest", limit)

    def tasks(self):
        arns = self.ecs.list_tasks(cluster=self.name, serviceName="web")["taskArns"]
        return self.ecs.describe_tasks(cluster=self.name, tasks=arns)["tasks"] if arns else []

    def get(self, path="/", host=None, headers=None):
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=10)
        connection.request("GET", path, headers={"Host": host or self.dns, **(headers or {})})
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, body.strip()

    def health(self):
        found = self.elb.describe_target_health(TargetGroupArn=self.target_group)["TargetHealthDescriptions"]
        return {t["Target"]["Id"]: t["TargetHealth"]["State"] for t in found}

    def remove(self):
        self.ecs.delete_service(cluster=self.name, service="web", force=True)
        wait_for(lambda: self.service()["status"] == "INACTIVE", "the service gone", 60)
        self.elb.delete_load_balancer(LoadBalancerArn=self.balancer)
        self.elb.delete_target_group(TargetGroupArn=self.target_group)
        for group in (self.inside, self.door):
            # The last task's interface goes a moment after its service.
            wait_for(lambda: self.dropped(group), "the group is free", 30)

    def dropped(self, group):
        try:
            return self.ec2.delete_security_group(GroupId=group)
        except self.ec2.exceptions.ClientError as error:
            assert error.response["Error"]["Code"] == "DependencyViolation", error
            return None


def address_of(task):
    details = {d["name"]: d["value"] for d in task["attachments"][0]["details"]}
    return details["privateIPv4Address"]


@pytest.fixture(scope="module")
def stack(ng):
    made = Stack(ng, "web")
    made.register()
    made.serve()
    yield made
    made.remove()


class Load:
    """Asks again and again over kept-alive connections; notes every answer that is not 200."""

    def __init__(self, stack, clients=4):
        self.stack, self.faults, self.asked, self.going = stack, [], 0, True
        self.threads = [threading.Thread(target=self.ask) for _ in range(clients)]

    def ask(self):
        connection = None
        while self.going:
            try:
                connection = connection or http.client.HTTPConnection(LOOPBACK, self.stack.port, timeout=10)
                connection.request("GET", "/", headers={"Host": self.stack.dns})
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.faults.append(answer.status)
                if answer.will_close:
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                self.faults.append(repr(error))
                connection = None
            self.asked += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.going = False
        for thread in self.threads:
            thread.join()


def test_every_task_answers_through_the_balancer(stack):
    seen = set()

    def both():
        status, body = stack.get()
        assert status == 200
        seen.add(body)
        return len(seen) == 2

    wait_for(both, "both tasks answer")
    assert set(stack.health().values()) == {"healthy"}


def test_tasks_are_reached_only_through_the_door(stack):
    for task in stack.tasks():
        with pytest.raises(OSError):
            socket.create_connection((address_of(task), 8080), timeout=0.5).close()


def test_ten_thousand_idle_connections_are_held_and_requests_go_on(stack):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wanted = 10_000 if hard == resource.RLIM_INFINITY else min(10_000, hard - 500)
    request = f"GET /health HTTP/1.1\r\nHost: {stack.name}\r\n\r\n".encode()
    held = []

    def ask(connection):
        connection.sendall(request)
        got = b""
        while not got.endswith(b"ok\n"):
            more = connection.recv(4096)
            assert more, got
            got += more
        assert got.startswith(b"HTTP/1.1 200"), got

    try:
        for n in range(wanted):
            held.append(socket.create_connection((LOOPBACK, PORT), timeout=10))
            if n % 100 == 0:
                ask(held[-1])
        # All are idle now, and whoever comes is served.
        assert stack.get()[0] == 200
        # Each of them may still ask, for the first time or again.
        for connection in [*held[::100], *held[1::100]]:
            ask(connection)
    finally:
        for connection in held:
            connection.close()


def test_unknown_hosts_reach_a_balancer_that_is_alone_on_its_port(stack):
    assert stack.get(host="shop.example.com")[0] == 200


def test_a_rollout_fails_no_request(stack):
    before = {t["taskArn"] for t in stack.tasks()}
    with Load(stack) as load:
        wait_for(lambda: load.asked > 50, "load")
        stack.register(WEB + " # second")
        stack.ecs.update_service(cluster=stack.name, service="web", taskDefinition=stack.name)
        stack.rest()
    assert not load.faults, (load.asked, load.faults[:10])
    assert before.isdisjoint({t["taskArn"] for t in stack.tasks()})


@pytest.mark.parametrize("roles", [["control"], ["node"], ["control", "node"]])
def test_requests_go_on_while_roles_are_killed(ng, stack, roles):
    with Load(stack) as load:
        wait_for(lambda: load.asked > 20, "load")
        for role in roles:
            kill(ng, role)
        asked = load.asked
        wait_for(lambda: load.asked > asked + 100, "load after the kill")
        wait_for(lambda: stack_answers(stack), "control is back", 40)
    assert not load.faults, (load.asked, load.faults[:10])


def kill(ng, role):
    """Kills the role once it runs: an earlier test may have killed it before."""

    def killed():
        try:
            os.kill(ng.pid_of(role), signal.SIGKILL)
            return True
        except (ProcessLookupError, ValueError):
            return False

    wait_for(killed, f"{role} runs and is killed", 20)


def stack_answers(stack):
    try:
        return stack.service()["status"] == "ACTIVE"
    except Exception:  # whatever a client says while control starts again
        return False


def test_the_gateway_killed_refuses_no_connection(ng, stack):
    kill(ng, "gateway")
    assert stack.get()[0] == 200


def test_an_upgrade_of_the_gateway_fails_no_request(ng, stack):
    before = ng.pid_of("gateway")
    with Load(stack) as load:
        wait_for(lambda: load.asked > 20, "load")
        ng.process.send_signal(signal.SIGHUP)
        wait_for(lambda: gateway_of(ng) not in (None, before), "a new gateway serves", 30)
        asked = load.asked
        wait_for(lambda: load.asked > asked + 100, "load after the upgrade")
    assert not load.faults, (load.asked, load.faults[:10])


def gateway_of(ng):
    try:
        return ng.pid_of("gateway")
    except ValueError:  # just being written
        return None


def test_a_killed_task_is_replaced_and_the_others_serve(stack):
    victim = stack.tasks()[0]["taskArn"]
    stack.ecs.stop_task(cluster=stack.name, task=victim)

    def replaced():
        assert stack.get()[0] == 200
        arns = {t["taskArn"] for t in stack.tasks() if t["lastStatus"] == "RUNNING"}
        return victim not in arns and len(arns) == 2

    wait_for(replaced, "a replacement", 60)
    wait_for(lambda: sorted(stack.health().values()) == ["healthy", "healthy"], "both healthy", 30)


def test_an_unhealthy_target_is_replaced_and_told(ng):
    stack = Stack(ng, "sick", port=PORT + 1)
    # The first of its tasks turns bad after a while; its replacements do not.
    stack.register("echo ok > /tmp/health; echo hi > /tmp/index.html; exec httpd -f -p 8080 -h /tmp")
    try:
        stack.serve(count=1, healthCheckGracePeriodSeconds=0)
        first = stack.tasks()[0]
        # Nothing but the health check's path goes: the target group looks elsewhere from now on.
        stack.elb.modify_target_group(TargetGroupArn=stack.target_group, HealthCheckPath="/missing")

        def told():
            return any("is unhealthy in (target-group" in e["message"] and "[404]" in e["message"] for e in stack.service()["events"])

        wait_for(told, "an event that says why", 60)
        stack.elb.modify_target_group(TargetGroupArn=stack.target_group, HealthCheckPath="/health")
        wait_for(lambda: all(t["taskArn"] != first["taskArn"] for t in stack.tasks()), "it is replaced", 60)
    finally:
        stack.remove()


def test_a_rollout_into_a_zone_without_the_balancer_is_rolled_back(ng):
    stack = Stack(ng, "zones", port=PORT + 9)
    stack.register()
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
    stack.serve(1, deploymentConfiguration=breaker)
    good = stack.service()["taskDefinition"]
    stack.register()
    stack.ecs.update_service(
        cluster=stack.name, service="web", taskDefinition=stack.name,
        networkConfiguration={"awsvpcConfiguration": {"subnets": stack.subnets[2:], "securityGroups": [stack.inside]}})

    def told():
        return any("due to (reason Target is in an Availability Zone that is not enabled for the load balancer)" in e["message"]
                   for e in stack.service()["events"])

    wait_for(told, "the event that says why", 60)
    wait_for(lambda: stack.service()["taskDefinition"] == good, "the rollback", 120)
    stack.rest()
    assert stack.get("/health") == (200, "ok")
    stack.remove()


def test_a_service_whose_balancer_is_gone_can_be_scaled_down(ng):
    stack = Stack(ng, "gone", port=PORT + 4)
    stack.register()
    try:
        stack.serve(count=1)
        stack.elb.delete_load_balancer(LoadBalancerArn=stack.balancer)
        stack.ecs.update_service(cluster=stack.name, service="web", desiredCount=0)
        wait_for(lambda: stack.service()["runningCount"] == 0, "no task", 60)
    finally:
        stack.remove()


def test_regular_expressions_match_hosts_and_headers_in_any_case(stack):
    """On the program as it is built: a feature missing from a library made every one of them match nothing."""
    listener = stack.elb.describe_listeners(LoadBalancerArn=stack.balancer)["Listeners"][0]["ListenerArn"]

    def answer(status):
        return [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": status}}]

    def rule(priority, condition, status):
        return stack.elb.create_rule(ListenerArn=listener, Priority=priority, Conditions=[condition], Actions=answer(status))

    made = [
        rule(11, {"Field": "host-header", "HostHeaderConfig": {"RegexValues": [r"^api[0-9]+\.example\.com$"]}}, "211"),
        rule(12, {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Kind", "RegexValues": ["^cur"]}}, "212"),
        rule(13, {"Field": "path-pattern", "PathPatternConfig": {"RegexValues": ["(?i)^/case$"]}}, "213"),
    ]
    try:
        wait_for(lambda: stack.get(host="API7.example.com")[0] == 211, "the host's rule", 10)
        wait_for(lambda: stack.get(headers={"X-Kind": "CURL"})[0] == 212, "the header's rule", 10)
        wait_for(lambda: stack.get("/CASE")[0] == 213, "the path's rule", 10)
        assert stack.get(host="api.example.com")[0] == 200
    finally:
        for answered in made:
            stack.elb.delete_rule(RuleArn=answered["Rules"][0]["RuleArn"])


def test_balancers_share_a_port_and_are_told_apart_by_host(ng, stack):
    other = ng.client("elbv2")
    made = other.create_load_balancer(Name="second", Subnets=stack.subnets[:2], SecurityGroups=[stack.door])["LoadBalancers"][0]
    other.create_listener(LoadBalancerArn=made["LoadBalancerArn"], Protocol="HTTP", Port=PORT, DefaultActions=[
        {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "418", "MessageBody": "second", "ContentType": "text/plain"}}])
    try:
        wait_for(lambda: stack.get(host=made["DNSName"]) == (418, "second"), "the second answers under its name")
        assert stack.get()[0] == 200
    finally:
        other.delete_load_balancer(LoadBalancerArn=made["LoadBalancerArn"])


def test_a_task_reaches_the_balancer_by_name(stack):
    ecs = stack.ecs
    # Debian's static busybox cannot look names up by itself; its nslookup can.
    script = (f"at=$(nslookup {stack.dns} | sed -n 's/^Address[^:]*: *//p' | tail -n 1); "
              f"case $at in 10.76.*) ;; *) exit 9;; esac; wget -q -O - http://$at:{PORT}/ >&2")
    ecs.register_task_definition(
        family="caller", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
        containerDefinitions=[{"name": "c", "image": "busybox:test", "command": ["sh", "-c", script]}])
    arn = ecs.run_task(cluster=stack.name, taskDefinition="caller", launchType="FARGATE", networkConfiguration={
        "awsvpcConfiguration": {"subnets": stack.subnets[:1]}})["tasks"][0]["taskArn"]

    def stopped():
        task = ecs.describe_tasks(cluster=stack.name, tasks=[arn])["tasks"][0]
        return task if task["lastStatus"] == "STOPPED" else None

    task = wait_for(stopped, "the caller ends", 40)
    assert task["containers"][0].get("exitCode") == 0, json.dumps(task, default=str)


def test_bridge_mode_registers_instance_targets_with_dynamic_ports(ng, stack):
    name = "bridged"
    elb, ecs = stack.elb, stack.ecs
    group = elb.create_target_group(Name=name, Protocol="HTTP", Port=80, VpcId=stack.vpc, TargetType="instance",
                                    HealthCheckPath="/health", HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2,
                                    HealthyThresholdCount=2)["TargetGroups"][0]["TargetGroupArn"]
    rule = elb.create_rule(ListenerArn=stack.listener, Priority=5, Conditions=[{"Field": "path-pattern", "Values": ["/bridged*"]}],
                           Actions=[{"Type": "forward", "TargetGroupArn": group}])["Rules"][0]["RuleArn"]
    ecs.register_task_definition(family=name, networkMode="bridge", containerDefinitions=[
        {"name": "web", "image": "busybox:test", "memory": 64, "stopTimeout": 2, "portMappings": [{"containerPort": 8080}],
         "command": ["sh", "-c", "echo ok > /tmp/health; echo bridge > /tmp/bridged; exec httpd -f -p 8080 -h /tmp"]}])
    ecs.create_service(cluster=stack.name, serviceName=name, taskDefinition=name, desiredCount=2, launchType="EC2",
                       loadBalancers=[{"targetGroupArn": group, "containerName": "web", "containerPort": 8080}])
    try:
        wait_for(lambda: stack.get("/bridged") == (200, "bridge"), "tasks on the machine's ports answer", 60)

        def both():
            found = elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
            healthy = [t["Target"] for t in found if t["TargetHealth"]["State"] == "healthy"]
            return healthy if len(healthy) == 2 else None

        targets = wait_for(both, "both are healthy", 30)
        assert {t["Id"][:2] for t in targets} == {"i-"}
        assert len({t["Port"] for t in targets}) == 2
    finally:
        ecs.delete_service(cluster=stack.name, service=name, force=True)
        elb.delete_rule(RuleArn=rule)
        elb.delete_target_group(TargetGroupArn=group)
